"""Scoring with the kernels that decode is scoring with torch, and agrees with the engine to the bit."""

from collections.abc import Iterator

import pytest
import torch
from tiny import PROMPTS, SHAPES, letters_tokenizer, random_tokens, requests_for, tiny_config, tiny_policy

from aha.engines.compiled import CompiledDecoder
from aha.engines.engine import Decoding, sample
from aha.engines.local import LocalEngine
from aha.kernels.cpu.compiled import library
from aha.policy.fast.packed_scoring import packed_score, scores_packed
from aha.policy.layout import rows
from aha.policy.scoring import score
from aha.training.batch import stack
from aha.training.learner import reference_logp
from aha.types import Batch

pytestmark = pytest.mark.skipif(library("decode") is None, reason="there is no C compiler")

WIDE = {"hidden_size": 64, "head_dim": 16}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch() -> Batch:
    """Shared and single prompts, responses of one token and of several, one that begins like another's prompt."""
    lengths = [(3, 5), (3, 1), (7, 20), (1, 4), (7, 2), (3, 9), (30, 3)]
    prompts = [random_tokens([prompt], seed=prompt)[0] for prompt, _ in lengths]
    responses = [random_tokens([length], seed=place)[0] for place, (_, length) in enumerate(lengths)]
    return stack(prompts, responses)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_score_alike(shape: str, temperature: float) -> None:
    policy, given = tiny_policy(tiny_config(shape, **WIDE)), batch()
    arguments = (given.tokens_BT, given.mask_BT)
    found_BT = packed_score(policy, *arguments, given.lengths_B, temperature=temperature)
    with torch.no_grad():
        layout = rows(given.tokens_BT)
        expected_BT = score(policy, layout, *arguments, temperature=temperature)
    assert found_BT.shape == expected_BT.shape
    assert float((found_BT - expected_BT).abs().max()) < 1e-5
    assert (found_BT[~given.mask_BT] == 0).all()
    assert torch.equal(reference_logp(policy, given, temperature=temperature), found_BT)


def test_any_tokens_may_be_masked_out() -> None:
    policy, given = tiny_policy(tiny_config("qwen3-grouped", **WIDE)), batch()
    mask_BT = given.mask_BT & (torch.arange(given.mask_BT.shape[1]) % 3 != 0)
    mask_BT[1] = False
    found_BT = packed_score(policy, given.tokens_BT, mask_BT, given.lengths_B, temperature=1.0)
    with torch.no_grad():
        layout = rows(given.tokens_BT)
        expected_BT = score(policy, layout, given.tokens_BT, mask_BT)
    assert float((found_BT - expected_BT).abs().max()) < 1e-5
    assert (found_BT[~mask_BT] == 0).all()


def test_the_states_of_what_was_sampled_are_the_engines() -> None:
    """Only the softmax over the vocabulary is added up in another way."""
    policy = tiny_policy(tiny_config("qwen3-grouped", **WIDE))
    engine = LocalEngine(policy, letters_tokenizer(), decoder=CompiledDecoder)
    groups = sample(engine, requests_for(PROMPTS["common beginning"], Decoding(max_new_tokens=20)), 4)
    rollouts = [rollout for group in groups for rollout in group]
    given = stack([o.prompt_tokens for o in rollouts], [o.tokens for o in rollouts])
    found_BT = packed_score(policy, given.tokens_BT, given.mask_BT, given.lengths_B, temperature=1.0)
    sampled_M = torch.cat([rollout.logp for rollout in rollouts])
    assert float((found_BT[given.mask_BT] - sampled_M).abs().max()) < 1e-6


def test_torch_scores_what_the_kernels_cannot_or_where_it_has_more_threads() -> None:
    policy, given = tiny_policy(tiny_config("qwen3-grouped", **WIDE)), batch()
    assert scores_packed(policy)
    assert not scores_packed(tiny_policy(policy.config, dtype=torch.bfloat16))
    packed_BT = reference_logp(policy, given, temperature=1.0)
    torch.set_num_threads(2)
    assert not scores_packed(policy)
    assert float((reference_logp(policy, given, temperature=1.0) - packed_BT).abs().max()) < 1e-5


def test_responses_of_one_token_need_nothing_but_their_prompt() -> None:
    policy = tiny_policy(tiny_config("llama-grouped", **WIDE))
    given = stack(random_tokens([4, 4, 9]), random_tokens([1, 1, 1], seed=1))
    found_BT = packed_score(policy, given.tokens_BT, given.mask_BT, given.lengths_B, temperature=1.0)
    with torch.no_grad():
        expected_BT = score(policy, rows(given.tokens_BT), given.tokens_BT, given.mask_BT)
    assert float((found_BT - expected_BT).abs().max()) < 1e-5
