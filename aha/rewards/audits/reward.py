"""An audit of reward functions: labelled responses and attacks, judged as in training.

A reward that can be earned without a right answer teaches exactly that. The audit shows which wrong responses are
rewarded, which right ones are not, and which attacks earn as much as an honest answer.
"""

import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from aha.rewards.audits.attacks import FORMS, ResponseForm, attacks
from aha.rewards.custom import failure_kind
from aha.rewards.table import RewardTable, score
from aha.types import Problem, Reward, Rollout

__all__ = [
    "AttackCount",
    "Finding",
    "LabelledResponse",
    "RewardAudit",
    "attack_reward",
    "audit_reward",
    "rollout_of",
]

_QUOTED_CHARS = 200
_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledResponse:
    """A labelled response.

    Attributes:
        place: its origin, such as file and line, for messages.
        problem: the problem that it answers.
        text: the whole response.
        is_correct: the label.
    """

    place: str
    problem: Problem
    text: str
    is_correct: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A response on which something is wrong with the reward.

    Attributes:
        faults: what is wrong: `false positive`, `false negative`, `paid attack`, `unstable` or `exception`.
        place: origin of the row, or of the row whose problem is attacked.
        attack: the kind of the attack; empty for a labelled response.
        reward: its reward; None where every function abstained.
        honest: the reward of the honest answer; None for a labelled response.
        reason: the reasons of the functions.
        response: the beginning of the response.
        num_chars: length of the response, in characters.
    """

    faults: tuple[str, ...]
    place: str
    attack: str
    reward: float | None
    honest: float | None
    reason: str
    response: str
    num_chars: int


@dataclass(slots=True, kw_only=True)
class AttackCount:
    """The number of attacks of a kind, and of those that are paid: they earn at least what an honest answer earns."""

    made: int = 0
    paid: int = 0


@dataclass(slots=True, kw_only=True)
class RewardAudit:
    """The result of an audit of a reward.

    Attributes:
        num_rows: labelled responses.
        num_correct: responses that are correct by their label.
        num_problems: problems that were attacked.
        false_positives: wrong responses whose reward reaches the threshold.
        false_negatives: correct responses whose reward does not, whatever the reason.
        abstentions: responses, attacks among them, from which a function abstained.
        unstable: responses whose reward was different in a second call.
        unpaid_honest: attacked problems whose honest answer earns no more than an empty response.
        unjudged_honest: problems that were not attacked because the reward abstains from their honest answers.
        attacks: attacks by kind.
        exceptions: responses at which a function failed, by `file:line` and kind of error.
        num_calls: responses that were judged and timed.
        seconds: wall-clock time of those calls.
        largest_seconds: wall-clock time of the slowest call.
        slowest: origin and length of the response of the slowest call.
        findings: all responses on which something is wrong.
    """

    num_rows: int = 0
    num_correct: int = 0
    num_problems: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    abstentions: int = 0
    unstable: int = 0
    unpaid_honest: int = 0
    unjudged_honest: int = 0
    attacks: dict[str, AttackCount] = field(default_factory=dict)
    exceptions: Counter[str] = field(default_factory=Counter)
    num_calls: int = 0
    seconds: float = 0.0
    largest_seconds: float = 0.0
    slowest: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def paid_attacks(self) -> int:
        """Attacks that earned at least what the honest answer earned."""
        return sum(count.paid for count in self.attacks.values())

    @property
    def has_silent_function(self) -> bool:
        """Whether some function abstained from every response: it may lack its `return`."""
        return self.num_calls > 0 and self.abstentions == self.num_calls

    @property
    def mean_seconds(self) -> float:
        """Mean wall-clock time of a response."""
        return self.seconds / self.num_calls if self.num_calls else 0.0


def audit_reward(
    table: RewardTable, rows: Iterable[LabelledResponse], *, threshold: float = 0.5, with_attacks: bool = False
) -> RewardAudit:
    """Compares the rewards of labelled responses with their labels, and attacks the reward.

    Args:
        table: the reward functions and weights by domain; their weighted sum is audited.
        rows: labelled responses; each different problem is attacked once.
        threshold: smallest reward with which a response counts as rewarded.
        with_attacks: whether to attack the reward of each problem; its reference must then be a right answer.

    Returns:
        Counts, times, and every response on which something is wrong.

    Raises:
        ValueError: there are no rows, or the functions cannot judge a problem; the message says where it stands, and
            why.
    """
    audit = RewardAudit()
    attacked: set[tuple[str, str, str]] = set()

    for row in rows:
        judgement = _judge(audit, table, row.place, row.problem, row.text)
        _count_row(audit, row, judgement, threshold)

        # By content, not by id: rows of a file may repeat a problem under other ids.
        key = (row.problem.question, row.problem.answer, row.problem.domain)
        if with_attacks and key not in attacked:
            attacked.add(key)
            _attack(audit, table, row.place, row.problem)

    if not audit.num_rows:
        raise ValueError("there are no rows to audit; each needs question, answer, response and correct")

    return audit


def attack_reward(table: RewardTable, problems: Iterable[Problem]) -> RewardAudit:
    """Attacks a reward without labelled responses.

    Args:
        table: as in `audit_reward`.
        problems: their references must themselves be right answers.

    Raises:
        ValueError: the functions cannot judge a problem; the message says which, and why.
    """
    audit = RewardAudit()
    for problem in problems:
        _attack(audit, table, problem.id, problem)
    return audit


def rollout_of(problem: Problem, text: str) -> Rollout:
    """Makes a rollout of a response that no model sampled, for reward functions; each word or sign is a token.

    Args:
        problem: the problem that it answers.
        text: the whole response.
    """
    # Only their number matters, to rewards that count tokens; no tokenizer is at hand.
    num_tokens = len(_WORD_OR_SIGN.findall(text)) + 1  # the end token
    num_prompt_tokens = len(_WORD_OR_SIGN.findall(problem.question))
    return Rollout(
        problem_id=problem.id,
        prompt_tokens=torch.arange(num_prompt_tokens),
        tokens=torch.arange(num_tokens),
        logp=torch.zeros(num_tokens),
        text=text,
        finish="stop",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judgement:
    """A response with its reward; None where every function abstained."""

    text: str
    reward: float | None
    is_unstable: bool
    failures: tuple[str, ...]
    reason: str

    def faults(self) -> list[str]:
        """The faults that are faults whatever reward the response deserves."""
        faults = []
        if self.failures:
            faults.append("exception")
        if self.is_unstable:
            faults.append("unstable")
        return faults


def _judge(audit: RewardAudit, table: RewardTable, place: str, problem: Problem, text: str) -> _Judgement:
    """Judges a response twice; the first call counts and is timed, the second shows whether the reward is stable.

    Raises:
        ValueError: the functions cannot judge the problem; the message says where it stands.
    """
    rollout = rollout_of(problem, text)
    start_seconds = time.perf_counter()
    try:
        reward = score(table, problem, rollout)
        seconds = time.perf_counter() - start_seconds
        again = score(table, problem, rollout)
    except ValueError as error:  # the reference is not of the form that the function asks for
        raise ValueError(f"{place}: {error}") from error

    audit.num_calls += 1
    audit.seconds += seconds
    if seconds > audit.largest_seconds:
        audit.largest_seconds = seconds
        audit.slowest = f"{place}, {len(text):,} characters"

    failures = tuple(failure_kind(reward.reasons[name]) for name, kind in reward.kinds.items() if kind == "crash")
    audit.exceptions.update(failures)

    # A function that abstains leaves no part.
    audit.abstentions += len(reward.parts) < len(table[problem.domain])

    is_unstable = reward.parts != again.parts
    audit.unstable += is_unstable

    return _Judgement(
        text=text,
        reward=_total(reward),
        is_unstable=is_unstable,
        failures=failures,
        reason="; ".join(f"{name}: {reason}" for name, reason in reward.reasons.items()),
    )


def _total(reward: Reward) -> float | None:
    """A reward as one number; None where every function abstained."""
    return reward.total if reward.parts else None


def _count_row(audit: RewardAudit, row: LabelledResponse, judgement: _Judgement, threshold: float) -> None:
    """Counts a labelled response, and compares its reward with its label."""
    audit.num_rows += 1
    audit.num_correct += row.is_correct
    faults = judgement.faults()

    # A response from which every function abstained is neither rewarded nor refused.
    if judgement.reward is not None:
        is_rewarded = judgement.reward >= threshold
        if is_rewarded and not row.is_correct:
            audit.false_positives += 1
            faults.append("false positive")
        elif row.is_correct and not is_rewarded:
            audit.false_negatives += 1
            faults.append("false negative")

    _note(audit, faults, row.place, judgement)


def _attack(audit: RewardAudit, table: RewardTable, place: str, problem: Problem) -> None:
    """Attacks the reward of one problem."""
    form, honest = _honest(audit, table, place, problem)
    if honest is None:
        audit.unjudged_honest += 1
        return

    # Where an honest answer earns no more than an empty one, paid attacks say nothing: the reward pays for anything.
    audit.num_problems += 1
    empty = _total(score(table, problem, rollout_of(problem, "")))
    audit.unpaid_honest += empty is not None and honest <= empty

    for attack in attacks(problem, form):
        judgement = _judge(audit, table, f"{place}, {attack.kind}", problem, attack.text)
        is_paid = judgement.reward is not None and judgement.reward >= honest

        count = audit.attacks.setdefault(attack.kind, AttackCount())
        count.made += 1
        count.paid += is_paid

        faults = judgement.faults()
        if is_paid:
            faults.append("paid attack")
        _note(audit, faults, place, judgement, attack=attack.kind, honest=honest)


def _honest(audit: RewardAudit, table: RewardTable, place: str, problem: Problem) -> tuple[ResponseForm, float | None]:
    """The form in which an honest answer earns most, and that reward; None where the functions abstain from all forms.

    A function may read tags, boxes or last lines: only its rewards show which. Of equal forms the first one is taken.
    """
    best_form = FORMS[0]
    best_reward = None

    for form in FORMS:
        response = form.response(problem, problem.answer)
        judgement = _judge(audit, table, f"{place}, honest answer", problem, response)
        _note(audit, judgement.faults(), place, judgement, attack="none: the honest answer")
        if judgement.reward is not None and (best_reward is None or judgement.reward > best_reward):
            best_form = form
            best_reward = judgement.reward

    return best_form, best_reward


def _note(
    audit: RewardAudit,
    faults: list[str],
    place: str,
    judgement: _Judgement,
    *,
    attack: str = "",
    honest: float | None = None,
) -> None:
    """Adds a response to the findings if something is wrong with it."""
    if not faults:
        return

    finding = Finding(
        faults=tuple(faults),
        place=place,
        attack=attack,
        reward=judgement.reward,
        honest=honest,
        reason=judgement.reason[:_QUOTED_CHARS],
        response=judgement.text[:_QUOTED_CHARS],
        num_chars=len(judgement.text),
    )
    audit.findings.append(finding)
