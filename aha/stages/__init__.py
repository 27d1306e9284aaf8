"""Stages: one loop per verb. Pretraining, reinforcement learning (the paper's section 2.2), evaluation."""

__all__ = [
    "config",
    "doctor",
    "evaluate",
    "groups",
    "harvests",
    "metrics",
    "minibatches",
    "pretrain",
    "reward_models",
    "rl",
    "rl_state",
    "run",
    "sft",
    "task",
    "timeline",
    "training_state",
    "updates",
]
