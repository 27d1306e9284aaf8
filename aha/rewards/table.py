"""Which rewards count for which problems: one row {function: weight} per domain."""

import math
from collections.abc import Iterable, Mapping
from typing import Protocol

from aha.rewards.accuracy import COMPARERS, accuracy
from aha.rewards.format import format_reward
from aha.types import Problem, Reward, Rollout, Verdict

__all__ = ["RULES", "RewardFunction", "RewardTable", "part_name", "rules", "score"]


class RewardFunction(Protocol):
    """A function that judges one rollout; its name names the part of the reward."""

    __name__: str

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        """The verdict on one rollout of a problem."""


RewardTable = Mapping[str, Mapping[RewardFunction, float]]
"""Weight of each reward function, by domain."""


def rules(domains: Iterable[str] = tuple(COMPARERS)) -> RewardTable:
    """The rule-based reward: accuracy and format with the same weight.

    Reward_rule = Reward_acc + Reward_format

    Args:
        domains: domains that get a row; the built-in ones by default.

    Returns:
        One row per domain.

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 4. Ours: a weight of 1 for each.
    """
    return {domain: {accuracy: 1.0, format_reward: 1.0} for domain in domains}


RULES = rules()
"""The rule-based reward of the built-in domains."""


def part_name(function: RewardFunction) -> str:
    """Name of a function's part of the reward: its own, without `_reward`."""
    return function.__name__.removesuffix("_reward")


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
    row = table.get(problem.domain)
    if row is None:
        raise ValueError(
            f"no rewards for domain {problem.domain!r}; the table has: {', '.join(sorted(table)) or 'none'}"
        )
    weights = {part_name(function): weight for function, weight in row.items()}
    if len(weights) < len(row):
        raise ValueError(
            f"two reward functions of domain {problem.domain!r} share a name: {', '.join(map(part_name, row))}"
        )
    verdicts = {part_name(function): _judge(function, weight, problem, rollout) for function, weight in row.items()}
    return Reward(
        parts={name: verdict.score for name, verdict in verdicts.items()},
        weights=weights,
        reasons={name: verdict.reason for name, verdict in verdicts.items()},
    )


def _judge(function: RewardFunction, weight: float, problem: Problem, rollout: Rollout) -> Verdict:
    """The verdict of one function, refused where it would poison the total."""
    verdict = function(problem, rollout)
    if not (math.isfinite(verdict.score) and math.isfinite(weight)):
        raise ValueError(
            f"reward function {function.__name__!r} gave problem {problem.id!r} the score {verdict.score} "
            f"with weight {weight}; both must be finite"
        )
    return verdict
