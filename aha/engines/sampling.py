"""From logits to a token and its exact log-probability.

A token is drawn from the whole distribution by `sampling.c` on the CPU and by `aha.kernels.cuda.decoding` on a GPU,
where these can be built; else torch draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from aha.kernels.cpu.compiled import functions, has_gpu_kernels

__all__ = ["DecodingGroup", "sample_rows", "sample_tokens"]

LIKELIEST = 1024
"""Tokens among which the nucleus is looked for first on a GPU: to sort a large vocabulary takes ten times as long."""

_BLOCK = 128
"""Entries by which the kernel's scratch memory is longer than the vocabulary: the kernel works in whole blocks."""


@cache
def _kernel() -> Callable[..., Any] | None:
    """Draws from the whole distribution of each row; None where there is no compiler."""
    kernels = functions("sampling", {"draw": "piiifpppp"})
    return None if kernels is None else kernels["draw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingGroup:
    """Rows of a batch whose next tokens are drawn with one temperature and one nucleus.

    Attributes:
        rows: their indices in the batch, int64; None for all rows, which are then the only group.
        temperature: as in `sample_tokens`.
        top_p: likewise.
    """

    rows: Tensor | None
    temperature: float
    top_p: float


def sample_rows(
    logits_BV: Tensor, uniforms_B: Tensor, decoding_groups: Sequence[DecodingGroup]
) -> tuple[Tensor, Tensor]:
    """One token for each row, with the temperature and the nucleus of its group; its bits do not depend on other rows.

    Args:
        logits_BV: logits of the next token.
        uniforms_B: one uniform draw in [0, 1) a row, float64.
        decoding_groups: at least one; each row is in exactly one of them.

    Returns:
        Tokens and log-probabilities, as of `sample_tokens`.
    """
    first = decoding_groups[0]
    if first.rows is None:
        return sample_tokens(logits_BV, uniforms_B, temperature=first.temperature, top_p=first.top_p)

    num_rows = len(logits_BV)
    tokens_B = torch.empty(num_rows, dtype=torch.int64, device=logits_BV.device)
    logp_B = torch.empty(num_rows, device=logits_BV.device)
    for group in decoding_groups:
        rows = group.rows
        tokens_B[rows], logp_B[rows] = sample_tokens(
            logits_BV[rows], uniforms_B[rows], temperature=group.temperature, top_p=group.top_p
        )
    return tokens_B, logp_B


def sample_tokens(
    logits_BV: Tensor, uniforms_B: Tensor, *, temperature: float, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """One token for each row, by inversion of the cumulative distribution.

    Args:
        logits_BV: logits of the next token.
        uniforms_B: one uniform draw in [0, 1) a row, float64.
        temperature: >= 0; 0 takes the most likely token.
        top_p: nucleus, in (0, 1]: the fewest tokens whose probability together is at least this much.

    Returns:
        Tokens [B] int64, and their log-probabilities [B] float32, nats: those of the tempered, untruncated policy (of
        the untempered one where the temperature is 0), whatever the nucleus.
    """
    # The kernels draw from the whole distribution alone: greedy and nucleus sampling are for evaluation.
    is_whole = temperature > 0 and top_p == 1
    if is_whole and logits_BV.is_cuda and has_gpu_kernels():
        from aha.kernels.cuda.decoding import draw

        return draw(logits_BV.contiguous(), uniforms_B, temperature)

    logits_BV = logits_BV.float()
    kernel = _kernel() if is_whole and logits_BV.device.type == "cpu" else None
    if kernel is not None:
        return _draw_by_kernel(kernel, logits_BV, uniforms_B, temperature)

    logp_BV = torch.log_softmax(logits_BV / (temperature or 1.0), dim=-1)
    if temperature == 0:
        tokens_B = logp_BV.argmax(-1)
    elif top_p < 1:
        tokens_B = _nucleus(logp_BV, uniforms_B, top_p)
    else:
        tokens_B = _invert(logp_BV, uniforms_B)

    # Of the whole distribution, whatever the nucleus: the learner computes the same.
    logp_B1 = logp_BV.gather(-1, tokens_B[:, None])
    return tokens_B, logp_B1[:, 0]


def _draw_by_kernel(
    kernel: Callable[..., Any], logits_BV: Tensor, uniforms_B: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Tokens and log-probabilities of draws from the whole distribution, by the C kernel."""
    # The kernel takes rows with gaps between them, such as views, but none within them.
    if logits_BV.stride(1) != 1:
        logits_BV = logits_BV.contiguous()
    uniforms_B = uniforms_B.contiguous()

    num_rows, vocab_size = logits_BV.shape
    scratch = torch.empty(vocab_size + _BLOCK)
    tokens_B = torch.empty(num_rows, dtype=torch.int64)
    logp_B = torch.empty(num_rows)
    kernel(
        logits_BV.data_ptr(),
        num_rows,
        logits_BV.stride(0),
        vocab_size,
        temperature,
        uniforms_B.data_ptr(),
        scratch.data_ptr(),
        tokens_B.data_ptr(),
        logp_B.data_ptr(),
    )
    return tokens_B, logp_B


def _invert(logp_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """The first token at which the cumulative probability exceeds the draw."""
    # In a float32 sum over a large vocabulary the least likely tokens would vanish.
    cumulative_BV = logp_BV.exp().cumsum(-1, dtype=torch.float64)
    total_B = cumulative_BV[:, -1]

    # Below the total even where the product rounds to it, or a token without any probability could be drawn.
    below_total_B = total_B.nextafter(torch.zeros_like(total_B))
    threshold_B = torch.minimum(uniforms_B * total_B, below_total_B)
    tokens_B1 = torch.searchsorted(cumulative_BV, threshold_B[:, None], right=True)

    # Where the logits are NaN the search ends behind the vocabulary; the row still gets a token.
    last_token = logp_BV.shape[-1] - 1
    return tokens_B1[:, 0].clamp_(max=last_token)


def _nucleus(logp_BV: Tensor, uniforms_B: Tensor, top_p: float) -> Tensor:
    """A draw from the nucleus: the most likely token where it alone reaches `top_p`, so that few rows are sorted."""
    top_B, tokens_B = logp_BV.max(-1)
    is_wide_B = top_B.exp() < top_p
    wide_M = is_wide_B.nonzero()[:, 0]
    tokens_B[wide_M] = _nucleus_of_several(logp_BV[wide_M], uniforms_B[wide_M], top_p)
    return tokens_B


def _ordered(logp_BV: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities in falling order, and the tokens that have them.

    On a GPU these are only the first `LIKELIEST` ones, where they reach `top_p` in every row.
    """
    if logp_BV.is_cuda and logp_BV.shape[-1] > LIKELIEST:
        # Equal ones in the order of the vocabulary, as the whole sort has them.
        likeliest_BV = logp_BV.topk(LIKELIEST).indices
        order_BV = likeliest_BV.sort(dim=-1).values
        top_BV = logp_BV.gather(-1, order_BV)

        reaches_B = top_BV.exp().sum(-1) >= top_p
        if bool(reaches_B.all()):
            ordered_BV, indices_BV = top_BV.sort(dim=-1, descending=True, stable=True)
            return ordered_BV, order_BV.gather(-1, indices_BV)

    # Stable: equal ones stay in the order of the vocabulary, on every device.
    return logp_BV.sort(dim=-1, descending=True, stable=True)


def _nucleus_of_several(logp_BV: Tensor, uniforms_B: Tensor, top_p: float) -> Tensor:
    """Inversion over the tokens in falling order of probability, cut where their sum reaches `top_p`."""
    ordered_BV, order_BV = _ordered(logp_BV, top_p)
    probabilities_BV = ordered_BV.exp()
    # The token with which the sum reaches `top_p` is in: what counts is the sum before a token.
    before_BV = probabilities_BV.cumsum(-1, dtype=torch.float64) - probabilities_BV
    nucleus_BV = ordered_BV.masked_fill(before_BV >= top_p, float("-inf"))
    index_B = _invert(nucleus_BV, uniforms_B)
    tokens_B1 = order_BV.gather(-1, index_B[:, None])
    return tokens_B1[:, 0]
