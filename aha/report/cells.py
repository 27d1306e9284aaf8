"""The figures of the page as text: a value, and its 95 % interval."""

import math

from aha.types import Row

__all__ = ["duration", "heading", "in_column", "is_share", "operations", "value_and_interval"]

SHARES = (
    *("pass@", "cons@", "mixing", "format", "truncated", "unparsable", "unsupported"),
    *("consistency", "readability", "general", "helpfulness", "harmlessness"),
)
HEADINGS = {
    "length": "length, tokens",
    "reflection": "reflective words",
    "mixing": "language mixing",
    "consistency": "language consistency",
    "general": "general, right",
}
PERCENT = "\N{NO-BREAK SPACE}%"
MINUTE = 60
HOUR = 3600
PREFIXES = ("", "K", "M", "G", "T", "P", "E", "Z", "Y")


def heading(metric: str) -> str:
    """What a table calls a metric."""
    return HEADINGS.get(metric, metric)


def is_share(metric: str) -> bool:
    """Whether a metric is a share, written in percent."""
    return metric.startswith(SHARES)


def value_and_interval(row: Row | None, metric: str) -> tuple[str, str]:
    """A row's value and its interval as text; a dash where there is none."""
    if row is None:
        return "\N{EN DASH}", ""

    value = in_column(row.value, metric)
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return value, ""

    low = in_column(row.low, metric)
    high = in_column(row.high, metric)
    return value, f"{low.removesuffix(PERCENT)} \N{EN DASH} {high}"


def in_column(value: float, metric: str) -> str:
    """A figure with the number of decimals of its column."""
    if is_share(metric):
        return f"{value * 100:.1f}{PERCENT}"
    return f"{value:,.1f}" if metric == "length" else f"{value:,.2f}"


def duration(seconds: float | None) -> str:
    """Seconds in words: `5 min 12 s`; nothing where nothing was timed."""
    if seconds is None:
        return ""
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min {seconds % MINUTE:.0f} s"
    return f"{int(seconds // HOUR)} h {int(seconds % HOUR // MINUTE)} min"


def operations(count: float) -> str:
    """Floating-point operations with a prefix: 1.25e12 is `1.25 TFLOP`."""
    power = min(len(PREFIXES) - 1, max(0, int(math.log10(count) // 3))) if count > 0 else 0
    return f"{count / 1000**power:.3g}\N{NO-BREAK SPACE}{PREFIXES[power]}FLOP"
