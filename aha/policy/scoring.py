"""Log-probabilities of realised tokens under a policy: the one place that shifts tokens against positions."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aha.policy.fused import product
from aha.policy.layout import Layout
from aha.policy.transformer import Transformer

__all__ = ["chosen_logp", "score"]

CHUNK_LOGITS = 1 << 22
"""Logits that exist at once while scoring: [B, T, V] never does."""

MIN_CHUNK = 256
"""Tokens of a chunk, at least: the head's gradient is read and written once for each."""

MAX_LOGITS = 1 << 24
"""Logits of a chunk on the CPU, at most: 64 MiB."""


def score(
    policy: Transformer,
    layout: Layout,
    tokens_BT: Tensor,
    mask_BT: Tensor,
    *,
    temperature: float = 1.0,
    adds_up: bool = False,
) -> Tensor:
    """Log-probability of each masked token given the ones before it, under the tempered and untruncated policy.

    Args:
        policy: the policy.
        layout: a layout of these sequences.
        tokens_BT: the sequences.
        mask_BT: True at the tokens to score; the first token of a sequence cannot be scored.
        temperature: of the distribution that sampled, > 0.
        adds_up: as in `chosen_logp`.

    Returns:
        [B, T], float32 (float64 for a float64 policy), nats; 0 where the mask is False.

    Raises:
        ValueError: the mask asks for a first token.
    """
    if mask_BT[:, 0].any():
        raise ValueError("the first token of a sequence has no log-probability: nothing predicts it")
    hidden_ND = policy(layout.tokens_N, layout.positions_N, layout.attend)
    predicting_M = layout.where_BT[:, :-1][mask_BT[:, 1:]]
    hidden_MD, targets_M = hidden_ND.index_select(0, predicting_M), tokens_BT[mask_BT]
    logp_M = chosen_logp(hidden_MD, policy.head_VD, targets_M, temperature, adds_up=adds_up)
    return logp_M.new_zeros(mask_BT.shape).masked_scatter(mask_BT, logp_M)


def chosen_logp(
    hidden_MD: Tensor, head_VD: Tensor, targets_M: Tensor, temperature: float = 1.0, *, adds_up: bool = False
) -> Tensor:
    """Take log softmax(hidden head^T / temperature) at the targets, in chunks.

    Logits are computed again for the gradient, but where one chunk holds them all: they are kept.

    Args:
        hidden_MD: hidden states.
        head_VD: output head.
        targets_M: token ids.
        temperature: > 0.
        adds_up: whether the head's gradient is added to its `.grad`, where it has one, as soon as it is known, and not
            passed on. `backward` ends the same without a second tensor of the head's size; `torch.autograd.grad` would
            miss it.

    Returns:
        [M], float32, nats (float64 for float64 inputs).
    """
    result: Tensor = _ChosenLogp.apply(hidden_MD, head_VD, targets_M, temperature, adds_up)  # type: ignore[no-untyped-call]
    return result


class _ChosenLogp(torch.autograd.Function):
    """Keeps only [M] figures between forward and backward, and at most one chunk of logits."""

    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, head_VD: Tensor, targets_M: Tensor, temperature: float, adds_up: bool
    ) -> Tensor:
        chunk = _chunk(head_VD)
        logp, normaliser, logits = [], [], None
        for hidden, targets in zip(torch.split(hidden_MD, chunk), torch.split(targets_M, chunk), strict=True):
            logits = _logits(hidden, head_VD, temperature)
            normaliser.append(logits.logsumexp(-1))
            logp.append(logits.gather(-1, targets[:, None])[:, 0] - normaliser[-1])
        ctx.save_for_backward(hidden_MD, head_VD, targets_M, torch.cat(normaliser))
        ctx.temperature, ctx.chunk, ctx.adds_up = temperature, chunk, adds_up
        ctx.logits = logits if len(logp) == 1 and any(ctx.needs_input_grad) else None
        return torch.cat(logp)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        hidden_MD, head_VD, targets_M, normaliser_M = ctx.saved_tensors
        grad_hidden, sums = torch.empty_like(hidden_MD), ctx.adds_up and head_VD.grad is not None
        # The sum over chunks is float32 or better: in bfloat16 later chunks would vanish in it.
        precise = torch.promote_types(head_VD.dtype, torch.float32)
        grad_head: Tensor | None = head_VD.grad if sums else None
        if ctx.needs_input_grad[1] and not sums:
            grad_head = torch.zeros_like(head_VD, dtype=precise)
        for start in range(0, hidden_MD.shape[0], ctx.chunk):
            part = slice(start, start + ctx.chunk)
            logits = ctx.logits if ctx.logits is not None else _logits(hidden_MD[part], head_VD, ctx.temperature)
            ctx.logits = None  # a second backward computes them again
            slope_M = grads[0][part, None] / ctx.temperature
            slope = logits.sub_(normaliser_M[part, None]).exp_().mul_(-slope_M)
            slope = slope.scatter_add_(-1, targets_M[part, None], slope_M).to(head_VD.dtype)
            product(slope, head_VD, out_MN=grad_hidden[part])
            if grad_head is not None and ctx.needs_input_grad[1]:
                _add_product(grad_head, slope.T, hidden_MD[part])
        returned = grad_head.to(head_VD.dtype) if grad_head is not None and not sums else None
        return grad_hidden, returned, None, None, None


def _chunk(head_VD: Tensor) -> int:
    """Tokens of a chunk."""
    chunk = max(MIN_CHUNK, CHUNK_LOGITS // len(head_VD))
    return max(1, min(chunk, MAX_LOGITS // len(head_VD))) if head_VD.device.type == "cpu" else chunk


def _add_product(sum_VD: Tensor, left_VM: Tensor, right_MD: Tensor) -> None:
    """Add a product to a sum, without a tensor of its size where the types are one."""
    if sum_VD.dtype == left_VM.dtype:
        product(left_VM, right_MD, sum_VD, sum_VD)
    else:
        sum_VD += left_VM @ right_MD


def _logits(hidden_MD: Tensor, head_VD: Tensor, temperature: float) -> Tensor:
    logits = product(hidden_MD, head_VD.T)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits.div_(temperature) if temperature != 1 else logits
