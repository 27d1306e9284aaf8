"""Attention of training on GPUs: FlashAttention over the flat stream, with prefixes shared.

The kernel is torch's. A sequence's keys are those of its prefix and its own, laid end to end; its queries are its own
tokens, which the kernel aligns with the last keys.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aha.kernels.cpu.compiled import is_on

__all__ = ["FlashPlan", "flash_attention", "has_flash", "plan"]

_MAX_SIZE = 256
"""Size of a head, at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlashPlan:
    """Where the keys of each sequence are, on the device that computes.

    Attributes:
        query_ends_S: tokens of the stream before each segment, and all of them, int32, [S + 1].
        key_ends_S: keys before each segment, and all of them, int32, [S + 1].
        max_queries: tokens of the longest segment.
        max_keys: keys of the segment that has most.
        keys_M: index in the stream of each key; None where no segment has a prefix.
        keys_of_N: index among the keys of each token of the stream, in its own segment.
        shared_U: indices in the stream of the tokens that are in a prefix.
        copies_UC: indices among the keys of the copies of each of these; M where there are fewer copies.
    """

    query_ends_S: Tensor
    key_ends_S: Tensor
    max_queries: int
    max_keys: int
    keys_M: Tensor | None
    keys_of_N: Tensor
    shared_U: Tensor
    copies_UC: Tensor

    @property
    def sequences(self) -> tuple[Tensor, Tensor, int, int]:
        """Where queries and keys of each sequence begin and end, in the order of torch's kernel."""
        return self.query_ends_S, self.key_ends_S, self.max_queries, self.max_keys


def plan(segments_S4: Tensor, device: torch.device) -> FlashPlan:
    """Lay out the keys of a stream.

    Args:
        segments_S4: as `aha.kernels.attention` takes them; they follow on each other in the stream.
        device: where it is needed.
    """
    starts_S, lengths_S, prefix_starts_S, prefix_lengths_S = segments_S4.unbind(1)
    num_keys_S = lengths_S + prefix_lengths_S
    first_keys_S = num_keys_S.cumsum(0) - num_keys_S

    # A key's offset counts from the first key of its segment: first those of the prefix, then the segment's own.
    segment_M = torch.repeat_interleave(torch.arange(len(num_keys_S)), num_keys_S)
    offset_M = torch.arange(len(segment_M)) - first_keys_S[segment_M]
    is_prefix_M = offset_M < prefix_lengths_S[segment_M]

    # The segment's own tokens follow on the prefix, so that their offsets begin with its length.
    continuation_starts_S = starts_S - prefix_lengths_S
    keys_M = torch.where(is_prefix_M, prefix_starts_S[segment_M], continuation_starts_S[segment_M]) + offset_M

    keys_of_N = (~is_prefix_M).nonzero()[:, 0]
    prefix_keys_C = is_prefix_M.nonzero()[:, 0]
    shared_U, copies_UC = _copies(keys_M[is_prefix_M], prefix_keys_C, missing=len(keys_M))
    return FlashPlan(
        query_ends_S=_ends(lengths_S).to(device),
        key_ends_S=_ends(num_keys_S).to(device),
        max_queries=int(lengths_S.max()),
        max_keys=int(num_keys_S.max()),
        keys_M=keys_M.to(device) if len(shared_U) else None,
        keys_of_N=keys_of_N.to(device),
        shared_U=shared_U.to(device),
        copies_UC=copies_UC.to(device),
    )


def _ends(lengths_S: Tensor) -> Tensor:
    """0 and the sums of the first lengths."""
    zero = lengths_S.new_zeros(1)
    return torch.cat((zero, lengths_S.cumsum(0))).int()


def _copies(tokens_C: Tensor, keys_C: Tensor, *, missing: int) -> tuple[Tensor, Tensor]:
    """Tokens that are copied, each once, and the indices among the keys of all copies of each."""
    # A stable order, in which the gradients of the copies are added up: equal inputs give equal bits.
    order_C = tokens_C.argsort(stable=True)
    tokens_U, counts_U = torch.unique_consecutive(tokens_C[order_C], return_counts=True)
    max_copies = int(counts_U.max()) if len(counts_U) else 0
    copies_UC = keys_C.new_full((len(tokens_U), max_copies), missing)
    is_copy_UC = torch.arange(max_copies) < counts_U[:, None]
    copies_UC[is_copy_UC] = keys_C[order_C]
    return tokens_U, copies_UC


def has_flash(q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor) -> bool:
    """Whether there is a kernel for these: values have the size of keys."""
    size = q_NHK.shape[-1]
    has_size = v_NJM.shape[-1] == size and size % 8 == 0 and size <= _MAX_SIZE
    if not q_NHK.is_cuda or not has_size:
        return False

    is_half = all(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in (q_NHK, k_NJK, v_NJM))
    return is_half and is_on()


def flash_attention(q_NHK: Tensor, k_NJK: Tensor, v_NJK: Tensor, scale: float, stream: FlashPlan) -> Tensor:
    """Causal attention of a stream.

    softmax(scale q k^T) v

    Args:
        q_NHK: queries, in half precision on a GPU.
        k_NJK: keys.
        v_NJK: values.
        scale: of the scores.
        stream: where the keys of each sequence are.

    Returns:
        [N, H, K]. Gradients are added up in a fixed order.

    Source: FlashAttention-2, arXiv:2307.08691.
    """
    result: Tensor = _Flash.apply(q_NHK, k_NJK, v_NJK, scale, stream)  # type: ignore[no-untyped-call]
    return result


class _Flash(torch.autograd.Function):
    """Saves queries, keys and values of the stream, without the copies of prefixes."""

    @staticmethod
    def forward(ctx: Any, q_NHK: Tensor, k_NJK: Tensor, v_NJK: Tensor, scale: float, stream: FlashPlan) -> Tensor:
        k = _with_copies(k_NJK, stream)
        v = _with_copies(v_NJK, stream)

        # The numbers are: no dropout, causal, no mask for debugging.
        out, lse, state, unused, _ = torch.ops.aten._flash_attention_forward(
            q_NHK, k, v, *stream.sequences, 0.0, True, False, scale=scale
        )
        ctx.save_for_backward(q_NHK, k_NJK, v_NJK, out, lse, state, unused)
        ctx.scale = scale
        ctx.stream = stream
        result: Tensor = out
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k_NJK, v_NJK, out, lse, state, unused = ctx.saved_tensors
        stream: FlashPlan = ctx.stream
        k = _with_copies(k_NJK, stream)
        v = _with_copies(v_NJK, stream)
        grad = grads[0].contiguous()

        # The kernel adds gradients up in a fixed order only under this setting, which is the whole program's.
        was_deterministic = torch.are_deterministic_algorithms_enabled()
        warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            grad_q, grad_k, grad_v = torch.ops.aten._flash_attention_backward(
                grad, q, k, v, out, lse, *stream.sequences, 0.0, True, state, unused, scale=ctx.scale
            )
        finally:
            torch.use_deterministic_algorithms(was_deterministic, warn_only=warned_only)
        return grad_q, _sum_of_copies(grad_k, stream), _sum_of_copies(grad_v, stream), None, None


def _with_copies(x_NJK: Tensor, stream: FlashPlan) -> Tensor:
    """Keys or values as the segments see them, with a copy of its prefix before each, [M, J, K]."""
    if stream.keys_M is None:
        return x_NJK
    return x_NJK.index_select(0, stream.keys_M)


def _sum_of_copies(grad_MJK: Tensor, stream: FlashPlan) -> Tensor:
    """Gradients of the stream's tokens from those of all their copies, [N, J, K]."""
    if stream.keys_M is None:
        return grad_MJK

    # Row M is a row of zeros, for tokens with fewer copies than others.
    grad_NJK = grad_MJK.index_select(0, stream.keys_of_N)
    zeros = grad_MJK.new_zeros(1, *grad_MJK.shape[1:])
    copies = torch.cat((grad_MJK, zeros))[stream.copies_UC]

    # In float32: in half precision a sum over many responses would lose the later ones.
    sums = copies.sum(1, dtype=torch.float32) + grad_NJK.index_select(0, stream.shared_U)
    return grad_NJK.index_copy_(0, stream.shared_U, sums.to(grad_NJK.dtype))
