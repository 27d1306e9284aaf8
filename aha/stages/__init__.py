"""Stages: one loop per verb. Pretraining, reinforcement learning (the paper's section 2.2), evaluation."""

__all__ = [
    "assistance",
    "config",
    "doctor",
    "evaluate",
    "groups",
    "harvest",
    "labelling",
    "minibatches",
    "preference",
    "pretrain",
    "rejection",
    "rl",
    "rl_state",
    "run",
    "sft",
    "timeline",
    "updates",
    "workload",
]
