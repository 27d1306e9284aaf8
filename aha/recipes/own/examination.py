"""How recipes that learn from given responses examine their models: on problems of the user's own, before and after."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from aha.evaluation.contamination import Contamination, without_instruction
from aha.problems.datasets.sets import ProblemSet
from aha.problems.datasets.sources import open_problems
from aha.problems.responses.demonstrations import DemonstrationSet
from aha.problems.splits import draw_sample
from aha.prompts.questions import wording_of
from aha.prompts.templates import Template
from aha.recipes.own.judging import judges, reading_in_words, rules_of
from aha.recipes.own.prompt_lengths import limits_of_model
from aha.recipes.own.references import with_readable_references
from aha.rewards.extraction.reader import answer_reader
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import Setting, evaluate
from aha.stages.run import Run
from aha.types import Checkpoint, Problem

__all__ = ["Examination", "TestData", "open_examination", "read_tests", "without_overlaps"]


class TestData(Protocol):
    """The options that say what a model is examined on."""

    @property
    def test(self) -> tuple[str, ...]:
        """Addresses of problems; nothing is examined where there are none."""

    @property
    def format(self) -> str:
        """Format of the files."""

    @property
    def fields(self) -> str:
        """Mapping of their fields."""

    @property
    def bad_rows(self) -> Literal["stop", "skip"]:
        """What a row that cannot be used does."""

    @property
    def answer(self) -> str:
        """What of a response counts as its answer."""

    @property
    def weak_sandbox(self) -> bool:
        """Whether code runs where it cannot be isolated well."""

    @property
    def allow_packages(self) -> tuple[str, ...]:
        """Packages that code may import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What a model is examined on.

    Attributes:
        problems: as they are asked; none where nothing is examined.
        setting: how they are asked and judged.
        config: how they are sampled.
        notes: what counts as an answer, for people; nothing where the user has chosen nothing.
    """

    problems: Sequence[Problem]
    setting: Setting
    config: EvaluationConfig
    notes: Sequence[str] = ()

    def take(self, run: Run, when: str, model: Checkpoint) -> None:
        """Evaluate a model, as the stage `when`."""
        if self.problems:
            evaluate(run, when, policy=model, problems=self.problems, config=self.config, setting=self.setting)


def open_examination(
    data: TestData, tests: Sequence[ProblemSet], template: Template, config: EvaluationConfig, stack: ExitStack
) -> Examination:
    """The examination on a fixed sample of some tests.

    Args:
        data: how code is judged, and what counts as an answer.
        tests: from `read_tests`.
        template: the prompt around a question.
        config: how much is sampled.
        stack: closes the verifiers, which are processes of their own.

    Raises:
        RuntimeError: there is code to run, and nothing here isolates it.
        ValueError: what counts as an answer cannot be read, or is never one of a domain.
    """
    sample = draw_sample(tests, config.num_problems) if tests else []
    problems = [problem for test in sample for problem in test]
    domains = {problem.domain for problem in problems}
    reader = answer_reader(data.answer)
    functions = judges(domains, stack, allow_weak=data.weak_sandbox, packages=data.allow_packages, reader=reader)
    return Examination(
        problems=wording_of(template)(problems),
        setting=Setting(template=template, reward=rules_of(functions, template, domains)),
        config=config,
        notes=reading_in_words(reader, domains) if problems else (),
    )


def read_tests(data: TestData, model: Checkpoint, template: Template, config: EvaluationConfig) -> list[ProblemSet]:
    """The problems of every test file; each leaves the model enough positions for a response of full length.

    Raises:
        ValueError: a file or a reference answer cannot be read, or a prompt is too long, or what counts as an answer is
            unknown or never an answer to one of them; says where and what to do.
    """
    reader = answer_reader(data.answer)
    caps = {"test": ("--evaluation.max-new-tokens", config.max_new_tokens)}
    limits = limits_of_model(model, template, wording_of(template), caps, "stop")
    # These recipes have no choice of leaving long problems of a test out.
    limits = replace(limits, has_choice=False)

    tests = []
    for address in data.test:
        read = open_problems(
            address, format=data.format.removeprefix("auto"), mapping=data.fields, on_bad=data.bad_rows
        )
        problems, _ = limits.fitting(with_readable_references(read, data.bad_rows), "test")
        for domain in sorted({problem.domain for problem in problems}):
            reader.check(domain)
        tests.append(problems)
    return tests


def without_overlaps(learned: DemonstrationSet, tests: Sequence[ProblemSet]) -> DemonstrationSet:
    """The demonstrations whose questions share no ten words in a row with a question of the test.

    Raises:
        ValueError: none is left.
    """
    # Every question may end with the same instruction, which is no overlap.
    held_out = [problem.question for test in tests for problem in without_instruction(test.problems)]
    if not held_out:
        return learned

    questions = [
        Problem(id=demonstration.problem_id, question=demonstration.question, answer="", domain=demonstration.domain)
        for demonstration in learned.items
    ]
    contamination = Contamination(held_out)
    compared = [problem.question for problem in without_instruction(questions)]
    clean = [index for index, question in enumerate(compared) if not contamination.overlaps(question)]
    if not clean:
        raise ValueError("no demonstration is left beside the test problems: give more, or other --test files")
    return learned.only(clean)
