"""Which rewards count for which problems: one row {function: weight} per domain."""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType
from typing import Protocol, runtime_checkable

from aha.rewards.accuracy import COMPARERS, accuracy
from aha.rewards.format import format_reward
from aha.types import Problem, Reward, Rollout, Verdict

__all__ = [
    "RULES",
    "BatchedReward",
    "Keyed",
    "OverlappingReward",
    "Pair",
    "RewardFunction",
    "RewardTable",
    "identities",
    "identity",
    "judge",
    "merged",
    "overlaps",
    "part_name",
    "rules",
    "score",
    "score_all",
]

Pair = tuple[Problem, Rollout]
"""A problem, and a response to it."""


class RewardFunction(Protocol):
    """A function that judges one rollout; its name names the part of the reward."""

    @property
    def __name__(self) -> str:
        """Its name."""

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict | None:
        """The verdict on one rollout of a problem; None to abstain from it."""


@runtime_checkable
class BatchedReward(Protocol):
    """A reward function that judges many rollouts faster together than one by one."""

    def judge_all(self, pairs: Sequence[Pair]) -> Sequence[Verdict | None]:
        """The verdict on each rollout of a problem, in order; None to abstain from one."""


@runtime_checkable
class Keyed(Protocol):
    """A reward function that has learned something: its code alone does not decide its verdicts."""

    @property
    def key(self) -> str:
        """What decides its verdicts besides its name."""


@runtime_checkable
class OverlappingReward(Protocol):
    """A reward function that may be asked in another thread while sampling goes on, one group or several at a time.

    It says so where it waits for other processes, and where its verdict on a rollout does not depend on which others it
    is given together with.
    """

    @property
    def overlaps_sampling(self) -> bool:
        """Whether it is asked while sampling goes on."""


RewardTable = Mapping[str, Mapping[RewardFunction, float]]
"""Weight of each reward function, by domain."""


def rules(domains: Iterable[str] = tuple(COMPARERS), form: RewardFunction = format_reward) -> RewardTable:
    """The rule-based reward: accuracy and format with the same weight.

    Reward_rule = Reward_acc + Reward_format

    Args:
        domains: domains that get a row; the built-in ones by default.
        form: judges the format; R1-Zero's by default.

    Returns:
        One row per domain.

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 4. Ours: a weight of 1 for each.
    """
    return {domain: {accuracy: 1.0, form: 1.0} for domain in domains}


RULES = rules()
"""The rule-based reward of the built-in domains."""


def part_name(function: RewardFunction) -> str:
    """Name of a function's part of the reward: its own, without `_reward`."""
    return function.__name__.removesuffix("_reward")


def merged(*tables: RewardTable) -> RewardTable:
    """One table with the rows of all: a domain of several tables gets the functions of each.

    Args:
        tables: of a function that a domain has in several of them, the weight in the last one holds.
    """
    rows: dict[str, dict[RewardFunction, float]] = {}
    for table in tables:
        for domain, row in table.items():
            rows[domain] = {**rows.get(domain, {}), **row}
    return rows


def identity(function: RewardFunction) -> str:
    """What decides a function's verdicts, for the key of a stage: its name, and its key where it has one.

    The module is no part of it, so that code may move without making runs stale.
    """
    if isinstance(function, Keyed):
        return f"{function.__name__}:{function.key}"
    if isinstance(function, FunctionType):
        return function.__qualname__
    return f"{type(function).__qualname__}:{function.__name__}"


def identities(table: RewardTable) -> dict[str, dict[str, float]]:
    """What decides a table's rewards, for the key of a stage."""
    return {domain: {identity(function): weight for function, weight in row.items()} for domain, row in table.items()}


def overlaps(function: object) -> bool:
    """Whether a reward function is asked while sampling goes on; only one that says so is."""
    return isinstance(function, OverlappingReward) and function.overlaps_sampling


def score(table: RewardTable, problem: Problem, rollout: Rollout) -> Reward:
    """Reward of one rollout (r_i in the papers), by the row of its problem's domain.

    Args:
        table: the reward functions and their weights.
        problem: its domain picks the row.
        rollout: what is judged.

    Returns:
        Scores, weights and reasons by name of the part.

    Raises:
        ValueError: the table has no row for the domain, two functions of the row share a name, or a score or weight is
            not finite.
    """
    return score_all(table, [(problem, rollout)])[0]


def score_all(
    table: RewardTable, pairs: Sequence[Pair], known: Sequence[Mapping[RewardFunction, Verdict | None]] = ()
) -> list[Reward]:
    """Rewards of many rollouts, the same as one by one; a function that judges in batches is called once.

    Args:
        table: the reward functions and their weights.
        pairs: problems, each with what is judged; a problem may come again.
        known: verdicts that some functions have given already, for each pair; nothing where none has.

    Returns:
        A reward for each pair, in order. A function that abstains from a response has no part in its reward.

    Raises:
        ValueError: as `score` does.
    """
    rows = [_row(table, problem.domain) for problem, _ in pairs]
    given: list[dict[RewardFunction, Verdict | None]] = [dict(one) for one in known] or [{} for _ in pairs]
    verdicts: list[dict[str, Verdict]] = [{} for _ in pairs]
    for function in dict.fromkeys(function for row in rows for function in row):
        places = [place for place, row in enumerate(rows) if function in row]
        asked = [place for place in places if function not in given[place]]
        for place, verdict in zip(asked, judge(function, [pairs[place] for place in asked]), strict=True):
            given[place][function] = verdict
        for place in places:
            found = given[place][function]
            if found is not None:
                _refuse_infinity(function, rows[place][function], pairs[place][0], found)
                verdicts[place][part_name(function)] = found
    return [_reward(row, own) for row, own in zip(rows, verdicts, strict=True)]


def _row(table: RewardTable, domain: str) -> Mapping[RewardFunction, float]:
    """The functions and weights of a domain."""
    row = table.get(domain)
    if row is None:
        raise ValueError(f"no rewards for domain {domain!r}; the table has: {', '.join(sorted(table)) or 'none'}")
    names = [part_name(function) for function in row]
    if len(set(names)) < len(names):
        raise ValueError(f"two reward functions of domain {domain!r} share a name: {', '.join(names)}")
    return row


def judge(function: RewardFunction, pairs: Sequence[Pair]) -> list[Verdict | None]:
    """The verdicts of one function, in order.

    Args:
        function: is called once where it judges in batches, and not at all where there is nothing to judge.
        pairs: problems, each with what is judged.
    """
    if not pairs:
        return []
    if isinstance(function, BatchedReward):
        return list(function.judge_all(pairs))
    return [function(problem, rollout) for problem, rollout in pairs]


def _refuse_infinity(function: RewardFunction, weight: float, problem: Problem, verdict: Verdict) -> None:
    """Refuse a verdict that would poison the total."""
    if not (math.isfinite(verdict.score) and math.isfinite(weight)):
        raise ValueError(
            f"reward function {function.__name__!r} gave problem {problem.id!r} the score {verdict.score} "
            f"with weight {weight}; both must be finite"
        )


def _reward(row: Mapping[RewardFunction, float], verdicts: Mapping[str, Verdict]) -> Reward:
    """The verdicts on one rollout as its reward, parts in the order of the row."""
    names = {function: part_name(function) for function in row}
    weights = {names[function]: weight for function, weight in row.items() if names[function] in verdicts}
    return Reward(
        parts={name: verdicts[name].score for name in weights},
        weights=weights,
        reasons={name: verdicts[name].reason for name in weights},
        kinds={name: kind for name in weights if (kind := verdicts[name].kind)},
    )
