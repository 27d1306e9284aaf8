"""The reward models of R1's last stage from the user's rankings and labels, and the prompts that they score.

Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aha.problems.datasets.sets import ProblemSet, is_chinese
from aha.problems.responses.preferences import JudgedSet, read_labelled, read_ranked
from aha.prompts.templates import Template
from aha.recipes.own.judged_rows import as_preferences, divided
from aha.recipes.r1.options import R1Options
from aha.rewards.table import RewardFunction, RewardTable
from aha.stages.config import RewardModelConfig
from aha.stages.reward_models.sources import InMemoryPreferences
from aha.stages.reward_models.train import HARMLESSNESS, HELPFULNESS, RewardModelSpec, reward_model
from aha.stages.run import Run
from aha.types import Checkpoint, Demonstration, Problem

__all__ = ["HARMFUL", "HELPFUL", "GivenPreferences"]

HELPFUL, HARMFUL = "helpful", "harmful"
"""Domains of general prompts, by the reward model that scores the responses."""

MAX_HELD_OUT = 1000
"""Most questions that a reward model is examined on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """What one reward model learns from.

    Attributes:
        name: of the model and its part of the reward.
        kind: what it reads, and its objective.
        rows: as they were given.
        learned: what it learns from.
        held_out: what it is examined on.
    """

    name: str
    kind: RewardModelSpec
    rows: JudgedSet
    learned: InMemoryPreferences
    held_out: InMemoryPreferences


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPreferences:
    """What the reward models learn from: one for each domain that rows were given for.

    Attributes:
        template: the prompt around a question.
        lessons: by domain.
    """

    template: Template
    lessons: Mapping[str, _Lesson]

    @classmethod
    def read(cls, options: R1Options, template: Template) -> "GivenPreferences":
        """Read the files that were given.

        Raises:
            ValueError: a file cannot be read, or nothing is left to learn from or to examine.
        """
        on_bad = options.own.bad_rows
        lessons = {}
        if options.preferences:
            ranked = read_ranked(options.preferences, mapping=options.preference_fields, on_bad=on_bad)
            lessons[HELPFUL] = _lesson("helpfulness", HELPFULNESS, ranked, template)
        if options.safety:
            labelled = read_labelled(options.safety, mapping=options.safety_fields, on_bad=on_bad)
            lessons[HARMFUL] = _lesson("harmlessness", HARMLESSNESS, labelled, template)
        return cls(template=template, lessons=lessons)

    @property
    def notes(self) -> list[str]:
        """What was read, for people."""
        return [
            f"{lesson.name}: {lesson.rows.says}; the reward model is examined on {len(lesson.held_out.preferences):,}"
            for lesson in self.lessons.values()
        ]

    def prompts(self, general: Sequence[Demonstration]) -> list[ProblemSet]:
        """The questions of the rows, each once, as prompts without an answer; a set for each domain.

        Args:
            general: demonstrations whose questions join those of helpfulness, if there is a model to score them.
        """
        sets = []
        for domain, lesson in self.lessons.items():
            questions = [row.question for row in lesson.rows.items]
            if domain == HELPFUL:
                questions += [demonstration.question for demonstration in general]
            # Not a set, whose order would change from run to run.
            problems = [_prompt(question, domain) for question in dict.fromkeys(questions)]
            sets.append(ProblemSet(name=f"{domain} prompts", problems=problems))
        return sets

    def train(self, run: Run, policy: Checkpoint, config: RewardModelConfig) -> RewardTable:
        """Train the reward models, and return their scores by domain.

        Args:
            run: the run.
            policy: both models start from it.
            config: how they are trained.
        """
        table: dict[str, dict[RewardFunction, float]] = {}
        for domain, lesson in self.lessons.items():
            model = reward_model(
                run,
                lesson.name,
                policy=policy,
                data=lesson.learned,
                held_out=lesson.held_out,
                config=config,
                kind=lesson.kind,
            )
            # Scored in the type in which it was trained.
            precision = config.optimizer.precision
            score = run.actors.learned_reward(model, name=lesson.name, template=self.template, precision=precision)
            table[domain] = {score: 1.0}
        return table


def _lesson(name: str, kind: RewardModelSpec, rows: JudgedSet, template: Template) -> _Lesson:
    """The rows of a reward model, divided into what it learns from and what it is examined on."""
    learned, held_out = divided(rows, MAX_HELD_OUT)
    return _Lesson(
        name=name,
        kind=kind,
        rows=rows,
        learned=InMemoryPreferences(preferences=as_preferences(learned, template, kind.reads, "learned from")),
        held_out=InMemoryPreferences(preferences=as_preferences(held_out, template, kind.reads, "examined on")),
    )


def _prompt(question: str, domain: str) -> Problem:
    """A question that no rule can check."""
    digest = hashlib.sha256(question.encode()).hexdigest()[:16]
    language = "zh" if is_chinese(question) else "en"
    return Problem(id=f"{domain}-{digest}", question=question, answer="", domain=domain, language=language)
