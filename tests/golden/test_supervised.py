"""The supervised loss by hand."""

import math

import pytest
import torch

from aha.objectives.supervised import next_token_loss


def test_next_token_loss_by_hand() -> None:
    """Probabilities 1/2, 1/4 | 1/8, the fourth token masked: total = log 2 + 2 log 2 + 3 log 2 = 6 log 2 over 3 tokens.

    d total / d logp = -1 at each token that counts: tokens weigh alike, whatever the length of their sequence.
    """
    logp_BT = torch.tensor([[0.5, 0.25], [0.125, 0.9]], dtype=torch.float64).log().requires_grad_()
    mask_BT = torch.tensor([[True, True], [True, False]])
    loss = next_token_loss(logp_BT, mask_BT=mask_BT)
    loss.total.backward()
    assert (loss.total / loss.count).item() == pytest.approx(2 * math.log(2), abs=1e-15)
    assert loss.count.item() == 3
    assert logp_BT.grad.tolist() == [[-1.0, -1.0], [-1.0, 0.0]]
    assert torch.autograd.gradcheck(lambda logp: next_token_loss(logp, mask_BT=mask_BT).total, logp_BT)


def test_a_uniform_model_pays_the_log_of_its_vocabulary() -> None:
    logp_BT = torch.log_softmax(torch.zeros(2, 3, 100, dtype=torch.float64), dim=-1)[..., 0]
    loss = next_token_loss(logp_BT, mask_BT=torch.ones(2, 3, dtype=torch.bool))
    assert (loss.total / loss.count).item() == pytest.approx(math.log(100))
