"""The families of policies: which class a configuration belongs to."""

from aha.policy.config import DenseConfig, PolicyConfig
from aha.policy.policy import Policy
from aha.policy.transformer import Transformer

__all__ = ["make_policy"]


def make_policy(config: PolicyConfig) -> Policy:
    """A policy of this shape, with some initial values, to be read or drawn.

    Args:
        config: the shape; its class says the family.

    Raises:
        ValueError: no family has such a configuration.
    """
    if isinstance(config, DenseConfig):
        return Transformer(config)

    kind = type(config).__name__
    raise ValueError(f"there is no family of policies for a {kind} ({config.model_type!r})")
