"""What is logged of an iteration of reinforcement learning; `docs/metrics.md` defines each figure."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from aha.actors.actor import PolicyActor, Role
from aha.algorithms.algorithm import Algorithm
from aha.prompts.language import mixes_languages, reflective_acts
from aha.stages.groups import Truth, has_spread, nothing_known
from aha.stages.timeline import PARTS
from aha.training.batch import select
from aha.training.cost import num_stream_tokens
from aha.types import VERDICT_KINDS, Batch, Group, Problem, Reward, Rollout

__all__ = ["METRICS", "OPTIONAL_METRICS", "columns", "cost", "rollout_metrics"]

METRICS = (
    "reward",
    "accuracy",
    "format",
    "length",
    "truncated",
    "reflection",
    "mixing",
    "zero_spread",
    "entropy",
    "kl",
    "ratio",
    "clip_fraction",
    "loss",
    "grad_norm",
    "learning_rate",
    "logp_gap",
    "tokens",
    "trained_tokens",
    "flops",
    *(f"seconds_{part}" for part in PARTS),
    "seconds",
)
"""What is logged for every iteration; `docs/metrics.md` defines each, and says which are missing without a KL term."""

OPTIONAL_METRICS = (
    "language",
    "helpfulness",
    "harmlessness",
    "reward_NAME",
    "true_general",
    "true_helpfulness",
    "true_harmlessness",
    "unparsable",
    "timeout",
    "crash",
    "unsupported",
)
"""Logged where a reward of that name, its true counterpart, or the verdict of a verifier is known for some of the
prompts. `reward_NAME` stands for the part NAME of a reward function that is none of the built-in ones."""

_BUILT_IN_PARTS = ("accuracy", "format", "language", "helpfulness", "harmlessness")
"""Reward parts that are logged under their own names."""


def rollout_metrics(groups: Sequence[Group], truth: Truth = nothing_known) -> dict[str, float]:
    """What the rollouts of an iteration are like.

    Args:
        groups: the rollouts with their rewards.
        truth: what responses are truly worth; its figures are logged as `true_NAME`.

    Returns:
        The metrics by name. A reward part that has no metric of its own name is logged as `reward_NAME`.
    """
    pairs = [(group.problem, rollout) for group in groups for rollout in group.rollouts]
    rewards = [reward for group in groups for reward in group.rewards]
    num_tokens = sum(len(rollout.tokens) for _, rollout in pairs)

    # The mean of -log p over sampled tokens estimates the entropy of the policy, without a second pass.
    total_logp = sum(float(rollout.logp.sum()) for _, rollout in pairs)
    entropy = -total_logp / num_tokens

    # Accuracy and format are logged by every run, as 0 where no response has that part: `METRICS` promises them.
    return {
        "reward": fmean(reward.total for reward in rewards),
        "accuracy": _mean_part(rewards, "accuracy") or 0.0,
        "format": _mean_part(rewards, "format") or 0.0,
        "length": num_tokens / len(pairs),
        "truncated": fmean(rollout.finish == "length" for _, rollout in pairs),
        "reflection": fmean(reflective_acts(rollout.text) for _, rollout in pairs),
        "mixing": fmean(mixes_languages(rollout.text, problem.language) for problem, rollout in pairs),
        "zero_spread": fmean(not has_spread(group) for group in groups),
        "entropy": entropy,
        "tokens": float(num_tokens),
        **_learned_and_true(pairs, rewards, truth),
        **_own_parts(rewards),
        **_failures(rewards),
    }


def columns(rows: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """The values of each name, from the rows that have it; names in the order in which they first come."""
    values_by_name: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            values_by_name.setdefault(name, []).append(value)
    return values_by_name


def _mean_part(rewards: Sequence[Reward], name: str) -> float | None:
    """Mean of one part over the responses that have it; None where none has."""
    scores = [reward.parts[name] for reward in rewards if name in reward.parts]
    return fmean(scores) if scores else None


def _own_parts(rewards: Sequence[Reward]) -> dict[str, float]:
    """Means of the reward parts that have no metric of their own name: those of the user's own reward functions.

    The prefix keeps a part that is called `loss` or `length` apart from the metric of that name.
    """
    scores = columns(reward.parts for reward in rewards)
    own_names = sorted(scores.keys() - _BUILT_IN_PARTS)
    return {f"reward_{name}": fmean(scores[name]) for name in own_names}


def _failures(rewards: Sequence[Reward]) -> dict[str, float]:
    """Shares of verdicts that are neither right nor wrong; nothing where no verifier says how it ended."""
    verdicts = [verdict for reward in rewards for verdict in reward.kinds.values()]
    if not verdicts:
        return {}

    # The first two kinds are right and wrong, which `accuracy` counts.
    failures = VERDICT_KINDS[2:]
    return {kind: fmean(verdict == kind for verdict in verdicts) for kind in failures}


def _learned_and_true(
    pairs: Sequence[tuple[Problem, Rollout]], rewards: Sequence[Reward], truth: Truth
) -> dict[str, float]:
    """The monitor of reward hacking: what the reward models say, and what is true of the same responses."""
    figures: dict[str, float] = {}
    for name in _BUILT_IN_PARTS:
        mean = _mean_part(rewards, name)
        if name not in ("accuracy", "format") and mean is not None:
            figures[name] = mean

    # The truth is known for some prompts only: each mean is over those where it is.
    true_values = columns(truth(problem, rollout.text) for problem, rollout in pairs)

    # Sorted: the first prompt of an iteration, which decides the order of arrival, is another one each time.
    for name, values in sorted(true_values.items()):
        figures[f"true_{name}"] = fmean(values)
    return figures


def cost(
    actors: Mapping[Role, PolicyActor], groups: Sequence[Group], batch: Batch, algorithm: Algorithm
) -> dict[str, float]:
    """What an iteration costs: sampling, and for each update a pass of each other actor and the policy's both.

    Args:
        actors: the policy, and the others that the algorithm needs.
        groups: what was sampled.
        batch: the same as a batch, with the algorithm's signals.
        algorithm: says what was left out of the updates.
    """
    num_sampled = sum(len(rollout.tokens) for group in groups for rollout in group.rollouts)

    # A prompt is computed once for all of its responses.
    num_prompt = sum(len(group.rollouts[0].prompt_tokens) for group in groups)

    needs_pass_B = algorithm.needs_pass(batch)
    learned = select(batch, needs_pass_B.nonzero()[:, 0])
    num_trained = num_stream_tokens(learned)

    # The policy's backward pass costs as much as two forward passes, beside its forward pass and that of each other
    # actor.
    num_passes = 3 + len(actors) - 1
    policy = actors["policy"]
    sampling_flops = policy.forward_flops(num_sampled + num_prompt)
    training_flops = num_passes * policy.forward_flops(num_trained)
    return {"trained_tokens": float(num_trained), "flops": sampling_flops + training_flops}
