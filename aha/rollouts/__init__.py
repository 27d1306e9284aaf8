"""Rollouts (o_i): engines that sample responses from a policy."""

__all__ = ["cache", "engine", "local", "sampling"]
