"""Log-probabilities of realised tokens by the kernels that decode: for a policy that is not trained, without gradient.

Each different beginning (a prompt) is computed once; what follows on it attends to it where it lies.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from aha.policy.fast.packed import PackedPolicy
from aha.policy.fast.paths import can_be_packed
from aha.policy.policy import Policy

__all__ = ["packed_score", "scores_packed"]

CHUNK_ROWS = 192
"""Tokens computed at once, which bounds the scratch memory."""

CHUNK_LOGITS = 1 << 22
"""Logits that exist at once, or those of one token."""


def scores_packed(policy: Policy) -> bool:
    """Whether `packed_score` can score this policy, and is the faster way: the kernels have one thread."""
    return torch.get_num_threads() == 1 and can_be_packed(policy)


@torch.no_grad()
def packed_score(
    policy: Policy, tokens_BT: Tensor, mask_BT: Tensor, lengths_B: Tensor, *, temperature: float
) -> Tensor:
    """Log-probability of each masked token given the ones before it, as `aha.policy.scoring.score` has it.

    Args:
        policy: one that `can_be_packed`.
        tokens_BT: sequences, padded on the right.
        mask_BT: True at the tokens to score, never at the first of a sequence; what comes before the first of them is
            shared with sequences that begin alike.
        lengths_B: tokens of each.
        temperature: of the distribution, > 0.

    Returns:
        [B, T], float32, nats; 0 where the mask is False.
    """
    packed, result_BT = PackedPolicy(policy, tokens_BT.shape[1]), torch.zeros(mask_BT.shape)
    for prompt, rows in _by_prompt(tokens_BT, mask_BT):
        memory = torch.empty(packed.segment_floats(len(prompt)))
        hidden_ND = _computed(packed, packed.rows_of(prompt, memory, ()), len(prompt))
        parts = [tokens_BT[row, len(prompt) : int(lengths_B[row]) - 1] for row in rows]
        own = torch.empty(len(rows), packed.segment_floats(max(1, *map(len, parts))))
        before = ((memory, len(prompt)),)
        rows_NF = torch.cat([packed.rows_of(part, place, before) for part, place in zip(parts, own, strict=True)])
        states_ND = _computed(packed, rows_NF, len(prompt) + max(map(len, parts)))
        follow = torch.split(states_ND, [len(part) for part in parts])
        hidden_MD = torch.cat([state for part in follow for state in (hidden_ND[-1:], part)])
        targets = [tokens_BT[row, len(prompt) : int(lengths_B[row])] for row in rows]
        logp_M = _chosen(packed, hidden_MD, torch.cat(targets), temperature)
        for row, logp_T in zip(rows, torch.split(logp_M, [len(target) for target in targets]), strict=True):
            result_BT[row, len(prompt) : len(prompt) + len(logp_T)] = logp_T
    return result_BT.masked_fill_(~mask_BT, 0.0)


def _by_prompt(tokens_BT: Tensor, mask_BT: Tensor) -> Iterator[tuple[Tensor, list[int]]]:
    """Each different beginning, with the sequences that have it."""
    known: dict[tuple[int, ...], list[int]] = {}
    for row, start in enumerate(mask_BT.int().argmax(-1).tolist()):
        if mask_BT[row, start]:
            known.setdefault(tuple(tokens_BT[row, :start].tolist()), []).append(row)
    yield from ((torch.tensor(prompt), rows) for prompt, rows in known.items())


def _computed(packed: PackedPolicy, rows_NF: Tensor, longest: int) -> Tensor:
    """Hidden states of rows in their order, [N, D]."""
    return torch.cat([packed.forward(rows, longest) for rows in torch.split(rows_NF, CHUNK_ROWS)])


def _chosen(packed: PackedPolicy, hidden_MD: Tensor, targets_M: Tensor, temperature: float) -> Tensor:
    """Log softmax of tempered logits at the targets, [M]."""
    chunk = max(1, CHUNK_LOGITS // packed.config.vocab_size)
    found = []
    for hidden, targets in zip(torch.split(hidden_MD, chunk), torch.split(targets_M, chunk), strict=True):
        logits = packed.logits(hidden).div_(temperature)
        found.append(logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1))
    return torch.cat(found)
