"""Kernels in C and Triton; `ops` chooses among them. They know tensors, and no model."""

__all__ = [
    "attention",
    "cpu",
    "cuda",
    "ops",
]
