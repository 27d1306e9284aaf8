"""Rollouts (o_i): engines that sample responses from a policy, and endpoints of other models."""

__all__ = [
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
