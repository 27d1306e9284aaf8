"""Stand-ins for the stages of every recipe, so that a recipe runs whole and shows what it gives to each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aha.actors.local_actors import LocalActors
from aha.rewards.table import RewardFunction
from aha.stages.run import Run
from aha.types import Checkpoint, Dataset, Problem, Rollout, Verdict

Given = dict[str, dict[str, Any]]
"""What each stage was given, by the name of the stage and of its argument."""


@dataclass
class Stages:
    """Stages that write down what they are given, and hand on their name in place of a result.

    Attributes:
        given: what they were given so far, in the order in which they ran; `rows` is what a stage that makes data is
            given by place.
    """

    given: Given = field(default_factory=dict)

    def model(self, _: Run, name: str, **arguments: Any) -> Checkpoint:
        """A stage that makes a model."""
        self.given[name] = arguments
        return Checkpoint(path=Path(name), stage=name, step=0, key=name)

    def data(self, _: Run, name: str, *rows: Any, **arguments: Any) -> Dataset:
        """A stage that makes data."""
        self.given[name] = arguments | {"rows": rows}
        return Dataset(path=Path(name), stage=name, key=name, num_rows=1, parents=())

    def evaluation(self, run: Run, name: str, **arguments: Any) -> None:
        """An evaluation."""
        self.model(run, f"evaluation-{name}", **arguments)

    def scorer(self, checkpoint: Checkpoint, *, name: str, **arguments: Any) -> RewardFunction:
        """The reward function of a reward model."""
        self.given[f"{name}-scores"] = arguments | {"model": checkpoint}

        def score(problem: Problem, rollout: Rollout) -> Verdict:
            raise AssertionError("no stage runs, so that nothing is judged")

        # The name is that of the part of the reward, the qualified one is in the key of a stage.
        score.__name__ = score.__qualname__ = name
        return score


def stand_in(patch: pytest.MonkeyPatch) -> Stages:
    """Put stand-ins in the place of every stage of every recipe."""
    stages = Stages()
    recipes_of_stages: dict[str, tuple[str, Callable[..., Any]]] = {
        "rl": ("r1.train r1_zero r1.students", stages.model),
        "sft": ("r1.train r1.students", stages.model),
        "pretrain": ("r1.students base_model", stages.model),
        "reward_model": ("r1.rewards r1.own_rewards", stages.model),
        "rejection": ("r1.train own.teaching", stages.data),
        "write_demonstrations": ("r1.train", stages.data),
        "harvest": ("r1.rewards", stages.data),
        "evaluate": ("r1_zero r1.examination own.examination", stages.evaluation),
    }
    for name, (recipes, stage) in recipes_of_stages.items():
        for recipe in recipes.split():
            patch.setattr(f"aha.recipes.{recipe}.{name}", stage)

    # The recipes of one stage import theirs when they run.
    for stage, function in {
        "aha.stages.sft.sft": stages.model,
        "aha.stages.reward_models.train.reward_model": stages.model,
        "aha.stages.harvests.harvest.write_demonstrations": stages.data,
    }.items():
        patch.setattr(stage, function)

    patch.setattr(LocalActors, "learned_reward", stages.scorer)
    return stages
