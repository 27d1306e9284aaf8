"""From one value per token to the total and count that a training step divides.

The papers write their objectives as nested averages; where a sum stops being an average over tokens and starts being
one over sequences decides how much a long response weighs. The choices stand side by side here:

* `sequence_mean`: every response weighs the same, its tokens share that weight (the 1/|o_i| of DeepSeekMath's GRPO);
* `token_mean`: every token weighs the same (pretraining, supervised fine-tuning, `--rl.algorithm.aggregation token`);
* `constant_mean`: every token weighs the same, whatever the lengths of a batch are (Dr. GRPO).

None divides by the count: `Loss.total / Loss.count` is taken once per step, over all micro-batches and ranks.
"""

from collections.abc import Mapping

from torch import Tensor

from aha.types import Loss, Mean

__all__ = ["constant_mean", "mean_where", "sequence_mean", "sequence_sum", "token_mean", "zero_outside"]


def zero_outside(values: Tensor, mask: Tensor) -> Tensor:
    """The values where the mask is True, exact zeros elsewhere.

    The input that carries the gradient passes through this function before any nonlinear arithmetic; the reductions
    below then mask the result. A product with the mask would not suffice: an infinite or undefined entry at a padded
    position times zero is undefined, in the value and again in the gradient.

    Args:
        values: any shape, floating; anything at all where the mask is False.
        mask: the same shape, bool.

    Returns:
        The shape and type of the values; the gradient is exactly zero where the mask is False.
    """
    is_outside = ~mask
    return values.masked_fill(is_outside, 0.0)


def sequence_sum(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over the masked tokens of each sequence: log-probabilities of tokens become that of the response.

    Args:
        values_BT: [B, T].
        mask_BT: [B, T], bool.

    Returns:
        [B]; 0 for a sequence without a masked token.
    """
    values_BT = zero_outside(values_BT, mask_BT)
    return values_BT.sum(dim=1)


def sequence_mean(values_BT: Tensor, mask_BT: Tensor, *, metrics: Mapping[str, Mean] | None = None) -> Loss:
    """Mean over the tokens of each sequence, then a sum over sequences.

    total = sum_i 1/|o_i| sum_t values_it;  count = number of sequences with |o_i| > 0

    Args:
        values_BT: [B, T], the loss of each token.
        mask_BT: [B, T], bool, True where the loss counts.
        metrics: metrics to return with the loss.

    Returns:
        The loss; a sequence without a masked token adds nothing to total or count.

    Source: the inner averages of DeepSeekMath, arXiv:2402.03300, Eq. 3.
    """
    sums_B = sequence_sum(values_BT, mask_BT)
    num_counted_B = mask_BT.sum(dim=1)

    # A sequence without a token has the sum 0, which must not become 0/0.
    means_B = sums_B / num_counted_B.clamp(min=1)
    num_sequences = (num_counted_B > 0).sum()
    return Loss(total=means_B.sum(), count=num_sequences, metrics=metrics or {})


def constant_mean(
    values_BT: Tensor, mask_BT: Tensor, *, norm_B: Tensor, metrics: Mapping[str, Mean] | None = None
) -> Loss:
    """Sum over the tokens of each sequence, divided by a constant in place of its length, then a sum over sequences.

    total = sum_i 1/L sum_t values_it;  count = number of sequences with |o_i| > 0

    Args:
        values_BT: [B, T], the loss of each token.
        mask_BT: [B, T], bool, True where the loss counts.
        norm_B: L, the same for all sequences of a training, [B], tokens.
        metrics: metrics to return with the loss.

    Returns:
        The loss; a sequence without a masked token adds nothing to total or count.

    Source: Dr. GRPO, arXiv:2503.20783, section 3: the length cap in place of |o_i|, which favours long wrong answers.
    """
    # A sequence without a token adds 0 to the total, and is not counted either.
    scaled_B = sequence_sum(values_BT, mask_BT) / norm_B
    num_sequences = mask_BT.any(dim=1).sum()
    return Loss(total=scaled_B.sum(), count=num_sequences, metrics=metrics or {})


def token_mean(values_BT: Tensor, mask_BT: Tensor, *, metrics: Mapping[str, Mean] | None = None) -> Loss:
    """Sum over all tokens of all sequences.

    total = sum_i sum_t values_it;  count = sum_i |o_i|

    Args:
        values_BT: [B, T], the loss of each token.
        mask_BT: [B, T], bool, True where the loss counts.
        metrics: metrics to return with the loss.

    Returns:
        The loss; its count is the number of masked tokens.

    Source: the usual language-model loss; DAPO, arXiv:2503.14476, section 3.3, averages GRPO this way.
    """
    total = zero_outside(values_BT, mask_BT).sum()
    return Loss(total=total, count=mask_BT.sum(), metrics=metrics or {})


def mean_where(values: Tensor, mask: Tensor) -> Mean:
    """A metric: the mean of the values where the mask is True.

    Args:
        values: any shape; detached here.
        mask: the same shape, bool.

    Returns:
        Total and count, without a gradient.
    """
    total = zero_outside(values.detach(), mask).sum()
    return Mean(total=total, count=mask.sum())
