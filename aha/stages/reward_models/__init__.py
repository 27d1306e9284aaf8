"""Reward models: what responses are worth, learned from preferences."""

__all__ = [
    "sources",
    "train",
]
