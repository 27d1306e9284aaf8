"""Best-fit packing, and that packed fine-tuning is unpacked fine-tuning."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from tiny import random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.objectives.supervised import next_token_loss
from aha.policy.layout import rows
from aha.policy.scoring import score
from aha.training.batch import stack
from aha.training.learner import log_probabilities
from aha.training.packing import best_fit

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60)


@with_settings(max_examples=40)
@given(LENGTHS)
def test_every_sequence_is_in_one_chunk_and_no_chunk_overflows(lengths: list[int]) -> None:
    chunks = best_fit(lengths, 50)
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in chunk) <= 50 for chunk in chunks)


@with_settings(max_examples=40)
@given(LENGTHS)
def test_no_more_chunks_than_the_rule_promises(lengths: list[int]) -> None:
    fewest = -(-sum(lengths) // 50)
    chunks = best_fit(lengths, 50)
    fills = sorted(sum(lengths[index] for index in chunk) for chunk in chunks)
    assert len(chunks) <= max(fewest, 2 * fewest)
    assert len(chunks) < 2 or fills[0] + fills[1] > 50


def test_a_sequence_goes_where_it_leaves_the_least_room() -> None:
    # 7 and 6 open two chunks of 10 with 3 and 4 left; 4 fits the second alone; 3 then fills the first.
    assert best_fit([7, 6, 4, 3], 10) == [[0, 3], [1, 2]]


@pytest.mark.parametrize("lengths", [[3, 11], [0, 2]])
def test_what_cannot_be_packed_is_named(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"sequence \d has (11|0) tokens; a chunk holds 1 to 10"):
        best_fit(lengths, 10)


def test_packed_is_unpacked_in_value_and_gradient() -> None:
    prompts, responses = random_tokens([4, 2, 7, 2, 5, 3], seed=1), random_tokens([6, 9, 3, 1, 8, 5], seed=2)
    prompts[3] = prompts[1]
    policy = tiny_policy(tiny_config(), dtype=torch.float64)

    def loss_and_gradients(parts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        loss = torch.stack(parts).sum()
        return loss.detach(), list(torch.autograd.grad(loss, list(policy.parameters())))

    packed = []
    for chunk in best_fit([len(p) + len(r) for p, r in zip(prompts, responses, strict=True)], 24):
        batch = stack([prompts[index] for index in chunk], [responses[index] for index in chunk])
        packed.append(next_token_loss(log_probabilities(policy, batch), mask_BT=batch.mask_BT).total)
    alone = []
    for prompt, response in zip(prompts, responses, strict=True):
        batch = stack([prompt], [response])
        logp_BT = score(policy, rows(batch.tokens_BT), batch.tokens_BT, batch.mask_BT)
        alone.append(next_token_loss(logp_BT, mask_BT=batch.mask_BT).total)
    assert len(packed) < len(alone)
    (value, gradients), (plain_value, plain_gradients) = loss_and_gradients(packed), loss_and_gradients(alone)
    torch.testing.assert_close(value, plain_value, rtol=1e-12, atol=0)
    for one, other in zip(gradients, plain_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
