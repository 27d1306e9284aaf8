"""Round numbers along the axis of a chart."""

import math

__all__ = ["covering_ticks", "round_step", "ticks"]

TOLERANCE = 1e-9  # in steps: what rounding may have added or taken away


def round_step(width: float, count: int) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that covers `width` in at most `count` steps.

    Raises:
        ValueError: width is not positive and finite, or count < 1.
    """
    if not (math.isfinite(width) and width > 0 and count >= 1):
        raise ValueError(f"round_step needs a positive, finite width and count >= 1; got {width} and {count}")

    exact = width / count
    power = 10.0 ** math.floor(math.log10(exact))
    for factor in (1, 2, 2.5, 5):
        # A width such as 0.6 is not exact in binary: it must not miss its own round step by the last bit.
        if factor * power >= exact * (1 - TOLERANCE):
            return factor * power
    return 10 * power


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within [low, high], evenly spaced, at most `count` + 1 of them.

    Raises:
        ValueError: high <= low, or either is not finite.
    """
    step = round_step(high - low, count)
    first = math.ceil(low / step - TOLERANCE)
    last = math.floor(high / step + TOLERANCE)
    return _multiples(step, first, last)


def covering_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers, evenly spaced, of which the first and the last enclose [low, high]; an empty range is widened."""
    if high <= low:
        margin = abs(low) * 0.1 or 1.0
        # An axis that starts at 0, as that of a count does, is not extended below it.
        if low == 0:
            high = margin
        else:
            low -= margin
            high += margin

    step = round_step(high - low, count)
    first = math.floor(low / step + TOLERANCE)
    last = math.ceil(high / step - TOLERANCE)
    return _multiples(step, first, last)


def _multiples(step: float, first: int, last: int) -> list[float]:
    """From `first` x step to `last` x step, rid of the last bits of rounding."""
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]
