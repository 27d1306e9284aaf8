"""Attention of a stream of tokens on the CPU, forward and backward, by the kernels of `attention.c`."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aha.kernels.cpu.training import call, has_kernel

__all__ = ["attention", "has_attention"]


class _Shape(ctypes.Structure):
    """Heads of an attention, as `Shape` in attention.c."""

    _fields_ = (
        ("heads", ctypes.c_int64),
        ("shared", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("scale", ctypes.c_float),
    )


def has_attention(q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor) -> bool:
    """Whether `attention` can take these: values have the size of keys."""
    size = q_NHK.shape[-1]
    if v_NJM.shape[-1] != size:
        return False
    return has_kernel("attention", size, q_NHK, k_NJK, v_NJM)


def attention(q_NHK: Tensor, k_NJK: Tensor, v_NJK: Tensor, scale: float, segments_S4: Tensor, max_keys: int) -> Tensor:
    """Causal attention of segments of a stream, each of which may follow on a prefix that lies elsewhere in it.

    softmax(scale q k^T) v

    Args:
        q_NHK: queries, float32 on the CPU, K in whole vectors.
        k_NJK: keys.
        v_NJK: values.
        scale: of the scores.
        segments_S4: first token, number of tokens, first token of the prefix and its number of tokens, int64, on the
            CPU. Every token of the stream is in one segment.
        max_keys: the largest number of tokens of a segment and its prefix.

    Returns:
        [N, H, K]. Between forward and backward, only inputs, result and [N, H] figures are saved.

    Source: the backward pass from saved log-sum-exps is FlashAttention-2's, arXiv:2307.08691, Algorithm 2.
    """
    result: Tensor = _Attention.apply(q_NHK, k_NJK, v_NJK, scale, segments_S4, max_keys)  # type: ignore[no-untyped-call]
    return result


class _Attention(torch.autograd.Function):
    """Saves inputs, result and log-sum-exps; the backward pass computes the scores again."""

    @staticmethod
    def forward(
        ctx: Any, q_NHK: Tensor, k_NJK: Tensor, v_NJK: Tensor, scale: float, segments_S4: Tensor, max_keys: int
    ) -> Tensor:
        # The kernel reads addresses, and expects no gaps between the numbers behind them.
        q = q_NHK.contiguous()
        k = k_NJK.contiguous()
        v = v_NJK.contiguous()
        out = torch.empty_like(q)
        lse = q.new_empty(q.shape[:2])
        shape, scratch = _shape_and_scratch(q, k, scale, max_keys)
        call("attention", len(segments_S4), segments_S4, ctypes.byref(shape), q, k, v, out, lse, scratch)

        ctx.save_for_backward(q, k, v, segments_S4, out, lse)
        ctx.scale = scale
        ctx.max_keys = max_keys
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q, k, v, segments, out, lse = ctx.saved_tensors
        shape, scratch = _shape_and_scratch(q, k, ctx.scale, ctx.max_keys)

        # The kernel writes the gradient of queries, and adds to those of keys and values.
        grad_q = torch.empty_like(q)
        grad_k = torch.zeros_like(k)
        grad_v = torch.zeros_like(v)
        inputs = (q, k, v, out, lse, grads[0].contiguous())
        results = (grad_q, grad_k, grad_v)
        call("attention_backward", len(segments), segments, ctypes.byref(shape), *inputs, *results, scratch)
        return grad_q, grad_k, grad_v, None, None, None


def _shape_and_scratch(q_NHK: Tensor, k_NJK: Tensor, scale: float, max_keys: int) -> tuple[_Shape, Tensor]:
    """The heads, and memory for the kernel to work in."""
    _, num_heads, size = q_NHK.shape
    shape = _Shape(num_heads, k_NJK.shape[1], size, scale)
    num_floats = call("attention_scratch", max_keys, size)
    return shape, q_NHK.new_empty(num_floats)
