"""Advantages from groups, by hand and by what they must obey."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from aha.advantages.group import centred_advantages, group_advantages, leave_one_out_advantages

rewards = st.lists(st.floats(-100.0, 100.0).map(lambda x: round(x, 3)), min_size=4, max_size=4)


def test_group_advantages_by_hand() -> None:
    """One right answer of four: mean 1/4, population variance (9/16 + 3/16) / 4 = 3/16; (3/4, -1/4) / (sqrt 3 / 4)."""
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), eps=0.0)
    third = 1 / math.sqrt(3)
    torch.testing.assert_close(advantages, torch.tensor([[math.sqrt(3), -third, -third, -third]]))


def test_group_advantages_with_the_deviation_of_a_sample_by_hand() -> None:
    """The same group with divisor G - 1: variance (9/16 + 3/16) / 3 = 1/4, so (3/4, -1/4) / (1/2)."""
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), eps=0.0, ddof=1)
    torch.testing.assert_close(advantages, torch.tensor([[1.5, -0.5, -0.5, -0.5]]))


def test_the_floor_is_added_to_the_deviation() -> None:
    """Rewards 0 and 2 deviate by 1: with eps = 1 the advantages are -1/2 and 1/2."""
    assert group_advantages(torch.tensor([[0.0, 2.0]]), eps=1.0).tolist() == [[-0.5, 0.5]]


def test_leave_one_out_by_hand() -> None:
    """(1, 0, 0, 0): the right one against a mean of 0, a wrong one against 1/3. (1, 2): each against the other."""
    torch.testing.assert_close(
        leave_one_out_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]])), torch.tensor([[1.0, -1 / 3, -1 / 3, -1 / 3]])
    )
    assert leave_one_out_advantages(torch.tensor([[1.0, 2.0]])).tolist() == [[-1.0, 1.0]]


def test_centred_by_hand() -> None:
    """Mean 1/4: the right answer gets 3/4, whatever the spread of its group."""
    advantages = centred_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [4.0, 0.0, 0.0, 0.0]]))
    assert advantages.tolist() == [[0.75, -0.25, -0.25, -0.25], [3.0, -1.0, -1.0, -1.0]]


@pytest.mark.parametrize("advantage", [centred_advantages, group_advantages, leave_one_out_advantages])
def test_equal_rewards_have_exactly_no_advantage(advantage) -> None:
    for reward in (0.0, 1.0, 0.1, 0.1 * 3, 1e-30, -7.3, 1e9 + 0.1):
        for num_rollouts in (2, 3, 7, 16):
            rewards_PG = torch.full((2, num_rollouts), reward, dtype=torch.float64)
            assert torch.equal(advantage(rewards_PG), torch.zeros(2, num_rollouts)), (reward, num_rollouts)


def test_a_mean_that_is_inexact_would_not_give_zeros() -> None:
    """Why flat groups are found by comparing: three times 0.1, divided by three, is not 0.1 in float64."""
    rewards_G = torch.full((3,), 0.1, dtype=torch.float64)
    assert (rewards_G - rewards_G.mean()).abs().max() > 0
    assert torch.equal(group_advantages(rewards_G[None], eps=0.0), torch.zeros(1, 3))


def test_groups_do_not_touch_each_other() -> None:
    both = group_advantages(torch.tensor([[1.0, 0.0], [5.0, 5.0]]))
    assert torch.equal(both[0], group_advantages(torch.tensor([[1.0, 0.0]]))[0])
    assert both[1].tolist() == [0.0, 0.0]


@with_settings(max_examples=40)
@given(rewards)
def test_group_advantages_are_standardised(group: list[float]) -> None:
    """Mean 0; variance 1 unless flat; none beyond sqrt(G - 1), the most that one of G can deviate."""
    advantages = group_advantages(torch.tensor([group], dtype=torch.float64), eps=0.0).double()
    assert advantages.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert advantages.square().mean().item() == pytest.approx(float(max(group) > min(group)), rel=1e-5)
    assert advantages.abs().max().item() <= math.sqrt(3) + 1e-6


@with_settings(max_examples=40)
@given(rewards, st.floats(0.1, 10.0), st.floats(-10.0, 10.0))
def test_group_advantages_ignore_scale_and_shift(group: list[float], scale: float, shift: float) -> None:
    """The scale of a reward model never reaches the policy; reward functions are balanced by their weights alone."""
    rewards_PG = torch.tensor([group], dtype=torch.float64)
    moved = group_advantages(rewards_PG * scale + shift, eps=0.0)
    torch.testing.assert_close(moved, group_advantages(rewards_PG, eps=0.0), atol=1e-5, rtol=1e-5)


@with_settings(max_examples=40)
@given(rewards)
def test_leave_one_out_equals_its_definition(group: list[float]) -> None:
    expected = [reward - (sum(group) - reward) / 3 for reward in group]
    advantages = leave_one_out_advantages(torch.tensor([group], dtype=torch.float64))
    assert advantages[0].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)
