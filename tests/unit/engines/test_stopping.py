"""A stop string ends a response with the token that completes it, whatever decodes and however rarely it looks."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from tiny import letters_tokenizer, requests_for, tiny_config, tiny_policy
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers

from aha.engines.compiled import CompiledDecoder
from aha.engines.decoder import Work
from aha.engines.engine import Decoding, sample
from aha.engines.local import LocalEngine
from aha.engines.plain import PlainDecoder
from aha.engines.stopping import StopStrings
from aha.policy.fast.paths import can_be_packed
from aha.policy.transformer import Transformer
from aha.prompts.tokenizer import Tokenizer
from aha.types import Rollout

STOP = ("b c", "e")
CAP = 30


class RareLooks(PlainDecoder):
    """Rows that have ended go on unread for some steps, as on a GPU."""

    look_every = 7

    def __init__(self, policy: Transformer, work: Work) -> None:
        super().__init__(policy, replace(work, max_new_tokens=work.max_new_tokens + self.look_every))


def small_policy() -> Transformer:
    """A policy that the kernels can compute on any processor."""
    return tiny_policy(tiny_config(hidden_size=64, head_dim=16))


@cache
def sampled(
    stop: tuple[str, ...] = (), *, decoder: type[PlainDecoder] | type[CompiledDecoder] = PlainDecoder, max_rows: int = 9
) -> list[Rollout]:
    engine = LocalEngine(small_policy(), letters_tokenizer(), decoder=decoder, max_rows=max_rows)
    decoding = Decoding(max_new_tokens=CAP, temperature=1.5, stop=stop)
    groups = sample(engine, requests_for(["a b c d", "a b", "e e e"], decoding), 8)
    return [rollout for group in groups for rollout in group]


def first_completion(tokens: list[int]) -> int | None:
    """Tokens up to the one that completes a stop string, counted the slow way."""
    texts = [letters_tokenizer().decode(torch.tensor(tokens[: n + 1])) for n in range(len(tokens))]
    return next((n + 1 for n, text in enumerate(texts) if any(string in text for string in STOP)), None)


@pytest.mark.parametrize("decoder", [PlainDecoder, CompiledDecoder, RareLooks])
@pytest.mark.parametrize("max_rows", [5, 512])
def test_a_response_is_cut_behind_the_token_that_completes_a_stop_string(
    decoder: type[PlainDecoder] | type[CompiledDecoder], max_rows: int
) -> None:
    if decoder is CompiledDecoder and not can_be_packed(small_policy()):
        pytest.skip("there is no C compiler")
    endless, stopped = sampled(), sampled(STOP, decoder=decoder, max_rows=max_rows)
    lengths = [first_completion(long.tokens.tolist()) for long in endless]
    assert sum(length is not None for length in lengths) > 10
    assert sum(length is None for length in lengths) > 0
    for long, short, length in zip(endless, stopped, lengths, strict=True):
        assert short.tokens.tolist() == long.tokens[:length].tolist()
        assert torch.allclose(short.logp, long.logp[:length], atol=1e-5)
        assert short.finish == ("stop" if length else long.finish)
        assert any(string in short.text for string in STOP) == (length is not None)


def byte_tokenizer() -> Tokenizer:
    """One token a byte, and `</`, `answer` and `>.` besides."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate([*alphabet, "<eos>", "</", "an", "ans", "answer", ">."])}
    raw = RawTokenizer(models.BPE(vocabulary, [], ignore_merges=True))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<eos>"])
    return Tokenizer(raw, end="<eos>")


def test_a_string_may_end_in_the_middle_of_a_token() -> None:
    """The token is kept whole, since it was sampled whole."""
    tokenizer = byte_tokenizer()
    tokens = [tokenizer.raw.token_to_id(token) for token in ("4", "</", "answer", ">.", "4", ">.")]
    assert StopStrings(("</answer>",), tokenizer).end_of(tokens, num_new=6) == 4
    assert StopStrings(("</answer>",), tokenizer).end_of(tokens[:3], num_new=3) is None
    assert StopStrings(("nothing", ">"), tokenizer).end_of(tokens, num_new=6) == 4


def test_only_what_is_new_is_looked_at() -> None:
    tokenizer = byte_tokenizer()
    tokens = [tokenizer.raw.token_to_id(token) for token in ("4", "</", "answer", ">.", "4", "4", "4")]
    stops = StopStrings(("</answer>",), tokenizer)
    assert stops.end_of(tokens, num_new=4) == 4
    assert stops.end_of(tokens, num_new=3) is None


def test_letters_of_several_tokens_are_waited_for() -> None:
    tokenizer = byte_tokenizer()
    tokens = tokenizer.raw.encode("答案").ids
    assert len(tokens) == 6
    assert StopStrings(("答案",), tokenizer).end_of(tokens, num_new=6) == 6
    assert StopStrings(("答案",), tokenizer).end_of(tokens[:5], num_new=5) is None


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="stop string is empty"):
        Decoding(max_new_tokens=1, stop=("</answer>", ""))
