"""Learning to predict given text: pretraining, and the fine-tuning after cold start and rejection sampling."""

from torch import Tensor

from aha.objectives.reductions import token_mean
from aha.types import Loss

__all__ = ["next_token_loss"]


def next_token_loss(logp_BT: Tensor, *, mask_BT: Tensor) -> Loss:
    """Negative log-likelihood per token.

    L = -1/N sum_i sum_t log pi_theta(o_it | q_i, o_i,<t),  N = number of masked tokens

    Args:
        logp_BT: log pi_theta of each token, nats, [B, T].
        mask_BT: [B, T], bool, True at the tokens to learn: all in pretraining, those of the response in fine-tuning.

    Returns:
        The sum over tokens, with their number; their quotient is in nats per token.

    Source: DeepSeekMath, arXiv:2402.03300, appendix A.1. Ours: all tokens of a step weigh alike, as is usual where
    sequences are packed; the paper first averages within a response.
    """
    return token_mean(-logp_BT, mask_BT)
