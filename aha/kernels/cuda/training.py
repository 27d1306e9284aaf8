"""Kernels of training on GPUs: what a layer computes besides products and attention, and the likelihood of tokens.

Figures are float32 inside whatever the type of the tensors, and are added up in an order that depends on shapes alone.
"""

import torch
from torch import Tensor

from aha.kernels.cuda.extra import cdiv, jit, next_power_of_2, tl

__all__ = ["likelihood", "likelihood_slope", "swiglu", "swiglu_backward", "swiglu_halves", "turned"]

CHUNK = 4096
"""Words of the vocabulary, or figures of a row, that a program reads at a time."""


@jit
def _swiglu(gate, up, out, width, stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    at = row * stride + column
    x = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + column, x * tl.sigmoid(x) * y, mask=inside)


def swiglu(gate_NI: Tensor, up_NI: Tensor) -> Tensor:
    """silu(gate) * up, of two contiguous tensors."""
    return _swiglu_of(gate_NI, up_NI, gate_NI.shape[-1])


def swiglu_halves(both_NJ: Tensor) -> Tensor:
    """silu(gate) * up, with the gates in the first half of each row and the others in the second."""
    width = both_NJ.shape[-1] // 2
    gate = both_NJ[:, :width]
    up = both_NJ[:, width:]
    return _swiglu_of(gate, up, 2 * width)


def _swiglu_of(gate_NI: Tensor, up_NI: Tensor, stride: int) -> Tensor:
    """silu(gate) * up, of two tensors whose rows are `stride` figures apart."""
    width = gate_NI.shape[-1]
    out = gate_NI.new_empty(gate_NI.shape)

    # CUDA refuses a grid without programs.
    if out.numel():
        grid = (out.numel() // width, cdiv(width, CHUNK))
        _swiglu[grid](gate_NI, up_NI, out, width, stride, BLOCK=CHUNK, num_warps=8)
    return out


@jit
def _swiglu_backward(gate, up, slope, grad_gate, grad_up, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    x = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(slope + at, mask=inside, other=0.0).to(tl.float32)

    # silu'(x) = s (1 + x (1 - s)), with s the sigmoid of x.
    s = tl.sigmoid(x)
    tl.store(grad_gate + at, g * y * s * (1 + x * (1 - s)), mask=inside)
    tl.store(grad_up + at, g * x * s, mask=inside)


def swiglu_backward(gate_NI: Tensor, up_NI: Tensor, slope_NI: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up, all tensors contiguous."""
    grad_gate = torch.empty_like(gate_NI)
    grad_up = torch.empty_like(up_NI)
    count = gate_NI.numel()
    if count:
        grid = (cdiv(count, CHUNK),)
        _swiglu_backward[grid](gate_NI, up_NI, slope_NI, grad_gate, grad_up, count, BLOCK=CHUNK, num_warps=8)
    return grad_gate, grad_up


@jit
def _turned(x, cos, sin, out, heads, sign, HALF: tl.constexpr, BLOCK: tl.constexpr):
    # All heads of a row at once; entries k and HALF + k of a head are a pair.
    row = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, BLOCK)
    head = index // HALF
    k = index % HALF
    inside = head < heads
    at = row * heads * 2 * HALF + head * 2 * HALF + k
    a = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + at + HALF, mask=inside, other=0.0).to(tl.float32)
    c = tl.load(cos + row * HALF + k, mask=inside, other=0.0).to(tl.float32)
    s = tl.load(sin + row * HALF + k, mask=inside, other=0.0).to(tl.float32) * sign

    tl.store(out + at, a * c - b * s, mask=inside)
    tl.store(out + at + HALF, b * c + a * s, mask=inside)


def turned(x_NHK: Tensor, cos_NK: Tensor, sin_NK: Tensor, sign: float) -> Tensor:
    """Rotary position embedding, or with the sign -1 its inverse; tensors contiguous, K/2 a power of 2."""
    out = torch.empty_like(x_NHK)
    num_rows, num_heads, size = x_NHK.shape
    half = size // 2
    if num_rows:
        block = next_power_of_2(num_heads * half)
        _turned[(num_rows,)](x_NHK, cos_NK, sin_NK, out, num_heads, sign, HALF=half, BLOCK=block)
    return out


@jit
def _likelihood(logits, targets, logp, normaliser, vocabulary, factor, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    v = tl.arange(0, BLOCK)

    # A softmax of every BLOCK-th word at each entry, in one pass over the vocabulary; their sums are joined at the end.
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, vocabulary, BLOCK):
        word = first + v
        x = tl.load(logits + row * vocabulary + first + v, mask=word < vocabulary, other=float("-inf"))
        x = x.to(tl.float32) * factor
        higher = tl.maximum(top, x)

        # As long as an entry has seen minus infinity alone, the differences would be undefined.
        safe = tl.where(higher > float("-inf"), higher, 0.0)
        total = total * tl.exp(top - safe) + tl.exp(x - safe)
        top = higher

    largest = tl.max(top, 0)
    lse = largest + tl.log(tl.sum(total * tl.exp(top - largest), 0))
    target = tl.load(targets + row)
    chosen = tl.load(logits + row * vocabulary + target).to(tl.float32) * factor
    tl.store(normaliser + row, lse)
    tl.store(logp + row, chosen - lse)


def likelihood(logits_MV: Tensor, targets_M: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the targets, and the logarithm of the softmax's denominator, [M] each, float32, nats."""
    num_rows, vocabulary = logits_MV.shape
    logp_M = logits_MV.new_empty(num_rows, dtype=torch.float32)
    normaliser_M = torch.empty_like(logp_M)
    if num_rows:
        _likelihood[(num_rows,)](
            logits_MV, targets_M, logp_M, normaliser_M, vocabulary, 1 / temperature, BLOCK=CHUNK, num_warps=8
        )
    return logp_M, normaliser_M


@jit
def _slope(logits, targets, normaliser, grads, out, vocabulary, factor, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    word = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = word < vocabulary
    at = row * vocabulary + word
    x = tl.load(logits + at, mask=inside, other=float("-inf")).to(tl.float32) * factor
    grad = tl.load(grads + row).to(tl.float32) * factor
    target = tl.load(targets + row)
    lse = tl.load(normaliser + row)

    probability = tl.exp(x - lse)
    is_target = tl.where(word == target, 1.0, 0.0)
    tl.store(out + at, grad * (is_target - probability), mask=inside)


def likelihood_slope(
    logits_MV: Tensor, targets_M: Tensor, normaliser_M: Tensor, grads_M: Tensor, temperature: float, out_MV: Tensor
) -> Tensor:
    """Gradient of the logits before the temperature, from the gradient of `likelihood`, written to `out_MV`.

    g_m (1[v = target_m] - softmax(logits_m / temperature)_v) / temperature
    """
    num_rows, vocabulary = logits_MV.shape
    if num_rows:
        grid = (num_rows, cdiv(vocabulary, CHUNK))
        _slope[grid](
            logits_MV, targets_M, normaliser_M, grads_M, out_MV, vocabulary, 1 / temperature, BLOCK=CHUNK, num_warps=8
        )
    return out_MV
