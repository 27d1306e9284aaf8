"""The figures of one problem, from its responses and their verdicts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aha.actors.local_actors import LocalActors
from aha.problems.world.questions import TrainingProblems
from aha.recipes.base_model import open_base
from aha.rewards.extraction.reader import answer_reader
from aha.rewards.table import score_all
from aha.rewards.verifier import MathVerifier
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import Setting, evaluate, headline, solving, solving_as_judged, watch
from aha.stages.run import Run
from aha.stages.task import Task, Validation
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


def by_the_last_number() -> tuple[Setting, Group]:
    """Four responses that box one number and end with another, judged by the last."""
    setting = Setting(reward={"math": {answer_reader("last-number").judge(MathVerifier(), "math"): 1.0}})
    boxed = group_of("72", [r"\boxed{5}, or 72", r"\boxed{5}, or 70", r"\boxed{5}, or 7/10", r"\boxed{5}, or 0.7"])
    silent = group_of("72", ["none"])
    rollouts = (*boxed.rollouts, *silent.rollouts)
    rewards = score_all(setting.reward, [(boxed.problem, rollout) for rollout in rollouts])
    return setting, replace(boxed, rollouts=rollouts, rewards=tuple(rewards))


def test_responses_vote_for_what_was_judged() -> None:
    setting, group = by_the_last_number()
    figures = solving_as_judged(setting.reward)(group)
    # 72, 70, twice 7/10, and one that says nothing: the majority is wrong.
    assert figures["pass@1"] == 0.2
    assert figures["cons@k"] == 0.0
    assert figures["unparsable"] == 0.2

    three = replace(group, rollouts=group.rollouts[:3], rewards=group.rewards[:3])
    # Of three different answers the first wins. Without the reader the two wrong ones have boxed the same number.
    assert solving_as_judged(setting.reward)(three)["cons@k"] == 1.0
    assert solving(three)["cons@k"] == 0.0


def test_an_evaluation_counts_votes_for_what_it_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, group = by_the_last_number()
    three = replace(group, rollouts=group.rollouts[:3], rewards=group.rewards[:3])
    four = replace(group, rollouts=group.rollouts[:4], rewards=group.rewards[:4])
    monkeypatch.setattr("aha.stages.evaluate.sample_groups", lambda *_, **__: [three, four])
    report = evaluate(
        Run(folder=RunFolder(tmp_path), seed=0),
        "end",
        policy=open_base(),
        problems=[three.problem],
        config=EvaluationConfig(num_problems=2, num_samples=4, max_new_tokens=8),
        setting=setting,
    )
    votes = [row.value for row in report.rows if row.suite == "all" and row.metric.startswith("cons@")]
    assert votes == [1.0, 0.0]


def test_a_training_is_watched_by_votes_for_what_it_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, group = by_the_last_number()
    three = replace(group, rollouts=group.rollouts[:3], rewards=group.rewards[:3])
    monkeypatch.setattr("aha.stages.evaluate.sample_groups", lambda *_, **__: [three])
    folder = RunFolder(tmp_path)
    config = EvaluationConfig(num_problems=1, num_samples=3, max_new_tokens=8)
    task = Task(
        problems=TrainingProblems(seed=0),
        reward=setting.reward,
        validation=Validation(problems=[three.problem], config=config),
    )
    policy = LocalActors().policy(open_base().path, max_new_tokens=8)
    watch(Run(folder=folder, seed=0), "zero", 0, policy, task, step=1)
    (line,) = (tmp_path / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()
    figures = {row["metric"]: row["value"] for row in json.loads(line)["report"]["rows"] if row["suite"] == "all"}
    assert figures["cons@3"] == 1.0


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
