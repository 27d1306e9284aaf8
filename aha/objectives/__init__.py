"""Objectives (J): what training minimises. GRPO (DeepSeek-R1, Eq. 1), KL (Eq. 2), supervised; tensors only."""

__all__ = [
    "grpo",
    "kl",
    "reductions",
    "reinforce",
    "reward_model",
    "supervised",
]
