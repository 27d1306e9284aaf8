"""What the settings of each algorithm allow, and what they are where nobody says so."""

from pathlib import Path

from tables import assert_as_in_table, limits_of

from aha.algorithms.catalogue import ALGORITHMS


def test_no_limit_and_no_default_of_an_algorithm_changes_unnoticed() -> None:
    assert_as_in_table(limits_of(*ALGORITHMS.values()), Path(__file__).with_name("limits.json"))
