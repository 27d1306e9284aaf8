"""What a training had behind it when its stage began."""

from pathlib import Path

from aha.stages.config import RLConfig
from aha.stages.rl_state import _before
from aha.stages.training_state import History, Resumed


def test_a_stage_that_resumes_began_where_its_own_part_is_taken_off() -> None:
    training = {"history": {"iterations": 7, "updates": 15, "problems": 90}}
    resumed = Resumed(folder=Path(), iteration=3, step=6, tensors={}, training=training)
    before = _before(RLConfig(problems_per_iteration=12), resumed)
    assert before == History(iterations=4, updates=9, problems=54)


def test_a_new_stage_began_with_all_that_it_continues() -> None:
    training = {"history": {"iterations": 7, "updates": 15, "problems": 90}}
    resumed = Resumed(folder=Path(), iteration=0, step=0, tensors={}, training=training)
    assert _before(RLConfig(), resumed) == History(iterations=7, updates=15, problems=90)
    assert _before(RLConfig(), None) == History()
