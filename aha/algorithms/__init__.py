"""Algorithms: how rewards become gradients. One file each: its settings, its actors, its signals and its loss."""

__all__ = [
    "algorithm",
    "catalogue",
    "dr_grpo",
    "grpo",
    "grpo_sequence",
    "rloo",
]
