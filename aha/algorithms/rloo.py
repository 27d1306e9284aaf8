"""RLOO: REINFORCE with the mean reward of the other responses as the baseline.

Source: arXiv:2402.14740, "Back to Basics: Revisiting REINFORCE-Style Optimization", section 3 and Eq. 8.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from tyro.conf import Suppress

from aha.algorithms.algorithm import GroupAlgorithm, Sampled

if TYPE_CHECKING:
    from torch import Tensor

    from aha.actors.actor import PolicyActor, Role
    from aha.types import Loss

__all__ = ["RLOO"]


class RLOO(GroupAlgorithm):
    """RLOO: whole responses, a baseline from the others of the group, the KL term inside the reward."""

    name: Suppress[Literal["rloo"]] = "rloo"
    """Name of the algorithm; `--algorithm` chooses it, for all stages of a recipe."""

    def signals(self, sampled: Sampled, actors: "Mapping[Role, PolicyActor]") -> "dict[str, Tensor]":
        """A_i = R_i - mean_(j != i) R_j,  R_i = r_i - beta log(pi(o_i) / pi_ref(o_i)).

        The policy in the KL term is the one that sampled. Source: arXiv:2402.14740, Eq. 8 and section 2.
        """
        from aha.advantages.group import leave_one_out_advantages
        from aha.objectives.reductions import sequence_sum

        batch = sampled.batch
        rewards_PG = sampled.rewards_PG
        if "reference" not in actors:
            adv_PG = leave_one_out_advantages(rewards_PG)
            return {"adv_BT": sampled.at_tokens(adv_PG)}

        # Of the whole batch, since a response is compared with the penalised rewards of its whole group.
        ref_logp_BT = actors["reference"].score_all(batch)
        kl_B = sequence_sum(batch.signals["old_logp_BT"] - ref_logp_BT, batch.mask_BT)
        rewards_PG = rewards_PG - self.kl_coef * kl_B.view(rewards_PG.shape)

        # The reference's log-probabilities are passed on to be logged; the loss has no KL term of its own.
        adv_PG = leave_one_out_advantages(rewards_PG)
        return {"adv_BT": sampled.at_tokens(adv_PG), "ref_logp_BT": ref_logp_BT}

    def loss(self, logp_BT: "Tensor", **signals: "Tensor") -> "Loss":
        """The policy gradient; see `aha.objectives.reinforce.reinforce_loss`."""
        from aha.objectives.reinforce import reinforce_loss

        return reinforce_loss(logp_BT, **signals)
