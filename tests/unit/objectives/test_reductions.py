"""Reductions add up over micro-batches and never read what the mask hides."""

import math

import pytest
import torch
from torch import Tensor

from aha.objectives.reductions import mean_where, sequence_mean, sequence_sum, token_mean, zero_outside
from aha.types import Mean

MASK = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])


@pytest.fixture
def values_BT() -> Tensor:
    return torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
def test_zero_outside_stops_value_and_gradient(junk: float) -> None:
    values = torch.tensor([1.0, junk], requires_grad=True)
    kept = zero_outside(values, torch.tensor([True, False]))
    kept.exp().sum().backward()
    assert kept.tolist() == [1.0, 0.0]
    assert values.grad.tolist() == [pytest.approx(math.e), 0.0]


def test_sequence_sum_of_no_tokens_is_zero(values_BT: Tensor) -> None:
    sums_B = sequence_sum(values_BT, MASK)
    assert sums_B.tolist() == [pytest.approx((values_BT[0, 0] + values_BT[0, 1]).item()), values_BT[1, 1].item(), 0.0]


@pytest.mark.parametrize("reduction", [sequence_mean, token_mean])
def test_micro_batches_add_up(reduction, values_BT: Tensor) -> None:
    whole = reduction(values_BT, MASK)
    parts = [reduction(values_BT[i : i + 1], MASK[i : i + 1]) for i in range(3)]
    assert sum(part.total.item() for part in parts) == pytest.approx(whole.total.item(), abs=1e-15)
    assert sum(part.count.item() for part in parts) == whole.count.item()


@pytest.mark.parametrize(("reduction", "count"), [(sequence_mean, 2), (token_mean, 3)])
def test_sequences_without_a_token_do_not_count(reduction, count: int, values_BT: Tensor) -> None:
    assert reduction(values_BT, MASK).count.item() == count


@pytest.mark.parametrize("reduction", [sequence_mean, token_mean])
def test_padding_on_the_right_changes_nothing(reduction, values_BT: Tensor) -> None:
    longer_BT = torch.nn.functional.pad(values_BT, (0, 4), value=math.nan)
    wider_BT = torch.nn.functional.pad(MASK, (0, 4), value=False)
    assert reduction(longer_BT, wider_BT).total.item() == reduction(values_BT, MASK).total.item()


@pytest.mark.parametrize("reduction", [sequence_mean, token_mean])
def test_metrics_are_handed_on(reduction, values_BT: Tensor) -> None:
    metric = Mean(total=torch.tensor(1.0), count=torch.tensor(2))
    assert reduction(values_BT, MASK, metrics={"kl": metric}).metrics == {"kl": metric}
    assert reduction(values_BT, MASK).metrics == {}


def test_mean_where_carries_no_gradient(values_BT: Tensor) -> None:
    mean = mean_where(values_BT.requires_grad_(), MASK)
    assert mean.total.item() == pytest.approx(values_BT[MASK].sum().item(), abs=1e-15)
    assert mean.count.item() == 3
    assert not mean.total.requires_grad
