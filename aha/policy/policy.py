"""What the rest of the program may know of a model: the `Policy`, and the `Context` that its attention asks.

A family of models (`aha.policy.transformer` is the dense one) derives from `Policy`, and its configuration from
`PolicyConfig`. Sampling, scoring, training and recomputation of layers use nothing of a model but what is defined here.
"""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn

from aha.policy.config import CacheSpec, PolicyConfig

__all__ = ["Context", "Policy"]


class Context(Protocol):
    """What attends to what: a layout of sequences that are scored, or the cache of an engine that decodes."""

    def attend(self, layer: int, q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor, scale: float) -> Tensor:
        """Attention of the forward pass's tokens to all that each of them may see.

        softmax(scale q k^T) v

        Grouped-query attention has the key-value heads of the checkpoint, and M = K. Latent attention has a single
        key-value head, whose value is the beginning of its key.

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


class Policy(nn.Module, ABC):
    """A model that gives each next token a probability.

    Parameters have the names of the family's checkpoints, such as `model.embed_tokens` and `model.layers.N...`.

    Attributes:
        config: its shape.
        head_name: name of the output head, a plain projection without a bias; its weight may be the embedding's.
    """

    config: PolicyConfig
    head_name: str = "lm_head"

    @abstractmethod
    def forward(self, tokens_N: Tensor, positions_N: Tensor, context: Context) -> Tensor:
        """Hidden states after the last norm.

        Args:
            tokens_N: token ids, int64, of one or several sequences end to end.
            positions_N: position of each token in its own sequence, from 0.
            context: what attends to what.

        Returns:
            [N, D]; the logits of the next token are `hidden @ head_VD.T`.
        """

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The layers in their order; one may be replaced by another module that computes the same."""

    @property
    def head_VD(self) -> Tensor:
        """Weight of the output head, [V, D]: scoring multiplies with it in parts, so that [N, V] never exists."""
        return self.get_parameter(f"{self.head_name}.weight")

    def cache_spec(self) -> CacheSpec:
        """What is stored of each token while decoding."""
        return self.config.cache_spec()
