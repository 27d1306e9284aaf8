"""Leaving out what has no gradient, and a reference that is weighed with zero, changes nothing about the update."""

import random
from functools import partial

import pytest
import torch
from peers import weights_of
from tiny import random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.advantages.group import group_advantages
from aha.objectives.grpo import grpo_loss, grpo_sequence_loss
from aha.objectives.reductions import token_mean
from aha.policy.transformer import Transformer
from aha.stages.config import RLConfig
from aha.stages.minibatches import (
    MiniBatch,
    _divided,
    batch_of,
    cost,
    mini_batches,
    needs_no_pass,
    num_updates,
    update,
    with_settings,
)
from aha.stages.timeline import Timeline
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner, Objective
from aha.training.optimizer import adamw
from aha.training.world import World
from aha.types import Batch, Group, Loss, Problem, Reward, Rollout

FREE = RLConfig(kl_coef=0.0, temperature=1.0, num_minibatches=2)
BOUND = RLConfig(kl_coef=0.1, temperature=1.0, num_minibatches=2)
MIXED = [[1.0, 0.0, 2.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
"""Rewards of four groups, two of them without spread."""


def token_loss(logp_BT: Tensor, *, old_logp_BT: Tensor, adv_BT: Tensor, mask_BT: Tensor, **others: object) -> Loss:
    """An objective that counts tokens."""
    del others
    return token_mean(-(logp_BT - old_logp_BT).exp() * adv_BT, mask_BT)


def some_groups(rewards: list[list[float]]) -> tuple[list[Group], Tensor]:
    """Groups of random responses of several lengths with these rewards, and their advantages."""
    groups = []
    for number, totals in enumerate(rewards):
        problem = Problem(id=f"p{number}", question="", answer="", domain="text")
        (prompt,) = random_tokens([3 + number], seed=number)
        rollouts: list[Rollout] = []
        for tokens in random_tokens([2 + n + number for n in range(len(totals))], seed=50 + number):
            logp = -2.5 + 0.3 * torch.randn(len(tokens), generator=torch.Generator().manual_seed(len(rollouts)))
            given = Rollout(
                problem_id=problem.id, prompt_tokens=prompt, tokens=tokens, logp=logp, text="", finish="stop"
            )
            rollouts.append(given)
        given_rewards = tuple(Reward(parts={"r": r}, weights={"r": 1.0}, reasons={"r": ""}) for r in totals)
        groups.append(Group(problem=problem, rollouts=tuple(rollouts), rewards=given_rewards))
    return groups, group_advantages(torch.tensor(rewards))


def a_learner(*, weight_decay: float = 0.1) -> Learner[Transformer]:
    policy = tiny_policy(tiny_config(), dtype=torch.float64)
    optimizers = adamw(policy, OptimizerConfig(learning_rate=1e-2, weight_decay=weight_decay))
    return Learner(policy, optimizers, factor=lambda step: 1.0, grad_clip=0.05)


def updated(
    rewards: list[list[float]], objective: Objective = grpo_loss, *, leaves_out: bool, num_iterations: int = 2
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Weights and metrics after some iterations without KL, of which the last one leaves out what it may."""
    learner, metrics = a_learner(), dict[str, float]()
    for iteration in range(num_iterations):
        groups, advantages_PG = some_groups(MIXED if iteration == 0 else rewards)
        is_left_out_B = needs_no_pass(advantages_PG, FREE) & (leaves_out and iteration == num_iterations - 1)
        parts = mini_batches(batch_of(groups, advantages_PG), 2, random.Random(iteration), World(), is_left_out_B)
        loss = with_settings(objective, FREE)
        metrics = update(learner, None, parts, loss, FREE, name="i", timeline=Timeline())
    return weights_of(learner.policy), metrics


@pytest.mark.parametrize("objective", [grpo_loss, grpo_sequence_loss, token_loss])
def test_an_update_is_the_same_without_the_groups_that_have_no_spread(objective: Objective) -> None:
    (kept, kept_figures), (left, left_figures) = (
        updated(MIXED, objective, leaves_out=leaves_out) for leaves_out in (False, True)
    )
    start = weights_of(tiny_policy(tiny_config(), dtype=torch.float64))
    assert max(float((kept[name] - start[name]).abs().max()) for name in start) > 1e-3
    assert max(float((kept[name] - left[name]).abs().max()) for name in start) < 1e-9
    for name in ("loss", "grad_norm", "learning_rate"):
        assert left_figures[name] == pytest.approx(kept_figures[name], rel=1e-9, abs=1e-12)


def test_a_wrong_count_would_be_another_update() -> None:
    groups, advantages_PG = some_groups(MIXED)
    loss, norms = with_settings(grpo_loss, FREE), []
    for counts_them in (True, False):
        parts = mini_batches(
            batch_of(groups, advantages_PG), 1, random.Random(0), World(), needs_no_pass(advantages_PG, FREE)
        )
        (part,) = parts
        given = part if counts_them else MiniBatch(batch=part.batch, left_out=_none(part.left_out))
        norms.append(update(a_learner(), None, [given], loss, FREE, name="i", timeline=Timeline())["grad_norm"])
    assert norms[1] == pytest.approx(2 * norms[0])


def _none(batch: Batch) -> Batch:
    signals = {name: values[:0] for name, values in batch.signals.items()}
    return Batch(
        tokens_BT=batch.tokens_BT[:0], mask_BT=batch.mask_BT[:0], lengths_B=batch.lengths_B[:0], signals=signals
    )


def test_where_all_is_left_out_the_optimizer_still_steps_by_its_moments() -> None:
    flat = [[1.0, 1.0, 1.0]] * 4
    (kept, _), (left, figures), (before, _) = (
        updated(flat, leaves_out=False),
        updated(flat, leaves_out=True),
        updated(flat, leaves_out=False, num_iterations=1),
    )
    assert all(torch.equal(kept[name], weight) for name, weight in left.items())
    assert not all(torch.equal(before[name], weight) for name, weight in left.items())
    assert figures == {"loss": 0.0, "grad_norm": 0.0, "learning_rate": 1e-2}


def test_a_mini_batch_with_nothing_to_compute_spoils_no_mean() -> None:
    groups, advantages_PG = some_groups([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    batch, is_left_out_B = batch_of(groups, advantages_PG), needs_no_pass(advantages_PG, FREE)
    (whole,) = mini_batches(batch, 1, random.Random(0), World(), is_left_out_B)
    assert (len(whole.batch.lengths_B), len(whole.left_out.lengths_B)) == (3, 3)
    parts = [
        MiniBatch(batch=_none(batch), left_out=whole.left_out),
        MiniBatch(batch=whole.batch, left_out=_none(batch)),
    ]
    loss = with_settings(grpo_loss, FREE)
    figures, alone = (
        update(a_learner(weight_decay=0.0), None, given, loss, FREE, name="i", timeline=Timeline())
        for given in (parts, parts[1:])
    )
    assert figures["ratio"] == alone["ratio"]
    assert figures["loss"] == alone["loss"] / 2
    assert "logp_gap" not in figures
    assert "logp_gap" in alone


def test_the_gap_is_the_mean_over_all_sampled_tokens() -> None:
    groups, advantages_PG = some_groups([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    batch = batch_of(groups, advantages_PG)
    logp_BT, mask_BT = batch.signals["old_logp_BT"].clone(), batch.mask_BT
    logp_BT[1] += 0.5 * mask_BT[1]
    logp_BT[2] -= 0.25 * mask_BT[2]

    gap = with_settings(grpo_loss, FREE)(logp_BT, mask_BT=mask_BT, **batch.signals).metrics["logp_gap"]
    lengths_B = mask_BT.sum(1)
    assert float(gap.total) == pytest.approx(float(0.5 * lengths_B[1] + 0.25 * lengths_B[2]))
    assert int(gap.count) == int(lengths_B.sum())


@pytest.mark.parametrize("objective", [grpo_loss, grpo_sequence_loss])
def test_without_kl_the_reference_changes_no_bit(objective: Objective) -> None:
    groups, advantages_PG = some_groups(MIXED)
    keeps_all = torch.zeros(12, dtype=torch.bool)
    (part,) = mini_batches(batch_of(groups, advantages_PG), 1, random.Random(0), World(), keeps_all)
    without, given = a_learner(), a_learner()
    figures = update(without, None, [part], with_settings(objective, FREE), FREE, name="i", timeline=Timeline())
    signals = {**part.batch.signals, "ref_logp_BT": part.batch.signals["old_logp_BT"] - 0.5}
    compared = Batch(
        tokens_BT=part.batch.tokens_BT,
        mask_BT=part.batch.mask_BT,
        lengths_B=part.batch.lengths_B,
        signals=signals,
    )
    expected = given.step(compared, partial(objective, clip_eps=FREE.clip_eps, kl_coef=0.0), name="i")
    assert "kl" in expected
    assert "kl" not in figures
    assert {name: figures[name] for name in expected if name != "kl"} == {
        name: value for name, value in expected.items() if name != "kl"
    }
    there = weights_of(given.policy)
    assert all(torch.equal(there[name], weight) for name, weight in weights_of(without.policy).items())


def test_with_kl_nothing_is_left_out() -> None:
    groups, advantages_PG = some_groups(MIXED)
    assert needs_no_pass(advantages_PG, FREE).tolist() == [False] * 3 + [True] * 3 + [False] * 3 + [True] * 3
    is_left_out_B = needs_no_pass(advantages_PG, BOUND)
    assert not is_left_out_B.any()
    parts = list(mini_batches(batch_of(groups, advantages_PG), 2, random.Random(0), World(), is_left_out_B))
    assert [(len(part.batch.lengths_B), len(part.left_out.lengths_B)) for part in parts] == [(6, 0), (6, 0)]
    reference = tiny_policy(tiny_config(), seed=1)
    figures = update(
        a_learner(), reference, parts, with_settings(grpo_loss, BOUND), BOUND, name="i", timeline=Timeline()
    )
    assert figures["kl"] > 0


def test_every_response_is_in_one_mini_batch() -> None:
    groups, advantages_PG = some_groups(MIXED)
    batch, is_left_out_B = batch_of(groups, advantages_PG), needs_no_pass(advantages_PG, FREE)
    parts = list(mini_batches(batch, 5, random.Random(0), World(), is_left_out_B))
    assert [len(part.batch.lengths_B) + len(part.left_out.lengths_B) for part in parts] == [2, 2, 3, 2, 3]
    found = [tuple(row) for part in parts for one in (part.batch, part.left_out) for row in _rows(one)]
    assert sorted(found) == sorted(tuple(row) for row in _rows(batch))


@pytest.mark.parametrize(
    ("num_responses", "num_minibatches", "sizes"),
    [
        (33, 16, [2] * 15 + [3]),
        (32, 16, [2] * 16),
        (8192, 16, [512] * 16),
        (7, 16, [2, 2, 3]),
        (2, 4, [2]),
        (3, 1, [3]),
    ],
)
def test_mini_batches_are_even_and_none_is_of_one_response(
    num_responses: int, num_minibatches: int, sizes: list[int]
) -> None:
    parts = _divided(num_responses, num_minibatches, random.Random(0))
    assert sorted(map(len, parts)) == sizes
    assert sorted(row for part in parts for row in part) == list(range(num_responses))
    if num_responses % 3 == 0:
        config = RLConfig(problems_per_iteration=num_responses // 3, group_size=3, num_minibatches=num_minibatches)
        assert num_updates(config) == len(sizes)


def _rows(batch: Batch) -> list[list[int]]:
    return [row[:length].tolist() for row, length in zip(batch.tokens_BT, batch.lengths_B.tolist(), strict=True)]


def test_the_cost_is_of_what_is_computed() -> None:
    groups, advantages_PG = some_groups(MIXED)
    policy, batch = tiny_policy(tiny_config()), batch_of(groups, advantages_PG)
    bound, free = (cost(policy, groups, batch, has_reference=has_reference) for has_reference in (True, False))
    nothing = cost(policy, groups, _none(batch), has_reference=False)
    assert bound["trained_tokens"] == free["trained_tokens"] > 0 == nothing["trained_tokens"]
    per_pass = bound["flops"] - free["flops"]
    assert free["flops"] - nothing["flops"] == pytest.approx(3 * per_pass)
