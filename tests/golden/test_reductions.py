"""Where a sum stops being an average over tokens and becomes one over sequences, by hand."""

import torch

from aha.objectives.reductions import constant_mean, sequence_mean, token_mean

VALUES = torch.tensor([[1.0, 3.0], [5.0, 7.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True], [True, False]])


def test_sequence_mean_by_hand() -> None:
    """Means (1 + 3) / 2 = 2 and 5 / 1 = 5, so 7 over 2 sequences; each token carries 1 / |o_i|."""
    values_BT = VALUES.clone().requires_grad_()
    loss = sequence_mean(values_BT, MASK)
    loss.total.backward()
    assert (loss.total.item(), loss.count.item()) == (7.0, 2)
    assert values_BT.grad.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_constant_mean_by_hand() -> None:
    """(1 + 3) / 8 + 5 / 8 = 9 / 8 over 2 sequences, each token carrying 1 / 8."""
    values_BT = VALUES.clone().requires_grad_()
    loss = constant_mean(values_BT, MASK, norm_B=torch.tensor([8.0, 8.0]))
    loss.total.backward()
    assert (loss.total.item(), loss.count.item()) == (9 / 8, 2)
    assert values_BT.grad.tolist() == [[1 / 8, 1 / 8], [1 / 8, 0.0]]


def test_token_mean_by_hand() -> None:
    """1 + 3 + 5 = 9 over 3 tokens, each carrying 1."""
    values_BT = VALUES.clone().requires_grad_()
    loss = token_mean(values_BT, MASK)
    loss.total.backward()
    assert (loss.total.item(), loss.count.item()) == (9.0, 3)
    assert values_BT.grad.tolist() == [[1.0, 1.0], [1.0, 0.0]]
