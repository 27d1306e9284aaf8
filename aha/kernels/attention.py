"""Attention of a stream of tokens on the CPU, forward and backward, by the kernels of `attention.c`."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aha.kernels.cpu.training import call, has_kernel

__all__ = ["attention", "has_attention"]


class _Shape(ctypes.Structure):
    """Heads of an attention."""

    _fields_ = (
        ("heads", ctypes.c_int64),
        ("shared", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("scale", ctypes.c_float),
    )


def has_attention(q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor) -> bool:
    """Whether `attention` can take these."""
    return has_kernel("attention", q_NHK.shape[-1], q_NHK, k_NGK, v_NGK)


def attention(q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor, segments_S4: Tensor, most_keys: int) -> Tensor:
    """Causal attention of segments of a stream, each of which may follow on a prefix that lies elsewhere in it.

    softmax(q k^T / sqrt(K)) v

    Args:
        q_NHK: queries, float32 on the CPU, K in whole vectors.
        k_NGK: keys.
        v_NGK: values.
        segments_S4: first token, number of tokens, first token of the prefix and its number of tokens, int64, on the
            CPU. Every token of the stream is in one segment.
        most_keys: the largest number of tokens of a segment and its prefix.

    Returns:
        [N, H, K]. Between forward and backward, only inputs, result and [N, H] figures are kept.

    Source: the backward pass from kept log-sum-exps is FlashAttention-2's, arXiv:2307.08691, Algorithm 2.
    """
    result: Tensor = _Attention.apply(q_NHK, k_NGK, v_NGK, segments_S4, most_keys)  # type: ignore[no-untyped-call]
    return result


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor, segments_S4: Tensor, most_keys: int) -> Tensor:
        q, k, v = (x.contiguous() for x in (q_NHK, k_NGK, v_NGK))
        out, lse = torch.empty_like(q), q.new_empty(q.shape[:2])
        shape, scratch = _scratch(q, k, most_keys)
        call("attention", len(segments_S4), segments_S4, ctypes.byref(shape), q, k, v, out, lse, scratch)
        ctx.save_for_backward(q, k, v, segments_S4, out, lse)
        ctx.most_keys = most_keys
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, segments, out, lse = ctx.saved_tensors
        kept = (out, lse, grads[0].contiguous())
        return (*_attention_backward((q, k, v), *kept, segments, ctx.most_keys), None, None)


def _attention_backward(
    inputs: tuple[Tensor, Tensor, Tensor],
    out_NHK: Tensor,
    lse_NH: Tensor,
    slope_NHK: Tensor,
    segments_S4: Tensor,
    most_keys: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values by the kernel.

    Args:
        inputs: queries, keys and values.
        out_NHK: what `attention` made of them.
        lse_NH: logarithms of the softmax's denominators.
        slope_NHK: gradient of the result.
        segments_S4: as `attention` takes them.
        most_keys: likewise.
    """
    shape, scratch = _scratch(*inputs[:2], most_keys)
    grads = torch.empty_like(inputs[0]), torch.zeros_like(inputs[1]), torch.zeros_like(inputs[2])
    given = (*inputs, out_NHK, lse_NH, slope_NHK)
    call("attention_backward", len(segments_S4), segments_S4, ctypes.byref(shape), *given, *grads, scratch)
    return grads


def _scratch(q_NHK: Tensor, k_NGK: Tensor, most_keys: int) -> tuple[_Shape, Tensor]:
    """The heads, and memory for the kernel to work in."""
    (_, num_heads, size), num_shared = q_NHK.shape, k_NGK.shape[1]
    scratch = q_NHK.new_empty(call("attention_scratch", most_keys, size))
    return _Shape(num_heads, num_shared, size, size**-0.5), scratch
