"""REINFORCE: the plain policy gradient of whole responses, without a ratio and without a clip.

Source: Williams (1992); for language models RLOO, arXiv:2402.14740, section 3.
"""

from torch import Tensor

from aha.objectives.kl import kl_k3
from aha.objectives.reductions import mean_where, sequence_sum, zero_outside
from aha.types import Loss

__all__ = ["reinforce_loss"]


def reinforce_loss(
    logp_BT: Tensor,
    *,
    old_logp_BT: Tensor,
    adv_BT: Tensor,
    mask_BT: Tensor,
    ref_logp_BT: Tensor | None = None,
) -> Loss:
    """The policy gradient as a loss.

    J = 1/k sum_i A_i log pi_theta(o_i | q),  log pi_theta(o_i | q) = sum_t log pi_theta(o_it)

    Its gradient is that of the expected reward where the responses come from pi_theta itself. From the second
    mini-batch of an iteration on they come from a slightly older policy; nothing corrects that.

    Args:
        logp_BT: log pi_theta of each token, nats, [B, T]; the input that carries the gradient.
        old_logp_BT: the same under the policy that sampled, [B, T]; only logged.
        adv_BT: advantage of the response, repeated at each of its tokens, [B, T].
        mask_BT: [B, T], bool, True at the tokens of the response; other entries of the inputs are never read.
        ref_logp_BT: log-probabilities under the reference policy, [B, T]; only logged, None where there is none.

    Returns:
        -J summed over sequences, with their number. Metrics, per token: `ratio` to the policy that sampled, and with a
        reference `kl` (k3, nats).

    Source: RLOO, arXiv:2402.14740, Eq. 8.
    """
    logp_BT = zero_outside(logp_BT, mask_BT)

    # Ratio and KL are measured, and have no part in the gradient.
    constant_logp_BT = logp_BT.detach()
    ratio_BT = (constant_logp_BT - old_logp_BT).exp()
    metrics = {"ratio": mean_where(ratio_BT, mask_BT)}
    if ref_logp_BT is not None:
        kl_BT = kl_k3(constant_logp_BT, ref_logp_BT)
        metrics["kl"] = mean_where(kl_BT, mask_BT)

    # Every token of a response has its advantage, so that the sum is A_i times the log-probability of the response.
    gain_B = sequence_sum(adv_BT * logp_BT, mask_BT)
    num_responses = mask_BT.any(dim=1).sum()
    return Loss(total=-gain_B.sum(), count=num_responses, metrics=metrics)
