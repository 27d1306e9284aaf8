"""Engines: they sample rollouts (o_i) from a policy; endpoints of other models."""

__all__ = [
    "batch",
    "cache",
    "compiled",
    "decoder",
    "endpoint",
    "engine",
    "graphed",
    "local",
    "plain",
    "sampling",
    "slots",
    "stopping",
]
