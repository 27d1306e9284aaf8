"""How much a stage of reinforcement learning computes at once: what its memory follows from."""

import torch

from aha.policy.config import PolicyConfig
from aha.stages.config import RLConfig
from aha.training.memory import Workload, decoded_rows

__all__ = ["PROMPT_TOKENS", "micro_batch_tokens", "workload"]

MICRO_BATCH = {"cpu": 2560, "cuda": 16384}
"""Tokens of a micro-batch by device. On the CPU more tokens take more memory and no less time; on a GPU fewer leave it
idle."""

PROMPT_TOKENS = 512
"""Tokens that a prompt is taken to have where memory is estimated."""


def micro_batch_tokens(device: torch.device) -> int:
    """Tokens of a micro-batch on a device; a longer response is one by itself."""
    return MICRO_BATCH.get(device.type, MICRO_BATCH["cpu"])


def workload(shape: PolicyConfig, config: RLConfig, device: torch.device, *, num_processes: int = 1) -> Workload:
    """How much a process of this stage computes at once.

    Args:
        shape: of the policy.
        config: the hyper-parameters.
        device: where it computes.
        num_processes: processes that share the work.
    """
    longest, size = config.max_new_tokens + PROMPT_TOKENS, 2 if config.optimizer.precision == "bfloat16" else 4
    share = config.group_size * config.problems_per_iteration // num_processes
    num_rows = min(decoded_rows(shape, longest, size=size, device=device), max(config.group_size, share))
    return Workload(
        micro_batch_tokens=micro_batch_tokens(device),
        sequence_tokens=longest,
        num_rows=num_rows,
        has_reference=config.kl_coef > 0,
    )
