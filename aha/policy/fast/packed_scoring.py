"""Log-probabilities of realised tokens by the kernels that decode: for a policy that is not trained, without gradient.

Each different beginning (a prompt) is computed once; what follows on it attends to it where it lies.
"""

from collections.abc import Iterator, Sequence

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
    num_positions = tokens_BT.shape[1]
    packed = PackedPolicy(policy, num_positions)
    lengths = lengths_B.tolist()
    result_BT = torch.zeros(mask_BT.shape)
    for prompt, rows in _by_prompt(tokens_BT, mask_BT):
        start = len(prompt)
        targets = [tokens_BT[row, start : lengths[row]] for row in rows]
        hidden_MD = _predicting_states(packed, prompt, targets)
        logp_M = _chosen_logp(packed, hidden_MD, torch.cat(targets), temperature)

        logp_by_row = torch.split(logp_M, [len(target) for target in targets])
        for row, logp_T in zip(rows, logp_by_row, strict=True):
            result_BT[row, start : start + len(logp_T)] = logp_T

    # Everything behind the prompt was scored, also what the mask leaves out there.
    return result_BT.masked_fill_(~mask_BT, 0.0)


def _by_prompt(tokens_BT: Tensor, mask_BT: Tensor) -> Iterator[tuple[Tensor, list[int]]]:
    """Each different beginning, with the sequences that have it; those without a token to score are left out."""
    # `argmax` finds the first masked token, and 0 where there is none.
    starts = mask_BT.int().argmax(-1).tolist()
    rows_by_prompt: dict[tuple[int, ...], list[int]] = {}
    for row, start in enumerate(starts):
        if mask_BT[row, start]:
            prompt = tuple(tokens_BT[row, :start].tolist())
            rows_by_prompt.setdefault(prompt, []).append(row)

    for prompt, rows in rows_by_prompt.items():
        prompt_T = torch.tensor(prompt)
        yield prompt_T, rows


def _predicting_states(packed: PackedPolicy, prompt_T: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Hidden states that predict what follows on a prompt in each sequence, one token at least, in order, [M, D]."""
    prompt_length = len(prompt_T)
    prompt_memory = torch.empty(packed.segment_floats(prompt_length))
    prompt_rows = packed.rows_of(prompt_T, prompt_memory, before=())
    prompt_ND = _hidden_states(packed, prompt_rows, prompt_length)

    # The last token of a sequence predicts nothing, and the first target is predicted by the end of the prompt.
    inputs = [target[:-1] for target in targets]
    lengths = [len(tokens) for tokens in inputs]
    longest = max(lengths)

    # A segment has at least one token, also where all sequences end with their first target.
    memories = torch.empty(len(inputs), packed.segment_floats(max(1, longest)))
    before = ((prompt_memory, prompt_length),)
    rows: list[Tensor] = []
    for tokens, memory in zip(inputs, memories, strict=True):
        rows.append(packed.rows_of(tokens, memory, before))
    states_ND = _hidden_states(packed, torch.cat(rows), prompt_length + longest)

    predicting: list[Tensor] = []
    for part_ND in torch.split(states_ND, lengths):
        predicting += [prompt_ND[-1:], part_ND]
    return torch.cat(predicting)


def _hidden_states(packed: PackedPolicy, rows_NF: Tensor, longest: int) -> Tensor:
    """Hidden states of rows in their order, [N, D]; a row's bits do not depend on the rows beside it."""
    chunks = torch.split(rows_NF, CHUNK_ROWS)
    return torch.cat([packed.forward(rows, longest) for rows in chunks])


def _chosen_logp(packed: PackedPolicy, hidden_MD: Tensor, targets_M: Tensor, temperature: float) -> Tensor:
    """Log softmax of tempered logits at the targets, [M]."""
    chunk = max(1, CHUNK_LOGITS // packed.config.vocab_size)
    logp_M = torch.empty(len(targets_M))
    for start in range(0, len(targets_M), chunk):
        part = slice(start, start + chunk)
        logits = packed.logits(hidden_MD[part])
        logits.div_(temperature)
        chosen = logits.gather(-1, targets_M[part, None])[:, 0]
        normaliser = logits.logsumexp(-1)
        logp_M[part] = chosen - normaliser
    return logp_M
