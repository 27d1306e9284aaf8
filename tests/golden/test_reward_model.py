"""The losses of the two reward models by hand, and what they must obey."""

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid

from aha.objectives.reward_model import pointwise_loss, ranking_loss
from aha.types import Loss

LOG_3 = math.log(3)


def rank(scores: Tensor, qualities: list[float], groups: list[int] | None = None) -> Loss:
    group_B = torch.tensor(groups if groups is not None else [0] * len(qualities))
    return ranking_loss(scores, group_B=group_B, quality_B=torch.tensor(qualities, dtype=torch.float64))


def brute_force(scores: Tensor, qualities: list[float], groups: list[int]) -> tuple[Tensor, int]:
    """Eq. 1 of InstructGPT with a loop over the pairs of every prompt."""
    total, count = scores.sum() * 0, 0
    for group in set(groups):
        members = [place for place, number in enumerate(groups) if number == group]
        pairs = [(i, j) for i, j in permutations(members, 2) if qualities[i] > qualities[j]]
        if pairs:
            total = total - torch.stack([logsigmoid(scores[i] - scores[j]) for i, j in pairs]).mean()
            count += 1
    return total, count


def test_ranking_value_and_gradient_by_hand() -> None:
    """One prompt with qualities 2, 1, 1 and scores log 3, 0, log 9; another with qualities 0, 1 and scores 5, 5.

    First prompt: the pairs are (0, 1) and (0, 2), the tie is none. Gaps log 3 and -log 3, sigmoids 3/4 and 1/4:
    L = -1/2 (log 3/4 + log 1/4) = 1/2 log 16/3.  Second: gap 0, L = log 2.  Over 2 prompts.

    d L / d gap = -(1 - sigmoid) / pairs: -1/8 and -3/8, so the scores get -1/2, 1/8, 3/8; in the second prompt the
    better one gets -1/2, the other 1/2. One of three pairs is in the right order; the mean gap is 0.
    """
    scores_B = torch.tensor([LOG_3, 0.0, 2 * LOG_3, 5.0, 5.0], dtype=torch.float64, requires_grad=True)
    qualities, groups = [2.0, 1.0, 1.0, 0.0, 1.0], [7, 7, 7, 3, 3]
    loss = rank(scores_B, qualities, groups)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0.5 * math.log(16 / 3) + math.log(2), abs=1e-15)
    assert loss.count.item() == 2
    assert scores_B.grad.tolist() == pytest.approx([-0.5, 0.125, 0.375, 0.5, -0.5], abs=1e-15)
    accuracy, margin = loss.metrics["pair_accuracy"], loss.metrics["margin"]
    assert (accuracy.total.item(), accuracy.count.item()) == (1, 3)
    assert (margin.total.item(), margin.count.item()) == (pytest.approx(0.0, abs=1e-15), 3)
    assert torch.autograd.gradcheck(lambda scores: rank(scores, qualities, groups).total, scores_B)


def test_pointwise_value_and_gradient_by_hand() -> None:
    """Scores log 3 (safe), log 3 (unsafe), -log 7 (unsafe): chances of being safe 3/4, 3/4, 1/8.

    L = -log 3/4 - log 1/4 - log 7/8 = log(4/3 * 4 * 8/7) over 3 responses; d L / d r = sigmoid(r) - s: -1/4, 3/4, 1/8.
    The sign is right for the first and the third.
    """
    scores_B = torch.tensor([LOG_3, LOG_3, -math.log(7)], dtype=torch.float64, requires_grad=True)
    for labels in (torch.tensor([True, False, False]), torch.tensor([1.0, 0.0, 0.0])):
        scores_B.grad = None
        loss = pointwise_loss(scores_B, is_safe_B=labels)
        loss.total.backward()
        assert loss.total.item() == pytest.approx(math.log(128 / 21), abs=1e-15)
        assert loss.count.item() == 3
        assert scores_B.grad.tolist() == pytest.approx([-0.25, 0.75, 0.125], abs=1e-15)
        assert loss.metrics["accuracy"].total.item() / loss.metrics["accuracy"].count.item() == pytest.approx(2 / 3)
        assert torch.autograd.gradcheck(lambda scores, s=labels: pointwise_loss(scores, is_safe_B=s).total, scores_B)


@with_settings(max_examples=40)
@given(st.floats(-50, 50), st.floats(-50, 50))
def test_two_responses_pay_the_logistic_of_their_gap(better: float, worse: float) -> None:
    loss = rank(torch.tensor([worse, better], dtype=torch.float64), [0.0, 1.0])
    assert loss.total.item() == pytest.approx(math.log1p(math.exp(worse - better)), rel=1e-12)
    pair = torch.tensor([better - worse], dtype=torch.float64)
    assert loss.total.item() == pointwise_loss(pair, is_safe_B=torch.tensor([True])).total.item()


@pytest.mark.parametrize("qualities", [[0.0, 1.0], [3.0, 1.0, 2.0], [1.0, 1.0, 0.0, 2.0]])
def test_equal_scores_pay_log_two(qualities: list[float]) -> None:
    loss = rank(torch.full((len(qualities),), 4.0, dtype=torch.float64), qualities)
    assert (loss.total / loss.count).item() == pytest.approx(math.log(2), abs=1e-15)


def test_a_constant_changes_nothing() -> None:
    """Exactly: the scores and the constant are sums of a few powers of two."""
    scores_B, qualities = torch.tensor([0.5, -1.25, 2.0, 0.75]), [1.0, 0.0, 3.0, 2.0]
    assert rank(scores_B + 64, qualities).total.item() == rank(scores_B, qualities).total.item()


def test_a_prompt_without_pairs_adds_nothing() -> None:
    scores_B = torch.tensor([0.3, 0.1, 9.0, -9.0, 5.0], dtype=torch.float64, requires_grad=True)
    loss = rank(scores_B, [1.0, 0.0, 2.0, 2.0, 1.0], [0, 0, 1, 1, 2])
    alone = rank(scores_B[:2], [1.0, 0.0])
    assert (loss.total.item(), loss.count.item()) == (alone.total.item(), 1)
    loss.total.backward()
    assert scores_B.grad[2:].tolist() == [0.0, 0.0, 0.0]
    nothing = rank(scores_B[2:4], [2.0, 2.0])
    assert (nothing.total.item(), nothing.count.item()) == (0.0, 0)
    assert nothing.metrics["margin"].count.item() == 0


@with_settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(-9, 9)), min_size=4, max_size=12))
def test_vectorised_is_the_loop_over_pairs(drawn: list[tuple[int, int, float]]) -> None:
    groups, qualities, scores = (list(column) for column in zip(*drawn, strict=True))
    scores_B = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    loss = rank(scores_B, qualities, groups)
    expected, count = brute_force(scores_B, qualities, groups)
    assert loss.count.item() == count
    assert loss.total.item() == pytest.approx(expected.item(), abs=1e-12)
    grads = [torch.autograd.grad(total, scores_B)[0].tolist() for total in (loss.total, expected)]
    assert grads[0] == pytest.approx(grads[1], abs=1e-12)


def test_four_ranked_responses_have_six_pairs() -> None:
    scores_B, qualities = torch.tensor([0.2, -1.0, 0.7, 0.1], dtype=torch.float64), [3.0, 0.0, 2.0, 1.0]
    loss = rank(scores_B, qualities)
    assert loss.metrics["margin"].count.item() == math.comb(4, 2)
    assert loss.total.item() == pytest.approx(brute_force(scores_B, qualities, [0] * 4)[0].item(), abs=1e-15)


def test_far_apart_scores_stay_finite() -> None:
    scores_B = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = rank(scores_B, [0.0, 1.0])
    loss.total.backward()
    assert loss.total.item() == 2e4
    assert scores_B.grad.tolist() == [1.0, -1.0]
