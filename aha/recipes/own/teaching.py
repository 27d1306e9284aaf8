"""What a teacher is asked, and which of its responses are kept: problems of the user's own, judged by rule.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.3 (rejection sampling) and B.4.3 (distillation).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from aha.policy.pretrained import read_config
from aha.problems.datasets.sets import ProblemSet
from aha.problems.splits import draw_sample
from aha.problems.world.questions import held_out_problems
from aha.prompts.parsing import Ending
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.questions import wording_of
from aha.prompts.templates import Template, bare
from aha.recipes.own.assignment import (
    apart,
    asked,
    ending_in_words,
    leave_out_long,
    left_out_in_words,
    test_files,
    trained_on_by_name,
    training_files,
)
from aha.recipes.own.judging import READABLE_IN_FILES, ending_of, judges, reading_in_words, refuse_without_rule
from aha.recipes.own.own_data import OwnData
from aha.recipes.own.prompt_lengths import PromptLimits, limits_of_model
from aha.recipes.own.prompting import own_template
from aha.rewards.extraction.reader import AUTO, answer_reader
from aha.stages.config import RejectionConfig
from aha.stages.harvests.rejection import Rejection, Sampling, rejection
from aha.stages.run import Run
from aha.types import Checkpoint, Dataset

__all__ = ["Form", "Teaching", "prepare_remote_teaching", "prepare_teaching"]

Form = Literal["auto", "thinking", "any"]
"""Which responses of a teacher may be kept: those with thinking and an answer after it, or all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """What a teacher is asked, and what is kept of its responses.

    Attributes:
        sampling: the problems as they are asked, and what is kept.
        notes: what was read and left out, for people.
    """

    sampling: Sampling
    notes: Sequence[str]

    def sample(self, run: Run, name: str, teacher: Checkpoint, config: RejectionConfig) -> Dataset:
        """The responses of a teacher that are kept, as demonstrations."""
        return rejection(run, name, policy=teacher, sampling=self.sampling, config=config)


def prepare_teaching(
    data: OwnData, teacher: Checkpoint, config: RejectionConfig, stack: ExitStack, *, seed: int, form: Form = "auto"
) -> Teaching:
    """Read the problems that a teacher is asked, and choose what is kept of its responses.

    Args:
        data: problems of the user's own; those of the built-in world where there are none. A problem that shares ten
            words in a row with one of `test` is not asked.
        teacher: samples; its checkpoint may name the prompt template and the stop strings.
        config: how much is sampled.
        stack: closes the verifiers, which are processes of their own.
        seed: run seed, which draws problems of the built-in world; of files a fixed sample is drawn.
        form: which responses may be kept; `auto` looks for thinking where the template asks for it.

    Raises:
        ValueError: problems, template or `answer` cannot be read, or no rule tells which responses are right.
        RuntimeError: the problems are code, and nothing here isolates it.
    """
    # What is refused without a look at the teacher comes first.
    answer_reader(data.answer)
    template = own_template(teacher, data.template, system=data.system)
    tokenizer = read_tokenizer(teacher.path, room=read_config(teacher.path).vocab_size)
    stop = tokenizer.stop_strings if data.stop is None else data.stop
    caps = {"train": ("--sampling.max-new-tokens", config.max_new_tokens)}
    limits = limits_of_model(teacher, template, wording_of(template), caps, data.long_prompts)
    asking = _Asking(
        template=template,
        ending=_ending(form, template),
        stop=stop,
        limits=replace(limits, model="the teacher"),
        notes=[ending_in_words(stop)] if stop and data.stop is None else [],
    )
    return _teaching(data, config, stack, asking, seed=seed)


def prepare_remote_teaching(
    data: OwnData, config: RejectionConfig, stack: ExitStack, *, seed: int, form: Form = "auto"
) -> Teaching:
    """Read the problems that a model behind an endpoint is asked, and choose what is kept of its responses.

    It has a chat template of its own, so that problems are asked with the wording of an evaluation.

    Args:
        data: as in `prepare_teaching`.
        config: how much is sampled.
        stack: closes the verifiers.
        seed: run seed.
        form: which responses may be kept; `auto` means those with thinking.

    Raises:
        ValueError: as in `prepare_teaching`; or an option is given that an endpoint has no place for.
        RuntimeError: the problems are code, and nothing here isolates it.
    """
    if data.template != "auto" or data.stop is not None:
        raise ValueError(
            "--template and --stop are not for a teacher behind an endpoint, which has a chat template of its own: "
            "leave them out; --system is sent to it"
        )
    ending: Ending | None = None if form == "any" else "summary"
    return _teaching(data, config, stack, _Asking(template=bare, ending=ending), seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """How a teacher is asked.

    Attributes:
        template: the prompt around a question.
        ending: the format that responses must have to be kept.
        stop: texts that end a response.
        limits: how long prompts may be; None where no positions are known.
        notes: about it, for people.
    """

    template: Template
    ending: Ending | None
    stop: tuple[str, ...] = ()
    limits: PromptLimits | None = None
    notes: Sequence[str] = ()


def _teaching(data: OwnData, config: RejectionConfig, stack: ExitStack, asking: _Asking, *, seed: int) -> Teaching:
    """What a teacher is asked in this way, and what is kept."""
    if data.reward:
        raise ValueError("--reward: responses are kept by the rule of their domain; leave it out")

    reader = answer_reader(data.answer)
    notes = list(asking.notes)
    # As in the recipe `r1`, the built-in world is asked from its training split, which no test shares.
    if not data.problems:
        problems = held_out_problems("train", config.num_problems, seed=seed)
        domains = {problem.domain for problem in problems}
        # Without a choice the filter's own rules hold: folders from before there was one keep their keys.
        rules = {} if reader == AUTO else judges(domains, stack, reader=reader)
        keep = Rejection(source="teacher", num_kept=config.num_kept, ending=asking.ending, rules=rules)
    else:
        train, more_notes = _own_problems(data, config, asking)
        notes += more_notes
        problems = list(chain(*train))
        domains = {problem.domain for problem in problems}
        refuse_without_rule(domains)
        keep = Rejection(
            source="teacher",
            num_kept=config.num_kept,
            ending=asking.ending,
            limits=READABLE_IN_FILES,
            rules=judges(domains, stack, allow_weak=data.weak_sandbox, packages=data.allow_packages, reader=reader),
        )
    notes += reading_in_words(reader, domains)
    sampling = Sampling(problems=problems, keep=keep, template=asking.template, stop=asking.stop)
    return Teaching(sampling=sampling, notes=notes)


def _ending(form: Form, template: Template) -> Ending | None:
    """The format that responses must have to be kept."""
    if form == "any":
        return None
    ending = ending_of(template)
    return "summary" if ending is None and form == "thinking" else ending


def _own_problems(data: OwnData, config: RejectionConfig, asking: _Asking) -> tuple[list[ProblemSet], list[str]]:
    """The user's problems as they are asked, and what was left out, for people."""
    train, watched, test = training_files(data)
    held_out = [*watched, *test, *(test_files(data) if data.test else [])]
    left_out = leave_out_long(train, "train", asking.limits) if asking.limits else []

    notes = [*trained_on_by_name(data), *(problem_set.says for problem_set in train)]
    if left_out:
        notes.append(left_out_in_words(left_out))
    if held_out:
        train, overlaps = apart(train, held_out)
        notes += overlaps

    total = sum(map(len, train))
    sample = draw_sample(train, config.num_problems)
    if total > config.num_problems:
        notes.append(f"{config.num_problems:,} of {total:,} problems are asked, drawn by a hash of each question")
    return [asked(problems, wording_of(asking.template)) for problems in sample], notes
