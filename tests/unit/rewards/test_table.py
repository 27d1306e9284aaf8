"""One row of rewards per domain."""

from collections.abc import Callable

import pytest

from aha.rewards.accuracy import COMPARERS, accuracy
from aha.rewards.format import format_reward
from aha.rewards.table import RULES, part_name, rules, score
from aha.types import Problem, Rollout, Verdict

PROBLEM = Problem(id="p-3", question="compute 7 + 7", answer="14", domain="arithmetic")
GOOD = "<think> a </think> <answer> 14 </answer>"
Make = Callable[[str], Rollout]


def length_reward(problem: Problem, rollout: Rollout) -> Verdict:
    """Characters of the question and of the response."""
    return Verdict(score=float(len(problem.question) + len(rollout.text)), reason="counted")


def broken_reward(problem: Problem, rollout: Rollout) -> Verdict:
    """A reward that is no number."""
    return Verdict(score=float("nan") if rollout.text and problem.id else 0.0, reason="divided by zero")


@pytest.mark.parametrize(
    ("text", "accuracy_score", "format_score"),
    [
        (GOOD, 1.0, 1.0),
        ("<think> a </think> <answer> 15 </answer>", 0.0, 1.0),
        ("<answer> 14 </answer>", 1.0, 0.0),
        ("14", 0.0, 0.0),
    ],
)
def test_the_rules_are_accuracy_plus_format(
    text: str, accuracy_score: float, format_score: float, rollout: Make
) -> None:
    reward = score(RULES, PROBLEM, rollout(text))
    assert reward.parts == {"accuracy": accuracy_score, "format": format_score}
    assert reward.weights == {"accuracy": 1.0, "format": 1.0}
    assert reward.total == accuracy_score + format_score
    assert set(reward.reasons) == {"accuracy", "format"}


def test_weights_and_reasons_are_kept_by_part(rollout: Make) -> None:
    table = {"arithmetic": {accuracy: 2.0, length_reward: -0.5}}
    reward = score(table, PROBLEM, rollout(GOOD))
    length = len(PROBLEM.question) + len(GOOD)
    assert reward.parts == {"accuracy": 1.0, "length": length}
    assert reward.total == 2.0 - 0.5 * length
    assert reward.reasons["length"] == "counted"


def test_the_domain_picks_the_row(rollout: Make) -> None:
    table = {"arithmetic": {accuracy: 1.0}, "essay": {length_reward: 1.0}}
    essay = Problem(id="e", question="write", answer="", domain="essay")
    assert set(score(table, PROBLEM, rollout(GOOD)).parts) == {"accuracy"}
    assert set(score(table, essay, rollout(GOOD)).parts) == {"length"}


def test_the_built_in_domains_have_a_row_and_others_can_get_one(rollout: Make) -> None:
    assert set(RULES) == set(COMPARERS)
    choice = Problem(id="t", question="which ?", answer="B", domain="choice")
    response = rollout("<think> a </think> <answer> B </answer>")
    assert score(rules(["choice"]), choice, response).total == 2.0


def test_a_domain_without_a_row_names_the_known_ones(rollout: Make) -> None:
    poem = Problem(id="e", question="write", answer="", domain="poem")
    with pytest.raises(ValueError, match=r"'poem'.*arithmetic, countdown, linear, pair, quadratic"):
        score(RULES, poem, rollout(GOOD))


def test_a_score_that_is_not_finite_names_the_function_and_the_problem(rollout: Make) -> None:
    with pytest.raises(ValueError, match=r"'broken_reward'.*'p-3'.*nan"):
        score({"arithmetic": {broken_reward: 1.0}}, PROBLEM, rollout(GOOD))


def test_a_weight_that_is_not_finite_is_refused(rollout: Make) -> None:
    with pytest.raises(ValueError, match=r"'accuracy'.*weight inf"):
        score({"arithmetic": {accuracy: float("inf")}}, PROBLEM, rollout(GOOD))


def test_two_functions_of_one_name_are_refused(rollout: Make) -> None:
    def accuracy_reward(problem: Problem, rollout: Rollout) -> Verdict:
        return Verdict(score=float(problem.answer in rollout.text), reason="found")

    with pytest.raises(ValueError, match="share a name: accuracy, accuracy"):
        score({"arithmetic": {accuracy: 1.0, accuracy_reward: 1.0}}, PROBLEM, rollout(GOOD))


def test_parts_are_named_after_their_functions() -> None:
    assert [part_name(function) for function in (accuracy, format_reward)] == ["accuracy", "format"]
