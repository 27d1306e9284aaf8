"""Attention of training on GPUs: FlashAttention over the flat stream, with prefixes shared.

The kernel is torch's. A sequence's keys are those of its prefix and its own, laid end to end; its queries are its own
tokens, which the kernel aligns with the last keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aha.kernels.cpu.compiled import is_on

__all__ = ["FlashPlan", "flash_attention", "has_flash", "plan"]

_MOST_SIZE = 256
"""Size of a head, at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlashPlan:
    """Where the keys of each sequence are, on the device that computes.

    Attributes:
        query_ends_S: tokens of the stream before each segment, and all of them, int32, [S + 1].
        key_ends_S: keys before each segment, and all of them, int32, [S + 1].
        most_queries: tokens of the longest segment.
        most_keys: keys of the segment that has most.
        keys_M: index in the stream of each key; None where no segment has a prefix.
        own_N: index among the keys of each token of the stream, in its own segment.
        shared_U: indices in the stream of the tokens that are in a prefix.
        copies_UC: indices among the keys of the copies of each of these; M where there are fewer copies.
    """

    query_ends_S: Tensor
    key_ends_S: Tensor
    most_queries: int
    most_keys: int
    keys_M: Tensor | None
    own_N: Tensor
    shared_U: Tensor
    copies_UC: Tensor


def plan(segments_S4: Tensor, device: torch.device) -> FlashPlan:
    """Lay out the keys of a stream.

    Args:
        segments_S4: as `aha.kernels.attention` takes them; they follow on each other in the stream.
        device: where it is needed.
    """
    _, lengths_S, starts_S, prefixes_S = segments_S4.unbind(1)
    keys_S = lengths_S + prefixes_S
    ends_S = keys_S.cumsum(0)

    # A key's offset counts from the first key of its segment: first those of the prefix, then the segment's own.
    segment_M = torch.repeat_interleave(torch.arange(len(keys_S)), keys_S)
    offset_M = torch.arange(len(segment_M)) - (ends_S - keys_S)[segment_M]
    is_prefix_M = offset_M < prefixes_S[segment_M]
    own_base_M = segments_S4[segment_M, 0] - prefixes_S[segment_M]
    keys_M = torch.where(is_prefix_M, starts_S[segment_M], own_base_M) + offset_M

    own_N = (~is_prefix_M).nonzero()[:, 0]
    shared_U, copies_UC = _copies(keys_M[is_prefix_M], is_prefix_M.nonzero()[:, 0], missing=len(keys_M))
    return FlashPlan(
        query_ends_S=_ends(lengths_S).to(device),
        key_ends_S=_ends(keys_S).to(device),
        most_queries=int(lengths_S.max()),
        most_keys=int(keys_S.max()),
        keys_M=keys_M.to(device) if len(shared_U) else None,
        own_N=own_N.to(device),
        shared_U=shared_U.to(device),
        copies_UC=copies_UC.to(device),
    )


def _ends(lengths_S: Tensor) -> Tensor:
    """0 and the sums of the first lengths."""
    return torch.cat((lengths_S.new_zeros(1), lengths_S.cumsum(0))).int()


def _copies(tokens_C: Tensor, keys_C: Tensor, *, missing: int) -> tuple[Tensor, Tensor]:
    """Tokens that are copied, each once, and the indices among the keys of all copies of each."""
    # A stable order, in which the gradients of the copies are added up: equal inputs give equal bits.
    order_C = tokens_C.argsort(stable=True)
    tokens_U, counts_U = torch.unique_consecutive(tokens_C[order_C], return_counts=True)
    max_copies = int(counts_U.max()) if len(counts_U) else 0
    copies_UC = keys_C.new_full((len(tokens_U), max_copies), missing)
    copies_UC[torch.arange(max_copies) < counts_U[:, None]] = keys_C[order_C]
    return tokens_U, copies_UC


def has_flash(q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor) -> bool:
    """Whether there is a kernel for these: values have the size of keys."""
    is_half = all(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in (q_NHK, k_NJK, v_NJM))
    size = q_NHK.shape[-1]
    is_known = v_NJM.shape[-1] == size and size % 8 == 0 and size <= _MOST_SIZE
    return q_NHK.is_cuda and is_half and is_known and is_on()


def flash_attention(q_NHK: Tensor, k_NJK: Tensor, v_NJK: Tensor, scale: float, how: FlashPlan) -> Tensor:
    """Causal attention of a stream.

    softmax(scale q k^T) v

    Args:
        q_NHK: queries, in half precision on a GPU.
        k_NJK: keys.
        v_NJK: values.
        scale: of the scores.
        how: the stream's plan.

    Returns:
        [N, H, K]. Gradients are added up in a fixed order.

    Source: FlashAttention-2, arXiv:2307.08691.
    """
    result: Tensor = _Flash.apply(q_NHK, k_NJK, v_NJK, scale, how)  # type: ignore[no-untyped-call]
    return result


class _Flash(torch.autograd.Function):
    """Keeps queries, keys and values of the stream, without the copies of prefixes."""

    @staticmethod
    def forward(ctx: Any, q_NHK: Tensor, k_NJK: Tensor, v_NJK: Tensor, scale: float, how: FlashPlan) -> Tensor:
        k, v = _gathered((k_NJK, v_NJK), how)
        shape = (how.query_ends_S, how.key_ends_S, how.most_queries, how.most_keys)
        out, lse, state, unused, _ = torch.ops.aten._flash_attention_forward(
            q_NHK, k, v, *shape, 0.0, True, False, scale=scale
        )
        ctx.save_for_backward(q_NHK, k_NJK, v_NJK, out, lse, state, unused)
        ctx.scale, ctx.how = scale, how
        result: Tensor = out
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k_NJK, v_NJK, out, lse, state, unused = ctx.saved_tensors
        how: FlashPlan = ctx.how
        k, v = _gathered((k_NJK, v_NJK), how)
        shape = (how.query_ends_S, how.key_ends_S, how.most_queries, how.most_keys)
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            grad_q, grad_k, grad_v = torch.ops.aten._flash_attention_backward(
                grads[0].contiguous(), q, k, v, out, lse, *shape, 0.0, True, state, unused, scale=ctx.scale
            )
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        return grad_q, _added_up(grad_k, how), _added_up(grad_v, how), None, None


def _gathered(streams: Sequence[Tensor], how: FlashPlan) -> Sequence[Tensor]:
    """Keys and values as the segments see them, [M, J, K]."""
    return streams if how.keys_M is None else [stream.index_select(0, how.keys_M) for stream in streams]


def _added_up(grad_MJK: Tensor, how: FlashPlan) -> Tensor:
    """Gradients of the stream's tokens from those of all their copies, [N, J, K]."""
    if how.keys_M is None:
        return grad_MJK
    grad_NJK = grad_MJK.index_select(0, how.own_N)
    copies = torch.cat((grad_MJK, grad_MJK.new_zeros(1, *grad_MJK.shape[1:])))[how.copies_UC]
    sums = copies.sum(1, dtype=torch.float32) + grad_NJK.index_select(0, how.shared_U)
    return grad_NJK.index_copy_(0, how.shared_U, sums.to(grad_NJK.dtype))
