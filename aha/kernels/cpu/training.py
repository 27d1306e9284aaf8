"""The kernels of training in C, by name; `aha.kernels.ops` and `aha.kernels.attention` make functions of them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from aha.kernels.cpu.compiled import built_for, functions
from aha.kernels.cpu.instructions import Width

__all__ = ["call", "has_kernel"]

_SIGNATURES = {
    "kernels": {
        "norm": "iifpppp",
        "norm_backward": "iipppppp",
        "swiglu": "ippp",
        "swiglu_backward": "ippppp",
        "rotary": "iiifpppp",
        "product_scratch": "iii:i",
        "product": "iiipiipiipipp",
    },
    "attention": {
        "attention_scratch": "ii:i",
        "attention": "ipppppppp",
        "attention_backward": "ipppppppppppp",
    },
}
"""What each kernel of a file takes and returns, as `aha.kernels.cpu.compiled.functions` has it."""


@cache
def _kernels() -> dict[str, Callable[..., int]] | None:
    """The kernels by name; None where there are none."""
    kernels: dict[str, Callable[..., int]] = {}
    for file, signatures in _SIGNATURES.items():
        kernels_of_file = functions(file, signatures)
        if kernels_of_file is None:
            return None
        kernels |= kernels_of_file
    return kernels


def has_kernel(width: Width, count: int, *tensors: Tensor) -> bool:
    """Whether there is a kernel for a width of `count` numbers, and it can take these tensors."""
    if any(tensor.dtype != torch.float32 or tensor.device.type != "cpu" for tensor in tensors):
        return False

    # Asked last: the first question builds the libraries, which a process without float32 tensors never needs.
    instructions = built_for(*_SIGNATURES)
    return instructions is not None and instructions.has_kernel(width, count)


def call(name: str, *arguments: Any) -> int:
    """Call a kernel with numbers and contiguous tensors."""
    kernels = _kernels()
    assert kernels is not None, "`has_kernel` says whether a kernel may be called"

    values = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    return kernels[name](*values)
