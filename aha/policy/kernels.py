"""The kernels of training in C, by name; `aha.policy.fused` and `aha.policy.attention` make functions of them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from aha.policy.compiled import functions

__all__ = ["are_fit", "call"]

_SIGNATURES = {
    "kernels": {
        "lanes": ":i",
        "norm": "iifpppp",
        "norm_backward": "iipppppp",
        "swiglu": "ippp",
        "swiglu_backward": "ippppp",
        "rotary": "iiifpppp",
        "take_rows": "iiippp",
        "product_scratch": "iii:i",
        "product": "iiipiipiipipp",
    },
    "attention": {
        "attention_scratch": "ii:i",
        "attention": "ipppppppp",
        "attention_backward": "ipppppppppppp",
    },
}
"""What each kernel of a file takes and returns, as `aha.policy.compiled.functions` has it."""


@cache
def _kernels() -> dict[str, Callable[..., int]] | None:
    """The kernels by name; None where there are none."""
    kernels: dict[str, Callable[..., int]] = {}
    for file, signatures in _SIGNATURES.items():
        found = functions(file, signatures)
        if found is None:
            return None
        kernels |= found
    return kernels


@cache
def _lanes() -> int:
    """Figures that a kernel takes at a time: the sizes it is given are multiples. 0 where there are no kernels."""
    kernels = _kernels()
    return kernels["lanes"]() if kernels is not None else 0


def are_fit(size: int, *tensors: Tensor) -> bool:
    """Whether there are kernels for these tensors, the last dimension of which is cut into parts of a size."""
    is_plain = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
    lanes = _lanes() if is_plain else 0
    return lanes > 0 and size % lanes == 0


def call(name: str, *arguments: Any) -> int:
    """Call a kernel with numbers and contiguous tensors."""
    kernels = _kernels()
    assert kernels is not None
    return kernels[name](*[given.data_ptr() if isinstance(given, Tensor) else given for given in arguments])
