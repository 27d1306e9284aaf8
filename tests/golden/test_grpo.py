"""GRPO against numbers worked by hand, and against the identities that its gradient obeys.

The hand-worked group, G = 2, eps = 0.2, beta = 0.1, r = pi_ref/pi_theta, rho = pi_theta/pi_old:

    token   pi_theta  pi_old  pi_ref   A    rho   r     k3 = r - log r - 1
    o_1,1     0.3      0.2     0.3    +1    1.5   1     0
    o_1,2     0.2      0.4     0.4    +1    0.5   2     1 - log 2
    o_2,1     0.1      0.2     0.05   -1    0.5   0.5   log 2 - 1/2
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from torch import Tensor

from aha.objectives.grpo import grpo_loss, grpo_sequence_loss
from aha.objectives.kl import kl_k2, kl_k3
from aha.objectives.reductions import token_mean

LOG_2 = math.log(2)
EPS, BETA = 0.2, 0.1
MASK = torch.tensor([[True, True], [True, False]])


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


@pytest.fixture
def logp_BT() -> Tensor:
    return logs([0.3, 0.2], [0.1, 1.0]).requires_grad_()


@pytest.fixture
def signals() -> dict[str, Tensor]:
    return {
        "old_logp_BT": logs([0.2, 0.4], [0.2, 1.0]),
        "ref_logp_BT": logs([0.3, 0.4], [0.05, 1.0]),
        "adv_BT": torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64),
        "mask_BT": MASK,
    }


def test_token_level_value_and_gradient_by_hand(logp_BT: Tensor, signals: dict[str, Tensor]) -> None:
    """DeepSeekMath Eq. 3.

    gains:  o_1,1: min(1.5, 1.2) = 1.2, cut;  o_1,2: min(0.5, 0.8) = 0.5;  o_2,1: min(-0.5, -0.8) = -0.8, cut
    o_1:    1/2 [(0 - 1.2) + (0.1 (1 - log 2) - 0.5)] = -0.8 - 0.05 log 2
    o_2:    0.1 (log 2 - 1/2) + 0.8 = 0.75 + 0.1 log 2
    total:  -0.05 + 0.05 log 2

    d/dlogp = 1/|o_i| [beta (1 - r) - rho A], without the second term where the gain is cut:
    o_1,1: 0;  o_1,2: 1/2 [0.1 (1 - 2) - 0.5] = -0.3;  o_2,1: 0.1 (1 - 0.5) = 0.05
    """
    loss = grpo_loss(logp_BT, **signals, clip_eps=EPS, kl_coef=BETA)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(-0.05 + 0.05 * LOG_2, abs=1e-15)
    assert loss.count.item() == 2
    torch.testing.assert_close(logp_BT.grad, torch.tensor([[0.0, -0.3], [0.05, 0.0]], dtype=torch.float64))


def test_sequence_level_value_and_gradient_by_hand(logp_BT: Tensor, signals: dict[str, Tensor]) -> None:
    """DeepSeek-R1 Eq. 1, as printed: one ratio per response, no 1/|o_i|.

    o_1:    rho = 1.5 * 0.5 = 0.75, min(0.75, 0.8) = 0.75;  r = 1 * 2, k3 = 1 - log 2;  0.1 (1 - log 2) - 0.75 = -0.65
    - 0.1 log 2
    o_2:    as before, 0.75 + 0.1 log 2
    total:  0.1

    d/dlogp = beta (1 - r_i) - rho_i A_i at every token of o_i:  o_1: 0.1 (1 - 2) - 0.75 = -0.85;  o_2: 0.05
    """
    loss = grpo_sequence_loss(logp_BT, **signals, clip_eps=EPS, kl_coef=BETA)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0.1, abs=1e-15)
    assert loss.count.item() == 2
    torch.testing.assert_close(logp_BT.grad, torch.tensor([[-0.85, -0.85], [0.05, 0.0]], dtype=torch.float64))


def test_an_average_over_all_tokens_by_hand(logp_BT: Tensor, signals: dict[str, Tensor]) -> None:
    """DAPO's average: the summands of DeepSeekMath Eq. 3 without 1/|o_i|, over three tokens.

    total:  -1.2 + (0.1 (1 - log 2) - 0.5) + (0.1 (log 2 - 1/2) + 0.8) = -0.85

    d/dlogp = beta (1 - r) - rho A, without the second term where the gain is cut:  0;  0.1 (1 - 2) - 0.5 = -0.6;  0.05
    """
    loss = grpo_loss(logp_BT, **signals, clip_eps=EPS, kl_coef=BETA, average=token_mean)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(-0.85, abs=1e-15)
    assert loss.count.item() == 3
    torch.testing.assert_close(logp_BT.grad, torch.tensor([[0.0, -0.6], [0.05, 0.0]], dtype=torch.float64))


def test_the_second_estimator_of_the_divergence_by_hand(logp_BT: Tensor, signals: dict[str, Tensor]) -> None:
    """k2 = (log r)^2 / 2 in place of k3:  0;  (log 2)^2 / 2;  (log 2)^2 / 2.

    o_1:    1/2 [-1.2 + (0.1 k2 - 0.5)] = -0.85 + 0.025 (log 2)^2
    o_2:    0.1 k2 + 0.8 = 0.8 + 0.05 (log 2)^2
    total:  -0.05 + 0.075 (log 2)^2

    d/dlogp = 1/|o_i| [-beta log r - rho A], without the second term where the gain is cut:
    o_1,1: 0;  o_1,2: 1/2 [-0.1 log 2 - 0.5] = -0.25 - 0.05 log 2;  o_2,1: 0.1 log 2
    """
    loss = grpo_loss(logp_BT, **signals, clip_eps=EPS, kl_coef=BETA, kl=kl_k2)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(-0.05 + 0.075 * LOG_2**2, abs=1e-15)
    expected = [[0.0, -0.25 - 0.05 * LOG_2], [0.1 * LOG_2, 0.0]]
    torch.testing.assert_close(logp_BT.grad, torch.tensor(expected, dtype=torch.float64))
    assert loss.metrics["kl"].total.item() == pytest.approx(LOG_2**2)


@pytest.mark.parametrize(
    ("loss", "total", "gradient"),
    [
        (grpo_loss, -0.05, [[0.0, -0.25], [0.0, 0.0]]),
        (grpo_sequence_loss, 0.05, [[-0.75, -0.75], [0.0, 0.0]]),
    ],
)
def test_without_a_reference_the_gain_is_left(
    loss, total: float, gradient: list[list[float]], logp_BT: Tensor, signals: dict[str, Tensor]
) -> None:
    """Beta = 0. Token level: 1/2 (-1.2 - 0.5) + 0.8 = -0.05.  Sequence level: -0.75 + 0.8 = 0.05."""
    del signals["ref_logp_BT"]
    result = loss(logp_BT, **signals, clip_eps=EPS, kl_coef=0.0)
    result.total.backward()
    assert result.total.item() == pytest.approx(total, abs=1e-15)
    torch.testing.assert_close(logp_BT.grad, torch.tensor(gradient, dtype=torch.float64))
    assert result.metrics.keys() == {"clip_fraction", "ratio"}


def test_token_level_metrics_by_hand(logp_BT: Tensor, signals: dict[str, Tensor]) -> None:
    """kl: (0 + 1 - log 2 + log 2 - 1/2) / 3 = 0.5 / 3;  clipped: two tokens of three;  ratio: (1.5 + 0.5 + 0.5) / 3."""
    metrics = grpo_loss(logp_BT, **signals, clip_eps=EPS, kl_coef=BETA).metrics
    figures = {name: (mean.total.item(), mean.count.item()) for name, mean in metrics.items()}
    assert figures == {"kl": (pytest.approx(0.5), 3), "clip_fraction": (2, 3), "ratio": (pytest.approx(2.5), 3)}
    assert not any(mean.total.requires_grad for mean in metrics.values())


def test_sequence_level_metrics_by_hand(logp_BT: Tensor, signals: dict[str, Tensor]) -> None:
    """kl: (1 - log 2 + log 2 - 1/2) / 2;  clipped: the second response of two;  ratio: (0.75 + 0.5) / 2."""
    metrics = grpo_sequence_loss(logp_BT, **signals, clip_eps=EPS, kl_coef=BETA).metrics
    figures = {name: (mean.total.item(), mean.count.item()) for name, mean in metrics.items()}
    assert figures == {"kl": (pytest.approx(0.5), 2), "clip_fraction": (1, 2), "ratio": (pytest.approx(1.25), 2)}
    assert not any(mean.total.requires_grad for mean in metrics.values())


@pytest.mark.parametrize("loss", [grpo_loss, grpo_sequence_loss])
def test_gradient_agrees_with_finite_differences(loss, logp_BT: Tensor, signals: dict[str, Tensor]) -> None:
    assert torch.autograd.gradcheck(lambda logp: loss(logp, **signals, clip_eps=EPS, kl_coef=BETA).total, logp_BT)


logps = st.lists(st.floats(-5.0, -0.01), min_size=3, max_size=3)


@with_settings(max_examples=40)
@given(logps, logps, st.floats(-3.0, 3.0), st.floats(0.0, 1.0))
def test_at_ratio_one_the_gradient_is_reinforce(theta: list[float], ref: list[float], adv: float, beta: float) -> None:
    """On-policy, grad log pi_theta is weighed by A + beta (pi_ref/pi_theta - 1) and by 1/|o|: DeepSeekMath Eq. 21."""
    logp_BT = torch.tensor([theta], dtype=torch.float64, requires_grad=True)
    ref_logp_BT = torch.tensor([ref], dtype=torch.float64)
    loss = grpo_loss(
        logp_BT,
        old_logp_BT=logp_BT.detach(),
        ref_logp_BT=ref_logp_BT,
        adv_BT=torch.full((1, 3), adv, dtype=torch.float64),
        mask_BT=torch.ones(1, 3, dtype=torch.bool),
        clip_eps=EPS,
        kl_coef=beta,
    )
    loss.total.backward()
    coefficient_BT = adv + beta * ((ref_logp_BT - logp_BT.detach()).exp() - 1)
    torch.testing.assert_close(logp_BT.grad, -coefficient_BT / 3, atol=1e-12, rtol=1e-12)


def test_without_advantage_the_policy_is_pulled_to_the_reference(logp_BT: Tensor, signals: dict[str, Tensor]) -> None:
    """The trap: with pi_old in the denominator k3 is a constant. At first the values agree, the gradients do not.

    A = 0 leaves beta (1 - r) / |o_i|:  o_1,1: 0;  o_1,2: 0.1 (1 - 2) / 2 = -0.05;  o_2,1: 0.05
    """
    on_policy = signals | {"old_logp_BT": logp_BT.detach(), "adv_BT": torch.zeros(2, 2, dtype=torch.float64)}
    loss = grpo_loss(logp_BT, **on_policy, clip_eps=EPS, kl_coef=BETA)
    trap_BT = BETA * kl_k3(on_policy["old_logp_BT"], on_policy["ref_logp_BT"])
    assert loss.total.item() == pytest.approx(trap_BT[0].mean().item() + trap_BT[1, 0].item())
    assert not trap_BT.requires_grad
    loss.total.backward()
    torch.testing.assert_close(logp_BT.grad, torch.tensor([[0.0, -0.05], [0.05, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("ratio", [1e-3, 0.5, 1.0, 10.9, 11.1, 1e3])
@pytest.mark.parametrize("loss", [grpo_loss, grpo_sequence_loss])
def test_clip_of_ten_cuts_only_gains_above_eleven(loss, ratio: float) -> None:
    """With eps = 10 the interval is [-9, 11]; ratios are positive, so its lower end never binds and A < 0 is never cut.

    total = -min[rho A, clip(rho) A], gradient = -rho A where not cut, for A = +1 and A = -1
    """
    logp_BT = torch.full((2, 1), math.log(ratio), dtype=torch.float64, requires_grad=True)
    zeros_BT = torch.zeros(2, 1, dtype=torch.float64)
    result = loss(
        logp_BT,
        old_logp_BT=zeros_BT,
        ref_logp_BT=zeros_BT,
        adv_BT=torch.tensor([[1.0], [-1.0]], dtype=torch.float64),
        mask_BT=torch.ones(2, 1, dtype=torch.bool),
        clip_eps=10.0,
        kl_coef=0.0,
    )
    result.total.backward()
    is_cut = ratio > 11
    assert result.metrics["clip_fraction"].total.item() == is_cut
    assert result.total.item() == pytest.approx(ratio - min(ratio, 11.0))
    torch.testing.assert_close(logp_BT.grad, torch.tensor([[0.0 if is_cut else -ratio], [ratio]], dtype=torch.float64))
