r"""What of a response counts as its answer, as the user chooses it, for every judge of answers alike.

A reader finds the text of the answer in a response. A judge then gets a response that holds this text alone, in an
answer block, so that reward, filter, evaluation, votes and doctor judge the same text. With `auto` there is nothing to
find: each judge reads responses in its own way.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aha.prompts.parsing import TAGS, answer_block, last_boxed, outside_thinking, parse_response
from aha.rewards.accuracy import read_answer, votes_of
from aha.rewards.code import DOMAINS as PROGRAMS
from aha.rewards.code import extract_code
from aha.rewards.extraction.numbers import last_number
from aha.rewards.extraction.patterns import Pattern, compile_pattern
from aha.rewards.table import Pair, RewardFunction, identity, judge
from aha.types import Problem, Rollout, Verdict

__all__ = ["AUTO", "AnswerReader", "JudgeOfReadAnswers", "Reading", "answer_reader", "reader_of"]

REGEX = "regex:"
"""What stands before a regular expression."""

NO_NUMBERS = ("choice", "countdown", "pair", "quadratic")
"""Domains whose answers are letters, expressions or lists, so that no single number is one."""

_VERSION = 1
_THINKING_NEVER_ENDS = "the thinking never ends"
_TAG = re.compile("|".join(TAGS))


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read as the answer of a response.

    Attributes:
        answer: its text; None where there is none.
        source: where it was found; where there is no answer, why not. Empty where only the judge can say it.
    """

    answer: str | None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReader:
    """Reads answers in the way that a user has chosen; made by `answer_reader`.

    Attributes:
        choice: the way, as the user writes it.
        pattern: the regular expression, where that is the way.
    """

    choice: str = "auto"
    pattern: Pattern | None = None

    @property
    def key(self) -> str:
        """What decides its readings."""
        return f"{self.choice}:{_VERSION}"

    def reads(self, domain: str) -> bool:
        """Whether the user's choice decides what the answers of a domain are; programs are judged as they are."""
        return self.choice != "auto" and domain not in PROGRAMS

    def check(self, domain: str) -> None:
        """Refuse a domain whose answers can never be read.

        Raises:
            ValueError: the last number is read, and answers of the domain are no numbers.
        """
        if self.choice == "last-number" and domain in NO_NUMBERS:
            raise ValueError(
                f"--answer last-number: an answer of domain {domain} is no number, so that none could be right; take "
                "auto, tags, box or regex:PATTERN"
            )

    def judge(self, function: RewardFunction, domain: str) -> RewardFunction:
        """An accuracy reward that judges what this reader reads; the function itself where it decides nothing.

        Args:
            function: judges the answers of the domain.
            domain: of the problems.

        Raises:
            ValueError: the last number is read, and answers of the domain are no numbers.
        """
        self.check(domain)
        return JudgeOfReadAnswers(function, self) if self.reads(domain) else function

    def read(self, problem: Problem, rollout: Rollout) -> Reading:
        """What is judged as the answer of a response.

        Args:
            problem: its domain picks the judge.
            rollout: its text may be anything.
        """
        text = rollout.text
        if problem.domain in PROGRAMS:
            return Reading(extract_code(text), "the program")
        if not self.reads(problem.domain):
            return _read_by_judge(problem, rollout)
        if self.choice == "tags":
            block = answer_block(text)
            return Reading(block, "the answer block" if block is not None else "no single answer block")

        outside = outside_thinking(text)
        if outside is None:
            return Reading(None, _THINKING_NEVER_ENDS)
        found, name = self._found_in(outside)
        if found is None:
            return Reading(None, f"no {name} after the thinking")
        # Tags that were found with the answer are no part of it, and would hide it from the judge.
        return Reading(_TAG.sub(" ", found).strip(), f"the last {name}")

    def _found_in(self, text: str) -> tuple[str | None, str]:
        """The answer in what follows the thinking, and what was looked for."""
        if self.pattern is not None:
            return self.pattern.last_match(text), "match of the pattern"
        if self.choice == "box":
            return last_boxed(text), "closed box"
        return last_number(text), "number"

    def votes(self, problem: Problem, rollouts: Sequence[Rollout]) -> list[str | None]:
        """The answer that each response to a problem votes for, by what was judged.

        Args:
            problem: the problem.
            rollouts: responses to it.

        Returns:
            One text for each response, the same for equal answers; None where a response has none that can be read.
        """
        if not self.reads(problem.domain):
            return votes_of(problem, rollouts)
        answers = [self.read(problem, rollout).answer for rollout in rollouts]
        pairs = zip(rollouts, answers, strict=True)
        votes = iter(votes_of(problem, [_alone(rollout, answer) for rollout, answer in pairs if answer is not None]))
        return [None if answer is None else next(votes) for answer in answers]


AUTO = AnswerReader()
"""Every judge reads responses in its own way."""


class JudgeOfReadAnswers:
    """An accuracy reward that judges the answer which a reader has found."""

    def __init__(self, function: RewardFunction, reader: AnswerReader) -> None:
        """Keeps the judge and the reader.

        Args:
            function: judges a response that holds the answer alone.
            reader: finds the answer.
        """
        self.reader = reader
        self._function = function

    @property
    def __name__(self) -> str:
        """The name of its part of the reward: that of the judge."""
        return self._function.__name__

    @property
    def key(self) -> str:
        """How answers are read, and who judges them."""
        return f"{self.reader.key}:{identity(self._function)}"

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict | None:
        """The verdict on one rollout; see `judge_all`."""
        return self.judge_all([(problem, rollout)])[0]

    def judge_all(self, pairs: Sequence[Pair]) -> list[Verdict | None]:
        """The verdict of the judge on each answer; a response without one is `unparsable`.

        Args:
            pairs: problems, each with the rollout that is judged.

        Raises:
            ValueError: a reference answer cannot be read.
        """
        readings = [self.reader.read(problem, rollout) for problem, rollout in pairs]
        alone = [
            (problem, _alone(rollout, reading.answer))
            for (problem, rollout), reading in zip(pairs, readings, strict=True)
            if reading.answer is not None
        ]
        verdicts = iter(judge(self._function, alone))
        return [_none(reading) if reading.answer is None else next(verdicts) for reading in readings]


def answer_reader(choice: str) -> AnswerReader:
    """The reader that a user names.

    Args:
        choice: `auto`, `tags`, `box`, `last-number`, or `regex:PATTERN`.

    Raises:
        ValueError: it is none of these, or the pattern cannot be used; says what is wrong.
    """
    if choice.startswith(REGEX):
        try:
            return AnswerReader(choice=choice, pattern=compile_pattern(choice.removeprefix(REGEX)))
        except ValueError as error:
            raise ValueError(f"--answer: {error}") from None
    if choice not in ("auto", "tags", "box", "last-number"):
        raise ValueError(
            f"--answer {choice!r} is unknown: what counts as the answer is auto, tags, box, last-number or "
            "regex:PATTERN"
        )
    return AnswerReader(choice=choice)


def reader_of(row: Mapping[RewardFunction, float]) -> AnswerReader:
    """The reader whose answers the rewards of a domain judge."""
    return next((function.reader for function in row if isinstance(function, JudgeOfReadAnswers)), AUTO)


def _read_by_judge(problem: Problem, rollout: Rollout) -> Reading:
    """What the judge of a domain reads where the user has chosen nothing."""
    answer = read_answer(problem, rollout)
    if answer is None:
        return Reading(None)
    if answer_block(rollout.text) is not None:
        return Reading(answer, "the answer block")
    is_boxed = parse_response(rollout.text).answer is not None
    return Reading(answer, "the last box" if is_boxed else "all that follows the thinking")


def _alone(rollout: Rollout, answer: str) -> Rollout:
    """A response that holds the answer alone, in the form that every judge reads."""
    return replace(rollout, text=f"<answer> {answer} </answer>")


def _none(reading: Reading) -> Verdict:
    """The verdict on a response without an answer."""
    return Verdict(score=0.0, reason=reading.source, kind="unparsable")
