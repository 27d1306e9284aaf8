"""Prompts of the user's own against the positions of all models of R1, before the first stage.

Source of the stages: DeepSeek-R1, arXiv:2501.12948v2, Figure 2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from aha.problems.datasets.sets import ProblemSet
from aha.prompts.questions import wording_of
from aha.prompts.templates import Template, r1_zero
from aha.recipes.own.assignment import Assignment, leave_out_long, left_out_in_words
from aha.recipes.own.prompt_lengths import PromptLimits, limits_of_model
from aha.recipes.r1.options import R1Options
from aha.recipes.r1.scales import R1Config
from aha.recipes.r1.students import FAMILIES
from aha.stages.config import RejectionConfig, RLConfig
from aha.types import Checkpoint

__all__ = ["check_students", "fitting", "limits_of_later"]


def fitting(
    assignment: Assignment,
    base: Checkpoint,
    template: Template,
    scale: R1Config,
    options: R1Options,
    notes: list[str],
) -> Assignment:
    """The assignment without what is too long for the prompts and caps of the models after R1-Zero.

    Raises:
        ValueError: a prompt is too long and is not to be left out.
    """
    pool = list(assignment.trained)
    watched = [ProblemSet(name="validation", problems=assignment.watched)]
    test = [ProblemSet(name="test", problems=assignment.suites[""])]

    limits = limits_of_later(base, template, scale, options)
    left_out = []
    for use, sets in (("train", pool), ("validation", watched), ("test", test)):
        left_out += leave_out_long(sets, use, limits)
    if not options.demonstrations:
        left_out += leave_out_long(pool, "train", _limits_of_cold_start(base, scale, options))
    if left_out:
        notes.append(left_out_in_words(left_out))
    return replace(
        assignment,
        trained=tuple(problems for problems in pool if len(problems)),
        watched=watched[0].problems,
        suites={**assignment.suites, "": test[0].problems},
    )


def limits_of_later(base: Checkpoint, template: Template, scale: R1Config, options: R1Options) -> PromptLimits:
    """How long prompts may be for all stages after R1-Zero."""
    stages: dict[str, RLConfig | RejectionConfig]
    stages = {"dev2": scale.dev2, "kept": scale.kept, "reasoning": scale.reasoning, "scenarios": scale.scenarios}
    caps = {
        "train": _largest_cap(stages),
        "general": _largest_cap({"scenarios": scale.scenarios}),
        "validation": ("--zero.validation.max-new-tokens", scale.zero.validation.max_new_tokens),
        "test": ("--zero.evaluation.max-new-tokens", scale.zero.evaluation.max_new_tokens),
    }
    return limits_of_model(base, template, wording_of(template), caps, options.own.long_prompts)


def _limits_of_cold_start(base: Checkpoint, scale: R1Config, options: R1Options) -> PromptLimits:
    """How long prompts may be when R1-Zero writes the cold start."""
    caps = {"train": _largest_cap({"cold": scale.cold})}
    return limits_of_model(base, r1_zero, list, caps, options.own.long_prompts)


def _largest_cap(stages: Mapping[str, RLConfig | RejectionConfig]) -> tuple[str, int]:
    """The option of the largest length cap of some stages, and its tokens."""
    name = max(stages, key=lambda name: stages[name].max_new_tokens)
    return f"--{name}.max-new-tokens", stages[name].max_new_tokens


def check_students(
    students: Sequence[Checkpoint],
    prompt: Callable[[Checkpoint], Template],
    assignment: Assignment,
    scale: R1Config,
    *,
    compares: bool,
) -> None:
    """Refuse students whose positions are too few for what they are asked.

    Raises:
        ValueError: a prompt and a response of full length do not fit.
    """
    test = ProblemSet(name="test", problems=assignment.suites[""])
    for family, student in zip(FAMILIES, students, strict=bool(students)):
        caps = {"test": ("--zero.evaluation.max-new-tokens", scale.zero.evaluation.max_new_tokens)}
        # The first student alone also learns by reinforcement.
        if compares and family == FAMILIES[0]:
            loops = {"students.direct": scale.students.direct, "students.further": scale.students.further}
            caps["train"] = _largest_cap(loops)

        for template in (r1_zero, prompt(student)):
            limits = limits_of_model(student, template, wording_of(template), caps, "stop")
            limits = replace(limits, has_choice=False, model=f"the {family} student")
            for use, problems in (("train", assignment.trained), ("test", [test])):
                leave_out_long(list(problems), use, limits)
