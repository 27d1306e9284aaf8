"""The three estimators of KL(pi_theta || pi_ref), by hand and by what they must obey."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from aha.objectives.kl import kl_k1, kl_k2, kl_k3

LOG_2 = math.log(2)


@pytest.mark.parametrize(
    ("estimator", "at_double", "at_half"),
    [(kl_k1, -LOG_2, LOG_2), (kl_k2, LOG_2**2 / 2, LOG_2**2 / 2), (kl_k3, 1 - LOG_2, LOG_2 - 0.5)],
)
def test_values_by_hand(estimator, at_double: float, at_half: float) -> None:
    """pi_theta = 1/4 against pi_ref = 1/2 (r = 2) and pi_ref = 1/8 (r = 1/2).

    k1 = -log r: -log 2, log 2.  k2 = (log r)^2 / 2: the same for both.  k3 = r - log r - 1: 2 - log 2 - 1 and 1/2 +
    log 2 - 1.
    """
    logp = torch.tensor([0.25, 0.25], dtype=torch.float64).log()
    ref_logp = torch.tensor([0.5, 0.125], dtype=torch.float64).log()
    assert estimator(logp, ref_logp).tolist() == pytest.approx([at_double, at_half], abs=1e-15)


@pytest.mark.parametrize(
    ("estimator", "expected"), [(kl_k1, [1.0, 1.0]), (kl_k2, [-LOG_2, LOG_2]), (kl_k3, [-1.0, 0.5])]
)
def test_gradients_by_hand(estimator, expected: list[float]) -> None:
    """With respect to log pi_theta: k1 has 1, k2 has -log r, k3 has 1 - r; at r = 2 and r = 1/2."""
    logp = torch.tensor([0.25, 0.25], dtype=torch.float64).log().requires_grad_()
    ref_logp = torch.tensor([0.5, 0.125], dtype=torch.float64).log()
    estimator(logp, ref_logp).sum().backward()
    assert logp.grad.tolist() == pytest.approx(expected, abs=1e-15)
    assert torch.autograd.gradcheck(lambda x: estimator(x, ref_logp), logp)


@pytest.mark.parametrize("estimator", [kl_k1, kl_k3])
def test_mean_over_the_policy_is_the_divergence(estimator) -> None:
    """Unbiased: sum_v pi(v) k(v) = KL.

    For pi = (1/2, 1/2) and ref = (1/4, 3/4): KL = 1/2 log 2 + 1/2 log(2/3) = 1/2 log(4/3).
    """
    policy = torch.tensor([0.5, 0.5], dtype=torch.float64)
    reference = torch.tensor([0.25, 0.75], dtype=torch.float64)
    estimate = (policy * estimator(policy.log(), reference.log())).sum()
    assert estimate.item() == pytest.approx(0.5 * math.log(4 / 3), abs=1e-15)


@with_settings(max_examples=40)
@given(st.floats(-20.0, 0.0), st.floats(-20.0, 0.0))
def test_k3_is_positive_except_where_the_policies_agree(logp: float, ref_logp: float) -> None:
    """Float64 resolves k3 = d^2/2 from zero for any difference d above its rounding, 2e-16."""
    value = kl_k3(torch.tensor(logp, dtype=torch.float64), torch.tensor(ref_logp, dtype=torch.float64)).item()
    assert value >= 0
    assert kl_k3(torch.tensor(logp), torch.tensor(ref_logp)).item() >= 0
    if abs(logp - ref_logp) > 1e-14:
        assert value > 0
    if logp == ref_logp:
        assert value == 0


def test_k3_has_no_gradient_where_the_policies_agree() -> None:
    logp = torch.tensor([-0.1, -3.0, -20.0], requires_grad=True)
    kl_k3(logp, logp.detach()).sum().backward()
    assert torch.equal(logp.grad, torch.zeros(3))


@pytest.mark.parametrize("difference", [1e-3, -1e-3, 1e-4, -1e-4])
def test_k3_keeps_float32_accuracy_near_the_reference(difference: float) -> None:
    """The rounding of exp(d), 6e-8, is a tenth of k3 = d^2/2 at d = 1e-3 and twelve times k3 at d = 1e-4."""
    exact = math.expm1(difference) - difference
    naive = torch.tensor(difference).exp() - torch.tensor(difference) - 1
    assert kl_k3(torch.tensor(0.0), torch.tensor(difference)).item() == pytest.approx(exact, rel=2e-3)
    assert naive.item() != pytest.approx(exact, rel=2e-2)
