"""The figures of the page as text: a value, and its 95 % interval; and long texts cut to size."""

import math
from typing import Literal

from aha.types import Row

__all__ = [
    "DASH",
    "MINUS",
    "Unit",
    "clipped",
    "duration",
    "format_figure",
    "heading",
    "in_column",
    "is_share",
    "operations",
    "value_and_interval",
]

# Beginnings of names: `pass@1` and `cons@16` have their number of samples at the end.
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
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
Unit = Literal["share", "number"]
"""How a figure is written: in percent, or as it is."""

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
        return DASH, ""

    value = in_column(row.value, metric)
    # The interval of a single problem may be open.
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return value, ""

    low = in_column(row.low, metric)
    high = in_column(row.high, metric)
    return value, f"{low.removesuffix(PERCENT)} {DASH} {high}"


def in_column(value: float, metric: str) -> str:
    """A figure with the number of decimals of its column."""
    if is_share(metric):
        return f"{value * 100:.1f}{PERCENT}"
    return f"{value:,.1f}" if metric == "length" else f"{value:,.2f}"


def format_figure(value: float, unit: Unit = "number") -> str:
    """A number as the page writes it: percent for shares, three digits or all whole ones, thousands set apart.

    Examples: 0.413 -> `41.3 %` as a share; 1234.5 -> `1,234`; 0.0000012 -> `1.2e-6`.
    """
    if not math.isfinite(value):
        return DASH
    if unit == "share":
        percent = f"{value * 100:.1f}".removesuffix(".0")
        return f"{percent}{PERCENT}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"

    # Python pads exponents to two digits: int() turns `e-06` into `e-6`.
    text = f"{value:.3g}"
    mantissa, exponent_mark, exponent = text.partition("e")
    if exponent_mark:
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", MINUS, 1) if value < 0 else text


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
    # Thousands have the powers 1, millions 2; what is smaller or larger than all prefixes has the nearest one.
    power = int(math.log10(count) // 3) if count > 0 else 0
    power = min(max(power, 0), len(PREFIXES) - 1)
    return f"{count / 1000**power:.3g}\N{NO-BREAK SPACE}{PREFIXES[power]}FLOP"


def clipped(text: str, max_characters: int) -> str:
    """The text, or its two ends where it is longer: a response shows what goes wrong at its end."""
    num_left_out = len(text) - max_characters
    if num_left_out <= 0:
        return text

    half = max_characters // 2
    return f"{text[:half]} [... {num_left_out:,} characters left out ...] {text[-half:]}"
