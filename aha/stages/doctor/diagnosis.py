"""The nouns of the doctor: the run that it examines, what it finds, and the diagnosis that it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aha.actors.local import LocalPolicy
from aha.engines.engine import Decoding
from aha.prompts.templates import Template
from aha.prompts.tokenizer import Tokenizer
from aha.rewards.table import RewardTable
from aha.types import Problem

__all__ = ["END_TOKENS", "Diagnosis", "ExampleResponse", "Finding", "RunCandidate"]

END_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
    "<eos>",
)
"""Tokens that end a response in the families of checkpoints that are in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that the doctor found.

    Attributes:
        code: its name.
        is_fatal: whether learning is impossible with it.
        what: what is so, with figures.
        remedy: what to change.
    """

    code: str
    is_fatal: bool
    what: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleResponse:
    """A response that the doctor shows, so that a reader sees what was made of it.

    Attributes:
        question: the question, before any template.
        prompt: the whole prompt that was asked.
        text: the response.
        reference: the reference answer.
        answer: what was read as its answer; None where nothing could be read.
        source: where in the response the answer stands; empty where none was read.
        verdict: how the accuracy reward judged it and why; empty where there is no such reward.
        reward: its total reward.
    """

    question: str
    text: str
    reference: str
    answer: str | None
    verdict: str
    reward: float
    source: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the doctor says.

    Attributes:
        findings: the fatal ones first.
        figures: measured shares and means by name; `docs/metrics.md` defines each.
        parts: smallest, mean and largest score of each part of the reward.
        verdicts: how verifiers ended, by kind.
        responses: three of the responses, with different verdicts where there are several.
    """

    findings: tuple[Finding, ...]
    figures: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    responses: tuple[ExampleResponse, ...] = ()

    @property
    def is_fit(self) -> bool:
        """Whether nothing was found that makes learning impossible."""
        return not any(finding.is_fatal for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunCandidate:
    """A run before its first step, which the doctor examines.

    Attributes:
        policy: where it starts.
        problems: some of its training problems. The first `num_groups` are sampled in any case, the others only as long
            as no group shows a spread of rewards.
        num_groups: problems that are sampled in any case.
        template: the prompt around a question.
        reward: the reward functions.
        decoding: how training samples.
        group_size: responses for each problem.
        seed: of the draws.
    """

    policy: LocalPolicy
    problems: Sequence[Problem]
    num_groups: int
    template: Template
    reward: RewardTable
    decoding: Decoding
    group_size: int
    seed: int

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the policy."""
        return self.policy.tokenizer

    @property
    def prompts(self) -> list[str]:
        """The prompts of all its problems."""
        return [self.template(problem.question) for problem in self.problems]
