"""Recipes: the paper's figures as functions whose arrows are variables, and the scales at which they run."""

__all__ = [
    "assignment",
    "assistant",
    "base_model",
    "examination",
    "own_data",
    "prompt_lengths",
    "r1",
    "r1_scales",
    "r1_zero",
    "references",
    "rewards",
    "scales",
    "students",
]
