"""Recipes: the paper's figures as functions whose arrows are variables, and the scales at which they run."""

__all__ = ["base_model", "evaluation", "r1_zero", "running", "scales"]
