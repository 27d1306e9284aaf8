"""What each field of the configurations of training allows, and its default."""

from pathlib import Path

from tables import assert_as_in_table, limits_of

from aha.training.config import LoRAConfig, OptimizerConfig


def test_no_limit_and_no_default_of_training_changes_unnoticed() -> None:
    assert_as_in_table(limits_of(LoRAConfig, OptimizerConfig), Path(__file__).with_name("config.json"))
