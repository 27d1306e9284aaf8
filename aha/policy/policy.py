"""What the rest of the program may know of a model."""

from typing import Protocol

from torch import Tensor

__all__ = ["Context"]


class Context(Protocol):
    """What attends to what: a layout of sequences that are scored, or the cache of an engine that decodes."""

    def attend(self, layer: int, q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor, scale: float) -> Tensor:
        """Attention of the forward pass's tokens to all that each of them may see.

        softmax(scale q k^T) v

        Grouped-query attention has as many key-value heads as the checkpoint says and M = K. Latent attention has one,
        whose value is the beginning of its key.

        Args:
            layer: number of the layer, from 0.
            q_NHK: queries; their H heads are a multiple of the J key-value heads, which they share in order.
            k_NJK: keys.
            v_NJM: values.
            scale: of the scores; 1/sqrt of a head's size, as the family defines it.

        Returns:
            [N, H, M].
        """
        ...
