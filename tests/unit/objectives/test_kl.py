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


def test_the_value_of_k3_is_unbiased_and_its_gradient_is_not() -> None:
    """Over three outcomes every expectation is a sum, and so are the mean gradients.

    Under pi_theta, E[grad k2] = grad KL(pi_theta || pi_ref), while E[grad k3] = grad KL(pi_ref || pi_theta).
    """
    logits_V = torch.tensor([0.4, -1.0, 0.9], dtype=torch.float64, requires_grad=True)
    ref_logp_V = torch.tensor([-0.5, 0.8, 0.1], dtype=torch.float64).log_softmax(0)
    logp_V = logits_V.log_softmax(0)
    sampled_V = logp_V.exp().detach()

    def gradient(value: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, logits_V, retain_graph=True)[0]

    divergence = (logp_V.exp() * (logp_V - ref_logp_V)).sum()
    reverse = (ref_logp_V.exp() * (ref_logp_V - logp_V)).sum()
    k1, k2, k3 = ((sampled_V * estimate(logp_V, ref_logp_V)).sum() for estimate in (kl_k1, kl_k2, kl_k3))
    torch.testing.assert_close(k1, divergence)
    torch.testing.assert_close(k3, divergence)
    torch.testing.assert_close(gradient(k2), gradient(divergence))
    torch.testing.assert_close(gradient(k3), gradient(reverse))
    assert (gradient(k3) - gradient(divergence)).abs().max() > 0.1
