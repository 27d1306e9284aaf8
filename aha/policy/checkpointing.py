"""Activation checkpointing: a layer stores only its input, and is computed once more for its gradient.

It changes memory and time, and no bit of a value or a gradient.

Source: Chen et al. 2016, arXiv:1604.06174.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aha.policy.policy import Policy

__all__ = ["RecomputedLayer", "checkpoint_activations"]


class RecomputedLayer(nn.Module):
    """A layer that is recomputed in the backward pass; its parameters keep their names."""

    def __init__(self, layer: nn.Module) -> None:
        """Take a layer."""
        super().__init__()

        # The layer's own modules, parameters and buffers, so that they have the same names in a checkpoint, and what
        # else whoever runs through the layers may read of them. Its hooks stay its own.
        own = vars(self)
        for name, value in vars(layer).items():
            if name in ("_modules", "_parameters", "_buffers") or name not in own:
                own[name] = value

        # In a tuple: a module that is an attribute would add its own name to those of its parameters.
        self._layer = (layer,)

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """What the layer computes."""
        (layer,) = self._layer
        out: Tensor
        if torch.is_grad_enabled():
            # Nothing in a layer draws random numbers, so that their state need not be restored.
            out = checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False, **options)
        else:
            out = layer(*inputs, **options)
        return out


def checkpoint_activations(policy: Policy) -> None:
    """Recompute every layer of a policy in the backward pass, from now on; a second call changes nothing."""
    layers = policy.layers
    for number, layer in enumerate(layers):
        if not isinstance(layer, RecomputedLayer):
            layers[number] = RecomputedLayer(layer)
