"""One row of rewards per domain."""

from collections.abc import Callable, Sequence

import pytest

from aha.rewards import summary
from aha.rewards.accuracy import COMPARERS, accuracy
from aha.rewards.format import format_reward
from aha.rewards.table import RULES, BatchedReward, Keyed, identity, merge_tables, part_name, rules, score, score_all
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


# Many at once


class Together:
    """Judges by the length of the text, and remembers how often it was asked."""

    def __init__(self, key: str = "k") -> None:
        self.key, self.calls = key, 0

    @property
    def __name__(self) -> str:
        return "together"

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        return self.judge_all([(problem, rollout)])[0]

    def judge_all(self, pairs: Sequence[tuple[Problem, Rollout]]) -> list[Verdict]:
        self.calls += 1
        return [Verdict(score=float(len(rollout.text)), reason=problem.id) for problem, rollout in pairs]


def some_pairs(rollout: Make) -> list[tuple[Problem, Rollout]]:
    essay = Problem(id="e", question="write", answer="", domain="essay")
    return [(PROBLEM, rollout(GOOD)), (essay, rollout("b")), (PROBLEM, rollout("14")), (essay, rollout(GOOD))]


def test_many_at_once_are_scored_as_one_by_one(rollout: Make) -> None:
    together = Together()
    table = {"arithmetic": {format_reward: 1.0, together: 0.5, accuracy: 2.0}, "essay": {together: -1.0}}
    pairs = some_pairs(rollout)
    rewards = score_all(table, pairs)
    assert together.calls == 1
    assert rewards == [score(table, problem, response) for problem, response in pairs]
    assert [list(reward.parts) for reward in rewards] == [["format", "together", "accuracy"], ["together"]] * 2
    assert rewards[1].parts["together"] == 1.0
    assert rewards[1].reasons["together"] == "e"
    assert score_all(table, []) == []


def test_many_at_once_are_refused_as_one_by_one(rollout: Make) -> None:
    pairs = some_pairs(rollout)
    with pytest.raises(ValueError, match=r"'essay'.*arithmetic"):
        score_all({"arithmetic": {accuracy: 1.0}}, pairs)
    with pytest.raises(ValueError, match="share a name: together, together"):
        score_all({"arithmetic": {Together(): 1.0, Together(): 1.0}}, pairs[:1])
    with pytest.raises(ValueError, match=r"'broken_reward'.*'p-3'.*nan"):
        score_all({"arithmetic": {broken_reward: 1.0}}, pairs[:1])


def test_a_batched_function_must_judge_every_pair(rollout: Make) -> None:
    class Forgetful(Together):
        def judge_all(self, pairs: Sequence[tuple[Problem, Rollout]]) -> list[Verdict]:
            return super().judge_all(pairs[1:])

    with pytest.raises(ValueError, match="shorter"):
        score_all({"arithmetic": {Forgetful(): 1.0}}, some_pairs(rollout)[:1])


def test_plain_functions_are_neither_batched_nor_keyed() -> None:
    assert isinstance(Together(), BatchedReward)
    assert isinstance(Together(), Keyed)
    assert not isinstance(accuracy, BatchedReward)
    assert not isinstance(accuracy, Keyed)


# Tables and functions


def test_merged_tables_have_the_rows_of_all() -> None:
    first = {"arithmetic": {accuracy: 1.0, format_reward: 1.0}, "essay": {format_reward: 1.0}}
    second = {"essay": {length_reward: 2.0}, "poem": {length_reward: 3.0}, "arithmetic": {format_reward: 0.5}}
    assert merge_tables(first, second) == {
        "arithmetic": {accuracy: 1.0, format_reward: 0.5},
        "essay": {format_reward: 1.0, length_reward: 2.0},
        "poem": {length_reward: 3.0},
    }
    assert first["arithmetic"] == {accuracy: 1.0, format_reward: 1.0}
    assert merge_tables() == {}
    assert merge_tables(first) == first


def test_the_identity_of_a_function_is_its_name_in_its_file_wherever_that_is() -> None:
    assert identity(accuracy) == "accuracy.accuracy"
    assert identity(format_reward) == "format.format_reward"
    assert identity(summary.format_reward) == "summary.format_reward"


def test_the_identity_of_a_keyed_function_is_its_name_and_key() -> None:
    assert identity(Together("k1")) == identity(Together("k1")) == "together:k1"
    assert identity(Together("k2")) != identity(Together("k1"))


def test_the_identity_of_a_callable_without_a_key_is_its_type() -> None:
    class Plain:
        __name__ = "plain"

        def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
            return Verdict(score=float(len(problem.id + rollout.text)), reason="")

    assert identity(Plain()).endswith("Plain:plain")
    assert identity(Plain()) == identity(Plain())


def test_a_reward_has_the_kind_of_each_verdict_that_has_one(rollout: Make) -> None:
    reward = score(RULES, PROBLEM, rollout(GOOD))
    assert {*reward.parts} == {*reward.reasons} == {"accuracy", "format"}
    assert reward.kinds == {"accuracy": "correct"}
