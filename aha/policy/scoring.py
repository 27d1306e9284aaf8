"""Log-probabilities of realised tokens under a policy: the place that shifts tokens against positions."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aha.kernels.cpu.compiled import has_gpu_kernels
from aha.kernels.ops import product
from aha.policy.layout import Layout, take_entries
from aha.policy.policy import Policy

__all__ = ["chosen_logp", "chunk_tokens", "logits_of", "score"]

CHUNK_LOGITS = 1 << 22
"""Logits that exist at once while scoring on the CPU: [B, T, V] never does."""

MIN_CHUNK = 256
"""Tokens of a chunk, at least: the head's gradient is read and written once for each."""

MAX_LOGITS = 7 << 21
"""Logits of a chunk on the CPU, at most: 56 MiB, so that with what the products need a step keeps within 64."""

GPU_LOGITS = 1 << 27
"""Logits of a chunk elsewhere: 512 MiB."""

WORDS = 512
"""Words of the vocabulary that are multiplied at once on the CPU: their part of the head stays in its cache."""


def score(
    policy: Policy,
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

    # The shift: token t is predicted by the hidden state of token t - 1. M counts the masked tokens. All indices are
    # made where the sequences are, on the CPU: a GPU is not waited for.
    predicting_M = layout.where_BT[:, :-1][mask_BT[:, 1:]]
    index_M = mask_BT.flatten().nonzero()[:, 0]
    targets_M = tokens_BT.flatten()[index_M]

    head_VD = policy.head_VD
    device = head_VD.device
    layout = layout.to(device)
    hidden_ND = policy(layout.tokens_N, layout.positions_N, layout)
    hidden_MD = take_entries(hidden_ND, predicting_M.to(device))
    logp_M = chosen_logp(hidden_MD, head_VD, targets_M.to(device), temperature, adds_up=adds_up)

    # Back to the shape of the batch, each at its own token.
    flat_logp = logp_M.new_zeros(mask_BT.numel())
    flat_logp = flat_logp.index_copy(0, index_M.to(device), logp_M)
    return flat_logp.view(mask_BT.shape)


def chosen_logp(
    hidden_MD: Tensor, head_VD: Tensor, targets_M: Tensor, temperature: float = 1.0, *, adds_up: bool = False
) -> Tensor:
    """Log softmax(hidden head^T / temperature) at the targets, computed in chunks.

    The backward pass computes the logits once more, unless a single chunk holds all of them.

    Args:
        hidden_MD: hidden states.
        head_VD: output head.
        targets_M: token ids.
        temperature: > 0.
        adds_up: whether the head's gradient is added to its `.grad`, where it has one, as soon as it is computed, and
            not passed on. `backward` ends the same without a second tensor of the head's size; `torch.autograd.grad`
            would miss it.

    Returns:
        [M], float32, nats (float64 for float64 inputs).
    """
    result: Tensor = _ChosenLogp.apply(hidden_MD, head_VD, targets_M, temperature, adds_up)  # type: ignore[no-untyped-call]
    return result


class _ChosenLogp(torch.autograd.Function):
    """Keeps [M] figures between forward and backward, and at most one chunk of logits.

    All chunks share one buffer, where logits become exponentials and then their own gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, head_VD: Tensor, targets_M: Tensor, temperature: float, adds_up: bool
    ) -> Tensor:
        num_tokens = len(hidden_MD)
        chunk = chunk_tokens(len(head_VD), is_on_cpu=head_VD.device.type == "cpu")
        buffer = _logits_buffer(hidden_MD, head_VD, chunk)
        logp_M = buffer.new_empty(num_tokens)
        shift_M = buffer.new_empty(num_tokens)
        total_M = buffer.new_empty(num_tokens)
        for start in range(0, num_tokens, chunk):
            part = slice(start, start + chunk)
            logits = _logits(hidden_MD[part], head_VD, temperature, buffer)
            logp_M[part], shift_M[part], total_M[part] = _scored(logits, targets_M[part], temperature)

        ctx.save_for_backward(hidden_MD, head_VD, targets_M, shift_M, total_M)
        ctx.temperature = temperature
        ctx.chunk = chunk
        ctx.adds_up = adds_up

        # Where one chunk holds all tokens, the buffer has all that the backward pass needs.
        ctx.recorded = buffer if num_tokens <= chunk and any(ctx.needs_input_grad) else None
        return logp_M

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        hidden_MD, head_VD, targets_M, shift_M, total_M = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden_MD)
        grad_head: Tensor | None = None
        is_added = ctx.adds_up and head_VD.grad is not None
        if is_added:
            grad_head = head_VD.grad
        elif ctx.needs_input_grad[1]:
            # The sum over chunks is float32 or better: in bfloat16 later chunks would vanish in it.
            precise = torch.promote_types(head_VD.dtype, torch.float32)
            grad_head = torch.zeros_like(head_VD, dtype=precise)

        # The recorded logits are overwritten below, so that a second backward pass has to compute them once more.
        recorded = ctx.recorded
        ctx.recorded = None
        buffer = _logits_buffer(hidden_MD, head_VD, ctx.chunk) if recorded is None else recorded

        for start in range(0, len(hidden_MD), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            scored = recorded
            if scored is None:
                scored = _logits(hidden_MD[part], head_VD, ctx.temperature, buffer)
                if not _has_kernel(scored):
                    scored = _exponentials(scored, shift_M[part])
            softmax = (shift_M[part], total_M[part])
            grad = grads[0][part]
            slope = _slope(scored, targets_M[part], softmax, grad, ctx.temperature, head_VD.dtype)

            product(slope, head_VD, out_MN=grad_hidden[part])
            if grad_head is not None and ctx.needs_input_grad[1]:
                _add_product(grad_head, slope.T, hidden_MD[part])

        if grad_head is None or is_added:
            return grad_hidden, None, None, None, None
        return grad_hidden, grad_head.to(head_VD.dtype), None, None, None


def chunk_tokens(num_words: int, *, is_on_cpu: bool) -> int:
    """Tokens of a chunk.

    Args:
        num_words: of the vocabulary.
        is_on_cpu: where the logits are.
    """
    if not is_on_cpu:
        return max(MIN_CHUNK, GPU_LOGITS // num_words)

    # The bound on memory comes last: with a large vocabulary it leaves fewer tokens than `MIN_CHUNK`.
    wanted = max(MIN_CHUNK, CHUNK_LOGITS // num_words)
    return max(1, min(wanted, MAX_LOGITS // num_words))


def _add_product(sum_VD: Tensor, left_VM: Tensor, right_MD: Tensor) -> None:
    """Add a product to a sum; where they are of one type, no other tensor of that size is made."""
    if sum_VD.dtype == left_VM.dtype or left_VM.is_cuda:
        product(left_VM, right_MD, sum_VD, sum_VD)
    else:
        sum_VD += left_VM @ right_MD


def _logits_buffer(hidden_MD: Tensor, head_VD: Tensor, chunk: int) -> Tensor:
    """Memory for the logits of a chunk, float32 or better: one for all chunks, since new memory costs time."""
    precise = torch.promote_types(head_VD.dtype, torch.float32)
    num_rows = min(chunk, len(hidden_MD))
    return hidden_MD.new_empty(num_rows, len(head_VD), dtype=precise)


def logits_of(hidden_MD: Tensor, head_VD: Tensor) -> Tensor:
    """Logits, [M, V], float32 (float64 for float64): those that a policy is scored with, without a gradient."""
    buffer = _logits_buffer(hidden_MD, head_VD, len(hidden_MD))
    return _logits(hidden_MD, head_VD, 1.0, buffer)


def _has_kernel(logits: Tensor) -> bool:
    """Whether there are kernels for the likelihood of tokens; they divide by the temperature themselves."""
    return logits.is_cuda and logits.dtype == torch.float32 and has_gpu_kernels()


def _logits(hidden_MD: Tensor, head_VD: Tensor, temperature: float, buffer_MV: Tensor) -> Tensor:
    """Logits, written to the buffer; divided by the temperature unless a kernel will do so."""
    logits = buffer_MV[: len(hidden_MD)]
    if hidden_MD.is_cuda and hidden_MD.dtype != logits.dtype:
        # Straight to float32: `mm` alone would round the logits to half precision on the way.
        torch.ops.aten.mm.dtype_out(hidden_MD, head_VD.T, logits.dtype, out=logits)
    else:
        words = WORDS if head_VD.device.type == "cpu" else len(head_VD)
        parts = zip(torch.split(head_VD, words), torch.split(logits, words, dim=1), strict=True)
        for head_part, out in parts:
            if out.dtype == head_part.dtype:
                product(hidden_MD, head_part.T, out_MN=out)
            else:
                out.copy_(hidden_MD @ head_part.T)

    if temperature == 1 or _has_kernel(logits):
        return logits
    return logits.div_(temperature)


def _scored(logits_MV: Tensor, targets_M: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of the targets, and two figures of the softmax, [M] each.

    The probability of a word is exp(logit - shift) / total. Without a kernel, exp(logits - shift) overwrites the
    logits.
    """
    if _has_kernel(logits_MV):
        from aha.kernels.cuda.training import likelihood

        logp_M, normaliser_M = likelihood(logits_MV, targets_M, temperature)
        return logp_M, normaliser_M, torch.ones_like(normaliser_M)

    # Read before the exponentials overwrite the logits.
    chosen_M = logits_MV.gather(-1, targets_M[:, None])[:, 0]
    shift_M = logits_MV.amax(-1)
    exponentials = _exponentials(logits_MV, shift_M)
    total_M = exponentials.sum(-1)
    return chosen_M - shift_M - total_M.log(), shift_M, total_M


def _slope(
    scored_MV: Tensor,
    targets_M: Tensor,
    softmax: tuple[Tensor, Tensor],
    grad_M: Tensor,
    temperature: float,
    dtype: torch.dtype,
) -> Tensor:
    """Gradient of the logits before the temperature, [M, V], of this type.

    g_m (1[v = target_m] - softmax(logits_m)_v) / temperature

    `scored_MV` holds logits for a kernel; without one it holds their exponentials, and is overwritten.
    """
    shift_M, total_M = softmax
    if _has_kernel(scored_MV):
        from aha.kernels.cuda.training import likelihood_slope

        out_MV = torch.empty_like(scored_MV, dtype=dtype)
        return likelihood_slope(scored_MV, targets_M, shift_M, grad_M.contiguous(), temperature, out_MV)

    # First the second term for every word, then the first one where the target is.
    slope_column = grad_M[:, None] / temperature
    factor_column = -slope_column / total_M[:, None]
    slope_MV = scored_MV.mul_(factor_column)
    slope_MV.scatter_add_(-1, targets_M[:, None], slope_column)
    return slope_MV.to(dtype)


def _exponentials(logits_MV: Tensor, shift_M: Tensor) -> Tensor:
    """exp(logits - shift), in place; the shift is the largest logit, so that no exponential overflows."""
    return logits_MV.sub_(shift_M[:, None]).exp_()
