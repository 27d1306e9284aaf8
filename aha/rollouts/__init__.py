"""Rollouts (o_i): engines that sample responses from a policy, and endpoints of other models."""

__all__ = ["cache", "compiled", "decoder", "endpoint", "engine", "local", "plain", "sampling", "slots"]
