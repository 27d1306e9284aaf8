"""The operations of a layer, forward and backward: matrix products, RMSNorm, SwiGLU and rotary positions.

Float32 tensors on the CPU are computed by `kernels.c`, tensors on a GPU by `aha.kernels.cuda.training`, all others by
torch, which also computes where those kernels cannot be built. The results agree up to the order of sums and rounding.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from aha.kernels.cpu.compiled import has_gpu_kernels
from aha.kernels.cpu.training import call, has_kernel

__all__ = [
    "linear",
    "normalise",
    "product",
    "rotate",
    "swiglu",
]

MIN_ROWS = 384
"""Fewest rows for which the kernel is the faster way to a matrix product: it copies the other matrix first."""


def _are_on_gpu(*tensors: Tensor) -> bool:
    """Whether `aha.kernels.cuda.training` can take these tensors."""
    return all(tensor.is_cuda for tensor in tensors) and has_gpu_kernels()


def product(a_MK: Tensor, b_KN: Tensor, start_MN: Tensor | None = None, out_MN: Tensor | None = None) -> Tensor:
    """The matrix product a b, or start + a b, without a gradient.

    Torch computes it where that is faster: for few rows, and where torch has several threads.

    Args:
        a_MK: a matrix, which may be turned by `.T`.
        b_KN: another.
        start_MN: what is added, [M, N] or [N]; may be the result itself. None adds nothing. On a GPU it may be float32
            where the matrices are in half precision.
        out_MN: takes the result, contiguous; None makes one.
    """
    others = [tensor for tensor in (start_MN, out_MN) if tensor is not None]
    if _has_product(a_MK, b_KN, *others):
        return _product(a_MK, b_KN, start_MN, out_MN)

    if start_MN is None:
        return torch.mm(a_MK, b_KN, out=out_MN)

    # Half-precision matrices added to a float32 sum: without `out_dtype` torch refuses two types.
    if start_MN.dtype != a_MK.dtype:
        return torch.addmm(start_MN, a_MK, b_KN, out_dtype=start_MN.dtype, out=out_MN)
    return torch.addmm(start_MN, a_MK, b_KN, out=out_MN)


def _product(a_MK: Tensor, b_KN: Tensor, start_MN: Tensor | None = None, out_MN: Tensor | None = None) -> Tensor:
    """The product a b, or start + a b, by the kernel."""
    num_rows, depth = a_MK.shape
    num_columns = b_KN.shape[1]
    a_strides = a_MK.stride()
    b_strides = b_KN.stride()
    out = out_MN
    if out is None:
        out = a_MK.new_empty(num_rows, num_columns)

    # A step of 0 from row to row adds a bias to every row.
    has_rows = start_MN is not None and start_MN.dim() > 1
    start_stride = num_columns if has_rows else 0
    is_transposed = a_strides[1] != 1
    scratch = a_MK.new_empty(_scratch_floats(num_columns, depth, is_transposed))
    sizes = (num_rows, num_columns, depth)
    call("product", *sizes, a_MK, *a_strides, b_KN, *b_strides, start_MN, start_stride, out, scratch)
    return out


@cache
def _scratch_floats(num_columns: int, depth: int, is_transposed: bool) -> int:
    """Floats of the memory that a product needs to work in."""
    return call("product_scratch", num_columns, depth, is_transposed)


def _has_product(a_MK: Tensor, b_KN: Tensor, *others: Tensor) -> bool:
    """Whether there is a kernel for a product, and it is the faster way."""
    num_rows, depth = a_MK.shape
    strides = a_MK.stride()
    if depth == 0 or torch.get_num_threads() > 1:
        return False

    # Of a transposed matrix the depth counts: these are gradients of weights, whose depth is the number of tokens.
    num_tokens = num_rows if strides[1] == 1 else depth
    if num_tokens < MIN_ROWS:
        return False

    # The kernel reads rows or columns whose entries lie next to each other.
    has_supported_strides = 1 in strides and 1 in b_KN.stride()
    if not has_supported_strides or not all(other.is_contiguous() for other in others):
        return False
    return has_kernel("product", b_KN.shape[1], a_MK, b_KN, *others)


def linear(x_ND: Tensor, *weights: tuple[Tensor, Tensor | None]) -> tuple[Tensor, ...]:
    """Projections of one input.

    x W^T + b

    The gradient of a weight that has a `.grad` is added to it as soon as it is computed, and not passed on: `backward`
    ends the same without a second tensor of its size; `torch.autograd.grad` would miss it.

    Args:
        x_ND: the input.
        weights: [O, D] each, with its bias [O] or None.

    Returns:
        [N, O] each.
    """
    if not all(_has_linear(x_ND, weight_OD, bias_O) for weight_OD, bias_O in weights):
        return tuple(F.linear(x_ND, weight_OD, bias_O) for weight_OD, bias_O in weights)

    # autograd takes tensors as arguments of their own, not in pairs.
    flat = [tensor for pair in weights for tensor in pair]
    results: tuple[Tensor, ...] = _Linear.apply(x_ND, *flat)  # type: ignore[no-untyped-call]
    return results


def _has_linear(x_ND: Tensor, weight_OD: Tensor, bias_O: Tensor | None) -> bool:
    """Whether there are kernels for a projection and its gradients, or a float32 gradient to add to on a GPU."""
    if x_ND.dim() != 2:
        return False

    if x_ND.is_cuda:
        grad_OD = weight_OD.grad
        has_precise_gradient = grad_OD is not None and grad_OD.dtype == torch.float32
        return has_precise_gradient and x_ND.dtype == weight_OD.dtype != torch.float32

    others = (x_ND,) if bias_O is None else (x_ND, bias_O)
    if not _has_product(x_ND, weight_OD.T, *others):
        return False

    # The gradient of the input, and of the weight, are products with as many columns as the input has.
    width = x_ND.shape[1]
    return has_kernel("product", width)


class _Linear(torch.autograd.Function):
    """Saves its input and the weights alone."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, *weights_and_biases: Tensor) -> tuple[Tensor, ...]:
        weights = weights_and_biases[::2]
        biases = weights_and_biases[1::2]
        ctx.save_for_backward(x_ND, *weights)
        # On the CPU straight to the kernel: `linear` has checked that it can take these tensors.
        multiply = product if x_ND.is_cuda else _product
        return tuple(multiply(x_ND, weight.T, bias) for weight, bias in zip(weights, biases, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, *weights = ctx.saved_tensors
        multiply = product if x_ND.is_cuda else _product
        grad_x: Tensor | None = None
        weight_grads: list[Tensor | None] = []
        for number, (grad_NO, weight) in enumerate(zip(grads, weights, strict=True)):
            # The input's gradients from all projections are added up in one tensor.
            grad = grad_NO.contiguous()
            grad_x = multiply(grad, weight, grad_x, grad_x)

            # Input 0 is x; a weight and its bias follow for each projection.
            index = 1 + 2 * number
            is_trained, has_trained_bias = ctx.needs_input_grad[index : index + 2]
            weight_grads.append(_weight_gradient(grad, x_ND, weight.grad) if is_trained else None)
            weight_grads.append(grad.sum(0) if has_trained_bias else None)
        return grad_x, *weight_grads


def _weight_gradient(grad_NO: Tensor, x_ND: Tensor, sum_OD: Tensor | None) -> Tensor | None:
    """g^T x; None where it was added to the weight's `.grad`."""
    result = product(grad_NO.T, x_ND, sum_OD, sum_OD)
    return result if sum_OD is None else None


def normalise(x_XD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last dimension.

    weight_d x_d / sqrt(mean_d x_d^2 + eps)

    Args:
        x_XD: any shape before the last dimension.
        weight_D: the factors.
        eps: added to the mean square.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467, Eq. 4.
    """
    if not has_kernel("norm", x_XD.shape[-1], x_XD, weight_D):
        return F.rms_norm(x_XD, weight_D.shape, weight_D, eps)
    result: Tensor = _Norm.apply(x_XD, weight_D, eps)  # type: ignore[no-untyped-call]
    return result


class _Norm(torch.autograd.Function):
    """Saves its inputs, and 1 / rms of each row."""

    @staticmethod
    def forward(ctx: Any, x_XD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        x = x_XD.contiguous()
        weight = weight_D.contiguous()
        out = torch.empty_like(x)
        scale_X = x.new_empty(x.shape[:-1])
        call("norm", scale_X.numel(), x.shape[-1], eps, x, weight, out, scale_X)
        ctx.save_for_backward(x, weight, scale_X)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale_X = ctx.saved_tensors
        grad = grads[0].contiguous()
        grad_x = torch.empty_like(x)

        # The kernel adds to the weight's gradient, row by row.
        grad_weight = torch.zeros_like(weight)
        call("norm_backward", scale_X.numel(), len(weight), x, weight, scale_X, grad, grad_x, grad_weight)
        return grad_x, grad_weight, None


def swiglu(gate_NI: Tensor, up_NI: Tensor) -> Tensor:
    """The product silu(gate) * up.

    Source: Shazeer 2020, arXiv:2002.05202, Eq. 6.
    """
    width = gate_NI.shape[-1]
    if not has_kernel("swiglu", width, gate_NI, up_NI) and not _are_on_gpu(gate_NI, up_NI):
        return F.silu(gate_NI) * up_NI
    result: Tensor = _SwiGLU.apply(gate_NI, up_NI)  # type: ignore[no-untyped-call]
    return result


class _SwiGLU(torch.autograd.Function):
    """Saves its inputs alone."""

    @staticmethod
    def forward(ctx: Any, gate_NI: Tensor, up_NI: Tensor) -> Tensor:
        gate = gate_NI.contiguous()
        up = up_NI.contiguous()
        ctx.save_for_backward(gate, up)
        if gate.is_cuda:
            from aha.kernels.cuda import training as gpu_training

            return gpu_training.swiglu(gate, up)

        out = torch.empty_like(gate)
        call("swiglu", out.numel(), gate, up, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad = grads[0].contiguous()
        if gate.is_cuda:
            from aha.kernels.cuda import training as gpu_training

            return gpu_training.swiglu_backward(gate, up, grad)

        grad_gate = torch.empty_like(gate)
        grad_up = torch.empty_like(up)
        call("swiglu_backward", gate.numel(), gate, up, grad, grad_gate, grad_up)
        return grad_gate, grad_up


def rotate(x_NHK: Tensor, cos_NK: Tensor, sin_NK: Tensor) -> Tensor:
    """Rotary position embedding, the halves paired as in Llama and Qwen checkpoints.

    Args:
        x_NHK: queries or keys.
        cos_NK: cosines, [N, 1, K/2].
        sin_NK: sines, [N, 1, K/2].

    Source: RoFormer, arXiv:2104.09864, Eq. 34.
    """
    if _has_rotation(x_NHK, cos_NK, sin_NK):
        result: Tensor = _Rotary.apply(x_NHK, cos_NK, sin_NK)  # type: ignore[no-untyped-call]
        return result

    first, second = x_NHK.chunk(2, dim=-1)
    turned_first = first * cos_NK - second * sin_NK
    turned_second = second * cos_NK + first * sin_NK
    return torch.cat((turned_first, turned_second), dim=-1)


def _has_rotation(x_NHK: Tensor, cos_NK: Tensor, sin_NK: Tensor) -> bool:
    """Whether there is a kernel for a rotation: one angle for each token and pair, the same for all heads."""
    size = x_NHK.shape[-1]
    half = size // 2
    if cos_NK.shape != (len(x_NHK), 1, half):
        return False
    if has_kernel("rotary", size, x_NHK, cos_NK, sin_NK):
        return True

    # A Triton program works on a power of 2 of numbers.
    is_power_of_2 = half & (half - 1) == 0
    return is_power_of_2 and _are_on_gpu(x_NHK, cos_NK, sin_NK)


class _Rotary(torch.autograd.Function):
    """Saves the angles alone: the gradient of a rotation is the rotation by the opposite angle."""

    @staticmethod
    def forward(ctx: Any, x_NHK: Tensor, cos_NK: Tensor, sin_NK: Tensor) -> Tensor:
        ctx.save_for_backward(cos_NK, sin_NK)
        return _rotate(x_NHK, cos_NK, sin_NK, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos_NK, sin_NK = ctx.saved_tensors
        return _rotate(grads[0], cos_NK, sin_NK, -1.0), None, None


def _rotate(x_NHK: Tensor, cos_NK: Tensor, sin_NK: Tensor, sign: float) -> Tensor:
    """The rotation, computed by a kernel; with the sign -1 its inverse."""
    x = x_NHK.contiguous()
    cos = cos_NK.contiguous()
    sin = sin_NK.contiguous()
    if x.is_cuda:
        from aha.kernels.cuda import training as gpu_training

        return gpu_training.turned(x, cos, sin, sign)

    out = torch.empty_like(x)
    call("rotary", x.shape[0], x.shape[1], cos.shape[-1], sign, x, cos, sin, out)
    return out
