"""Prompts measured before a run starts: each must leave the model enough positions for a response of full length.

A prompt that is too long would end a run at the iteration that draws it, and again whenever the run is resumed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from aha.policy.pretrained import read_config
from aha.problems.datasets.sets import OnBad, ProblemSet
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.templates import Template
from aha.prompts.tokenizer import Tokenizer
from aha.recipes.scales import R1ZeroConfig
from aha.types import Checkpoint, Problem

__all__ = ["NUM_MEASURED", "PromptLimits", "limits_of_model", "prompt_limits"]

NUM_MEASURED = 1000
"""Problems of an endless stream that are measured. All of them are short, and the first ones show how short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLimits:
    """What decides whether a prompt is too long.

    Attributes:
        tokenizer: of the model.
        positions: positions that the model has.
        template: the prompt around a question.
        wording: what is said around the questions before that.
        caps: the option that sets the longest response, and its tokens, by use: `train`, `validation` and `test`; a
            use without a cap is one for which nothing is sampled.
        on_long: whether a prompt that is too long stops the run or is left out.
        has_choice: whether the user can choose to leave out what is too long, with --long-prompts.
        model: what an error calls the model.
        other_remedy: what else helps against a prompt that is too long, for the error; mostly nothing.
    """

    tokenizer: Tokenizer
    positions: int
    template: Template
    wording: Callable[[Sequence[Problem]], Sequence[Problem]]
    caps: Mapping[str, tuple[str, int]]
    on_long: OnBad
    has_choice: bool = True
    model: str = "the model"
    other_remedy: str = ""

    def fitting(self, problems: ProblemSet, use: str) -> tuple[ProblemSet, list[str]]:
        """The problems whose prompts leave room for a response.

        Args:
            problems: of one set.
            use: `train`, `validation` or `test`.

        Returns:
            The set without what is too long, and for each problem that was left out its place with its length.

        Raises:
            ValueError: a prompt is too long and is not to be left out, or every prompt is; says which and what to do.
        """
        if use not in self.caps:
            return problems, []

        option, cap = self.caps[use]
        prompts = [self.template(problem.question) for problem in self.wording(list(problems))]
        lengths = [len(ids) for ids in self.tokenizer.encode_prompts(prompts)]
        # An empty prompt has no token that a response could follow.
        fits = [length > 0 and length + cap <= self.positions for length in lengths]
        if all(fits):
            return problems, []

        fitting: list[Problem] = []
        too_long: list[tuple[str, int]] = []
        for problem, length, is_fitting in zip(problems, lengths, fits, strict=True):
            if is_fitting:
                fitting.append(problem)
            else:
                too_long.append((problems.places.get(problem.id, problem.id), length))

        # Where nothing fits, to skip it would leave nothing to learn.
        if self.on_long == "stop" or not any(fits):
            where, length = too_long[0]
            remedy = self._remedy(option, max(lengths))
            if any(fits) and self.has_choice:
                remedy += ", or leave these problems out with --long-prompts skip"
            raise ValueError(
                f"{where}: the prompt has {length:,} tokens, and with those of a response ({option} {cap}) it must "
                f"fit into the {self.positions:,} positions of {self.model}; {len(too_long):,} of {len(lengths):,} "
                f"{use} prompts do not: {remedy}"
            )

        left_out = [f"{where} ({length:,} tokens)" for where, length in too_long]
        return replace(problems, problems=fitting), left_out

    def _remedy(self, option: str, longest: int) -> str:
        """What helps against a longest prompt of so many tokens."""
        capacity = self.positions - longest
        # The cap is one token at least, so a prompt that fills all positions is not helped by a lower one.
        remedy = f"lower {option} to {capacity} or less" if capacity > 0 else "take a model with more positions"
        return f"{remedy}, or {self.other_remedy}" if self.other_remedy else remedy


def limits_of_model(
    model: Checkpoint,
    template: Template,
    wording: Callable[[Sequence[Problem]], Sequence[Problem]],
    caps: Mapping[str, tuple[str, int]],
    on_long: OnBad,
) -> PromptLimits:
    """The limits that the positions of a model set; the arguments are those of `PromptLimits`."""
    shape = read_config(model.path)
    return PromptLimits(
        tokenizer=read_tokenizer(model.path, room=shape.vocab_size),
        positions=shape.max_position_embeddings,
        template=template,
        wording=wording,
        caps=caps,
        on_long=on_long,
    )


def prompt_limits(
    model: Checkpoint,
    config: R1ZeroConfig,
    template: Template,
    wording: Callable[[Sequence[Problem]], Sequence[Problem]],
    on_long: OnBad,
) -> PromptLimits:
    """The limits of a run.

    Args:
        model: where it starts; has the tokenizer and the positions.
        config: the length caps of the parts that run, of validation and of evaluation.
        template: the prompt around a question.
        wording: what is said around the questions before that.
        on_long: what to do about a prompt that is too long.
    """
    caps = {"test": ("--evaluation.max-new-tokens", config.evaluation.max_new_tokens)}
    # Both parts of the training ask the same stream, so the longer cap decides. Without training nothing is watched.
    if config.parts:
        longest = max(config.parts, key=lambda name: config.parts[name].max_new_tokens)
        caps["train"] = (f"--{longest}.max-new-tokens", config.parts[longest].max_new_tokens)
        caps["validation"] = ("--validation.max-new-tokens", config.validation.max_new_tokens)

    return limits_of_model(model, template, wording, caps, on_long)
