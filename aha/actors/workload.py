"""How much an actor computes at once: what its memory follows from."""

from dataclasses import dataclass

import torch

from aha.policy.config import PolicyConfig
from aha.training.config import OptimizerConfig
from aha.training.memory import Workload, decoded_rows

__all__ = ["PROMPT_TOKENS", "Demand", "micro_batch_tokens", "workload"]

MICRO_BATCH = {"cpu": 2560, "cuda": 16384}
"""Tokens of a micro-batch by device. On the CPU more tokens take more memory and no less time; on a GPU fewer leave it
idle."""

PROMPT_TOKENS = 512
"""Tokens that a prompt is taken to have where memory is estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a stage asks of a model that it trains, whatever it computes on.

    Attributes:
        sequence_tokens: tokens of the longest prompt with its response.
        micro_batch_tokens: tokens of a micro-batch; the device's own number where None.
        num_responses: responses sampled in an iteration, by all processes together; 0 where nothing is sampled.
        group_size: responses to one prompt.
        has_reference: whether a reference policy is held beside the model.
    """

    sequence_tokens: int
    micro_batch_tokens: int | None = None
    num_responses: int = 0
    group_size: int = 1
    has_reference: bool = False

    def micro_batch_on(self, device: torch.device) -> int:
        """Tokens of a micro-batch on a device."""
        return self.micro_batch_tokens or micro_batch_tokens(device)


def micro_batch_tokens(device: torch.device) -> int:
    """Tokens of a micro-batch on a device; a longer response is a micro-batch by itself."""
    return MICRO_BATCH.get(device.type, MICRO_BATCH["cpu"])


def workload(
    shape: PolicyConfig, demand: Demand, optimizer: OptimizerConfig, device: torch.device, *, num_processes: int = 1
) -> Workload:
    """How much one of several processes computes at once.

    Args:
        shape: of the policy.
        demand: what the stage asks for.
        optimizer: how the policy is trained.
        device: where the process computes.
        num_processes: processes that share the work.
    """
    num_rows = 0
    if demand.num_responses:
        # Bytes of a number in the cache, which has the type of the weights.
        size = 2 if optimizer.precision == "bfloat16" else 4
        capacity = decoded_rows(shape, demand.sequence_tokens, size=size, device=device)
        share = demand.num_responses // num_processes
        num_rows = min(capacity, max(demand.group_size, share))

    return Workload(
        micro_batch_tokens=demand.micro_batch_on(device),
        sequence_tokens=demand.sequence_tokens,
        num_rows=num_rows,
        has_reference=demand.has_reference,
        num_processes=num_processes,
    )
