"""How much a stage of reinforcement learning computes at once: what its memory follows from."""

from aha.policy.config import PolicyConfig
from aha.stages.config import RLConfig
from aha.training.memory import Workload, decoded_rows

__all__ = ["MICRO_BATCH", "PROMPT_TOKENS", "workload"]

MICRO_BATCH = 1024
"""Tokens of a micro-batch; a longer response is one by itself. On the CPU more tokens take more memory and no less
time."""

PROMPT_TOKENS = 512
"""Tokens that a prompt is taken to have where memory is estimated."""


def workload(shape: PolicyConfig, config: RLConfig, *, num_processes: int = 1) -> Workload:
    """How much a process of this stage computes at once.

    Args:
        shape: of the policy.
        config: the hyper-parameters.
        num_processes: processes that share the work.
    """
    longest, size = config.max_new_tokens + PROMPT_TOKENS, 2 if config.optimizer.precision == "bfloat16" else 4
    share = config.group_size * config.problems_per_iteration // num_processes
    num_rows = min(decoded_rows(shape, longest, size=size), max(config.group_size, share))
    return Workload(
        micro_batch_tokens=MICRO_BATCH,
        sequence_tokens=longest,
        num_rows=num_rows,
        has_reference=config.kl_coef > 0,
    )
