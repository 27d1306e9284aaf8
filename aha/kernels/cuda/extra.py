"""Triton, which comes with torch's builds for CUDA: the one module that imports it.

`TRITON_INTERPRET=1` runs kernels on the CPU, where they are tested.
"""

from typing import Any

import triton
import triton.language as tl

__all__ = ["cdiv", "jit", "next_power_of_2", "tl"]

jit: Any = triton.jit
"""Make a kernel of a function."""

cdiv = triton.cdiv
next_power_of_2 = triton.next_power_of_2
