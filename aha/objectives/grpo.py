"""Group Relative Policy Optimization: the objective that trains R1-Zero and both reinforcement stages of R1.

Two readings of one equation; `GRPO` and `GRPOSequence` in `aha.algorithms` choose one each:

* `grpo_loss`: a ratio for every token, averaged over the tokens of each response, as DeepSeekMath prints it. The
  default.
* `grpo_sequence_loss`: one ratio for the whole response, as the R1 paper prints it.

Both papers print an objective J to be maximised; both functions return the loss -J. The averages 1/G over a group and
E over questions are one average over sequences, taken by the learner: groups of one run all have the same size.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from aha.objectives.kl import kl_k3
from aha.objectives.reductions import mean_where, sequence_mean, sequence_sum, zero_outside
from aha.types import Loss

__all__ = ["grpo_loss", "grpo_sequence_loss"]

KLEstimator = Callable[[Tensor, Tensor], Tensor]
"""From log pi_theta and log pi_ref to one estimate of the divergence per entry, nats."""

Average = Callable[..., Loss]
"""(values [B, T], mask [B, T], *, metrics) -> Loss: how tokens and sequences are averaged."""


def grpo_loss(
    logp_BT: Tensor,
    *,
    old_logp_BT: Tensor,
    adv_BT: Tensor,
    mask_BT: Tensor,
    ref_logp_BT: Tensor | None = None,
    clip_eps: float,
    kl_coef: float,
    kl: KLEstimator = kl_k3,
    average: Average = sequence_mean,
) -> Loss:
    """GRPO with a ratio per token.

    J = 1/G sum_i 1/|o_i| sum_t { min[rho_it A_it, clip(rho_it, 1 - eps, 1 + eps) A_it] - beta k3_it }
    rho_it = pi_theta(o_it) / pi_old(o_it)

    Args:
        logp_BT: log pi_theta of each token, nats, [B, T]; the input that carries the gradient.
        old_logp_BT: the same under pi_old, which sampled, [B, T].
        adv_BT: advantage of each token, [B, T]; all tokens of a response share theirs under outcome rewards.
        mask_BT: [B, T], bool, True at the tokens of the response; other entries of the inputs are never read.
        ref_logp_BT: log-probabilities under the reference policy, [B, T]; None where `kl_coef` is 0.
        clip_eps: half-width eps of the clip interval, > 0. Where it exceeds 1 (R1's first stage has 10) the lower end
            is below any ratio, and a negative advantage is never clipped.
        kl_coef: beta, >= 0.
        kl: estimator of the divergence from (log pi_theta, log pi_ref).
        average: over tokens and sequences: `sequence_mean` as printed, or `token_mean`.

    Returns:
        -J summed over sequences, with their number. Metrics, per token: `ratio`, `clip_fraction`, the share of tokens
        whose gain is the clipped one, constant in theta, and with a reference `kl` (nats).

    Source: DeepSeekMath, arXiv:2402.03300, Eq. 3. DeepSeek-R1 does not say which reading was run; it speaks of the
    gradients of tokens being cut (v2, section 3.2.1), which only this one has.
    """
    # Before any arithmetic, so that nothing at a padded token reaches a value or a gradient.
    logp_BT = zero_outside(logp_BT, mask_BT)
    log_ratio_BT = logp_BT - old_logp_BT
    ratio_BT, gain_BT, is_cut_BT = _clipped_gain(log_ratio_BT, adv_BT, clip_eps)
    metrics = {
        "clip_fraction": mean_where(is_cut_BT.to(ratio_BT.dtype), mask_BT),
        "ratio": mean_where(ratio_BT, mask_BT),
    }
    if ref_logp_BT is None:
        return average(-gain_BT, mask_BT, metrics=metrics)

    kl_BT = kl(logp_BT, ref_logp_BT)
    metrics["kl"] = mean_where(kl_BT, mask_BT)
    return average(_penalty(kl_BT, kl_coef) - gain_BT, mask_BT, metrics=metrics)


def grpo_sequence_loss(
    logp_BT: Tensor,
    *,
    old_logp_BT: Tensor,
    adv_BT: Tensor,
    mask_BT: Tensor,
    ref_logp_BT: Tensor | None = None,
    clip_eps: float,
    kl_coef: float,
) -> Loss:
    """GRPO with one ratio per response, as the R1 paper prints it.

    J = 1/G sum_i { min[rho_i A_i, clip(rho_i, 1 - eps, 1 + eps) A_i] - beta k3_i }
    rho_i = pi_theta(o_i | q) / pi_old(o_i | q) = prod_t rho_it,  k3_i of r_i = pi_ref(o_i | q) / pi_theta(o_i | q)

    Neither 1/|o_i| nor a sum over tokens appears. Ratios are products over all tokens, so they leave float32 once a
    response differs by 88 nats: suited to short responses and to reading the paper to the letter.

    Args:
        logp_BT: log pi_theta of each token, nats, [B, T]; the input that carries the gradient.
        old_logp_BT: the same under pi_old, which sampled, [B, T].
        adv_BT: advantage of the response, repeated at each of its tokens, [B, T].
        mask_BT: [B, T], bool, True at the tokens of the response; other entries of the inputs are never read.
        ref_logp_BT: log-probabilities under the reference policy, [B, T]; None where `kl_coef` is 0.
        clip_eps: half-width eps of the clip interval, > 0.
        kl_coef: beta, >= 0.

    Returns:
        -J summed over sequences, with their number. Metrics, per response: `ratio`, `clip_fraction`, the share of
        responses whose gain is the clipped one, and with a reference `kl` (k3, nats).

    Raises:
        ValueError: the tokens of one response have different advantages, so that A_i is undefined.

    Source: DeepSeek-R1, arXiv:2501.12948v1 and v2, Eq. 1 and 2.
    """
    mask_B = mask_BT.any(dim=1)
    adv_B = _shared_advantage(adv_BT, mask_BT)

    # The log-probability of a response is the sum over its tokens: products of ratios are never formed.
    logp_B = sequence_sum(logp_BT, mask_BT)
    log_ratio_B = logp_B - sequence_sum(old_logp_BT, mask_BT)
    ratio_B, gain_B, is_cut_B = _clipped_gain(log_ratio_B, adv_B, clip_eps)
    metrics = {
        "clip_fraction": mean_where(is_cut_B.to(ratio_B.dtype), mask_B),
        "ratio": mean_where(ratio_B, mask_B),
    }

    loss_B = -gain_B
    if ref_logp_BT is not None:
        kl_B = kl_k3(logp_B, sequence_sum(ref_logp_BT, mask_BT))
        metrics["kl"] = mean_where(kl_B, mask_B)
        loss_B = _penalty(kl_B, kl_coef) - gain_B

    loss_B = zero_outside(loss_B, mask_B)
    return Loss(total=loss_B.sum(), count=mask_B.sum(), metrics=metrics)


def _clipped_gain(log_ratio: Tensor, adv: Tensor, clip_eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The ratio and its gain, of tokens or of responses alike.

    Returns:
        rho, without a gradient; min[rho A, clip(rho, 1 - eps, 1 + eps) A]; and where the clipped side is smaller, so
        that no gradient passes.
    """
    ratio = log_ratio.detach().exp()
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps) * adv
    is_cut = clipped < ratio * adv

    # Where no gradient passes, the exponential must not see the log-ratio: an overflow times zero is undefined.
    has_gradient = ~is_cut & (adv != 0)
    safe_log_ratio = log_ratio.where(has_gradient, 0.0)
    unclipped = safe_log_ratio.exp() * adv
    return ratio, unclipped.where(has_gradient, clipped), is_cut


def _penalty(kl: Tensor, kl_coef: float) -> Tensor:
    """The KL term, beta kl; exact zeros where beta is 0."""
    # k3 may overflow, and an infinite value times zero is undefined.
    if kl_coef == 0:
        return torch.zeros_like(kl)
    return kl_coef * kl


def _shared_advantage(adv_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The advantage of each sequence, [B], read at its first masked token.

    Raises:
        ValueError: the tokens of a sequence have different advantages.
    """
    adv_BT = zero_outside(adv_BT, mask_BT)

    # `argmax` finds the first masked token; of a sequence without one it reads the 0 of its first token.
    first_B1 = mask_BT.int().argmax(dim=1, keepdim=True)
    adv_B1 = adv_BT.gather(1, first_B1)

    expected_BT = zero_outside(adv_B1.expand_as(adv_BT), mask_BT)
    if not torch.equal(adv_BT, expected_BT):
        raise ValueError(
            "a sequence ratio needs one advantage per response; adv_BT differs within a response: use grpo_loss"
        )
    return adv_B1.squeeze(1)
