"""Dr. GRPO: GRPO without its two biases, the division by the group's deviation and by the response's length.

Source: "Understanding R1-Zero-Like Training: A Critical Perspective", arXiv:2503.20783, section 3.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from tyro.conf import Suppress

from aha.algorithms.algorithm import ClippedAlgorithm, Sampled

if TYPE_CHECKING:
    from torch import Tensor

    from aha.actors.actor import PolicyActor, Role
    from aha.types import Loss

__all__ = ["DrGRPO"]


class DrGRPO(ClippedAlgorithm):
    """Dr. GRPO: rewards less their mean, and the length cap in place of each response's length."""

    name: Suppress[Literal["dr_grpo"]] = "dr_grpo"
    """Name of the algorithm; `--algorithm` chooses it, for all stages of a recipe."""
    kl_coef: float = Field(default=0.0, ge=0)
    """Weight of the KL to the reference (beta); with 0 there is no reference, as in the paper."""

    def signals(self, sampled: Sampled, actors: "Mapping[Role, PolicyActor]") -> "dict[str, Tensor]":
        """A_i = r_i - mean(r), at every token of response i, and the length cap by which its sum is divided."""
        import torch

        from aha.advantages.group import centred_advantages

        del actors
        num_responses = sampled.rewards_PG.numel()

        # The cap is a signal, once for each response, because the loss sees a mini-batch and no configuration.
        return {
            "adv_BT": sampled.at_tokens(centred_advantages(sampled.rewards_PG)),
            "norm_B": torch.full((num_responses,), float(sampled.max_new_tokens)),
        }

    def loss(self, logp_BT: "Tensor", **signals: "Tensor") -> "Loss":
        """The clipped gain of GRPO, averaged by a constant; see `aha.objectives.grpo.grpo_loss`."""
        from aha.objectives.grpo import grpo_loss
        from aha.objectives.kl import kl_k3
        from aha.objectives.reductions import constant_mean

        # What `grpo_loss` does not know as a parameter is bound to the average.
        average = partial(constant_mean, norm_B=signals.pop("norm_B"))
        return grpo_loss(logp_BT, clip_eps=self.clip_eps, kl_coef=self.kl_coef, kl=kl_k3, average=average, **signals)
