"""Training: batches, the learner that descends any objective, checkpoints."""

__all__ = [
    "adamw8bit",
    "batch",
    "checkpoint",
    "config",
    "cost",
    "learner",
    "memory",
    "optimizer",
    "packing",
    "world",
]
