"""What no implementation can be faster than: the operations of a part over the rate at which this machine multiplies.

The operations of a token are 2 for each parameter forward, the embedding left out and the output head counted once,
and 6 forward and backward. Attention scores, norms, rotations and sampling are left out, so a floor is a little too
low.
"""

import time
from collections import Counter
from collections.abc import Mapping

import torch

from aha.policy.config import DenseConfig
from aha.policy.transformer import Transformer
from aha.training.cost import forward_flops

ROWS = (128, 512, 2048)
"""Tokens that are multiplied at once; the fastest counts."""
REPEATS = 5


def shape_only(config: DenseConfig) -> Transformer:
    """A policy without numbers, to be counted."""
    with torch.device("meta"):
        return Transformer(config)


def product_shapes(config: DenseConfig) -> Counter[tuple[int, int]]:
    """The matrices that a token is multiplied with, (out, in), with their number."""
    named = shape_only(config).named_parameters(remove_duplicate=False)
    matrices = [weight for name, weight in named if weight.dim() == 2 and not name.endswith("embed_tokens.weight")]
    return Counter((weight.shape[0], weight.shape[1]) for weight in matrices)


def multiplying_rate(config: DenseConfig) -> float:
    """Operations per CPU second of one thread, at the shapes of a model: the best of some sizes and repeats.

    A rate is that of all products of a token one after the other, each at its best.
    """
    torch.set_num_threads(1)
    shapes, rates = product_shapes(config), []
    for rows in ROWS:
        seconds = {shape: min(_seconds(shape, rows) for _ in range(REPEATS)) for shape in shapes}
        flops = sum(2 * rows * out * width * count for (out, width), count in shapes.items())
        rates.append(flops / sum(seconds[shape] * count for shape, count in shapes.items()))
    return max(rates)


def _seconds(shape: tuple[int, int], rows: int) -> float:
    """CPU seconds of one product, from as many as take some milliseconds."""
    weight, hidden = torch.ones(shape), torch.ones(rows, shape[1])
    times = max(1, int(4e8 / (2 * rows * shape[0] * shape[1])))
    torch.mm(hidden, weight.T)
    started = time.process_time()
    for _ in range(times):
        torch.mm(hidden, weight.T)
    return (time.process_time() - started) / times


def part_flops(config: DenseConfig, num_tokens: int) -> dict[str, float]:
    """Operations of each part, where each token is computed once: forward, and for the update three times that."""
    forward = forward_flops(shape_only(config), num_tokens)
    return {"generate": forward, "reference": forward, "train": 3 * forward}


def floor_shares(
    flops: Mapping[str, float], measured: Mapping[str, float], *, rate: float, threads: int, kind: str
) -> dict[str, float]:
    """The floor of each part that was measured, and of all of them, as shares of the seconds that it took.

    Args:
        flops: operations of each part.
        measured: seconds, as a side's line has them.
        rate: operations per second of one thread.
        threads: how many share the operations.
        kind: `cpu_seconds` or `wall_seconds`; CPU seconds are those of all threads.
    """
    per_second = rate * (threads if kind == "wall_seconds" else 1)
    found = {part: measured[f"{part}_{kind}"] for part in flops if measured.get(f"{part}_{kind}", 0) > 0}
    shares = {part: flops[part] / per_second / seconds for part, seconds in found.items()}
    shares["all"] = sum(flops[part] for part in found) / per_second / sum(found.values())
    return {part: round(share, 3) for part, share in shares.items()}
