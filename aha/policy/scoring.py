"""Log-probabilities of realised tokens under a policy: the one place that shifts tokens against positions."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aha.policy.layout import Layout
from aha.policy.transformer import Transformer

__all__ = ["chosen_logp", "score"]

CHUNK_LOGITS = 1 << 22
"""Logits that exist at once while scoring: [B, T, V] never does."""

MIN_CHUNK = 256
"""Tokens of a chunk, at least: the head's gradient is read and written once for each."""


def score(
    policy: Transformer, layout: Layout, tokens_BT: Tensor, mask_BT: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Log-probability of each masked token given the ones before it, under the tempered and untruncated policy.

    Args:
        policy: the policy.
        layout: a layout of these sequences.
        tokens_BT: the sequences.
        mask_BT: True at the tokens to score; the first token of a sequence cannot be scored.
        temperature: of the distribution that sampled, > 0.

    Returns:
        [B, T], float32 (float64 for a float64 policy), nats; 0 where the mask is False.

    Raises:
        ValueError: the mask asks for a first token.
    """
    if mask_BT[:, 0].any():
        raise ValueError("the first token of a sequence has no log-probability: nothing predicts it")
    hidden_ND = policy(layout.tokens_N, layout.positions_N, layout.attend)
    predicting_M = layout.where_BT[:, :-1][mask_BT[:, 1:]]
    logp_M = chosen_logp(hidden_ND.index_select(0, predicting_M), policy.head_VD, tokens_BT[mask_BT], temperature)
    return logp_M.new_zeros(mask_BT.shape).masked_scatter(mask_BT, logp_M)


def chosen_logp(hidden_MD: Tensor, head_VD: Tensor, targets_M: Tensor, temperature: float = 1.0) -> Tensor:
    """Take log softmax(hidden head^T / temperature) at the targets, in chunks, logits recomputed for the gradient.

    Args:
        hidden_MD: hidden states.
        head_VD: output head.
        targets_M: token ids.
        temperature: > 0.

    Returns:
        [M], float32, nats (float64 for float64 inputs).
    """
    result: Tensor = _ChosenLogp.apply(hidden_MD, head_VD, targets_M, temperature)  # type: ignore[no-untyped-call]
    return result


class _ChosenLogp(torch.autograd.Function):
    """Keeps only [M] figures between forward and backward."""

    @staticmethod
    def forward(ctx: Any, hidden_MD: Tensor, head_VD: Tensor, targets_M: Tensor, temperature: float) -> Tensor:
        chunk = max(MIN_CHUNK, CHUNK_LOGITS // head_VD.shape[0])
        logp, normaliser = [], []
        for hidden, targets in zip(torch.split(hidden_MD, chunk), torch.split(targets_M, chunk), strict=True):
            logits = _logits(hidden, head_VD, temperature)
            normaliser.append(logits.logsumexp(-1))
            logp.append(logits.gather(-1, targets[:, None])[:, 0] - normaliser[-1])
        ctx.save_for_backward(hidden_MD, head_VD, targets_M, torch.cat(normaliser))
        ctx.temperature, ctx.chunk = temperature, chunk
        return torch.cat(logp)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        hidden_MD, head_VD, targets_M, normaliser_M = ctx.saved_tensors
        grad_hidden, needs_head = torch.empty_like(hidden_MD), ctx.needs_input_grad[1]
        # The sum over chunks is float32 or better: in bfloat16 later chunks would vanish in it.
        precise = torch.promote_types(head_VD.dtype, torch.float32)
        grad_head = torch.zeros_like(head_VD, dtype=precise) if needs_head else None
        for start in range(0, hidden_MD.shape[0], ctx.chunk):
            part = slice(start, start + ctx.chunk)
            logits = _logits(hidden_MD[part], head_VD, ctx.temperature)
            slope = (logits - normaliser_M[part, None]).exp_().neg_()
            slope.scatter_add_(-1, targets_M[part, None], torch.ones_like(slope[:, :1]))
            slope = (slope * (grads[0][part, None] / ctx.temperature)).to(head_VD.dtype)
            grad_hidden[part] = slope @ head_VD
            if grad_head is not None:
                grad_head += slope.T @ hidden_MD[part]
        return grad_hidden, grad_head.to(head_VD.dtype) if grad_head is not None else None, None, None


def _logits(hidden_MD: Tensor, head_VD: Tensor, temperature: float) -> Tensor:
    logits = hidden_MD @ head_VD.T
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits / temperature
