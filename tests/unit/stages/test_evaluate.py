"""The figures of one problem, from its responses and their verdicts."""

from dataclasses import replace

import pytest
import torch

from aha.rewards.verifier import MathVerifier
from aha.stages.evaluate import headline, solving
from aha.types import Group, Problem, Report, Reward, Rollout, Row, VerdictKind


def group_of(gold: str, answers: list[str]) -> Group:
    """Responses to a problem of mathematics, as the verifier judges them."""
    problem = Problem(id="p", question="?", answer=gold, domain="math")
    rollouts = tuple(
        Rollout(
            problem_id="p",
            prompt_tokens=torch.tensor([1]),
            tokens=torch.tensor([1, 2]),
            logp=torch.zeros(2),
            text=f"<think> so </think> <answer> {answer} </answer>",
            finish="stop",
            policy_version=0,
        )
        for answer in answers
    )
    verdicts = MathVerifier().judge_all([(problem, rollout) for rollout in rollouts])
    rewards = tuple(
        Reward(
            parts={"accuracy": verdict.score},
            weights={"accuracy": 1.0},
            reasons={"accuracy": verdict.reason},
            kinds={"accuracy": verdict.kind},
        )
        for verdict in verdicts
    )
    return Group(problem=problem, rollouts=rollouts, rewards=rewards)


@pytest.mark.parametrize(
    ("gold", "right"),
    [
        ("1/2", ["0.5", r"\frac{1}{2}", r"\boxed{1/2}", r"so it is \boxed{\frac12}", r"50\%"]),
        ("5", ["5", "5 m", r"\boxed{5}", r"\boxed{5\text{ m}}", "5.0"]),
        ("x+1", ["x+1", "1+x", r"\boxed{x+1}", r"\boxed{1 + x}", "(x+1)"]),
    ],
)
def test_equal_answers_vote_together_however_they_are_written(gold: str, right: list[str]) -> None:
    figures = solving(group_of(gold, ["77", "77", *right]))
    assert figures["pass@1"] == pytest.approx(5 / 7)
    assert figures["cons@k"] == 1.0


def test_the_box_inside_an_answer_block_is_what_votes() -> None:
    wrong = [r"first \boxed{7}", r"then \boxed{7}", r"\boxed{7}"]
    assert solving(group_of("5", [*wrong, "5", "5"]))["cons@k"] == 0.0


def test_programs_that_cannot_be_judged_are_counted() -> None:
    group = group_of("5", ["5", "6", "7", "8"])
    assert "unsupported" not in solving(group)
    kinds: list[VerdictKind] = ["correct", "wrong", "unsupported", "unsupported"]
    programs = replace(
        group,
        problem=replace(group.problem, domain="code", tests=("assert f()",)),
        rewards=tuple(
            replace(reward, kinds={"accuracy": kind}) for reward, kind in zip(group.rewards, kinds, strict=True)
        ),
    )
    assert solving(programs)["unsupported"] == 0.5


def test_what_cannot_be_read_is_counted_beside_what_is_wrong() -> None:
    figures = solving(group_of("5", ["5", "6", "((", ""]))
    assert (figures["pass@1"], figures["unparsable"]) == (0.25, 0.5)


def test_a_headline_has_shares_to_three_digits_and_lengths_to_one() -> None:
    figures = {"pass@1": 0.5, "reflection": 1.4996, "depth": 1.5, "length": 64.25}
    rows = [Row(suite="all", metric=name, value=value, low=0.0, high=99.0, n=4) for name, value in figures.items()]
    rows.append(Row(suite="hard", metric="pass@1", value=0.25, low=0.0, high=1.0, n=4))
    report = Report(rows=tuple(rows), checkpoint="", decoding={}, seed=0)
    assert headline(report) == "pass@1 0.500  reflection 1.500  depth 1.5  length 64.2"
