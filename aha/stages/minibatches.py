"""Mini-batches: the rollouts of an iteration are split at random, and one update is made with each mini-batch.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.1.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor

from aha.actors.actor import PolicyActor, Role
from aha.algorithms.algorithm import Algorithm
from aha.stages.config import RLConfig
from aha.stages.metrics import columns
from aha.stages.timeline import Timeline
from aha.training.batch import select, stack
from aha.training.learner import Objective
from aha.types import Batch, Group, Loss, Mean

__all__ = ["batch_of", "num_updates", "rewards_of", "split_rows", "update", "with_signals"]


def batch_of(groups: Sequence[Group]) -> Batch:
    """All rollouts of an iteration as one batch, with the log-probabilities frozen at sampling."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return stack(
        [rollout.prompt_tokens for rollout in rollouts],
        [rollout.tokens for rollout in rollouts],
        {"old_logp_BT": [rollout.logp for rollout in rollouts]},
    )


def rewards_of(groups: Sequence[Group]) -> Tensor:
    """The total reward of each response, [P, G]."""
    return torch.tensor([[reward.total for reward in group.rewards] for group in groups])


def with_signals(batch: Batch, signals: Mapping[str, Tensor]) -> Batch:
    """A batch with further signals."""
    return replace(batch, signals={**batch.signals, **signals})


def num_updates(config: RLConfig) -> int:
    """Updates of an iteration: one for each mini-batch, of which each has two responses or more."""
    num_responses = config.problems_per_iteration * config.group_size
    return _num_minibatches(num_responses, config.num_minibatches)


def _num_minibatches(num_rows: int, num_wanted: int) -> int:
    """Mini-batches that so many rows make: as many as are wanted, if each then has two rows or more."""
    return max(1, min(num_wanted, num_rows // 2))


def split_rows(num_rows: int, num_wanted: int, rng: random.Random) -> list[list[int]]:
    """Rows 0 to num_rows - 1, dealt at random to as many mini-batches as are wanted, or to fewer where rows are few.

    Their sizes differ by one at most. None has a single row where there are two or more: an update on one response
    would weigh as much as all others together.
    """
    order = list(range(num_rows))
    rng.shuffle(order)

    num_minibatches = _num_minibatches(num_rows, num_wanted)
    ends = [number * num_rows // num_minibatches for number in range(num_minibatches + 1)]

    # Which rows go together is random; inside a mini-batch they stay in the order of the groups.
    return [sorted(order[start:end]) for start, end in pairwise(ends)]


def update(
    actors: Mapping[Role, PolicyActor],
    batch: Batch,
    algorithm: Algorithm,
    minibatches: Sequence[Sequence[int]],
    *,
    reference_every: int,
    name: str,
    timeline: Timeline,
) -> dict[str, float]:
    """One update with each mini-batch.

    Sequences that need no pass are not computed, and counted all the same; `Algorithm.needs_pass` says how. Where that
    is all of a mini-batch, the optimizer steps as it would have: moments and weight decay move the policy.

    Args:
        actors: the policy, and the others that the algorithm needs.
        batch: all rollouts, with the algorithm's signals.
        algorithm: its loss is minimised.
        minibatches: rows of each, from `split_rows`.
        reference_every: updates after which the reference becomes the policy.
        name: of the iteration, in errors.
        timeline: of the iteration.

    Returns:
        The means of the updates' metrics, each over the updates that have it; `logp_gap` is that of the first update.
    """
    policy = actors["policy"]
    reference = actors.get("reference")
    needs_pass = algorithm.needs_pass(batch).tolist()
    loss = _loss_with_gap(algorithm)

    metrics_by_update: list[dict[str, float]] = []
    for number, rows in enumerate(minibatches):
        # An average is over all sequences of the mini-batch, so what is not computed must still be counted.
        learned = select(batch, [row for row in rows if needs_pass[row]])
        skipped = select(batch, [row for row in rows if not needs_pass[row]])
        skipped_count = _count(algorithm, skipped)
        share = policy.share(learned)

        # The reference may have become the policy after the last mini-batch, so it is asked now.
        with timeline.part("reference"):
            share = with_signals(share, algorithm.signals_before_update(share, actors))

        with timeline.part("learning"):
            metrics = policy.update(share, loss, name=f"{name}, mini-batch {number}", extra_count=skipped_count)
        metrics_by_update.append(metrics)

        # Counted over the whole training, so that it moves at the same updates however many stages that has.
        if reference is not None and policy.num_steps % reference_every == 0:
            reference.load(policy)

    return _means(metrics_by_update)


def _loss_with_gap(algorithm: Algorithm) -> Objective:
    """The loss of an algorithm, with the gap between learner and engine among its metrics."""

    def loss_with_gap(logp_BT: Tensor, **signals: Tensor) -> Loss:
        loss = algorithm.loss(logp_BT, **signals)

        # Over all tokens of the response: the engine and the learner must agree on each.
        mask_BT = signals["mask_BT"]
        gap_BT = (logp_BT.detach() - signals["old_logp_BT"]).abs()
        gap = Mean(total=gap_BT[mask_BT].sum(), count=mask_BT.sum())
        return replace(loss, metrics={**loss.metrics, "logp_gap": gap})

    return loss_with_gap


@torch.no_grad()
def _count(algorithm: Algorithm, skipped: Batch) -> float:
    """What sequences that are not computed count in the divisor of the loss; see `Algorithm.needs_pass`."""
    if not len(skipped.lengths_B):
        return 0.0

    # A loss counts by the mask alone, so that any log-probabilities would do; those of the engine are at hand.
    logp_BT = skipped.signals["old_logp_BT"]
    loss = algorithm.loss(logp_BT, mask_BT=skipped.mask_BT, **skipped.signals)
    return float(loss.count)


def _means(metrics_by_update: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of metrics, each over the updates that have it; `logp_gap` is that of the first update."""
    values_by_name = columns(metrics_by_update)
    values_by_name.pop("logp_gap", None)
    means = {name: fmean(values) for name, values in values_by_name.items()}

    # After the first update the policy is no longer the one that sampled, so a gap would be no fault.
    if "logp_gap" in metrics_by_update[0]:
        means["logp_gap"] = metrics_by_update[0]["logp_gap"]
    return means
