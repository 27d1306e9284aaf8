"""The estimators accept any shape and leave the reference alone."""

import pytest
import torch

from aha.objectives.kl import kl_k1, kl_k2, kl_k3


@pytest.mark.parametrize("estimator", [kl_k1, kl_k2, kl_k3])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_shape_and_type_are_kept(estimator, shape: tuple[int, ...]) -> None:
    estimate = estimator(torch.full(shape, -1.0), torch.full(shape, -2.0))
    assert estimate.shape == shape
    assert estimate.dtype == torch.float32


def test_small_differences_agree_to_second_order() -> None:
    """k3 = k2 + (log r)^3 / 6 + ...; at log r = 0.01 they differ by 1.7e-7."""
    logp, ref_logp = torch.tensor(-1.0, dtype=torch.float64), torch.tensor(-0.99, dtype=torch.float64)
    assert (kl_k3(logp, ref_logp) - kl_k2(logp, ref_logp)).item() == pytest.approx(1e-6 / 6, rel=1e-2)


def test_k3_punishes_lost_probability_more_than_gained() -> None:
    """It grows like r where r is large, and like -log r where r is small."""
    low, high = torch.tensor(-6.0), torch.tensor(-1.0)
    assert kl_k3(low, high) > 10 * kl_k3(high, low)
