"""From sequences to batches: padding, selecting, cutting into micro-batches."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from aha.policy.layout import Layout, pack
from aha.types import Batch

__all__ = ["layout_of", "micro_batches", "on_device", "partition_rows", "select", "stack"]


def stack(
    prompts: Sequence[Tensor],
    responses: Sequence[Tensor],
    signals: Mapping[str, Sequence[Tensor] | Tensor] | None = None,
) -> Batch:
    """Put prompts and responses into one batch; the loss counts on the responses.

    Args:
        prompts: [T0] each.
        responses: [T] each.
        signals: either one [T] tensor a response, laid at the response's tokens and 0 elsewhere, or a [B] tensor,
            taken as it is.
    """
    lengths_B = torch.tensor([len(p) + len(r) for p, r in zip(prompts, responses, strict=True)])
    shape = (len(prompts), int(lengths_B.max()))
    tokens_BT, mask_BT = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        tokens_BT[row, : lengths_B[row]] = torch.cat((prompt, response))
        mask_BT[row, len(prompt) : lengths_B[row]] = True
    laid: dict[str, Tensor] = {}
    for name, values in (signals or {}).items():
        if isinstance(values, Tensor):
            laid[name] = values
        else:
            laid[name] = torch.zeros(shape).masked_scatter_(mask_BT, torch.cat(list(values)))
    return Batch(tokens_BT=tokens_BT, mask_BT=mask_BT, lengths_B=lengths_B, signals=laid)


def select(batch: Batch, rows: Sequence[int] | Tensor) -> Batch:
    """Some rows of a batch, trimmed to the longest of them."""
    index = torch.as_tensor(rows, dtype=torch.int64, device=batch.lengths_B.device)
    lengths_B = batch.lengths_B[index]
    width = int(lengths_B.max()) if len(index) else 0

    def cut(values: Tensor) -> Tensor:
        return values[index, :width] if values.dim() > 1 else values[index]

    return Batch(
        tokens_BT=cut(batch.tokens_BT),
        mask_BT=cut(batch.mask_BT),
        lengths_B=lengths_B,
        signals={name: cut(values) for name, values in batch.signals.items()},
    )


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; batches are made on the CPU, and each micro-batch visits the model's."""
    return Batch(
        tokens_BT=batch.tokens_BT.to(device),
        mask_BT=batch.mask_BT.to(device),
        lengths_B=batch.lengths_B.to(device),
        signals={name: values.to(device) for name, values in batch.signals.items()},
    )


def layout_of(batch: Batch, *, with_last: bool = True) -> Layout:
    """The fast layout of a batch: everything before a sequence's first counted token is shared where it is equal.

    Args:
        batch: the sequences.
        with_last: whether their last tokens are in it, from which nothing is predicted.
    """
    lengths_B = batch.lengths_B if with_last else batch.lengths_B - 1
    return pack(batch.tokens_BT, lengths_B, batch.mask_BT.int().argmax(-1).tolist())


def micro_batches(batch: Batch, max_tokens: int) -> list[Batch]:
    """Cut a batch into as few parts as there can be of at most `max_tokens` tokens (one sequence at least), evenly.

    Equal prompts are together, and a prompt counts once in each part.
    """
    if not len(batch.lengths_B):
        return []
    prompt_lengths = batch.mask_BT.int().argmax(-1).tolist()
    lengths = batch.lengths_B.tolist()
    prompts = [tuple(tokens[:n]) for tokens, n in zip(batch.tokens_BT.tolist(), prompt_lengths, strict=True)]
    order = sorted(range(len(lengths)), key=lambda row: (prompts[row], lengths[row]))
    numbers = {prompt: number for number, prompt in enumerate(prompts)}  # quicker to compare than prompts
    asked = [numbers[prompt] for prompt in prompts]

    def cut(most: int) -> list[list[int]]:
        parts: list[list[int]] = []
        room, current = 0, -1
        for row in order:
            need = lengths[row] - (prompt_lengths[row] if asked[row] == current else 0)
            if not parts or need > room:
                parts.append([])
                need, room = lengths[row], most
            parts[-1].append(row)
            room, current = room - need, asked[row]
        return parts

    # Filled one after another, the last would often be a small one, which takes more time a token.
    count = len(cut(max_tokens))
    most = bisect_left(range(max_tokens), True, key=lambda most: len(cut(most)) == count)
    return [select(batch, part) for part in cut(most)]


def partition_rows(batch: Batch, num_ranks: int) -> list[list[int]]:
    """Rows of a batch for each of several processes: equal prompts together, tokens shared out evenly.

    Args:
        batch: the sequences.
        num_ranks: how many processes.
    """
    order = sorted(range(len(batch.lengths_B)), key=lambda row: (batch.tokens_BT[row].tolist(), row))
    counts = batch.mask_BT.sum(1).tolist()
    total, seen = max(1, sum(counts)), 0

    # A row belongs to the process in whose part of all tokens its middle lies.
    rows_by_rank: list[list[int]] = [[] for _ in range(num_ranks)]
    for row in order:
        rank = (2 * seen + counts[row]) * num_ranks // (2 * total)
        rows_by_rank[min(num_ranks - 1, rank)].append(row)
        seen += counts[row]
    return rows_by_rank
