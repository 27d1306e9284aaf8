"""Advantages (A_i): how much better a rollout was than expected. DeepSeek-R1, Eq. 3, and relatives; tensors only."""

__all__ = [
    "group",
]
