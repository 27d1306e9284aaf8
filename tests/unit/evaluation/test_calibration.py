"""Calibration against hand-worked bins."""

import pytest

from aha.evaluation.calibration import Bin, calibration_error, in_bins


def test_bins_and_error_by_hand() -> None:
    bins = in_bins([0.05, 0.15, 0.91, 0.95, 1.0], [False, True, True, True, False])
    assert bins == [
        Bin(n=1, predicted=0.05, observed=0.0),
        Bin(n=1, predicted=0.15, observed=1.0),
        Bin(n=3, predicted=pytest.approx(2.86 / 3), observed=pytest.approx(2 / 3)),
    ]
    # (1 * 0.05 + 1 * 0.85 + 3 * (2.86 - 2) / 3) / 5
    assert calibration_error(bins) == pytest.approx((0.05 + 0.85 + 0.86) / 5)


def test_what_is_always_as_predicted_has_no_error() -> None:
    probabilities = [0.25] * 4 + [0.75] * 4
    outcomes = [True, False, False, False, True, True, True, False]
    assert calibration_error(in_bins(probabilities, outcomes)) == 0.0
    assert len(in_bins([0.4, 0.6], [True, False], num_bins=1)) == 1
    assert len(in_bins([0.0, 1.0], [True, False])) == 2
