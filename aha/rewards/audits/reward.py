"""An audit of reward functions: labelled responses and attacks, judged as training judges them.

A reward that can be earned without a right answer teaches just that. The audit says which wrong responses are rewarded,
which right ones are not, and which attacks earn as much as an honest answer.
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
    """A response whose merit is known.

    Attributes:
        place: where it is written, for people.
        problem: what it answers.
        text: the whole response.
        is_correct: the truth.
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
        place: where the row is written, or the row whose problem is attacked.
        attack: the kind of the attack; empty for a labelled response.
        reward: what it earned; None where every function abstained.
        honest: what the honest answer earned; None for a labelled response.
        reason: what the functions said.
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
    """How many attacks of a kind were made, and how many earned what an honest answer earns."""

    made: int = 0
    paid: int = 0


@dataclass(slots=True, kw_only=True)
class RewardAudit:
    """What an audit of a reward found.

    Attributes:
        num_rows: labelled responses.
        num_correct: those that are correct in truth.
        num_problems: problems that were attacked.
        false_positives: wrong responses whose reward reaches the threshold.
        false_negatives: correct responses whose reward does not, whatever the reason.
        abstentions: responses, attacks among them, from which a function abstained.
        unstable: responses whose reward was another one when it was asked a second time.
        unpaid_honest: attacked problems whose honest answer earns no more than an empty response.
        unjudged_honest: problems that were not attacked because the reward abstains from their honest answers.
        attacks: attacks by kind.
        exceptions: responses at which a function failed, by `file:line` and kind of error.
        num_calls: responses that were judged and timed.
        seconds: wall clock of those calls.
        largest_seconds: wall clock of the slowest one.
        slowest: which one that was.
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
        """Whether from every response some function abstained: it may lack its `return`."""
        return self.num_calls > 0 and self.abstentions == self.num_calls

    @property
    def mean_seconds(self) -> float:
        """Wall clock of one response."""
        return self.seconds / self.num_calls if self.num_calls else 0.0


def audit_reward(
    table: RewardTable, rows: Iterable[LabelledResponse], *, threshold: float = 0.5, with_attacks: bool = False
) -> RewardAudit:
    """Hold a reward against labelled responses, and attack it.

    Args:
        table: the reward functions and weights by domain; their weighted sum is audited.
        rows: labelled responses; each different problem is attacked once.
        threshold: a response counts as rewarded from this reward on.
        with_attacks: attack the reward of each problem; its reference must then be a right answer.

    Returns:
        Counts, times, and every response on which something is wrong.

    Raises:
        ValueError: no rows, or a problem that the functions cannot judge: where it stands, and why.
    """
    audit = RewardAudit()
    attacked: set[tuple[str, str, str]] = set()
    for row in rows:
        judged = _judge(audit, table, row.place, row.problem, row.text)
        _count_row(audit, row, judged, threshold)

        key = (row.problem.question, row.problem.answer, row.problem.domain)
        if with_attacks and key not in attacked:
            attacked.add(key)
            _attack(audit, table, row.place, row.problem)

    if not audit.num_rows:
        raise ValueError("there are no rows to audit; each needs question, answer, response and correct")
    return audit


def attack_reward(table: RewardTable, problems: Iterable[Problem]) -> RewardAudit:
    """Attack a reward without labelled responses.

    Args:
        table: as in `audit_reward`.
        problems: each has a reference that is itself a right answer.

    Raises:
        ValueError: a problem that the functions cannot judge: which, and why.
    """
    audit = RewardAudit()
    for problem in problems:
        _attack(audit, table, problem.id, problem)
    return audit


def rollout_of(problem: Problem, text: str) -> Rollout:
    """A response as reward functions get it, though no model sampled it: a token for each word or sign.

    Args:
        problem: what it answers.
        text: the whole response.
    """
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
class _Judged:
    """A response with its reward; None where every function abstained."""

    text: str
    reward: float | None
    is_unstable: bool
    failures: tuple[str, ...]
    reason: str

    def faults(self) -> list[str]:
        """What is wrong whatever the response deserves."""
        return ["exception"] * bool(self.failures) + ["unstable"] * self.is_unstable


def _judge(audit: RewardAudit, table: RewardTable, place: str, problem: Problem, text: str) -> _Judged:
    """Judge a response twice; the first time counts and is timed.

    Raises:
        ValueError: the functions cannot judge the problem; says where it stands.
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
    audit.abstentions += len(reward.parts) < len(table[problem.domain])
    is_unstable = reward.parts != again.parts
    audit.unstable += is_unstable
    return _Judged(
        text=text,
        reward=_total(reward),
        is_unstable=is_unstable,
        failures=failures,
        reason="; ".join(f"{name}: {reason}" for name, reason in reward.reasons.items()),
    )


def _total(reward: Reward) -> float | None:
    """A reward as one number; None where every function abstained."""
    return reward.total if reward.parts else None


def _count_row(audit: RewardAudit, row: LabelledResponse, judged: _Judged, threshold: float) -> None:
    """Hold a labelled response against its label."""
    audit.num_rows += 1
    audit.num_correct += row.is_correct
    faults = judged.faults()
    if judged.reward is not None:
        is_rewarded = judged.reward >= threshold
        if is_rewarded and not row.is_correct:
            audit.false_positives += 1
            faults.append("false positive")
        elif row.is_correct and not is_rewarded:
            audit.false_negatives += 1
            faults.append("false negative")
    _note(audit, faults, row.place, judged)


def _attack(audit: RewardAudit, table: RewardTable, place: str, problem: Problem) -> None:
    """Attack the reward of one problem."""
    form, honest = _honest(audit, table, place, problem)
    if honest is None:
        audit.unjudged_honest += 1
        return

    audit.num_problems += 1
    empty = _total(score(table, problem, rollout_of(problem, "")))
    audit.unpaid_honest += empty is not None and honest <= empty
    for attack in attacks(problem, form):
        judged = _judge(audit, table, f"{place}, {attack.kind}", problem, attack.text)
        is_paid = judged.reward is not None and judged.reward >= honest

        count = audit.attacks.setdefault(attack.kind, AttackCount())
        count.made += 1
        count.paid += is_paid
        faults = [*judged.faults(), *(["paid attack"] if is_paid else [])]
        _note(audit, faults, place, judged, attack=attack.kind, honest=honest)


def _honest(audit: RewardAudit, table: RewardTable, place: str, problem: Problem) -> tuple[ResponseForm, float | None]:
    """The form in which a plain statement of the reference earns most, and what it earns.

    A function may read tags, boxes or last lines; which, only its rewards tell. The first of equal forms is taken.
    """
    best_form, best = FORMS[0], None
    for form in FORMS:
        judged = _judge(audit, table, f"{place}, honest answer", problem, form.response(problem, problem.answer))
        _note(audit, judged.faults(), place, judged, attack="none: the honest answer")
        if judged.reward is not None and (best is None or judged.reward > best):
            best_form, best = form, judged.reward
    return best_form, best


def _note(
    audit: RewardAudit,
    faults: list[str],
    place: str,
    judged: _Judged,
    *,
    attack: str = "",
    honest: float | None = None,
) -> None:
    """Add a response to the findings if something is wrong."""
    if not faults:
        return
    finding = Finding(
        faults=tuple(faults),
        place=place,
        attack=attack,
        reward=judged.reward,
        honest=honest,
        reason=judged.reason[:_QUOTED_CHARS],
        response=judged.text[:_QUOTED_CHARS],
        num_chars=len(judged.text),
    )
    audit.findings.append(finding)
