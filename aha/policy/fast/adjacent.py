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
    weight = _join([linear.weight for linear in linears])
    biases = [linear.bias for linear in linears if linear.bias is not None]
    if not biases:
        return weight, None
    return weight, _join(biases)


def _join(parts: Sequence[Tensor]) -> Tensor:
    """One tensor of several along their first dimension, of which they become views."""
    lengths = [len(part) for part in parts]
    if _are_adjacent(parts):
        first = parts[0]
        return first.detach().as_strided((sum(lengths), *first.shape[1:]), first.stride())

    # A tensor that is made in inference mode can never have a gradient: parameters must not become such ones.
    with torch.inference_mode(mode=False), torch.no_grad():
        whole = torch.cat([part.detach() for part in parts])
        for part, view in zip(parts, torch.split(whole, lengths), strict=True):
            part.data = view
        return whole


def _are_adjacent(parts: Sequence[Tensor]) -> bool:
    """Whether tensors follow on each other in one storage."""
    storage = parts[0].untyped_storage()
    address = parts[0].data_ptr()
    for part in parts:
        if not part.is_contiguous() or part.data_ptr() != address:
            return False
        address += part.nbytes

    # Two tensors may be neighbours by chance: they are one only within one storage.
    return address <= storage.data_ptr() + storage.nbytes()
