"""What advantages accept, refuse and return."""

import math

import pytest
import torch

from aha.advantages.group import group_advantages, leave_one_out_advantages

pytestmark = pytest.mark.parametrize("advantage", [group_advantages, leave_one_out_advantages])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_result_is_float32_and_detached(advantage, dtype: torch.dtype) -> None:
    rewards_PG = torch.tensor([[0, 1, 2], [1, 1, 1]], dtype=dtype)
    if dtype.is_floating_point:
        rewards_PG.requires_grad_()
    advantages = advantage(rewards_PG)
    assert advantages.dtype == torch.float32
    assert advantages.shape == (2, 3)
    assert not advantages.requires_grad


def test_rewards_far_from_zero_keep_their_spread(advantage) -> None:
    """In float32 the mean of 1e6 and 1e6 + 1/16 would be off by half the spread."""
    near, far = torch.tensor([[0.0, 0.0625]]), torch.tensor([[1e6, 1e6 + 0.0625]])
    torch.testing.assert_close(advantage(far), advantage(near))


def test_the_order_of_rollouts_is_kept(advantage) -> None:
    rewards_PG = torch.tensor([[3.0, -1.0, 0.5, 2.0]])
    order = [2, 0, 3, 1]
    torch.testing.assert_close(advantage(rewards_PG[:, order]), advantage(rewards_PG)[:, order])


def test_no_problems_give_no_advantages(advantage) -> None:
    assert advantage(torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("shape", [(3, 1), (3, 0), (3,), (1, 2, 3)])
def test_a_lone_rollout_has_nothing_to_compare_with(advantage, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="G >= 2"):
        advantage(torch.zeros(shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_named(advantage, bad: float) -> None:
    with pytest.raises(ValueError, match="problem 1, rollout 2"):
        advantage(torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, bad]]))
