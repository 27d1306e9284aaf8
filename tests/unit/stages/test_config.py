"""What each field of the configurations of the stages allows, and its default."""

from pathlib import Path

from tables import assert_as_in_table, limits_of

from aha.stages.config import EvaluationConfig, PretrainConfig, RejectionConfig, RLConfig, SupervisedConfig

KINDS = (EvaluationConfig, PretrainConfig, RejectionConfig, RLConfig, SupervisedConfig)


def test_no_limit_and_no_default_of_a_stage_changes_unnoticed() -> None:
    assert_as_in_table(limits_of(*KINDS), Path(__file__).with_name("config.json"))
