"""Problems of reasoning-gym."""

import pytest
import torch

from aha.problems.datasets.gym import EXCLUDED, GYM_DOMAINS, gym_problems
from aha.problems.datasets.sources import open_problems
from aha.rewards.accuracy import accuracy
from aha.types import Problem, Rollout

UNSAFE = {
    "countdown",
    "puzzle24",
    "n_queens",
    "binary_matrix",
    "spiral_matrix",
    "simple_integration",
    "intermediate_integration",
    "polynomial_multiplication",
}
"""Families whose scorers in the library execute the answer."""
SPREAD = ("basic_arithmetic", "caesar_cipher", "countdown", "knights_knaves", "maze", "mini_sudoku", "syllogism", "bf")


def test_no_family_is_both_taken_and_left_out() -> None:
    assert not set(GYM_DOMAINS) & set(EXCLUDED)
    assert all(name in reason for name, reason in EXCLUDED.items())
    assert {GYM_DOMAINS[family] for family in UNSAFE & set(GYM_DOMAINS)} == {"countdown"}


@pytest.mark.full
def test_every_family_of_the_library_is_known() -> None:
    from reasoning_gym.factory import DATASETS

    assert set(DATASETS) == set(GYM_DOMAINS) | set(EXCLUDED)


@pytest.mark.full
@pytest.mark.parametrize("family", SPREAD)
def test_a_family_makes_problems_whose_answers_are_right_by_our_own_comparison(family: str) -> None:
    problems = gym_problems(family, 12, seed=3)
    assert len({problem.question for problem in problems}) == len({problem.id for problem in problems}) == 12
    assert problems == gym_problems(family, 12, seed=3)
    assert not {problem.id for problem in problems} & {problem.id for problem in gym_problems(family, 12, seed=4)}
    for problem in problems:
        assert score(problem, problem.answer) == 1.0
        assert score(problem, f"{problem.answer} or not") == score(problem, problem.question) == 0.0


def score(problem: Problem, answer: str) -> float:
    nothing = torch.zeros(0)
    text = f"<think> so </think> <answer> {answer} </answer>"
    rollout = Rollout(problem_id="", prompt_tokens=nothing, tokens=nothing, logp=nothing, text=text, finish="stop")
    return accuracy(problem, rollout).score


@pytest.mark.full
def test_a_family_is_opened_by_its_address(capfd: pytest.CaptureFixture[str]) -> None:
    found = open_problems("gym:bf:5", seed=1)
    assert len(found) == 5
    assert "5 problems of family 'bf' of reasoning-gym, compared as text" in found.says
    assert capfd.readouterr().out == ""
