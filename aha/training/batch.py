"""From sequences to batches: padding, selecting, cutting into micro-batches."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from aha.policy.layout import Layout, pack
from aha.types import Batch

__all__ = ["cut_micro_batches", "layout_of", "on_device", "partition_rows", "prompt_lengths", "select", "stack"]


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
    sequences = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
    lengths_B = torch.tensor([len(sequence) for sequence in sequences])
    shape = (len(sequences), int(lengths_B.max()))

    tokens_BT = torch.zeros(shape, dtype=torch.int64)
    mask_BT = torch.zeros(shape, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        start = len(prompts[row])
        stop = len(sequence)
        tokens_BT[row, :stop] = sequence
        mask_BT[row, start:stop] = True

    signal_tensors: dict[str, Tensor] = {}
    for name, values in (signals or {}).items():
        if isinstance(values, Tensor):
            signal_tensors[name] = values
            continue

        # The mask is read row by row, so the responses laid end to end come to lie where they belong.
        values_M = torch.cat(list(values))
        signal_tensors[name] = torch.zeros(shape).masked_scatter_(mask_BT, values_M)

    return Batch(tokens_BT=tokens_BT, mask_BT=mask_BT, lengths_B=lengths_B, signals=signal_tensors)


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


def prompt_lengths(batch: Batch) -> list[int]:
    """Tokens of each sequence before the first one that the loss counts."""
    # `argmax` returns the first of equal entries, and takes no booleans.
    return batch.mask_BT.int().argmax(-1).tolist()


def layout_of(batch: Batch, *, with_last: bool = True) -> Layout:
    """The fast layout of a batch: everything before a sequence's first counted token is shared where it is equal.

    Args:
        batch: the sequences.
        with_last: whether their last tokens are in it, from which nothing is predicted.
    """
    lengths_B = batch.lengths_B if with_last else batch.lengths_B - 1
    return pack(batch.tokens_BT, lengths_B, prompt_lengths(batch))


def cut_micro_batches(batch: Batch, max_tokens: int) -> list[Batch]:
    """Cut a batch into micro-batches of about equal size, in as few as `max_tokens` allows.

    Sequences with equal prompts are neighbours, and a prompt counts once in each micro-batch. A sequence that is longer
    than `max_tokens` is a micro-batch by itself.
    """
    if not len(batch.lengths_B):
        return []

    starts = prompt_lengths(batch)
    lengths = batch.lengths_B.tolist()
    prompts = [tuple(tokens[:start]) for tokens, start in zip(batch.tokens_BT.tolist(), starts, strict=True)]
    order = sorted(range(len(lengths)), key=lambda row: (prompts[row], lengths[row]))

    # Cutting is tried for many capacities, and numbers are quicker to compare than prompts.
    numbers = {prompt: number for number, prompt in enumerate(prompts)}
    prompt_numbers = [numbers[prompt] for prompt in prompts]

    def cut(capacity: int) -> list[list[int]]:
        """Rows of each micro-batch, of this many tokens at most."""
        rows_of_each: list[list[int]] = []
        remaining = 0
        last_prompt = -1
        for row in order:
            shares_prompt = prompt_numbers[row] == last_prompt
            num_tokens = lengths[row] - (starts[row] if shares_prompt else 0)
            if not rows_of_each or num_tokens > remaining:
                # A new micro-batch computes the prompt once more.
                rows_of_each.append([])
                remaining = capacity
                num_tokens = lengths[row]

            rows_of_each[-1].append(row)
            remaining -= num_tokens
            last_prompt = prompt_numbers[row]
        return rows_of_each

    # Filled to the brim one after another, the last one would often be small, and small ones take more time a token.
    # The smallest capacity that needs no more micro-batches fills them evenly.
    fewest = len(cut(max_tokens))
    capacity = bisect_left(range(max_tokens), True, key=lambda capacity: len(cut(capacity)) == fewest)
    return [select(batch, rows) for rows in cut(capacity)]


def partition_rows(batch: Batch, num_ranks: int) -> list[list[int]]:
    """Rows of a batch for each of several processes: equal prompts together, tokens shared out evenly.

    Args:
        batch: the sequences.
        num_ranks: how many processes.
    """
    # In the order of their tokens, rows with equal prompts are neighbours.
    tokens = batch.tokens_BT.tolist()
    order = sorted(range(len(tokens)), key=lambda row: tokens[row])
    counts = batch.mask_BT.sum(1).tolist()
    total = max(1, sum(counts))

    # A row belongs to the process in whose part of all tokens its middle lies. All is doubled, to stay with integers.
    rows_by_rank: list[list[int]] = [[] for _ in range(num_ranks)]
    num_before = 0
    for row in order:
        doubled_middle = 2 * num_before + counts[row]
        rank = doubled_middle * num_ranks // (2 * total)

        # The middle of a last row without counted tokens is the end of all, which is behind the last part.
        rows_by_rank[min(num_ranks - 1, rank)].append(row)
        num_before += counts[row]
    return rows_by_rank
