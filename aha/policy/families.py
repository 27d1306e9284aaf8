"""The families of policies: which class a configuration belongs to."""

from typing import get_args

from aha.policy.config import DenseConfig, HFConfig, ModelType, PolicyConfig
from aha.policy.hf.model import HFPolicy
from aha.policy.policy import Policy
from aha.policy.transformer import Transformer

__all__ = ["make_policy", "slowness"]


def make_policy(config: PolicyConfig) -> Policy:
    """A policy of this shape, with some initial values, to be read or drawn.

    Args:
        config: the shape; its class says the family.

    Raises:
        ValueError: no family has such a configuration.
    """
    if isinstance(config, DenseConfig):
        return Transformer(config)
    if isinstance(config, HFConfig):
        return HFPolicy(config)

    kind = type(config).__name__
    raise ValueError(f"there is no family of policies for a {kind} ({config.model_type!r})")


def slowness(config: PolicyConfig) -> str:
    """What a user has to know of how fast a policy of this shape is; empty where there is nothing to say."""
    if not isinstance(config, HFConfig):
        return ""
    *others, last = get_args(ModelType)
    return (
        f"{config.model_type} is run through transformers: it samples and trains on the plain path, which is slower "
        f"than the kernels of {', '.join(others)} and {last}"
    )
