"""Kernels of training on GPUs against torch, value and gradient."""

import pytest
import torch
from gpu_marks import DEVICE, needs_triton
from torch import Tensor
from torch.nn import functional as F

pytestmark = needs_triton


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.mark.parametrize("shape", [(5, 96), (1, 4097), (0, 8)])
def test_swiglu(shape: tuple[int, int]) -> None:
    from aha.kernels.cuda import training as gpu_training

    gate, up, slope = (drawn(*shape, seed=seed) for seed in range(3))
    plain = [x.clone().requires_grad_() for x in (gate, up)]
    expected = F.silu(plain[0]) * plain[1]
    expected.backward(slope)
    torch.testing.assert_close(gpu_training.swiglu(gate, up), expected.detach())
    torch.testing.assert_close(gpu_training.swiglu_halves(torch.cat((gate, up), dim=1)), expected.detach())
    for found, weight in zip(gpu_training.swiglu_backward(gate, up, slope), plain, strict=True):
        torch.testing.assert_close(found, weight.grad)


def test_rotation_and_back() -> None:
    from aha.kernels.cuda import training as gpu_training

    x_NHK, angles_NK = drawn(5, 3, 16), drawn(5, 1, 8)
    cos_NK, sin_NK = angles_NK.cos(), angles_NK.sin()
    first, second = x_NHK.chunk(2, dim=-1)
    expected = torch.cat((first * cos_NK - second * sin_NK, second * cos_NK + first * sin_NK), dim=-1)
    found = gpu_training.turned(x_NHK, cos_NK, sin_NK, 1.0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gpu_training.turned(found, cos_NK, sin_NK, -1.0), x_NHK)


@pytest.mark.parametrize("vocabulary", [7, 4096, 9001])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_likelihood_and_its_slope(vocabulary: int, temperature: float) -> None:
    from aha.kernels.cuda import training as gpu_training

    logits = (drawn(6, vocabulary) * 3).requires_grad_()
    targets = torch.randint(0, vocabulary, (6,), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    expected = torch.log_softmax(logits / temperature, -1).gather(-1, targets[:, None])[:, 0]
    grads = drawn(6, seed=2)
    expected.backward(grads)
    given = logits.detach()
    logp, normaliser = gpu_training.likelihood(given, targets, temperature)
    torch.testing.assert_close(logp, expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(normaliser, (given / temperature).logsumexp(-1))
    slope = gpu_training.likelihood_slope(given, targets, normaliser, grads, temperature, torch.empty_like(given))
    torch.testing.assert_close(slope, logits.grad, atol=1e-5, rtol=1e-4)
