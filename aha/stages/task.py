"""What a policy is trained to do: problems, rewards, prompts, and what the training is watched on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aha.problems.datasets.sets import digest
from aha.prompts.templates import Template, r1_zero
from aha.rewards.table import RewardTable, identities
from aha.stages.config import EvaluationConfig
from aha.stages.groups import Truth, nothing_known
from aha.types import Problem

__all__ = ["ProblemSource", "Task", "Validation"]


class ProblemSource(Protocol):
    """An endless stream of problems, any part of which can be had at once."""

    @property
    def key(self) -> str:
        """What decides the problems: part of the stage's key."""
        ...

    def __call__(self, start: int, count: int) -> Sequence[Problem]:
        """The next `count` problems, after `start` of them were asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Held-out problems on which a stage is watched, and how they are sampled."""

    problems: Sequence[Problem]
    config: EvaluationConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a policy is trained to do.

    Attributes:
        problems: the stream of training problems.
        reward: reward functions and weights by domain.
        validation: what the stage is watched on.
        template: the prompt around a question.
        truth: what learned rewards are compared with, by name; logged, never trained on.
        stop: texts that end a response, in training and in validation.
    """

    problems: ProblemSource
    reward: RewardTable
    validation: Validation
    template: Template = r1_zero
    truth: Truth = nothing_known
    stop: tuple[str, ...] = ()

    @property
    def key(self) -> dict[str, object]:
        """What decides the task: part of the stage's key."""
        validation = self.validation
        key: dict[str, object] = {
            "problems": self.problems.key,
            "rewards": identities(self.reward),
            "validation": [digest(validation.problems), validation.config.model_dump()],
            "template": self.template(""),
        }

        # Absent where there are none: folders from before there were stop strings keep their keys.
        if self.stop:
            key["stop"] = list(self.stop)
        return key
