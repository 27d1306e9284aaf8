"""Stages: one loop per verb. Pretraining, reinforcement learning (the paper's section 2.2), evaluation."""

__all__ = [
    "assistance",
    "config",
    "diagnosis",
    "doctor",
    "evaluate",
    "findings_after_sampling",
    "findings_before_sampling",
    "groups",
    "harvest",
    "labelling",
    "minibatches",
    "preference",
    "pretrain",
    "rejection",
    "rl",
    "run",
    "sft",
    "timeline",
    "updates",
    "workload",
]
