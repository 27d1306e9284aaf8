"""Recipes: the paper's figures as functions whose arrows are variables, and the scales at which they run."""

__all__ = [
    "assignment",
    "assistant",
    "audits",
    "base_model",
    "benchmark",
    "disk",
    "doctor",
    "evaluation",
    "examination",
    "own_data",
    "processes",
    "prompt_lengths",
    "r1",
    "r1_scales",
    "r1_zero",
    "references",
    "rewards",
    "running",
    "scales",
    "students",
]
