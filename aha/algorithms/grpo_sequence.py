"""GRPO with one ratio for the whole response, as the R1 paper prints it.

Source: DeepSeek-R1, arXiv:2501.12948v1 and v2, Eq. 1 to 3.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from tyro.conf import Suppress

from aha.algorithms.algorithm import ClippedAlgorithm, Sampled

if TYPE_CHECKING:
    from torch import Tensor

    from aha.actors.actor import PolicyActor, Role
    from aha.types import Loss

__all__ = ["GRPOSequence"]


class GRPOSequence(ClippedAlgorithm):
    """GRPO as the R1 paper prints it: a ratio of whole responses, which suits short ones."""

    name: Suppress[Literal["grpo_sequence"]] = "grpo_sequence"
    """Name of the algorithm; `--algorithm` chooses it, for all stages of a recipe."""
    ddof: Literal[0, 1] = 0
    """Divisor G - ddof of the group's variance. The papers do not say; 0 is the population's."""

    def signals(self, sampled: Sampled, actors: "Mapping[Role, PolicyActor]") -> "dict[str, Tensor]":
        """A_i = (r_i - mean(r)) / std(r), at every token of response i. Source: DeepSeek-R1 v1, Eq. 3."""
        del actors
        return {"adv_BT": sampled.standardised_advantages(self.ddof)}

    def loss(self, logp_BT: "Tensor", **signals: "Tensor") -> "Loss":
        """The clipped gain less the KL term; see `aha.objectives.grpo.grpo_sequence_loss`."""
        from aha.objectives.grpo import grpo_sequence_loss

        return grpo_sequence_loss(logp_BT, clip_eps=self.clip_eps, kl_coef=self.kl_coef, **signals)
