"""What a reward model learns: which of two responses is better, or whether one is safe.

Two losses with one signature but for their labels, as DeepSeek-R1 has two reward models:

* `ranking_loss`: the helpful one; all comparisons between the responses to one prompt.
* `pointwise_loss`: the safe one; each response on its own.

Both take one score per response. The mask over tokens, which the learner hands to every objective, is not read.

Source: DeepSeek-R1, arXiv:2501.12948v2, section 3.1, which names "pairwise" and "point-wise" losses and prints none.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from aha.objectives.reductions import mean_where, zero_outside
from aha.types import Loss

__all__ = ["pointwise_loss", "ranking_loss"]


def ranking_loss(scores_B: Tensor, *, group_B: Tensor, quality_B: Tensor, mask_BT: Tensor | None = None) -> Loss:
    """Bradley-Terry over all comparisons of each prompt: the better response should have the higher score.

    L = -E_x 1/|pairs(x)| sum_(w, l) log sigmoid(r(x, y_w) - r(x, y_l)),  (w, l) where q_w > q_l

    With K responses of K different qualities a prompt has C(K, 2) pairs. They are one element of the batch: every
    response is scored once, whatever number of pairs it is in, and a prompt weighs the same whatever its K.

    Args:
        scores_B: r(x, y), score of each response, any real unit, [B]; the input that carries the gradient.
        group_B: number of the prompt of each response, [B], int64; equal numbers are compared with one another.
        quality_B: label of each response, higher is better, [B]; only their order within a prompt matters.
        mask_BT: not read.

    Returns:
        The sum over prompts that have a pair, with their number; a prompt whose responses are all of equal quality
        adds nothing. Metrics, per pair: `pair_accuracy`, the share whose scores are in the right order (equal scores
        are not), and `margin`, r(x, y_w) - r(x, y_l).

    Source: InstructGPT, arXiv:2203.02155, Eq. 1; pairs of equal quality are dropped as in its section 3.5. Ours: the
    mean is over the pairs that are left, where the paper prints C(K, 2). DeepSeek-R1 says only "pairwise".
    """
    del mask_BT

    # Entry [w, l] is about the pair in which the row is the better response and the column the worse one.
    shares_prompt_BB = group_B[:, None] == group_B
    is_better_BB = quality_B[:, None] > quality_B
    is_pair_BB = shares_prompt_BB & is_better_BB

    # Pairs of a response's whole prompt, whether the response is in them or not.
    wins_B = is_pair_BB.sum(dim=1)
    pairs_B = (shares_prompt_BB * wins_B).sum(dim=1)

    gap_BB = zero_outside(scores_B[:, None] - scores_B, is_pair_BB)
    losses_BB = -F.logsigmoid(gap_BB) / pairs_B.clamp(min=1)[:, None]
    total = zero_outside(losses_BB, is_pair_BB).sum()
    is_right_BB = (gap_BB > 0).to(gap_BB.dtype)
    metrics = {
        "pair_accuracy": mean_where(is_right_BB, is_pair_BB),
        "margin": mean_where(gap_BB, is_pair_BB),
    }

    # A prompt is counted at its first response.
    first_B = shares_prompt_BB.int().argmax(dim=1)
    is_first_B = first_B == torch.arange(len(group_B), device=group_B.device)
    num_prompts = (is_first_B & (pairs_B > 0)).sum()
    return Loss(total=total, count=num_prompts, metrics=metrics)


def pointwise_loss(scores_B: Tensor, *, is_safe_B: Tensor, mask_BT: Tensor | None = None) -> Loss:
    """Binary cross-entropy of each response: the score is the log odds that it is safe.

    L = -E [ s log sigmoid(r(x, y)) + (1 - s) log sigmoid(-r(x, y)) ],  s = 1 if y is safe, else 0

    Args:
        scores_B: r(x, y), score of each response, nats, [B]; the input that carries the gradient.
        is_safe_B: s, label of each response, [B]; bool, or 1 and 0.
        mask_BT: not read.

    Returns:
        The sum over responses, with their number. Metric: `accuracy`, the share of responses whose score has the sign
        of their label (a score of 0 says unsafe).

    Source: DeepSeek-R1, arXiv:2501.12948v2, section 3.1: "point-wise", to tell safe from unsafe responses. Ours:
    cross-entropy, the usual loss of a classifier.
    """
    del mask_BT
    is_safe_B = is_safe_B.bool()

    # With the score negated where the label is unsafe, both terms are one.
    signed_B = scores_B.where(is_safe_B, -scores_B)
    losses_B = -F.logsigmoid(signed_B)
    is_right_B = (scores_B > 0) == is_safe_B

    # Every response counts.
    counts_B = torch.ones_like(is_safe_B)
    accuracy = mean_where(is_right_B.to(scores_B.dtype), counts_B)
    return Loss(total=losses_B.sum(), count=counts_B.sum(), metrics={"accuracy": accuracy})
