"""Best-fit packing: sequences of different lengths in as few chunks of a fixed length as can be found quickly.

A chunk is a unit of work: chunks of one size take the same memory and the same time on every process. Sequences in a
chunk never see each other; `aha.policy.layout.pack` keeps them apart.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.1 (sort by length, best fit into fixed-length chunks, equal numbers of chunks
for all processes); sample masking as in DeepSeek-V3, arXiv:2412.19437v2, section 5.1.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

__all__ = ["best_fit"]


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best fit decreasing: every sequence, longest first, goes into the fullest chunk that can hold it.

    Args:
        lengths: tokens of each sequence, each at least 1.
        capacity: tokens of a chunk.

    Returns:
        Indices of the sequences of each chunk, each index once; at most 11/9 of the fewest possible chunks, and one.

    Raises:
        ValueError: a sequence is empty or longer than a chunk; the message says which.

    Source: Johnson 1974 for the rule and its bound. Equal lengths are taken in the order given.
    """
    for index, length in enumerate(lengths):
        if not 1 <= length <= capacity:
            raise ValueError(f"sequence {index} has {length} tokens; a chunk holds 1 to {capacity}")

    longest_first = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    chunks: list[list[int]] = []

    # Free tokens and number of each chunk, the fullest chunk first, so that the best fit is found by bisection.
    free: list[tuple[int, int]] = []
    for index in longest_first:
        length = lengths[index]
        best = bisect_left(free, (length, -1))
        if best < len(free):
            num_free, chunk = free.pop(best)
        else:
            num_free = capacity
            chunk = len(chunks)
            chunks.append([])

        chunks[chunk].append(index)
        insort(free, (num_free - length, chunk))
    return chunks
