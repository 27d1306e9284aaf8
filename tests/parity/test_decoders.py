"""Decoding with the kernels is decoding with torch, and what a row gets does not depend on the rows beside it."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from tiny import PROMPTS, SHAPES, letters_tokenizer, requests_for, tiny_config, tiny_policy

from aha.engines.compiled import CompiledDecoder
from aha.engines.decoder import DecoderFactory
from aha.engines.engine import Decoding, sample
from aha.engines.local import LocalEngine
from aha.engines.plain import PlainDecoder
from aha.kernels.cpu.compiled import library
from aha.policy.transformer import Transformer
from aha.types import Rollout

pytestmark = pytest.mark.skipif(library("decode") is None, reason="there is no C compiler")

ALL_PROMPTS = [prompt for prompts in PROMPTS.values() for prompt in prompts]


def policy_of(shape: str, seed: int = 0) -> Transformer:
    """A policy that the kernels can compute on any processor."""
    return tiny_policy(tiny_config(shape, hidden_size=64, head_dim=16), seed=seed)


def sampled(
    policy: Transformer,
    prompts: Sequence[str],
    decoding: Decoding,
    *,
    num_samples: int = 4,
    max_rows: int = 512,
    decoder: DecoderFactory = CompiledDecoder,
) -> list[Rollout]:
    engine = LocalEngine(policy, letters_tokenizer(), max_rows=max_rows, decoder=decoder)
    return [o for group in sample(engine, requests_for(prompts, decoding), num_samples) for o in group]


def are_equal(left: Sequence[Rollout], right: Sequence[Rollout]) -> bool:
    """Equal to the last bit."""
    return all(
        torch.equal(a.tokens, b.tokens) and torch.equal(a.logp, b.logp) and a.finish == b.finish
        for a, b in zip(left, right, strict=True)
    )


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("shape", "name"),
    [*((shape, "common beginning") for shape in SHAPES), *(("qwen3-grouped", name) for name in list(PROMPTS)[1:])],
)
def test_both_decoders_sample_the_same(shape: str, name: str) -> None:
    policy, decoding = policy_of(shape), Decoding(max_new_tokens=16, temperature=0.8)
    fast = sampled(policy, PROMPTS[name], decoding)
    plain = sampled(policy, PROMPTS[name], decoding, decoder=PlainDecoder)
    assert [o.tokens.tolist() for o in fast] == [o.tokens.tolist() for o in plain]
    assert max(float((a.logp - b.logp).abs().max()) for a, b in zip(fast, plain, strict=True)) < 1e-5


@pytest.mark.parametrize("decoding", [Decoding(max_new_tokens=30), Decoding(max_new_tokens=9, temperature=0.0)])
def test_alone_or_among_others_the_bits_are_the_same(decoding: Decoding) -> None:
    policy = policy_of("qwen3-grouped")
    together = sampled(policy, ALL_PROMPTS, decoding)
    engine = LocalEngine(policy, letters_tokenizer(), decoder=CompiledDecoder)
    alone = [o for request in requests_for(ALL_PROMPTS, decoding) for o in sample(engine, [request], 4)[0]]
    assert are_equal(alone, together)


@pytest.mark.full
@with_settings(max_examples=6)
@given(max_rows=st.integers(1, 40), num_samples=st.integers(1, 5), cap=st.integers(1, 20))
def test_the_number_of_slots_changes_no_bit(max_rows: int, num_samples: int, cap: int) -> None:
    policy, decoding = policy_of("qwen2-grouped"), Decoding(max_new_tokens=cap, temperature=1.2)
    few = sampled(policy, ALL_PROMPTS, decoding, num_samples=num_samples, max_rows=max_rows)
    assert are_equal(few, sampled(policy, ALL_PROMPTS, decoding, num_samples=num_samples))


def test_the_number_of_threads_changes_no_bit(two_threads: None) -> None:
    policy, decoding = policy_of("llama-grouped"), Decoding(max_new_tokens=20)
    in_two = sampled(policy, ALL_PROMPTS, decoding)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert are_equal(in_two, sampled(policy, ALL_PROMPTS, decoding))


def test_what_lay_in_the_memory_before_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, decoding = policy_of("qwen2-grouped"), Decoding(max_new_tokens=20)
    clean = sampled(policy, ALL_PROMPTS, decoding)
    for module in ("aha.engines.compiled", "aha.policy.fast.packed"):
        monkeypatch.setattr(f"{module}.huge_memory", lambda count: torch.full((count,), torch.nan))
    assert are_equal(sampled(policy, ALL_PROMPTS, decoding), clean)


def test_long_prompts_are_computed_in_several_calls() -> None:
    policy = tiny_policy(tiny_config("qwen3-grouped", hidden_size=64, head_dim=16, max_position_embeddings=1024))
    prompts = [" ".join("abcdefgh"[(place * place + shift) % 8] for place in range(600)) for shift in (0, 3)]
    decoding = Decoding(max_new_tokens=5)
    fast = sampled(policy, prompts, decoding)
    plain = sampled(policy, prompts, decoding, decoder=PlainDecoder)
    assert [o.tokens.tolist() for o in fast] == [o.tokens.tolist() for o in plain]
    assert max(float((a.logp - b.logp).abs().max()) for a, b in zip(fast, plain, strict=True)) < 2e-5


@pytest.mark.full
@pytest.mark.parametrize("decoder", [CompiledDecoder, PlainDecoder])
def test_each_group_is_told_once_when_all_of_it_has_ended(decoder: DecoderFactory) -> None:
    policy = policy_of("qwen3-grouped")
    engine = LocalEngine(policy, letters_tokenizer(), max_rows=6, decoder=decoder)
    told: dict[int, tuple[Rollout, ...]] = {}

    def on_group(number: int, rollouts: tuple[Rollout, ...]) -> None:
        assert number not in told
        told[number] = rollouts

    groups = sample(engine, requests_for(ALL_PROMPTS, Decoding(max_new_tokens=24)), 4, on_group)
    assert [told[number] for number in range(len(ALL_PROMPTS))] == groups
    assert list(told) != sorted(told) or len(told) == 1


def test_weights_that_changed_in_place_are_sampled_from() -> None:
    policy, decoding = policy_of("qwen3-grouped"), Decoding(max_new_tokens=12)
    engine = LocalEngine(policy, letters_tokenizer(), decoder=CompiledDecoder)
    before = sample(engine, requests_for(["a b c"], decoding), 8)[0]
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(0.7)
    after = sample(engine, requests_for(["a b c"], decoding), 8)[0]
    expected = sampled(policy, ["a b c"], decoding, num_samples=8, decoder=PlainDecoder)
    assert [o.tokens.tolist() for o in after] == [o.tokens.tolist() for o in expected]
    assert [o.tokens.tolist() for o in after] != [o.tokens.tolist() for o in before]
