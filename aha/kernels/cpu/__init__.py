"""Kernels in C, compiled for this processor when they are first needed."""

__all__ = [
    "allocation",
    "compiled",
    "instructions",
    "training",
]
