"""What an algorithm is: its settings, the actors that it needs, its signals, and its loss.

The loop of `aha.stages.rl` is the same for all of them: sample, reward, signals over all rollouts of the iteration,
random mini-batches, one update with each.

Algorithms import torch where they compute and not at the top: the command line reads their settings without it.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from aha.runs.config import Config

if TYPE_CHECKING:
    from torch import Tensor

    from aha.actors.actor import PolicyActor, Role
    from aha.types import Batch, Loss

__all__ = ["Algorithm", "ClippedAlgorithm", "GroupAlgorithm", "KLLossAlgorithm", "Sampled"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampled:
    """The rollouts of an iteration, as an algorithm sees them: without problems, texts, and how responses ended.

    Attributes:
        batch: P * G sequences, group after group; `old_logp_BT` holds their log-probabilities when they were sampled.
        rewards_PG: total reward of each response, [P, G].
        max_new_tokens: length cap of a response.
    """

    batch: "Batch"
    rewards_PG: "Tensor"
    max_new_tokens: int

    def at_tokens(self, values_PG: "Tensor") -> "Tensor":
        """A value for each response, repeated at its tokens: [P, G] -> [B, T], 0 elsewhere."""
        mask_BT = self.batch.mask_BT

        # Sequences lie group after group, in the order of the flattened rewards.
        values_B1 = values_PG.flatten()[:, None]
        return values_B1.expand(mask_BT.shape).where(mask_BT, 0.0)

    def standardised_advantages(self, ddof: int) -> "Tensor":
        """A_i = (r_i - mean(r)) / std(r), at every token of response i, [B, T]. Source: DeepSeek-R1 v1, Eq. 3."""
        from aha.advantages.group import group_advantages

        return self.at_tokens(group_advantages(self.rewards_PG, ddof=ddof))


class Algorithm(Config):
    """Turns rewards into gradients. A subclass adds `name`, a literal, and its own settings."""

    @property
    def roles(self) -> "tuple[Role, ...]":
        """The actors that it needs besides the policy."""
        return ()

    @abstractmethod
    def signals(self, sampled: Sampled, actors: "Mapping[Role, PolicyActor]") -> "dict[str, Tensor]":
        """What the loss compares with, computed over all rollouts of the iteration, before they become mini-batches.

        Args:
            sampled: the rollouts with their rewards.
            actors: the policy, and those of `roles`.

        Returns:
            Tensors [B, T] or [B] by name; `adv_BT`, the advantages, is among them.
        """

    def signals_before_update(self, batch: "Batch", actors: "Mapping[Role, PolicyActor]") -> "dict[str, Tensor]":
        """Further signals, which can only be computed right before the update with a mini-batch.

        Args:
            batch: this process's sequences of the mini-batch, with the signals of `signals`.
            actors: the policy, and those of `roles`.
        """
        del batch, actors
        return {}

    @abstractmethod
    def loss(self, logp_BT: "Tensor", **signals: "Tensor") -> "Loss":
        """What an update minimises.

        Args:
            logp_BT: log pi_theta of each token, nats, [B, T]; the input that carries the gradient.
            signals: `mask_BT`, `old_logp_BT`, and what `signals` and `signals_before_update` returned. For sequences
                that need no pass (`needs_pass`) those of `signals_before_update` are not computed and not given.

        Returns:
            The sum over sequences or tokens, and its count, which must depend on nothing but `mask_BT`.
        """

    def needs_pass(self, batch: "Batch") -> "Tensor":
        """Sequences that may have a loss or a gradient, [B], bool; the policy does not compute the others.

        A loss is an average, so sequences without a pass still count in its divisor. Their count is asked of `loss`
        itself, which knows whether it counts sequences or tokens: it is called with the log-probabilities of the engine
        in place of `logp_BT`, and only the count of what it returns is used (`aha.stages.minibatches.update`).
        """
        import torch

        return torch.ones(len(batch.lengths_B), dtype=torch.bool)


class GroupAlgorithm(Algorithm):
    """What GRPO and its relatives share: advantages that come from the group alone, and a weight of the KL.

    Whether the KL is part of the loss or of the reward, a subclass decides.
    """

    kl_coef: float = Field(default=0.001, ge=0)
    """Weight of the KL to the reference (beta); with 0 there is no reference. Source: R1 v2 2.1."""

    @property
    def roles(self) -> "tuple[Role, ...]":
        """The reference, where there is a KL term."""
        # Without one it would cost a model's memory and a forward pass, only to be multiplied with 0.
        return ("reference",) if self.kl_coef else ()

    def needs_pass(self, batch: "Batch") -> "Tensor":
        """Sequences with an advantage that is not 0, and all where there is a KL term.

        Override it if your loss has a gradient where advantage and `kl_coef` are 0.
        """
        # Without an advantage the gain is 0 whatever the policy does; a KL term would still have a gradient.
        has_advantage_B = (batch.signals["adv_BT"] != 0).any(dim=1)
        return has_advantage_B | (self.kl_coef != 0)


class KLLossAlgorithm(GroupAlgorithm):
    """A group algorithm with the KL term in its loss. What clips the ratio, a subclass decides."""

    def signals_before_update(self, batch: "Batch", actors: "Mapping[Role, PolicyActor]") -> "dict[str, Tensor]":
        """The log-probabilities of the reference, which may have moved since the last mini-batch."""
        del self
        if "reference" not in actors:
            return {}

        # This process's sequences alone: unlike `signals`, no other process needs their log-probabilities.
        return {"ref_logp_BT": actors["reference"].score(batch)}


class ClippedAlgorithm(KLLossAlgorithm):
    """A group algorithm with the KL term in its loss, and with a ratio that is clipped alike above and below."""

    clip_eps: float = Field(default=0.2, gt=0)
    """Half-width of the ratio's interval (eps). R1-Zero's is not reported; 0.2 is PPO's (arXiv:1707.06347)."""
