"""A policy that is ready to be trained as its configuration says: type, device, adapters, recomputed layers."""

from pathlib import Path

import torch

from aha.policy.checkpointing import checkpoint_activations
from aha.policy.config import PolicyConfig
from aha.policy.lora import add_lora, frozen_twin
from aha.policy.policy import Policy
from aha.prompts.tokenizer import Tokenizer
from aha.training.checkpoint import read_model
from aha.training.config import OptimizerConfig, Precision
from aha.training.memory import (
    GIB,
    Workload,
    available_bytes,
    describe,
    estimate,
)

__all__ = ["DTYPES", "memory_notice", "read_reference", "read_trainable"]

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Types of the weights that compute."""

ANNOUNCED_ABOVE = 4 * GIB
"""What a stage needs is told where it is more than this, bytes."""


def read_trainable(
    start: Path,
    saved: Path | None,
    config: OptimizerConfig,
    *,
    device: torch.device,
    seed: int,
    max_tokens: int,
    num_processes: int = 1,
) -> tuple[Policy, Tokenizer]:
    """Read the policy of a stage, and prepare it.

    Args:
        start: the model folder that the stage starts from.
        saved: the checkpoint where it goes on; None at its start.
        config: how it is trained.
        device: where it computes.
        seed: of the adapters.
        max_tokens: tokens of a micro-batch; decides with the memory whether layers are recomputed.
        num_processes: processes that share the work, and the memory of a CPU.

    Returns:
        The policy and its tokenizer. Adapters are as at the start of the stage: the optimizer's state has their values.

    Raises:
        ValueError: a folder is not usable, or the policy has no projection that is to be adapted.
    """
    dtype = DTYPES[config.precision]

    # A checkpoint holds the merged weights of a policy with adapters, which are not what they were added to.
    lora = config.lora
    folder = start
    if saved is not None and not lora.rank:
        folder = saved
    policy, tokenizer = read_model(folder, device=device, dtype=dtype)

    # A reference is counted whether there is one or not: to recompute without need costs time, and no memory.
    load = Workload(
        micro_batch_tokens=max_tokens,
        sequence_tokens=max_tokens,
        has_reference=True,
        num_processes=num_processes,
    )
    if estimate(policy.config, config, load, device).recomputes:
        checkpoint_activations(policy)

    # After the layers were wrapped: their modules keep their names, so that the targets are the same.
    if lora.rank:
        generator = torch.Generator().manual_seed(seed)
        add_lora(policy, rank=lora.rank, alpha=lora.alpha, targets=lora.targets, generator=generator)
    return policy, tokenizer


def read_reference(start: Path, policy: Policy, config: OptimizerConfig, *, device: torch.device) -> Policy:
    """The policy as it starts, not to be trained: a second copy, or the frozen weights with other adapters.

    Args:
        start: the model folder that the stage starts from.
        policy: what `read_trainable` made of it.
        config: how it is trained.
        device: where it computes.
    """
    if config.lora.rank:
        return frozen_twin(policy)

    # Where the policy goes on from a checkpoint, the stage restores from it what the reference had become.
    reference, _ = read_model(start, device=device, dtype=DTYPES[config.precision])
    return reference


def memory_notice(config: PolicyConfig, optimizer: OptimizerConfig, load: Workload, device: torch.device) -> str:
    """What a stage that is about to begin needs, in words, against what its device has; empty where it is little."""
    needed = estimate(config, optimizer, load, device)
    if needed.peak <= ANNOUNCED_ABOVE:
        return ""

    return describe(needed, available_bytes(device))
