"""Recipes: the paper's figures as functions whose arrows are variables, and the scales at which they run."""

__all__ = [
    "adapted_model",
    "base_model",
    "catalogue",
    "distill",
    "fitting",
    "own",
    "pretraining_recipe",
    "r1",
    "r1_zero",
    "recipe",
    "rejection",
    "reward_model",
    "scales",
    "sft",
    "zero_recipe",
]
