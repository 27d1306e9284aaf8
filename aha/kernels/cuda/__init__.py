"""Kernels for CUDA in Triton, and FlashAttention."""

__all__ = [
    "decoding",
    "extra",
    "flash",
    "training",
]
