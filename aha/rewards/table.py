"""Which rewards count for which problems: one row {function: weight} per domain."""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType
from typing import Protocol, runtime_checkable

from aha.rewards.accuracy import COMPARERS, accuracy
from aha.rewards.format import format_reward
from aha.types import Problem, Reward, Rollout, Verdict, VerdictKind

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
    "merge_tables",
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
    """A reward function whose verdicts depend on more than its code: on weights, a version, settings."""

    @property
    def key(self) -> str:
        """Text that changes whenever its verdicts may change."""


@runtime_checkable
class OverlappingReward(Protocol):
    """A reward function that may be called in another thread while sampling goes on, with one group or several.

    It is worth it for a function that waits for other processes. Its verdict on a rollout must not depend on which
    other rollouts are judged in the same call.
    """

    @property
    def overlaps_sampling(self) -> bool:
        """Whether it is called while sampling goes on."""


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
    """The name of a function's part of the reward: the function's name without `_reward`."""
    return function.__name__.removesuffix("_reward")


def merge_tables(*tables: RewardTable) -> RewardTable:
    """One table with the rows of several: a domain gets the functions of each table that has it.

    Args:
        tables: where two of them weigh a function of the same domain, the later one holds.
    """
    rows: dict[str, dict[RewardFunction, float]] = {}
    for table in tables:
        for domain, row in table.items():
            rows.setdefault(domain, {}).update(row)
    return rows


def identity(function: RewardFunction) -> str:
    """The identity of a reward function in the key of a stage: its name, and its own key where it has one.

    Of its module the last name is part of it, which tells the two format rewards apart. The folders before that are
    not, so that moving a file does not make finished stages stale.
    """
    # A function with settings is another one under other settings, a plain one is told by its name.
    if isinstance(function, Keyed):
        return f"{function.__name__}:{function.key}"
    if isinstance(function, FunctionType):
        return f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
    return f"{type(function).__qualname__}:{function.__name__}"


def identities(table: RewardTable) -> dict[str, dict[str, float]]:
    """The identities and weights of a table's functions by domain, for the key of a stage."""
    identities_by_domain = {}
    for domain, row in table.items():
        identities_by_domain[domain] = {identity(function): weight for function, weight in row.items()}
    return identities_by_domain


def overlaps(function: object) -> bool:
    """Whether a reward function may be called while sampling goes on; only one that says so may."""
    return isinstance(function, OverlappingReward) and function.overlaps_sampling


def score(table: RewardTable, problem: Problem, rollout: Rollout) -> Reward:
    """The reward of one rollout (r_i in the papers), by the row of its problem's domain.

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
    """The rewards of many rollouts, the same as one by one; a function that judges in batches is called once.

    Args:
        table: the reward functions and their weights.
        pairs: problems, each with the rollout that is judged; a problem may occur several times.
        known: for each pair the verdicts that functions have given already; empty where none has given any.

    Returns:
        A reward for each pair, in order. A function that abstains from a response has no part in its reward.

    Raises:
        ValueError: as `score` does.
    """
    rows = [_row(table, problem.domain) for problem, _ in pairs]
    verdicts: list[dict[RewardFunction, Verdict | None]] = [{} for _ in pairs]
    for index, known_verdicts in enumerate(known):
        verdicts[index].update(known_verdicts)

    # A dict, not a set: the functions are called in the order of the table, whatever their hashes are.
    functions = dict.fromkeys(function for row in rows for function in row)
    for function in functions:
        indices = [index for index, row in enumerate(rows) if function in row]

        missing = [index for index in indices if function not in verdicts[index]]
        new_verdicts = judge(function, [pairs[index] for index in missing])
        for index, verdict in zip(missing, new_verdicts, strict=True):
            verdicts[index][function] = verdict

        for index in indices:
            problem, _ = pairs[index]
            _refuse_infinity(function, rows[index][function], problem, verdicts[index][function])

    return [_reward(row, row_verdicts) for row, row_verdicts in zip(rows, verdicts, strict=True)]


def _row(table: RewardTable, domain: str) -> Mapping[RewardFunction, float]:
    """The functions and weights of a domain.

    Raises:
        ValueError: the table has no such domain, or two of its functions share a name.
    """
    row = table.get(domain)
    if row is None:
        raise ValueError(f"no rewards for domain {domain!r}; the table has: {', '.join(sorted(table)) or 'none'}")

    # Parts are told apart by name in a reward: of two with one name the second would replace the first.
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

    # Once for all: a reward model fills its batches, a sandbox its workers.
    if isinstance(function, BatchedReward):
        return list(function.judge_all(pairs))
    return [function(problem, rollout) for problem, rollout in pairs]


def _refuse_infinity(function: RewardFunction, weight: float, problem: Problem, verdict: Verdict | None) -> None:
    """Refuses a score or a weight that is not finite: it would spoil the sum, and with it the whole group."""
    if verdict is not None and not (math.isfinite(verdict.score) and math.isfinite(weight)):
        raise ValueError(
            f"reward function {function.__name__!r} gave problem {problem.id!r} the score {verdict.score} "
            f"with weight {weight}; both must be finite"
        )


def _reward(row: Mapping[RewardFunction, float], verdicts: Mapping[RewardFunction, Verdict | None]) -> Reward:
    """The reward of one rollout from the verdicts of its functions; the parts are in the order of the row."""
    parts: dict[str, float] = {}
    weights: dict[str, float] = {}
    reasons: dict[str, str] = {}
    kinds: dict[str, VerdictKind] = {}

    for function, weight in row.items():
        # A function that abstained leaves no part, rather than one of 0: nobody has judged the response worthless.
        verdict = verdicts[function]
        if verdict is None:
            continue

        name = part_name(function)
        parts[name] = verdict.score
        weights[name] = weight
        reasons[name] = verdict.reason
        if verdict.kind:
            kinds[name] = verdict.kind

    return Reward(parts=parts, weights=weights, reasons=reasons, kinds=kinds)
