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
    weights = [linear.weight for linear in linears]
    biases = [linear.bias for linear in linears if linear.bias is not None]
    return _join(weights), _join(biases) if biases else None


def _join(parts: Sequence[Tensor]) -> Tensor:
    """One tensor of several along their first dimension, of which they become views."""
    first = parts[0]
    storage = first.untyped_storage()
    address = first.data_ptr()
    is_joined = True
    for part in parts:
        is_joined &= part.is_contiguous() and part.data_ptr() == address
        address += part.numel() * part.element_size()

    # Two tensors may be neighbours by chance: they are one only within one storage.
    lengths = [len(part) for part in parts]
    if is_joined and storage.nbytes() >= address - storage.data_ptr():
        return first.detach().as_strided((sum(lengths), *first.shape[1:]), first.stride())

    # A tensor that is made in inference mode can never have a gradient: parameters must not become such ones.
    with torch.inference_mode(mode=False), torch.no_grad():
        whole = torch.cat([part.detach() for part in parts])
        for part, view in zip(parts, torch.split(whole, lengths), strict=True):
            part.data = view
        return whole
