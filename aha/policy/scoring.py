"""Log-probabilities of realised tokens under a policy: the one place that shifts tokens against positions."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aha.policy.compiled import has_gpu_kernels
from aha.policy.layout import Layout
from aha.policy.transformer import Transformer

__all__ = ["chosen_logp", "logits_of", "score"]

CHUNK_LOGITS = 1 << 22
"""Logits that exist at once while scoring: [B, T, V] never does."""

MIN_CHUNK = 256
"""Tokens of a chunk, at least: the head's gradient is read and written once for each."""

MAX_LOGITS = 1 << 24
"""Logits of a chunk on the CPU, at most: 64 MiB."""

GPU_LOGITS = 1 << 27
"""Logits of a chunk on a GPU: 512 MiB."""


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
    device = policy.head_VD.device
    places_M, (rows_M, columns_M) = layout.where_BT[:, :-1][mask_BT[:, 1:]], mask_BT.nonzero(as_tuple=True)
    targets_M = tokens_BT[rows_M, columns_M]
    there = layout.to(device)
    hidden_ND = policy(there.tokens_N, there.positions_N, there.attend)
    hidden_MD = hidden_ND.index_select(0, places_M.to(device))
    logp_M = chosen_logp(hidden_MD, policy.head_VD, targets_M.to(device), temperature, adds_up=adds_up)
    place_M = (rows_M * mask_BT.shape[1] + columns_M).to(device)
    return logp_M.new_zeros(mask_BT.numel()).index_copy(0, place_M, logp_M).view(mask_BT.shape)


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
            logits, logp_M, normaliser_M = _scored(hidden, head_VD, targets, temperature)
            logp.append(logp_M)
            normaliser.append(normaliser_M)
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
            slope = _slope(logits, targets_M[part], normaliser_M[part], grads[0][part], ctx.temperature, head_VD.dtype)
            grad_hidden[part] = slope @ head_VD
            if grad_head is not None and ctx.needs_input_grad[1]:
                _add_product(grad_head, slope.T, hidden_MD[part])
        returned = grad_head.to(head_VD.dtype) if grad_head is not None and not sums else None
        return grad_hidden, returned, None, None, None


def _chunk(head_VD: Tensor) -> int:
    """Tokens of a chunk."""
    if head_VD.is_cuda:
        return max(MIN_CHUNK, GPU_LOGITS // len(head_VD))
    chunk = max(MIN_CHUNK, CHUNK_LOGITS // len(head_VD))
    return max(1, min(chunk, MAX_LOGITS // len(head_VD)))


def _add_product(sum_VD: Tensor, left_VM: Tensor, right_MD: Tensor) -> None:
    """Add a product to a sum, without a tensor of its size where the types are one."""
    if sum_VD.dtype == left_VM.dtype:
        sum_VD.addmm_(left_VM, right_MD)
    elif left_VM.is_cuda:
        torch.ops.aten.addmm.dtype_out(sum_VD, left_VM, right_MD, sum_VD.dtype, out=sum_VD)
    else:
        sum_VD += left_VM @ right_MD


def logits_of(hidden_MD: Tensor, head_VD: Tensor) -> Tensor:
    """Logits, [M, V], float32 (float64 for float64): not rounded to half precision on the way where a GPU can do so."""
    if hidden_MD.is_cuda and hidden_MD.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(hidden_MD, head_VD.T, out_dtype=torch.float32)
    logits_MV = hidden_MD @ head_VD.T
    return logits_MV if logits_MV.dtype == torch.float64 else logits_MV.float()


def _has_kernel(logits: Tensor) -> bool:
    """Whether there are kernels for the likelihood of tokens; they divide by the temperature themselves."""
    return logits.is_cuda and logits.dtype == torch.float32 and has_gpu_kernels()


def _logits(hidden_MD: Tensor, head_VD: Tensor, temperature: float) -> Tensor:
    """Logits, divided by the temperature but where a kernel will do so."""
    logits = logits_of(hidden_MD, head_VD)
    return logits if temperature == 1 or _has_kernel(logits) else logits.div_(temperature)


def _scored(
    hidden_MD: Tensor, head_VD: Tensor, targets_M: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, log-probabilities of the targets, and logarithms of the softmax's denominators."""
    logits = _logits(hidden_MD, head_VD, temperature)
    if _has_kernel(logits):
        from aha.policy.gpu_training import likelihood

        return logits, *likelihood(logits, targets_M, temperature)
    normaliser_M = logits.logsumexp(-1)
    return logits, logits.gather(-1, targets_M[:, None])[:, 0] - normaliser_M, normaliser_M


def _slope(
    logits: Tensor, targets_M: Tensor, normaliser_M: Tensor, grad_M: Tensor, temperature: float, dtype: torch.dtype
) -> Tensor:
    """Gradient of the logits, [M, V], in a type; the logits are lost."""
    if _has_kernel(logits):
        from aha.policy.gpu_training import likelihood_slope

        out = torch.empty_like(logits, dtype=dtype)
        return likelihood_slope(logits, targets_M, normaliser_M, grad_M.contiguous(), temperature, out)
    slope_M = grad_M[:, None] / temperature
    slope = logits.sub_(normaliser_M[:, None]).exp_().mul_(-slope_M)
    return slope.scatter_add_(-1, targets_M[:, None], slope_M).to(dtype)
