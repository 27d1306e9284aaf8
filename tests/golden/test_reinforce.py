"""REINFORCE against numbers worked by hand.

token   pi_theta  pi_old  pi_ref   A
o_1,1     1/2       1/4     1/2   +2
o_1,2     1/4       1/4     1/8   +2
o_2,1     1/8       1/4     1/8   -1
"""

import math

import pytest
import torch
from torch import Tensor

from aha.objectives.reinforce import reinforce_loss

LOG_2 = math.log(2)
MASK = torch.tensor([[True, True], [True, False]])


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_value_and_gradient_by_hand() -> None:
    """RLOO Eq. 8: J = 2 (log 1/2 + log 1/4) - log 1/8 = -6 log 2 + 3 log 2; dJ/dlogp is the advantage."""
    logp_BT = logs([1 / 2, 1 / 4], [1 / 8, 1.0]).requires_grad_()
    adv_BT = torch.tensor([[2.0, 2.0], [-1.0, -1.0]], dtype=torch.float64)
    old_logp_BT, ref_logp_BT = logs([1 / 4, 1 / 4], [1 / 4, 1.0]), logs([1 / 2, 1 / 8], [1 / 8, 1.0])

    loss = reinforce_loss(logp_BT, old_logp_BT=old_logp_BT, adv_BT=adv_BT, mask_BT=MASK, ref_logp_BT=ref_logp_BT)
    loss.total.backward()

    assert loss.total.item() == pytest.approx(3 * LOG_2, abs=1e-15)
    assert loss.count.item() == 2
    assert logp_BT.grad is not None
    torch.testing.assert_close(logp_BT.grad, torch.tensor([[-2.0, -2.0], [1.0, 0.0]], dtype=torch.float64))
    assert loss.metrics["ratio"].total.item() == pytest.approx(2 + 1 + 1 / 2)
    # k3 of r = 1/2 at the second token alone: 1/2 + log 2 - 1.
    assert loss.metrics["kl"].total.item() == pytest.approx(LOG_2 - 1 / 2)
    assert loss.metrics["kl"].count.item() == 3


def test_what_lies_outside_of_the_mask_is_never_read() -> None:
    logp_BT = torch.tensor([[-1.0, float("nan")]], requires_grad=True)
    ones = torch.tensor([[1.0, float("inf")]])
    mask_BT = torch.tensor([[True, False]])
    loss = reinforce_loss(logp_BT, old_logp_BT=logp_BT.detach(), adv_BT=ones, mask_BT=mask_BT)
    loss.total.backward()
    assert loss.total.item() == 1.0
    assert logp_BT.grad is not None
    assert logp_BT.grad.tolist() == [[-1.0, 0.0]]
    assert "kl" not in loss.metrics
