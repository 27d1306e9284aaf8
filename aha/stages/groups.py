"""Groups: sample and score them, describe them, and write them down."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from torch import Tensor

from aha.engines.engine import Decoding, Engine, Request
from aha.prompts.language import mixes_languages, reflective_acts
from aha.prompts.templates import Template
from aha.rewards.scorer import Scorer
from aha.rewards.table import RewardTable
from aha.stages.timeline import Timeline
from aha.training.world import World
from aha.types import VERDICT_KINDS, Group, Problem, Reward, Rollout

__all__ = ["Sampling", "Truth", "nothing_known", "record", "rollout_metrics", "sample_groups"]

Truth = Callable[[Problem, str], Mapping[str, float]]
"""What a response is truly worth, by name, for the prompts where that is known."""

_BUILT_IN_PARTS = ("accuracy", "format", "language", "helpfulness", "harmlessness")
"""Reward parts that are logged under their own names."""


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


def sample_groups(
    engine: Engine,
    problems: Sequence[Problem],
    sampling: Sampling,
    *,
    reward: RewardTable,
    template: Template,
    world: World,
    timeline: Timeline | None = None,
) -> list[Group]:
    """Sample and score a group for each problem; each process takes an equal part of every group.

    Rewards that take their time are computed while sampling goes on; see `aha.rewards.scorer`.

    Args:
        engine: samples.
        problems: a group for each.
        sampling: how.
        reward: the reward functions and their weights.
        template: the prompt around a question.
        world: the processes that share the work.
        timeline: gets the seconds of both parts.

    Raises:
        ValueError: the group cannot be divided among the processes.
    """
    if sampling.num_samples % world.size:
        raise ValueError(f"{sampling.num_samples} samples per problem cannot be divided among {world.size} processes")
    part = sampling.num_samples // world.size
    requests = [
        Request(problem=problem, prompt=template(problem.question), seed=seed, first_index=world.rank * part)
        for problem, seed in zip(problems, _seeds(problems, sampling.seed), strict=True)
    ]
    timeline = timeline or Timeline(world.device)
    with Scorer(reward) as scorer:
        with timeline.part("sampling"):
            sampled = engine.sample(
                requests,
                part,
                sampling.decoding,
                on_group=lambda place, rollouts: scorer.take(place, [(problems[place], one) for one in rollouts]),
            )
        with timeline.part("scoring"):
            pairs = [[(problem, one) for one in own] for problem, own in zip(problems, sampled, strict=True)]
            rewards = scorer.rewards(pairs)
    scored = [list(zip(own, given, strict=True)) for own, given in zip(sampled, rewards, strict=True)]
    parts: list[list[list[tuple[Rollout, Reward]]]] = world.collect([scored])
    groups = []
    for place, problem in enumerate(problems):
        members = [pair for one in parts for pair in one[place]]
        rollouts, given = tuple(rollout for rollout, _ in members), tuple(reward for _, reward in members)
        groups.append(Group(problem=problem, rollouts=rollouts, rewards=given))
    return groups


def _seeds(problems: Sequence[Problem], seed: tuple[int | str, ...]) -> list[tuple[int | str, ...]]:
    """The seed path of each problem: the draws for a problem do not depend on what else is asked.

    A problem that is asked again in the same call gets other draws: its path has the number of times it came before.
    """
    seeds: list[tuple[int | str, ...]] = []
    num_asked: Counter[str] = Counter()
    for problem in problems:
        again = (num_asked[problem.id],) if num_asked[problem.id] else ()
        seeds.append((*seed, problem.id, *again))
        num_asked[problem.id] += 1
    return seeds


def nothing_known(problem: Problem, text: str) -> Mapping[str, float]:
    """The truth where nobody knows it."""
    del problem, text
    return {}


def rollout_metrics(groups: Sequence[Group], advantages_PG: Tensor, truth: Truth = nothing_known) -> dict[str, float]:
    """What the rollouts of an iteration are like.

    Args:
        groups: the rollouts with their rewards.
        advantages_PG: their advantages.
        truth: what responses are truly worth; its figures are logged as `true_NAME`.

    Returns:
        The metrics by name. A reward part that has no metric of its own name is logged as `reward_NAME`.
    """
    pairs = [(group.problem, rollout) for group in groups for rollout in group.rollouts]
    rewards = [reward for group in groups for reward in group.rewards]
    num_tokens = sum(len(rollout.tokens) for _, rollout in pairs)
    return {
        "reward": fmean(reward.total for reward in rewards),
        "accuracy": _mean_part(rewards, "accuracy") or 0.0,
        "format": _mean_part(rewards, "format") or 0.0,
        "length": num_tokens / len(pairs),
        "truncated": fmean(rollout.finish == "length" for _, rollout in pairs),
        "reflection": fmean(reflective_acts(rollout.text) for _, rollout in pairs),
        "mixing": fmean(mixes_languages(rollout.text, problem.language) for problem, rollout in pairs),
        "zero_spread": float((advantages_PG == 0).all(dim=1).float().mean()),
        "entropy": -sum(float(rollout.logp.sum()) for _, rollout in pairs) / num_tokens,
        "tokens": float(num_tokens),
        **_learned_and_true(pairs, rewards, truth),
        **_own_parts(rewards),
        **_failures(rewards),
    }


def _mean_part(rewards: Sequence[Reward], name: str) -> float | None:
    """Mean of one part over the responses that have it; None where none has."""
    found = [reward.parts[name] for reward in rewards if name in reward.parts]
    return fmean(found) if found else None


def _own_parts(rewards: Sequence[Reward]) -> dict[str, float]:
    """Means of the reward parts that have no metric of their own name: those of the user's own reward functions.

    The prefix keeps a part that is called `loss` or `length` apart from the metric of that name.
    """
    names = sorted({name for reward in rewards for name in reward.parts} - set(_BUILT_IN_PARTS))
    return {f"reward_{name}": fmean(reward.parts[name] for reward in rewards if name in reward.parts) for name in names}


def _failures(rewards: Sequence[Reward]) -> dict[str, float]:
    """Shares of verdicts that are neither right nor wrong; nothing where no verifier says how it ended."""
    kinds = [kind for reward in rewards for kind in reward.kinds.values()]
    return {kind: fmean(one == kind for one in kinds) for kind in VERDICT_KINDS[2:]} if kinds else {}


def _learned_and_true(
    pairs: Sequence[tuple[Problem, Rollout]], rewards: Sequence[Reward], truth: Truth
) -> dict[str, float]:
    """The monitor of reward hacking: what the reward models say, and what is true of the same responses."""
    figures = {name: _mean_part(rewards, name) for name in _BUILT_IN_PARTS if name not in ("accuracy", "format")}
    known: dict[str, list[float]] = {}
    for problem, rollout in pairs:
        for name, value in truth(problem, rollout.text).items():
            known.setdefault(f"true_{name}", []).append(value)
    means = {name: fmean(values) for name, values in sorted(known.items())}
    return {name: value for name, value in figures.items() if value is not None} | means


def record(groups: Sequence[Group], advantages: Sequence[Sequence[float]] | None = None) -> list[dict[str, Any]]:
    """Groups as rows of a rollout file: everything that was sampled, and why it was rewarded as it was."""
    rows = []
    for place, group in enumerate(groups):
        problem = group.problem
        for index, (rollout, reward) in enumerate(zip(group.rollouts, group.rewards, strict=True)):
            rows.append(
                {
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
                    "logp": [round(value, 6) for value in rollout.logp.tolist()],
                    "finish": rollout.finish,
                    "reward": {
                        "total": reward.total,
                        "parts": dict(reward.parts),
                        "weights": dict(reward.weights),
                        "reasons": dict(reward.reasons),
                    },
                    "advantage": advantages[place][index] if advantages is not None else None,
                }
            )
    return rows
