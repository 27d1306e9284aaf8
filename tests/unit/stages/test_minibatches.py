"""Mini-batches are even, leaving out what has no gradient changes no update, and the reference moves on time."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from peers import weights_of
from tiny import policy_actor, random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.actors.actor import Role
from aha.actors.local import LocalPolicy
from aha.algorithms.algorithm import Algorithm, Sampled
from aha.algorithms.grpo import GRPO
from aha.algorithms.grpo_sequence import GRPOSequence
from aha.stages.config import RLConfig
from aha.stages.metrics import cost
from aha.stages.minibatches import batch_of, num_updates, rewards_of, split_rows, update, with_signals
from aha.stages.timeline import Timeline
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner
from aha.training.optimizer import adamw
from aha.types import Batch, Group, Problem, Reward, Rollout

FREE = {
    "tokens": GRPO(kl_coef=0.0),
    "sequences": GRPOSequence(kl_coef=0.0),
    "all": GRPO(kl_coef=0, aggregation="token"),
}
BOUND = GRPO(kl_coef=0.1)
MIXED = [[1.0, 0.0, 2.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
"""Rewards of four groups, two of them without spread."""


class Thorough(GRPO):
    """The same, which computes every sequence."""

    def needs_pass(self, batch: Batch) -> Tensor:
        return torch.ones(len(batch.lengths_B), dtype=torch.bool)


def some_groups(rewards: Sequence[Sequence[float]]) -> list[Group]:
    """Groups of random responses of several lengths with these rewards."""
    groups = []
    for number, totals in enumerate(rewards):
        problem = Problem(id=f"p{number}", question="", answer="", domain="text")
        (prompt,) = random_tokens([3 + number], seed=number)
        rollouts: list[Rollout] = []
        for tokens in random_tokens([2 + n + number for n in range(len(totals))], seed=50 + number):
            logp = -2.5 + 0.3 * torch.randn(len(tokens), generator=torch.Generator().manual_seed(len(rollouts)))
            rollouts.append(
                Rollout(problem_id=problem.id, prompt_tokens=prompt, tokens=tokens, logp=logp, text="", finish="stop")
            )
        members = tuple(Reward(parts={"r": r}, weights={"r": 1.0}, reasons={"r": ""}) for r in totals)
        groups.append(Group(problem=problem, rollouts=tuple(rollouts), rewards=members))
    return groups


def an_actor(*, weight_decay: float = 0.1) -> LocalPolicy:
    policy = tiny_policy(tiny_config(), dtype=torch.float64)
    optimizers = adamw(policy, OptimizerConfig(learning_rate=1e-2, weight_decay=weight_decay))
    return policy_actor(policy, learner=Learner(policy, optimizers, factor=lambda step: 1.0, grad_clip=0.05))


def signalled(groups: Sequence[Group], algorithm: Algorithm, actors: Mapping[Role, LocalPolicy]) -> Batch:
    """The groups as a batch with the algorithm's signals."""
    batch = batch_of(groups)
    sampled = Sampled(batch=batch, rewards_PG=rewards_of(groups), max_new_tokens=16)
    return with_signals(batch, algorithm.signals(sampled, actors))


def make_updates(
    actors: Mapping[Role, LocalPolicy],
    groups: Sequence[Group],
    algorithm: Algorithm,
    *,
    num: int = 1,
    seed: int = 0,
    reference_every: int = 1000,
) -> dict[str, float]:
    batch = signalled(groups, algorithm, actors)
    parts = split_rows(len(batch.lengths_B), num, random.Random(seed))
    return update(actors, batch, algorithm, parts, reference_every=reference_every, name="i", timeline=Timeline())


def trained(
    rewards: Sequence[Sequence[float]], algorithm: Algorithm, *, num_iterations: int = 2
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Weights and metrics after some iterations without KL."""
    actors: dict[Role, LocalPolicy] = {"policy": an_actor()}
    metrics = dict[str, float]()
    for iteration in range(num_iterations):
        groups = some_groups(MIXED if iteration == 0 else rewards)
        metrics = make_updates(actors, groups, algorithm, num=2, seed=iteration)
    return weights_of(actors["policy"].model), metrics


@pytest.mark.parametrize("name", FREE)
def test_an_update_is_the_same_without_the_sequences_that_have_no_advantage(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = FREE[name]
    left, left_metrics = trained(MIXED, algorithm)
    monkeypatch.setattr(type(algorithm), "needs_pass", Thorough.needs_pass)
    whole, whole_metrics = trained(MIXED, algorithm)

    start = weights_of(tiny_policy(tiny_config(), dtype=torch.float64))
    assert max(float((whole[key] - start[key]).abs().max()) for key in start) > 1e-3
    assert max(float((whole[key] - left[key]).abs().max()) for key in start) < 1e-9
    for key in ("loss", "grad_norm", "learning_rate"):
        assert left_metrics[key] == pytest.approx(whole_metrics[key], rel=1e-9, abs=1e-12)


def test_a_wrong_count_would_be_another_update() -> None:
    norms = []
    for algorithm, rewards in ((FREE["tokens"], MIXED), (FREE["tokens"], [MIXED[0], MIXED[2]])):
        norms.append(make_updates({"policy": an_actor()}, some_groups(rewards), algorithm)["loss"])
    assert norms[0] != pytest.approx(norms[1])


def test_where_all_is_left_out_the_optimizer_still_steps_by_its_moments() -> None:
    flat = [[1.0, 1.0, 1.0]] * 4
    left, metrics = trained(flat, FREE["tokens"])
    whole, _ = trained(flat, Thorough(kl_coef=0.0))
    before, _ = trained(flat, FREE["tokens"], num_iterations=1)
    assert max(float((whole[name] - weight).abs().max()) for name, weight in left.items()) < 1e-12
    assert not all(torch.equal(before[name], weight) for name, weight in left.items())
    assert metrics == {"loss": 0.0, "grad_norm": 0.0, "learning_rate": 1e-2}


def test_a_mini_batch_with_nothing_to_compute_spoils_no_mean() -> None:
    groups, algorithm = some_groups([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]), FREE["tokens"]
    actors: dict[Role, LocalPolicy] = {"policy": an_actor(weight_decay=0.0)}
    batch = signalled(groups, algorithm, actors)
    both = update(actors, batch, algorithm, [[0, 1, 2], [3, 4, 5]], reference_every=1000, name="i", timeline=Timeline())
    actors = {"policy": an_actor(weight_decay=0.0)}
    alone = update(actors, batch, algorithm, [[3, 4, 5]], reference_every=1000, name="i", timeline=Timeline())
    assert both["ratio"] == alone["ratio"]
    assert both["loss"] == alone["loss"] / 2
    assert "logp_gap" not in both
    assert "logp_gap" in alone


def test_the_gap_is_the_mean_over_all_sampled_tokens() -> None:
    groups, actor = some_groups([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]), an_actor()
    batch = batch_of(groups)
    logp_BT, mask_BT = actor.learner_logp(batch).float(), batch.mask_BT
    logp_BT[1] += 0.5 * mask_BT[1]
    logp_BT[2] -= 0.25 * mask_BT[2]
    batch = replace(batch, signals={"old_logp_BT": logp_BT, "adv_BT": torch.ones(mask_BT.shape)})

    metrics = update(
        {"policy": actor}, batch, FREE["tokens"], [[0, 1, 2, 3, 4, 5]], reference_every=9, name="i", timeline=Timeline()
    )
    lengths_B = mask_BT.sum(1)
    expected = float(0.5 * lengths_B[1] + 0.25 * lengths_B[2]) / int(lengths_B.sum())
    assert metrics["logp_gap"] == pytest.approx(expected, rel=1e-5)


def test_with_kl_nothing_is_left_out_and_the_reference_is_asked() -> None:
    groups = some_groups(MIXED)
    actors: dict[Role, LocalPolicy] = {
        "policy": an_actor(),
        "reference": policy_actor(tiny_policy(tiny_config(), seed=1)),
    }
    found_B = FREE["tokens"].needs_pass(signalled(groups, FREE["tokens"], actors))
    needs_pass_B = torch.tensor([True] * 3 + [False] * 3 + [True] * 3 + [False] * 3)
    needs_pass_B[0] = False  # its reward is the mean of its group
    assert torch.equal(found_B, needs_pass_B)
    assert BOUND.needs_pass(signalled(groups, BOUND, actors)).all()
    assert make_updates(actors, groups, BOUND, num=2)["kl"] > 0


@pytest.mark.parametrize(("reference_every", "moves"), [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3]), (5, [])])
def test_the_reference_becomes_the_policy_after_so_many_updates(
    reference_every: int, moves: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, moved = policy_actor(tiny_policy(tiny_config())), list[int]()
    monkeypatch.setattr(reference, "load", lambda policy: moved.append(policy.num_steps))
    actors: dict[Role, LocalPolicy] = {"policy": an_actor(), "reference": reference}
    make_updates(actors, some_groups(MIXED), BOUND, num=4, reference_every=reference_every)
    assert moved == moves


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
    parts = split_rows(num_responses, num_minibatches, random.Random(0))
    assert sorted(map(len, parts)) == sizes
    assert sorted(row for part in parts for row in part) == list(range(num_responses))
    if num_responses % 3 == 0:
        config = RLConfig(problems_per_iteration=num_responses // 3, group_size=3, num_minibatches=num_minibatches)
        assert num_updates(config) == len(sizes)


def test_the_cost_is_of_what_is_computed() -> None:
    groups, policy = some_groups(MIXED), policy_actor(tiny_policy(tiny_config()))
    reference = policy_actor(tiny_policy(tiny_config()))
    actors: dict[Role, LocalPolicy] = {"policy": policy}
    batch = signalled(groups, FREE["tokens"], actors)
    idle = with_signals(batch, {"adv_BT": torch.zeros(batch.mask_BT.shape)})
    bound = cost({"policy": policy, "reference": reference}, groups, batch, BOUND)
    free, nothing = cost(actors, groups, batch, Thorough(kl_coef=0.0)), cost(actors, groups, idle, FREE["tokens"])
    assert bound["trained_tokens"] == free["trained_tokens"] > 0 == nothing["trained_tokens"]
    per_pass = bound["flops"] - free["flops"]
    assert free["flops"] - nothing["flops"] == pytest.approx(3 * per_pass)
