"""Mini-batches: a rollout is split at random, and one update is made with each part.

Without a KL term (beta = 0) nothing is compared with a reference, and a group without spread has neither loss nor
gradient: its responses are left out of the passes and counted all the same, so that the update is the one with them.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.1.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor

from aha.policy.transformer import Transformer
from aha.stages.config import RLConfig
from aha.stages.timeline import Timeline
from aha.stages.workload import micro_batch_tokens
from aha.training.batch import partition_rows, select, stack
from aha.training.cost import forward_flops, num_stream_tokens
from aha.training.learner import Learner, Objective, reference_logp
from aha.training.world import World
from aha.types import Batch, Group, Loss, Mean

__all__ = [
    "MiniBatch",
    "batch_of",
    "cost",
    "mini_batches",
    "needs_no_pass",
    "num_updates",
    "update",
    "with_settings",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MiniBatch:
    """One process's part of a mini-batch.

    Attributes:
        batch: what it computes; may be empty.
        left_out: what it only counts.
    """

    batch: Batch
    left_out: Batch


def batch_of(groups: Sequence[Group], advantages_PG: Tensor) -> Batch:
    """All rollouts of an iteration as one batch, with advantages and the log-probabilities frozen at sampling."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return stack(
        [rollout.prompt_tokens for rollout in rollouts],
        [rollout.tokens for rollout in rollouts],
        {
            "old_logp_BT": [rollout.logp for rollout in rollouts],
            "adv_BT": [adv.expand(len(o.tokens)) for o, adv in zip(rollouts, advantages_PG.flatten(), strict=True)],
        },
    )


def needs_no_pass(advantages_PG: Tensor, config: RLConfig) -> Tensor:
    """Responses without loss and gradient, [P * G], bool: those of groups without advantages, where there is no KL."""
    is_flat_P = (advantages_PG == 0).all(dim=1) & (config.kl_coef == 0)
    return is_flat_P.repeat_interleave(advantages_PG.shape[1])


def mini_batches(
    batch: Batch, num: int, rng: random.Random, world: World, is_left_out_B: Tensor
) -> Iterator[MiniBatch]:
    """This process's part of each mini-batch.

    Args:
        batch: the rollouts of an iteration.
        num: how many mini-batches, of equal size but for one; fewer where there are not twice as many rollouts.
        rng: decides which rollouts share a mini-batch.
        world: the processes among which each is dealt; the first one counts what is left out.
        is_left_out_B: from `needs_no_pass`.
    """
    is_left_out = is_left_out_B.tolist()
    for rows in _divided(len(is_left_out), num, rng):
        whole = select(batch, [row for row in rows if not is_left_out[row]])
        yield MiniBatch(
            batch=select(whole, partition_rows(whole, world.size)[world.rank]),
            left_out=select(batch, [row for row in rows if is_left_out[row] and world.is_first]),
        )


def num_updates(config: RLConfig) -> int:
    """Updates of an iteration: one for each mini-batch, of which each has two responses or more."""
    return _num_parts(config.problems_per_iteration * config.group_size, config.num_minibatches)


def _num_parts(count: int, num: int) -> int:
    return max(1, min(num, count // 2))


def _divided(count: int, num: int, rng: random.Random) -> list[list[int]]:
    """Rows 0 to count - 1 at random in `num` parts whose sizes differ by one at most; fewer parts for few rows.

    A part has at least two rows: a single response would take an optimizer step as long as all others together do.
    """
    order = list(range(count))
    rng.shuffle(order)
    num_parts = _num_parts(count, num)
    ends = [part * count // num_parts for part in range(num_parts + 1)]
    return [sorted(order[start:end]) for start, end in pairwise(ends)]


def with_settings(objective: Objective, config: RLConfig) -> Objective:
    """The objective with its hyper-parameters, and the gap between learner and engine among its metrics.

    Without a KL term the policy itself stands in for the reference, and no `kl` is among the metrics.
    """

    def loss(logp_BT: Tensor, **signals: Tensor) -> Loss:
        given = signals if config.kl_coef else {**signals, "ref_logp_BT": logp_BT.detach()}
        result = objective(logp_BT, clip_eps=config.clip_eps, kl_coef=config.kl_coef, **given)
        metrics = {name: mean for name, mean in result.metrics.items() if config.kl_coef or name != "kl"}
        # Over all tokens of the response: the engine and the learner must agree on each.
        mask_BT = signals["mask_BT"]
        gap_BT = (logp_BT.detach() - signals["old_logp_BT"]).abs()
        gap = Mean(total=gap_BT[mask_BT].sum(), count=mask_BT.sum())
        return Loss(total=result.total, count=result.count, metrics={**metrics, "logp_gap": gap})

    return loss


def update(
    learner: Learner[Transformer],
    reference: Transformer | None,
    parts: Iterable[MiniBatch],
    loss: Objective,
    config: RLConfig,
    *,
    name: str,
    timeline: Timeline,
) -> dict[str, float]:
    """One update with each mini-batch.

    Where all of a mini-batch is left out, its gradient is zero, and the optimizer steps as it would have: moments and
    weight decay move the policy.

    Args:
        learner: updates the policy.
        reference: becomes the policy every so many updates; None without a KL term.
        parts: the mini-batches.
        loss: from `with_settings`.
        config: temperature, and how often the reference moves.
        name: of the iteration, in errors.
        timeline: of the iteration.

    Returns:
        The means of the updates' metrics, each over the updates that have it; `logp_gap` is that of the first update.
    """
    figures_by_step: list[dict[str, float]] = []
    for number, part in enumerate(parts):
        signals = dict(part.batch.signals)
        if reference is not None:
            with timeline.part("reference"):
                signals["ref_logp_BT"] = reference_logp(
                    reference,
                    part.batch,
                    temperature=config.temperature,
                    max_tokens=4 * micro_batch_tokens(reference.head_VD.device),
                )
        compared = Batch(
            tokens_BT=part.batch.tokens_BT,
            mask_BT=part.batch.mask_BT,
            lengths_B=part.batch.lengths_B,
            signals=signals,
        )
        with timeline.part("learning"):
            label, extra_count = f"{name}, mini-batch {number}", _count(loss, part.left_out)
            figures_by_step.append(learner.step(compared, loss, name=label, extra_count=extra_count))
        if reference is not None and learner.num_steps % config.reference_every == 0:
            reference.load_state_dict(learner.policy.state_dict())
    names = dict.fromkeys(key for step in figures_by_step for key in step if key != "logp_gap")
    means = {key: fmean(step[key] for step in figures_by_step if key in step) for key in names}
    return means | {key: value for key, value in figures_by_step[0].items() if key == "logp_gap"}


@torch.no_grad()
def _count(loss: Objective, left_out: Batch) -> float:
    """What sequences that are not computed would have counted: an objective counts by the mask alone."""
    if not len(left_out.lengths_B):
        return 0.0
    return float(loss(left_out.signals["old_logp_BT"], mask_BT=left_out.mask_BT, **left_out.signals).count)


def cost(policy: Transformer, groups: Sequence[Group], learned: Batch, *, has_reference: bool) -> dict[str, float]:
    """What an iteration costs: sampling, and for each update the reference's forward pass and the policy's both.

    Args:
        policy: the policy.
        groups: what was sampled.
        learned: what was computed in the updates.
        has_reference: whether there was a reference's pass.
    """
    num_sampled = sum(len(rollout.tokens) for group in groups for rollout in group.rollouts)
    num_prompt = sum(len(group.rollouts[0].prompt_tokens) for group in groups)
    num_trained = num_stream_tokens(learned)
    passes = 4 if has_reference else 3
    flops = forward_flops(policy, num_sampled + num_prompt) + passes * forward_flops(policy, num_trained)
    return {"trained_tokens": float(num_trained), "flops": flops}
