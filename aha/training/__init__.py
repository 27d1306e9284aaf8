"""Training: batches, the learner that descends any objective, checkpoints."""

__all__ = ["batch", "checkpoint", "config", "cost", "learner", "optimizer", "packing", "world"]
