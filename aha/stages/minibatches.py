"""Mini-batches: a rollout is split at random, and one update is made with each part.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.1.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from torch import Tensor

from aha.policy.transformer import Transformer
from aha.stages.config import RLConfig
from aha.stages.timeline import Timeline
from aha.training.batch import deal, select, stack
from aha.training.cost import forward_flops, num_stream_tokens
from aha.training.learner import Learner, Objective, reference_logp
from aha.training.world import World
from aha.types import Batch, Group, Loss, Mean

__all__ = ["batch_of", "cost", "filled_in", "mini_batches", "update"]


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


def mini_batches(batch: Batch, num: int, rng: random.Random, world: World) -> Iterator[Batch]:
    """This process's part of each mini-batch.

    Args:
        batch: the rollouts of an iteration.
        num: how many mini-batches; fewer where there are not as many rollouts.
        rng: decides which rollouts share a mini-batch.
        world: the processes among which each is dealt.
    """
    order = list(range(len(batch.lengths_B)))
    rng.shuffle(order)
    size = -(-len(order) // num)
    for start in range(0, len(order), size):
        whole = select(batch, sorted(order[start : start + size]))
        yield select(whole, deal(whole, world.size)[world.rank])


def filled_in(objective: Objective, config: RLConfig) -> Objective:
    """The objective with its hyper-parameters, and the gap between learner and engine among its metrics."""

    def loss(logp_BT: Tensor, **signals: Tensor) -> Loss:
        result = objective(logp_BT, clip_eps=config.clip_eps, kl_coef=config.kl_coef, **signals)
        mask_BT = signals["mask_BT"]
        gap_BT = (logp_BT.detach() - signals["old_logp_BT"]).abs()
        gap = Mean(total=gap_BT[mask_BT].sum(), count=mask_BT.sum())
        return Loss(total=result.total, count=result.count, metrics={**result.metrics, "logp_gap": gap})

    return loss


def update(
    learner: Learner[Transformer],
    reference: Transformer,
    parts: Iterable[Batch],
    loss: Objective,
    config: RLConfig,
    *,
    name: str,
    timeline: Timeline,
) -> dict[str, float]:
    """One update with each mini-batch.

    Args:
        learner: updates the policy.
        reference: becomes the policy every so many updates.
        parts: the mini-batches.
        loss: from `filled_in`.
        config: temperature, and how often the reference moves.
        name: of the iteration, in errors.
        timeline: of the iteration.

    Returns:
        The mean of the updates' metrics; `logp_gap` is that of the first.
    """
    figures_by_step: list[dict[str, float]] = []
    for number, part in enumerate(parts):
        with timeline.part("reference"):
            ref_logp_BT = reference_logp(reference, part, temperature=config.temperature)
        compared = Batch(
            tokens_BT=part.tokens_BT,
            mask_BT=part.mask_BT,
            lengths_B=part.lengths_B,
            signals={**part.signals, "ref_logp_BT": ref_logp_BT},
        )
        with timeline.part("learning"):
            figures_by_step.append(learner.step(compared, loss, name=f"{name}, mini-batch {number}"))
        if learner.num_steps % config.reference_every == 0:
            reference.load_state_dict(learner.policy.state_dict())
    means = {key: fmean(step[key] for step in figures_by_step) for key in figures_by_step[0]}
    return means | {"logp_gap": figures_by_step[0]["logp_gap"]}


def cost(policy: Transformer, groups: Sequence[Group], batch: Batch) -> dict[str, float]:
    """What an iteration costs: sampling, and for each update the reference's forward pass and the policy's both."""
    num_sampled = sum(len(rollout.tokens) for group in groups for rollout in group.rollouts)
    num_prompt = sum(len(group.rollouts[0].prompt_tokens) for group in groups)
    num_trained = num_stream_tokens(batch)
    flops = forward_flops(policy, num_sampled + num_prompt) + 4 * forward_flops(policy, num_trained)
    return {"trained_tokens": float(num_trained), "flops": flops}
