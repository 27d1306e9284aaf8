"""Dr. GRPO against numbers worked by hand: rewards 3, 1 and 2, responses of two, one and one tokens, a cap of 8."""

import pytest
import torch
from torch import Tensor

from aha.algorithms.algorithm import Sampled
from aha.algorithms.dr_grpo import DrGRPO
from aha.training.batch import stack


def sampled() -> Sampled:
    """Three responses to one prompt, all sampled with a probability of 1/4 a token."""
    responses = [torch.tensor([5, 6]), torch.tensor([7]), torch.tensor([8])]
    logp = [torch.full((len(response),), 0.25).log() for response in responses]
    batch = stack([torch.tensor([3])] * 3, responses, {"old_logp_BT": logp})
    return Sampled(batch=batch, rewards_PG=torch.tensor([[3.0, 1.0, 2.0]]), max_new_tokens=8)


def test_value_and_gradient_by_hand() -> None:
    """A = 1, -1, 0.

    o_1: ratios 2 and 1/2, gains min(2, 1.2) = 1.2 (cut) and min(1/2, 0.8) = 1/2: -(1.2 + 0.5) / 8
    o_2: ratio 1, gain -1: 1/8;  o_3: 0
    d/dlogp = -rho A / 8 where the gain is not cut: 0, -1/16; 1/8; 0
    """
    algorithm, rollouts = DrGRPO(clip_eps=0.2), sampled()
    signals = algorithm.signals(rollouts, {})
    assert signals["adv_BT"].tolist() == [[0, 1, 1], [0, -1, 0], [0, 0, 0]]
    logp_BT = torch.tensor([[0, 0.5, 0.125], [0, 0.25, 0], [0, 0.5, 0]]).log().requires_grad_()

    loss = algorithm.loss(logp_BT, mask_BT=rollouts.batch.mask_BT, **rollouts.batch.signals, **signals)
    loss.total.backward()

    assert loss.total.item() == pytest.approx((-1.7 + 1) / 8)
    assert loss.count.item() == 3
    assert logp_BT.grad is not None
    expected = torch.tensor([[0, 0, -1 / 16], [0, 1 / 8, 0], [0, 0, 0]])
    torch.testing.assert_close(logp_BT.grad, expected)


def test_a_longer_response_weighs_as_much_a_token() -> None:
    """GRPO's gradient of a token shrinks with the length of its response; here only the cap counts."""
    algorithm, rollouts = DrGRPO(), sampled()
    signals = algorithm.signals(rollouts, {})

    def gradient(num_new_tokens: float) -> Tensor:
        logp_BT = rollouts.batch.signals["old_logp_BT"].clone().requires_grad_()
        given = {**signals, "norm_B": torch.full((3,), num_new_tokens)}
        algorithm.loss(logp_BT, mask_BT=rollouts.batch.mask_BT, **rollouts.batch.signals, **given).total.backward()
        assert logp_BT.grad is not None
        return logp_BT.grad

    assert gradient(8.0)[0, 1:].tolist() == [-1 / 8, -1 / 8]
    assert gradient(8.0)[1, 1] == 1 / 8
    torch.testing.assert_close(gradient(16.0), gradient(8.0) / 2)
