"""Optimizers and the schedule of their learning rate."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from aha.training.adamw8bit import FUSED_ON, AdamW8bit, MasterAdamW
from aha.training.config import FOR_POLICIES, OptimizerConfig

__all__ = ["adamw", "learning_rate_factor", "muon_and_adamw", "set_learning_rate"]


def learning_rate_factor(step: int, total_steps: int, config: OptimizerConfig) -> float:
    """Share of the base learning rate at a step: linear warm-up, then a cosine down to `final_share`.

    Args:
        step: updates done so far.
        total_steps: updates of the stage.
        config: warm-up and final share.
    """
    # The first update has a rate already: with a factor of 0 it would do nothing.
    num_warmup = config.warmup_steps
    warmup = min(1.0, (step + 1) / num_warmup) if num_warmup else 1.0

    num_after_warmup = max(1, total_steps - num_warmup)
    progress = max(0.0, step - num_warmup) / num_after_warmup

    # A stage that goes on behind its planned end stays at the final share: the cosine would rise again.
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warmup * (config.final_share + (1 - config.final_share) * cosine)


def set_learning_rate(optimizers: Sequence[Optimizer], factor: float) -> None:
    """Set every group's learning rate to its base rate times a factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor


def adamw(policy: nn.Module, config: OptimizerConfig) -> list[Optimizer]:
    """AdamW for everything that is trained; norms and biases without weight decay.

    Args:
        policy: the policy; its frozen parameters are left out.
        config: rates, and how the moments are held.

    Raises:
        ValueError: the policy is not what the configuration says: it has no adapters, or computes in another type.

    Source: arXiv:1711.05101. The papers do not say which optimizer RL used.
    """
    _check_fits(policy, config)
    rate = config.learning_rate
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    matrices = [weight for weight in weights if weight.dim() > 1]
    vectors = [weight for weight in weights if weight.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay, "base_lr": rate},
        {"params": vectors, "weight_decay": 0.0, "base_lr": rate},
    ]
    betas = (config.beta1, config.beta2)

    if config.state == "8-bit":
        return [AdamW8bit(groups, rate, betas=betas)]
    if config.state == "host":
        return [MasterAdamW(groups, rate, betas=betas, device="cpu")]
    if config.precision == "bfloat16" or config.lora.rank:
        return [MasterAdamW(groups, rate, betas=betas)]

    # The fused form passes over memory once; the plain one briefly needs twice the memory of the largest weight.
    is_fused = all(weight.device.type in FUSED_ON for weight in weights)
    return [AdamW(groups, lr=rate, betas=betas, eps=1e-8, fused=is_fused)]


def _check_fits(policy: nn.Module, config: OptimizerConfig) -> None:
    """Refuse settings that the policy was not prepared for: ignored, they would be believed.

    Raises:
        ValueError: there are such settings.
    """
    frozen = [weight for weight in policy.parameters() if not weight.requires_grad]
    if bool(config.lora.rank) != bool(frozen):
        raise ValueError(
            f"lora.rank is {config.lora.rank}, but {len(frozen)} parameters of the model are frozen: adapters are "
            f"{FOR_POLICIES}; set lora.rank to 0 elsewhere"
        )

    is_half = any(weight.dtype == torch.bfloat16 for weight in policy.parameters())
    if is_half != (config.precision == "bfloat16"):
        raise ValueError(
            f"precision is {config.precision!r}, but the model {'has' if is_half else 'has no'} bfloat16 weights: "
            f"bfloat16 is {FOR_POLICIES}; set precision to 'float32' elsewhere"
        )


def muon_and_adamw(policy: nn.Module, config: OptimizerConfig) -> list[Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding, the norms and the biases.

    Muon's updates are scaled to the size of AdamW's (`match_rms_adamw`), so that one learning rate serves both.

    Raises:
        ValueError: the configuration asks for small moments, adapters or bfloat16, which are AdamW's alone.

    Source: Jordan et al. 2024, Muon; the scaling from Moonlight, arXiv:2502.16982, Eq. 4.
    """
    if config.state != "float32":
        raise ValueError(f"state {config.state!r} is {FOR_POLICIES}; set state to 'float32' elsewhere")
    _check_fits(policy, config)

    # Muon makes updates orthogonal, which has a meaning for matrices between hidden states alone.
    matrices = [weight for name, weight in policy.named_parameters() if weight.dim() == 2 and "layers." in name]
    matrix_ids = {id(weight) for weight in matrices}
    others = [weight for weight in policy.parameters() if id(weight) not in matrix_ids]

    rate = config.learning_rate
    betas = (config.beta1, config.beta2)
    muon = Muon(
        [{"params": matrices, "base_lr": rate}],
        lr=rate,
        weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw_of_others = AdamW([{"params": others, "base_lr": rate}], lr=rate, betas=betas, weight_decay=0.0)
    return [muon, adamw_of_others]
