"""Algorithms by name, and the settings that one takes over from another."""

import pytest

from aha.algorithms.catalogue import ALGORITHMS, algorithm_named, with_settings_of
from aha.algorithms.grpo import GRPO
from aha.algorithms.grpo_sequence import GRPOSequence
from aha.algorithms.rloo import RLOO


def test_every_algorithm_has_its_own_name() -> None:
    assert {name: algorithm_named(name)().name for name in ALGORITHMS} == {name: name for name in ALGORITHMS}
    with pytest.raises(ValueError, match="--algorithm ppo: there is no such algorithm, only grpo, grpo_sequence, rloo"):
        algorithm_named("ppo")


def test_settings_that_both_have_and_that_were_set_are_taken_over() -> None:
    source = GRPO(clip_eps=10.0, aggregation="sequence")
    assert with_settings_of(GRPOSequence, source) == GRPOSequence(clip_eps=10.0)
    # A setting of the source that the other one lacks is left behind.
    assert with_settings_of(RLOO, source) == RLOO()
    # What was not set keeps the default of the chosen one.
    assert with_settings_of(GRPO, source).model_fields_set == {"clip_eps", "aggregation"}
    assert with_settings_of(GRPOSequence, GRPO()).model_fields_set == set()
