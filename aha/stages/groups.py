"""Groups: sample and judge them, describe them, and write them down."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from aha.actors.actor import PolicyActor
from aha.engines.engine import Decoding, Request
from aha.prompts.templates import Template
from aha.rewards.scorer import Scorer
from aha.rewards.table import RewardTable
from aha.stages.config import RLConfig
from aha.stages.timeline import Timeline
from aha.types import Group, Problem, Reward, Rollout

__all__ = ["Sampling", "Truth", "has_spread", "nothing_known", "record", "sample_groups", "training_sampling"]

Truth = Callable[[Problem, str], Mapping[str, float]]
"""What a response is truly worth, by name, for the prompts where that is known."""

_Share = tuple[tuple[Rollout, ...], tuple[Reward, ...]]
"""The rollouts of a group that one process has sampled, with their rewards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How groups are sampled.

    Attributes:
        num_samples: responses for each problem (G).
        decoding: length, temperature and nucleus.
        seed: names from which all draws derive, with the problem, how often it came before, and the index added.
    """

    num_samples: int
    decoding: Decoding
    seed: tuple[int | str, ...]


def training_sampling(config: RLConfig, seed: tuple[int | str, ...], stop: tuple[str, ...]) -> Sampling:
    """How an iteration of reinforcement learning samples."""
    decoding = Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature, stop=stop)
    return Sampling(num_samples=config.group_size, decoding=decoding, seed=seed)


def sample_groups(
    policy: PolicyActor,
    problems: Sequence[Problem],
    sampling: Sampling,
    *,
    reward: RewardTable,
    template: Template,
    timeline: Timeline | None = None,
) -> list[Group]:
    """Sample and judge a group for each problem; each process takes an equal share of every group.

    Rewards that take their time are computed while sampling goes on; see `aha.rewards.scorer`.

    Args:
        policy: samples.
        problems: a group for each.
        sampling: how.
        reward: the reward functions and their weights.
        template: the prompt around a question.
        timeline: gets the seconds of both.

    Raises:
        ValueError: the group cannot be divided among the processes.
    """
    seeds = _seeds(problems, sampling.seed)
    requests = [
        Request(id=problem.id, prompt=template(problem.question), seed=seed, decoding=sampling.decoding)
        for problem, seed in zip(problems, seeds, strict=True)
    ]

    timeline = timeline or Timeline(policy.synchronize)
    with Scorer(reward) as scorer:
        # A group that ends early is judged while the engine goes on with the others (docs/decisions/0026).
        def begin_judging(index: int, rollouts: Sequence[Rollout]) -> None:
            scorer.take(index, _pairs(problems[index], rollouts))

        with timeline.part("sampling"):
            sampled = policy.sample(requests, sampling.num_samples, on_group=begin_judging)

        # What is timed here is the rest: rewards that are not ready when sampling ends.
        with timeline.part("scoring"):
            pairs = [_pairs(problem, rollouts) for problem, rollouts in zip(problems, sampled, strict=True)]
            rewards = scorer.rewards(pairs)

    # Every process has all problems and a share of every group: only the shares are sent.
    shares = [(rollouts, tuple(own_rewards)) for rollouts, own_rewards in zip(sampled, rewards, strict=True)]
    return _joined(problems, policy.collect([shares]))


def _pairs(problem: Problem, rollouts: Sequence[Rollout]) -> list[tuple[Problem, Rollout]]:
    return [(problem, rollout) for rollout in rollouts]


def _joined(problems: Sequence[Problem], shares_by_process: Sequence[Sequence[_Share]]) -> list[Group]:
    """The groups, from the share of each that each process has sampled and judged."""
    groups = []
    for index, problem in enumerate(problems):
        shares = [shares_of_process[index] for shares_of_process in shares_by_process]
        rollouts = tuple(rollout for own_rollouts, _ in shares for rollout in own_rollouts)
        rewards = tuple(reward for _, own_rewards in shares for reward in own_rewards)
        groups.append(Group(problem=problem, rollouts=rollouts, rewards=rewards))
    return groups


def _seeds(problems: Sequence[Problem], seed: tuple[int | str, ...]) -> list[tuple[int | str, ...]]:
    """The seed path of each problem: the draws for a problem do not depend on what else is asked.

    A problem that is asked again in the same call gets other draws: its path has the number of times it came before.
    """
    seeds: list[tuple[int | str, ...]] = []
    num_asked: Counter[str] = Counter()
    for problem in problems:
        path = (*seed, problem.id)

        # The first time it has the short path, so that its draws are those of a call in which it stands once.
        num_before = num_asked[problem.id]
        seeds.append((*path, num_before) if num_before else path)
        num_asked[problem.id] += 1
    return seeds


def has_spread(group: Group) -> bool:
    """Whether the rewards of a group differ, so that there is something to learn from it."""
    return len({reward.total for reward in group.rewards}) > 1


def nothing_known(problem: Problem, text: str) -> Mapping[str, float]:
    """The truth where nobody knows it."""
    del problem, text
    return {}


def record(groups: Sequence[Group], advantages_BT: Tensor | None = None) -> list[dict[str, Any]]:
    """Groups as rows of a rollout file: everything that was sampled, and why it was rewarded as it was.

    Args:
        groups: the rollouts with their rewards.
        advantages_BT: advantages of their tokens, group after group; 0 where a token is not the response's. A row has
            the mean over its tokens.
    """
    rows = []
    for group in groups:
        for index, (rollout, reward) in enumerate(zip(group.rollouts, group.rewards, strict=True)):
            rows.append(_row(group.problem, index, rollout, reward))

    if advantages_BT is None:
        return rows

    # In float64, so that the mean of equal advantages is exactly that advantage.
    totals = advantages_BT.double().sum(dim=1).tolist()
    for row, total in zip(rows, totals, strict=True):
        row["advantage"] = total / len(row["tokens"])
    return rows


def _row(problem: Problem, index: int, rollout: Rollout, reward: Reward) -> dict[str, Any]:
    """One rollout as a row, without an advantage."""
    return {
        "problem_id": problem.id,
        "index": index,
        "domain": problem.domain,
        "level": problem.level,
        "language": problem.language,
        "question": problem.question,
        "reference": problem.answer,
        "text": rollout.text,
        "prompt_tokens": rollout.prompt_tokens.tolist(),
        "tokens": rollout.tokens.tolist(),
        # Six decimals: a file of rollouts is read by people and tools, and training never reads it back.
        "logp": [round(value, 6) for value in rollout.logp.tolist()],
        "finish": rollout.finish,
        "reward": {
            "total": reward.total,
            "parts": dict(reward.parts),
            "weights": dict(reward.weights),
            "reasons": dict(reward.reasons),
            "kinds": dict(reward.kinds),
        },
        "advantage": None,
    }
