"""The family of policies that `transformers` computes: any architecture whose attention is one that a `Context` has."""

from typing import Any

from torch import Tensor, nn

from aha.policy.config import HFConfig
from aha.policy.hf.attention import hidden_states
from aha.policy.hf.library import causal_model, parts_of, settings_of
from aha.policy.policy import Context, Policy

__all__ = ["HFPolicy"]


class HFPolicy(Policy):
    """A policy that `transformers` computes. Its parameters have the names that they have there.

    Attributes:
        config: its shape, and the config.json that it comes from.
        head_name: name of the output head.
    """

    config: HFConfig

    def __init__(self, config: HFConfig, model: Any = None) -> None:
        """Take a model of `transformers`.

        Args:
            config: its shape.
            model: the language model, from `causal_model`; where None, one with some initial values is made.
        """
        super().__init__()
        self.config = config
        if model is None:
            model, _ = causal_model(settings_of(config.described, is_tied=config.tie_word_embeddings))

        parts = parts_of(model, config.num_hidden_layers)
        self.head_name = parts.head
        self._parts = parts

        # The parts of the model under their own names. In a tuple: as a module, it would have each of them once more.
        self._model = (model,)
        for name, part in model.named_children():
            self.add_module(name, part)

    @property
    def library_model(self) -> Any:
        """The language model of `transformers`, with the same parameters."""
        (model,) = self._model
        return model

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, as the backbone runs through them."""
        layers = self.get_submodule(self._parts.layers)
        assert isinstance(layers, nn.ModuleList)
        return layers

    def forward(self, tokens_N: Tensor, positions_N: Tensor, context: Context) -> Tensor:
        """Hidden states after the last norm, [N, D], as `Policy.forward` says."""
        return hidden_states(self.get_submodule(self._parts.backbone), tokens_N, positions_N, context)
