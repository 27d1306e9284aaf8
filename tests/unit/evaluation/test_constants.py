"""The numbers that this room states: constants, defaults of arguments, defaults of fields."""

from pathlib import Path

from tables import assert_as_in_table, constants_of

import aha.evaluation


def test_no_constant_and_no_default_changes_unnoticed() -> None:
    assert_as_in_table(constants_of(aha.evaluation), Path(__file__).with_name("constants.json"))
