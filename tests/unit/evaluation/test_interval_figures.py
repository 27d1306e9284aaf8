"""Quantiles and intervals as a table, to ten digits: what they promise is shown in `test_metrics.py`."""

from pathlib import Path

from tables import assert_as_in_table

from aha.evaluation.metrics import _student_t, _wilson, mean_interval

COUNTS = (1, 2, 3, 4, 5, 6, 8, 12, 30, 100, 1319)


def digits(*values: float) -> list[str]:
    return [f"{value:.10g}" for value in values]


def test_no_figure_of_an_interval_changes_unnoticed() -> None:
    found = {
        "Student's t": {str(freedom): digits(_student_t(freedom)) for freedom in COUNTS},
        "Wilson": {f"{rate} of {n}": digits(*_wilson(rate, n)) for rate in (0.0, 0.3, 1.0) for n in COUNTS},
        "mean": {
            f"{n} within {bounds}": digits(*mean_interval([k % 7 / 8 for k in range(n)], bounds=bounds))
            for n in COUNTS
            for bounds in (None, (0.0, 1.0), (-1.0, 0.9), (0.0, float("inf")))
        },
        "equal values": {
            f"{n} of {value} within {bounds}": digits(*mean_interval([value] * n, bounds=bounds))
            for n in COUNTS
            for value in (0.0, 0.25, 1.0)
            for bounds in (None, (0.0, 1.0), (-1.0, 3.0))
        },
    }
    assert_as_in_table(found, Path(__file__).with_name("interval_figures.json"))
