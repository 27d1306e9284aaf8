"""Learning on a GPU in half precision is learning on the CPU in float32, up to rounding, and gives equal bits twice."""

import copy

import pytest
import torch
from gpu_marks import needs_gpu
from tiny import tiny_config, tiny_policy
from torch import Tensor
from torch.nn import functional as F

from aha.engines.sampling import sample_tokens
from aha.kernels.ops import linear
from aha.objectives.reductions import token_mean
from aha.policy.transformer import Transformer
from aha.training.batch import stack
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner, log_probabilities
from aha.training.optimizer import adamw
from aha.types import Batch, Loss

pytestmark = needs_gpu


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def grouped_batch() -> Batch:
    """Three groups of four, whose prompts are shared."""
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(0, 11, (5 + row // 4,), generator=generator) for row in range(12)]
    prompts = [prompts[row // 4 * 4] for row in range(12)]
    return stack(prompts, [torch.randint(0, 11, (2 + 5 * (row % 4),), generator=generator) for row in range(12)])


def mean_loss(logp_BT: Tensor, *, mask_BT: Tensor) -> Loss:
    return token_mean(-logp_BT, mask_BT)


def policies(shape: str) -> tuple[Transformer, Transformer]:
    """One policy on the CPU in float32, and on the GPU in bfloat16; its weights are the same."""
    plain = tiny_policy(tiny_config(shape, hidden_size=64, head_dim=16)).bfloat16()
    return copy.deepcopy(plain).float(), plain.cuda()


@pytest.mark.parametrize("shape", ["qwen2-grouped", "qwen3-grouped", "llama-multi-head"])
def test_values_and_gradients_are_those_of_the_cpu(shape: str) -> None:
    plain, half = policies(shape)
    batch, values, grads = grouped_batch(), [], []
    for policy in (plain, half):
        for weight in policy.parameters():
            if weight.dtype == torch.bfloat16:
                weight.grad_dtype = torch.float32
            weight.grad = torch.zeros_like(weight, dtype=torch.float32)
        logp_BT = log_probabilities(policy, batch)
        (-logp_BT.sum()).backward()
        values.append(logp_BT.detach().cpu())
        grads.append([weight.grad.cpu() for weight in policy.parameters() if weight.grad is not None])
    assert (values[0] - values[1]).abs().max() < 0.1
    for reference, found in zip(*grads, strict=True):
        assert (reference - found).norm() <= 0.05 * reference.norm()


def test_equal_steps_give_equal_bits() -> None:
    results = []
    for _ in range(2):
        policy = policies("qwen2-grouped")[1]
        optimizers = adamw(policy, OptimizerConfig(precision="bfloat16", learning_rate=1e-2))
        learner = Learner(policy, optimizers, factor=lambda step: 1.0, grad_clip=1.0, max_tokens=64)
        for _ in range(3):
            learner.step(grouped_batch(), mean_loss, name="a batch")
        results.append([weight.detach().clone() for weight in policy.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_gradients_of_projections_are_added_in_float32() -> None:
    x, weight, bias = (t.cuda().bfloat16().requires_grad_() for t in (drawn(40, 32), drawn(48, 32), drawn(48)))
    slope = drawn(40, 48, seed=3).cuda().bfloat16()
    F.linear(x, weight, bias).backward(slope)
    expected = [t.grad.clone() for t in (x, weight, bias) if t.grad is not None]
    x.grad = bias.grad = None
    weight.grad = None
    weight.grad_dtype = torch.float32
    weight.grad = torch.ones_like(weight, dtype=torch.float32)
    (found,) = linear(x, (weight, bias))
    assert type(found.grad_fn).__name__ == "_LinearBackward"
    found.backward(slope)
    assert x.grad is not None
    assert bias.grad is not None
    torch.testing.assert_close(x.grad, expected[0])
    torch.testing.assert_close(weight.grad - 1, (slope.float().T @ x.detach().float()), atol=2e-2, rtol=1e-2)
    torch.testing.assert_close(bias.grad, expected[2])


@pytest.mark.parametrize("top_p", [0.3, 0.95])
def test_the_nucleus_is_that_of_the_cpu(top_p: float) -> None:
    logits, uniforms = drawn(64, 20_000) * 4, torch.rand(64, generator=torch.Generator().manual_seed(1)).double()
    expected = sample_tokens(logits, uniforms, temperature=0.6, top_p=top_p)
    found = sample_tokens(logits.cuda(), uniforms.cuda(), temperature=0.6, top_p=top_p)
    assert (found[0].cpu() == expected[0]).float().mean() > 0.95
