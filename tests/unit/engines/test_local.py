"""A response ends at whichever stop token is sampled, and keeps it."""

import pytest
import torch
from tiny import letters_tokenizer, tiny_config, tiny_policy
from tokenizers import Tokenizer as RawTokenizer
from tokenizers.processors import TemplateProcessing

from aha.engines.engine import Decoding, Request, sample
from aha.engines.local import LocalEngine
from aha.prompts.tokenizer import Tokenizer
from aha.types import Rollout

MANY = Decoding(max_new_tokens=12)


def sampled(tokenizer: Tokenizer, vocab_size: int = 11) -> tuple[Rollout, ...]:
    engine = LocalEngine(tiny_policy(tiny_config(vocab_size=vocab_size)), tokenizer)
    (group,) = sample(engine, [Request(id="p", prompt="a b", seed=("s",), decoding=MANY)], 32)
    return group


@pytest.mark.parametrize("max_rows", [4, 512])
def test_every_group_is_told_of_once_as_it_is_returned(max_rows: int) -> None:
    requests = [Request(id=f"p{n}", prompt="a b", seed=("s", n), decoding=MANY) for n in range(5)]
    engine = LocalEngine(tiny_policy(tiny_config()), letters_tokenizer(), max_rows=max_rows)
    told: dict[int, tuple[Rollout, ...]] = {}
    groups = sample(engine, requests, 4, on_group=lambda place, group: told.update({place: group}))
    assert sorted(told) == list(range(5))
    assert all(mine is its for n, group in enumerate(groups) for mine, its in zip(told[n], group, strict=True))


def test_what_is_raised_when_a_group_is_told_of_ends_the_sampling() -> None:
    requests = [Request(id="p", prompt="a b", seed=("s",), decoding=MANY)] * 3
    engine, told = LocalEngine(tiny_policy(tiny_config()), letters_tokenizer(), max_rows=4), list[int]()

    def stop(place: int, group: tuple[Rollout, ...]) -> None:
        told.append(place)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(engine, requests, 4, on_group=stop)
    assert len(told) == 1


def with_stops(*words: str) -> Tokenizer:
    plain = letters_tokenizer()
    return Tokenizer(plain.raw, end=plain.end, pad=plain.pad, stop_ids=[plain.raw.token_to_id(word) for word in words])


def test_several_tokens_end_a_response() -> None:
    tokenizer = with_stops("c", "d")
    one, several = sampled(letters_tokenizer()), sampled(tokenizer)
    ends = set()
    for long, short in zip(one, several, strict=True):
        hits = torch.isin(long.tokens, torch.tensor(tokenizer.stop_ids)).nonzero()
        length = int(hits[0]) + 1 if len(hits) else len(long.tokens)
        assert short.tokens.tolist() == long.tokens[:length].tolist()
        assert torch.allclose(short.logp, long.logp[:length], atol=1e-5)
        assert short.finish == ("stop" if len(hits) else "length")
        assert "c" not in short.text
        assert "d" not in short.text
        ends.add(int(short.tokens[-1]) if len(hits) else -1)
    assert ends >= set(tokenizer.stop_ids)


def test_ids_without_a_token_have_no_text() -> None:
    """A model whose embedding is padded samples what the tokenizer cannot say: it counts, and reads as nothing."""
    rollouts = sampled(letters_tokenizer(), vocab_size=40)
    assert any(int(rollout.tokens.max()) >= 11 for rollout in rollouts)
    for rollout in rollouts:
        known = rollout.tokens[rollout.tokens < 11]
        assert rollout.text == letters_tokenizer().decode(known)
        assert len(rollout.tokens) == len(rollout.logp)


def test_a_prompt_begins_with_what_begins_every_text() -> None:
    raw = RawTokenizer.from_str(letters_tokenizer().raw.to_str())
    raw.post_processor = TemplateProcessing(single="h $A", special_tokens=[("h", raw.token_to_id("h"))])
    (first, *_) = sampled(Tokenizer(raw, end="<eos>"))
    assert first.prompt_tokens.tolist() == [raw.token_to_id(word) for word in "hab"]
