"""Weights that are used together, laid next to each other, so that one matrix product serves them all."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["adjacent"]


def adjacent(linears: Sequence[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of layers that have one input, as those of one layer: views of their parameters.

    Parameters that do not lie next to each other yet are moved, once; they stay the same parameters, and may be updated
    in place.

    Args:
        linears: the layers; all with a bias, or none.

    Returns:
        The weight, [sum of outputs, D], and the bias, [sum of outputs].
    """
    biases = [linear.bias for linear in linears if linear.bias is not None]
    return _joined([linear.weight for linear in linears]), _joined(biases) if biases else None


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One tensor of several along their first dimension, in place."""
    place = parts[0].data_ptr()
    is_joined = True
    for part in parts:
        is_joined &= part.is_contiguous() and part.data_ptr() == place
        place += part.numel() * part.element_size()
    total = sum(len(part) for part in parts)
    if is_joined and parts[0].untyped_storage().nbytes() >= place - parts[0].untyped_storage().data_ptr():
        return parts[0].detach().as_strided((total, *parts[0].shape[1:]), parts[0].stride())
    with torch.inference_mode(mode=False), torch.no_grad():  # parameters must not become tensors of inference
        whole = torch.cat([part.detach() for part in parts])
        for part, view in zip(parts, torch.split(whole, [len(part) for part in parts]), strict=True):
            part.data = view
        return whole
