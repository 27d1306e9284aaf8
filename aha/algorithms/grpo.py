"""Group Relative Policy Optimization, with a ratio for every token: the default.

Source: DeepSeekMath, arXiv:2402.03300, Algorithm 1 and Eq. 3; DeepSeek-R1, arXiv:2501.12948v2, 2.1.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from tyro.conf import Suppress

from aha.algorithms.algorithm import ClippedAlgorithm, Sampled

if TYPE_CHECKING:
    from torch import Tensor

    from aha.actors.actor import PolicyActor, Role
    from aha.types import Loss

__all__ = ["GRPO"]


class GRPO(ClippedAlgorithm):
    """GRPO as DeepSeekMath prints it: token-level ratios, averaged over each response."""

    name: Suppress[Literal["grpo"]] = "grpo"
    """Name of the algorithm; `--algorithm` chooses it, for all stages of a recipe."""
    ddof: Literal[0, 1] = 0
    """Divisor G - ddof of the group's variance. The papers do not say; 0 is the population's."""
    kl_estimator: Literal["k2", "k3"] = "k3"
    """Estimator of the KL. The papers print k3, whose gradient is that of KL(ref, policy); k2 has KL(policy, ref)."""
    aggregation: Literal["sequence", "token"] = "sequence"
    """Average over the tokens of each response and then over responses (the papers), or over all tokens (DAPO)."""

    def signals(self, sampled: Sampled, actors: "Mapping[Role, PolicyActor]") -> "dict[str, Tensor]":
        """A_i = (r_i - mean(r)) / std(r), at every token of response i. Source: DeepSeek-R1 v1, Eq. 3."""
        # The reference may move between mini-batches: it is asked before each update (`signals_before_update`).
        del actors
        return {"adv_BT": sampled.standardised_advantages(self.ddof)}

    def loss(self, logp_BT: "Tensor", **signals: "Tensor") -> "Loss":
        """The clipped gain less the KL term; see `aha.objectives.grpo.grpo_loss`."""
        from aha.objectives.grpo import grpo_loss
        from aha.objectives.kl import kl_k2, kl_k3
        from aha.objectives.reductions import sequence_mean, token_mean

        # The objective takes functions, not names: it sees no configuration.
        return grpo_loss(
            logp_BT,
            clip_eps=self.clip_eps,
            kl_coef=self.kl_coef,
            kl=kl_k3 if self.kl_estimator == "k3" else kl_k2,
            average=sequence_mean if self.aggregation == "sequence" else token_mean,
            **signals,
        )
