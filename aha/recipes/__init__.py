"""Recipes: the paper's figures as functions whose arrows are variables, and the scales at which they run."""

__all__ = [
    "assignment",
    "assistant",
    "base_model",
    "catalogue",
    "examination",
    "own_data",
    "positions",
    "pretraining_recipe",
    "prompt_lengths",
    "r1",
    "r1_recipe",
    "r1_scales",
    "r1_zero",
    "recipe",
    "references",
    "rewards",
    "scales",
    "sft",
    "students",
    "zero_recipe",
]
