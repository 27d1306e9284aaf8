"""Fine-tuning learns the response and nothing else."""

import math

import pytest
import torch

from aha.objectives.supervised import next_token_loss


@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
def test_prompt_and_padding_are_not_read(junk: float) -> None:
    logp_BT = torch.tensor([[junk, -1.0, -2.0, junk]], requires_grad=True)
    loss = next_token_loss(logp_BT, mask_BT=torch.tensor([[False, True, True, False]]))
    loss.total.backward()
    assert (loss.total.item(), loss.count.item()) == (3.0, 2)
    assert logp_BT.grad.tolist() == [[0.0, -1.0, -1.0, 0.0]]


def test_a_certain_prediction_costs_nothing() -> None:
    loss = next_token_loss(torch.zeros(2, 3), mask_BT=torch.ones(2, 3, dtype=torch.bool))
    assert loss.total.item() == 0.0
