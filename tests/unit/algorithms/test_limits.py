"""What the settings of each algorithm allow, and what they are where nobody says so."""

from pathlib import Path
from typing import get_args

from tables import assert_as_in_table, limits_of

from aha.algorithms.catalogue import ALGORITHMS, AnyAlgorithm


def test_no_limit_and_no_default_of_an_algorithm_changes_unnoticed() -> None:
    assert_as_in_table(limits_of(*ALGORITHMS.values()), Path(__file__).with_name("limits.json"))


def test_every_algorithm_of_a_configuration_has_its_name() -> None:
    """The first argument of `Annotated` is the union, whose arguments are the classes."""
    assert list(ALGORITHMS.values()) == list(get_args(get_args(AnyAlgorithm)[0]))
