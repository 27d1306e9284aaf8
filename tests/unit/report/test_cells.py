import math

import pytest

from aha.report.cells import duration, in_column, operations, value_and_interval
from aha.types import Row


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 FLOP"),
        (999, "999 FLOP"),
        (1000, "1 KFLOP"),
        (1.25e12, "1.25 TFLOP"),
        (3.1e26, "310 YFLOP"),
        (1e30, "1e+06 YFLOP"),
    ],
)
def test_operations_have_prefixes(count: float, text: str) -> None:
    assert operations(count).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (9.6, "10 s"), (61, "1 min 1 s"), (7300, "2 h 1 min")])
def test_durations_are_in_words(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_shares_are_in_percent_and_counts_are_not() -> None:
    assert [in_column(0.5, name) for name in ("consistency", "true", "length")] == [
        "50.0\N{NO-BREAK SPACE}%",
        "0.50",
        "0.5",
    ]


def test_an_interval_that_is_not_known_is_left_out() -> None:
    row = Row(suite="all", metric="pass@1", value=0.5, low=math.nan, high=0.6, n=1)
    assert value_and_interval(row, "pass@1") == ("50.0\N{NO-BREAK SPACE}%", "")
    assert value_and_interval(None, "pass@1") == ("\N{EN DASH}", "")
