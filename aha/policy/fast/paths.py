"""Which fast path can serve a policy: decided here, for all of them.

| path | what it computes | serves |
|---|---|---|
| packed, in C | decoding, scoring without a gradient | float32 on the CPU, sizes in whole vectors, to `MAX_BYTES` |
| graphed, on a GPU | decoding | heads of a power of 2, at least `SMALLEST_HEAD`, with Triton |

Both know the dense family, as long as all of its parts are its own: no adapters, say. Any other policy takes the plain
path. Inside a layer, `aha.kernels.ops` and `aha.policy.layout` choose kernels by the tensors that they are given.
"""

from typing import TypeGuard

import torch
from torch import nn

from aha.kernels.cpu.compiled import built_for, has_gpu_kernels
from aha.policy.blocks import Backbone, Block, FeedForward, RMSNorm
from aha.policy.checkpointing import RecomputedLayer
from aha.policy.config import DenseConfig, PolicyConfig
from aha.policy.policy import Policy
from aha.policy.transformer import Attention, Transformer

__all__ = ["MAX_BYTES", "can_be_graphed", "can_be_packed", "has_packed_sizes", "is_dense"]

MAX_BYTES = 1 << 30
"""Weights above this are not copied into panels: at that size torch is as fast."""

SMALLEST_HEAD = 16
"""Size of a head that a matrix product of the GPU's kernels takes, at least."""

_DENSE_PARTS = (Transformer, Backbone, Block, Attention, FeedForward, RMSNorm, RecomputedLayer)
_TORCH_PARTS = (nn.ModuleList, nn.Embedding, nn.Linear, nn.Identity)
"""What the fast paths know how to compute."""


def is_dense(policy: Policy) -> TypeGuard[Transformer]:
    """Whether a policy is of the dense family, and all of its parts are that family's own."""
    # By exact type: a subclass may compute something else.
    return all(type(module) in (*_DENSE_PARTS, *_TORCH_PARTS) for module in policy.modules())


def can_be_packed(policy: Policy) -> TypeGuard[Transformer]:
    """Whether `aha.policy.fast.packed.PackedPolicy` computes this policy."""
    num_bytes = 0
    for weight in policy.parameters():
        if weight.dtype != torch.float32 or weight.device.type != "cpu":
            return False
        num_bytes += weight.nbytes
    return is_dense(policy) and has_packed_sizes(policy.config, num_bytes)


def has_packed_sizes(config: PolicyConfig, num_bytes: int) -> bool:
    """Whether there are kernels in C for the sizes of a policy.

    Args:
        config: its shape.
        num_bytes: of its weights, in float32.
    """
    instructions = built_for("decode")
    if instructions is None or not isinstance(config, DenseConfig) or num_bytes > MAX_BYTES:
        return False
    return (
        instructions.has_kernel("packed hidden", config.hidden_size)
        and instructions.has_kernel("packed head", config.head_dim)
        and instructions.has_kernel("packed intermediate", config.intermediate_size)
    )


def can_be_graphed(policy: Policy) -> TypeGuard[Transformer]:
    """Whether `aha.engines.graphed.GraphedDecoder` computes this policy."""
    if not policy.head_VD.is_cuda or not has_gpu_kernels() or not is_dense(policy):
        return False

    size = policy.config.head_dim
    is_power_of_2 = size & (size - 1) == 0
    return is_power_of_2 and size >= SMALLEST_HEAD
