"""Groups are sampled and scored together."""

import threading
from dataclasses import replace
from statistics import fmean
from typing import Literal

import pytest
import torch
from tiny import policy_actor, tiny_config, tiny_policy

from aha.actors.local import LocalPolicy
from aha.engines.engine import Decoding
from aha.prompts.templates import bare
from aha.rewards.table import RewardFunction
from aha.stages.groups import Sampling, record, sample_groups
from aha.stages.metrics import rollout_metrics
from aha.stages.timeline import Timeline
from aha.types import Group, Problem, Reward, Rollout, Verdict, VerdictKind

PROBLEMS = [Problem(id=f"p{n}", question=question, answer="", domain="text") for n, question in enumerate("abcde")]
HOW = Sampling(num_samples=4, decoding=Decoding(max_new_tokens=6), seed=(0,))


class Slow:
    """A reward that is the same in any thread, and remembers in which it was asked."""

    overlaps_sampling = True

    def __init__(self) -> None:
        self.threads: set[int] = set()

    @property
    def __name__(self) -> str:
        return "slow"

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        self.threads.add(threading.get_ident())
        return Verdict(score=float(rollout.tokens.sum()) + len(problem.question), reason=rollout.text)


def length(problem: Problem, rollout: Rollout) -> Verdict:
    del problem
    return Verdict(score=float(len(rollout.tokens)), reason="tokens")


def concise(problem: Problem, rollout: Rollout) -> Verdict | None:
    """An own reward that says nothing of the second problem."""
    return None if problem.id == "p1" else Verdict(score=-0.5 * len(rollout.tokens), reason="tokens")


def groups_of(policy: LocalPolicy, *functions: RewardFunction, timeline: Timeline | None = None) -> list[Group]:
    reward = {"text": dict.fromkeys(functions, 1.0)}
    return sample_groups(policy, PROBLEMS, HOW, reward=reward, template=bare, timeline=timeline)


def test_rewards_belong_to_their_rollouts_however_early_they_are_scored() -> None:
    model, slow, found = tiny_policy(tiny_config()), Slow(), []
    for num_rows in (4, 64):
        groups = groups_of(policy_actor(model, num_rows=num_rows), slow, length)
        assert [group.problem for group in groups] == PROBLEMS
        for group in groups:
            assert [reward.parts["slow"] for reward in group.rewards] == [
                float(one.tokens.sum()) + len(group.problem.question) for one in group.rollouts
            ]
        found.append([reward for group in groups for reward in group.rewards])
    assert all(rewards == found[0] for rewards in found)
    assert slow.threads - {threading.get_ident()}


def test_both_parts_are_timed() -> None:
    timeline = Timeline()
    groups_of(policy_actor(tiny_policy(tiny_config())), length, timeline=timeline)
    found = timeline.metrics()
    assert found["seconds_sampling"] > 0
    assert found["seconds_scoring"] > 0
    assert found["seconds_sampling"] + found["seconds_scoring"] <= found["seconds"]


def test_a_problem_that_is_asked_twice_gets_other_draws() -> None:
    policy = policy_actor(tiny_policy(tiny_config()))
    first, second = PROBLEMS[:2]

    def responses(*problems: Problem) -> list[tuple[list[int], ...]]:
        groups = sample_groups(policy, problems, HOW, reward={"text": {length: 1.0}}, template=bare)
        return [tuple(rollout.tokens.tolist() for rollout in group.rollouts) for group in groups]

    twice = responses(first, second, first)
    assert twice[0] != twice[2]
    # What else is asked, and where, changes no draw.
    assert twice[:2] == responses(first, second)
    assert responses(second) == [twice[1]]


def test_every_reward_part_is_logged_and_an_own_one_cannot_take_the_name_of_a_metric() -> None:
    policy = policy_actor(tiny_policy(tiny_config()))
    groups = groups_of(policy, length, concise)
    metrics = rollout_metrics(groups)
    rewards = [reward for group in groups for reward in group.rewards]
    judged = [reward.parts["concise"] for reward in rewards if "concise" in reward.parts]
    assert len(judged) == 16
    assert metrics["reward_length"] == pytest.approx(fmean(reward.parts["length"] for reward in rewards))
    assert metrics["reward_concise"] == pytest.approx(fmean(judged))
    assert metrics["length"] == pytest.approx(
        fmean(len(rollout.tokens) for group in groups for rollout in group.rollouts)
    )


def test_the_built_in_rules_log_no_other_names() -> None:
    parts = {"accuracy": 1.0, "format": 0.0, "language": 0.5, "helpfulness": 0.25, "harmlessness": 1.0}
    group = groups_of(policy_actor(tiny_policy(tiny_config())), length)[0]
    rewards = tuple(Reward(parts=parts, weights=dict.fromkeys(parts, 1.0)) for _ in group.rewards)
    metrics = rollout_metrics([replace(group, rewards=rewards)])
    assert {name for name in metrics if name.startswith("reward")} == {"reward"}
    assert metrics["helpfulness"] == 0.25


def test_what_an_iteration_logs_is_worked_by_hand() -> None:
    def response(logp: list[float], finish: Literal["stop", "length"]) -> Rollout:
        tokens = torch.arange(len(logp))
        return Rollout(
            problem_id="p0", prompt_tokens=tokens[:1], tokens=tokens, logp=torch.tensor(logp), text="a", finish=finish
        )

    def reward(**parts: float) -> Reward:
        return Reward(parts=parts, weights=dict.fromkeys(parts, 1.0))

    easy = Group(
        problem=PROBLEMS[0],
        rollouts=(response([-1.0], "stop"), response([-0.5, -1.5, -1.0], "length")),
        rewards=(reward(accuracy=1.0, format=0.5), reward(accuracy=1.0, format=0.5)),
    )
    hard = Group(
        problem=PROBLEMS[1],
        rollouts=(response([-2.0, -2.0], "stop"), response([-3.0, -1.0], "stop")),
        rewards=(reward(accuracy=1.0), reward(accuracy=0.0, language=0.25)),
    )
    found = rollout_metrics([easy, hard], lambda problem, _: {"worth": float(problem.id == "p1")})

    assert found["reward"] == (1.5 + 1.5 + 1 + 0.25) / 4
    assert found["accuracy"] == 3 / 4
    # A part that only some responses have is averaged over those.
    assert (found["format"], found["language"]) == (0.5, 0.25)
    assert found["tokens"] == 8.0
    assert found["length"] == 8 / 4
    assert found["truncated"] == 1 / 4
    assert found["zero_spread"] == 1 / 2
    assert found["entropy"] == pytest.approx((1 + 3 + 4 + 4) / 8)
    assert found["true_worth"] == 1 / 2
    # Nobody asked a verifier how it ended, nor a model how helpful it was.
    assert not found.keys() & {"timeout", "unparsable", "helpfulness"}


def test_verdicts_that_are_neither_right_nor_wrong_are_counted_by_their_kind() -> None:
    kinds: list[VerdictKind] = ["correct", "unsupported", "unsupported", "timeout"]
    tokens = torch.tensor([1])
    rollout = Rollout(
        problem_id="p0", prompt_tokens=tokens, tokens=tokens, logp=-torch.ones(1), text="<think>", finish="stop"
    )
    group = Group(
        problem=PROBLEMS[0],
        rollouts=(rollout,) * len(kinds),
        rewards=tuple(
            Reward(parts={"accuracy": 0.0}, weights={"accuracy": 1.0}, kinds={"accuracy": kind}) for kind in kinds
        ),
    )
    found = rollout_metrics([group], lambda problem, _: {})
    counted = {kind: found[kind] for kind in ("unparsable", "timeout", "crash", "unsupported")}
    assert counted == {"unparsable": 0.0, "timeout": 0.25, "crash": 0.0, "unsupported": 0.5}
    assert [row["reward"]["kinds"] for row in record([group])] == [{"accuracy": kind} for kind in kinds]


def test_a_recorded_response_has_the_mean_advantage_of_its_tokens() -> None:
    groups = groups_of(policy_actor(tiny_policy(tiny_config())), length)
    lengths = [len(rollout.tokens) for group in groups for rollout in group.rollouts]
    advantages_BT = torch.zeros(len(lengths), 30)
    for row, num_tokens in enumerate(lengths):
        advantages_BT[row, 4 : 4 + num_tokens] = 0.1 * row
    assert [row["advantage"] for row in record(groups, advantages_BT)] == [
        torch.tensor(0.1 * row).item() for row in range(len(lengths))
    ]
    assert {row["advantage"] for row in record(groups)} == {None}
