"""A user's reward function: loaded by name, held to its signature, known by its contents."""

from pathlib import Path

import pytest
import torch

from aha.rewards.own import load_reward
from aha.rewards.table import identity, overlaps, score
from aha.types import Problem, Rollout

PROBLEM = Problem(id="p", question="2 + 2", answer="4", domain="mine")
SOURCE = """
from aha.types import Verdict

LIMIT = 10

def contains(problem, rollout):
    return problem.answer in rollout.text

def explained(problem, rollout):
    return Verdict(score=0.25, reason="a quarter")

def lost(problem, rollout):
    return None

def infinite(problem, rollout):
    return float("inf")

def narrow(problem):
    return 0.0
"""


def rollout(text: str) -> Rollout:
    tokens = torch.tensor([1])
    return Rollout(problem_id="p", prompt_tokens=tokens, tokens=tokens, logp=torch.zeros(1), text=text, finish="stop")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_a_number_becomes_a_part_of_the_reward(file: Path) -> None:
    contains, weight = load_reward(f"{file}:contains=0.5")
    table = {"mine": {contains: weight}}
    assert score(table, PROBLEM, rollout("it is 4")).parts == {"contains": 1.0}
    assert score(table, PROBLEM, rollout("it is 4")).total == 0.5
    assert score(table, PROBLEM, rollout("it is 5")).total == 0.0


def test_a_verdict_is_taken_as_it_is(file: Path) -> None:
    explained, weight = load_reward(f"{file}:explained")
    given = score({"mine": {explained: weight}}, PROBLEM, rollout(""))
    assert (given.total, given.reasons) == (0.25, {"explained": "a quarter"})


def test_a_function_overlaps_with_sampling_where_it_says_so(file: Path) -> None:
    file.write_text(file.read_text() + "\nexplained.overlaps_sampling = True\ncontains.overlaps_sampling = False\n")
    found = {name: load_reward(f"{file}:{name}")[0] for name in ("explained", "contains", "lost")}
    assert [name for name, reward in found.items() if overlaps(reward)] == ["explained"]


def test_an_installed_module_can_be_named() -> None:
    function, weight = load_reward("aha.rewards.format:format_reward=2")
    assert (function.__name__, weight) == ("format_reward", 2.0)


def test_a_changed_file_is_another_reward(file: Path) -> None:
    before = identity(load_reward(f"{file}:contains")[0])
    assert identity(load_reward(f"{file}:contains")[0]) == before
    file.write_text(SOURCE.replace("in rollout", "not in rollout"), encoding="utf-8")
    assert identity(load_reward(f"{file}:contains")[0]) != before


@pytest.mark.parametrize(
    ("name", "complaint"), [("lost", "returned NoneType for problem 'p'"), ("infinite", "must be finite")]
)
def test_what_is_no_number_is_refused(file: Path, name: str, complaint: str) -> None:
    function, weight = load_reward(f"{file}:{name}")
    with pytest.raises(ValueError, match=complaint):
        score({"mine": {function: weight}}, PROBLEM, rollout(""))


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("{file}", "write FILE.py:FUNCTION"),
        ("{file}:contains=much", "'much' is no weight"),
        ("{file}:contained", "has no function 'contained'; it has: contains, explained"),
        ("{file}:LIMIT", "has no function 'LIMIT'"),
        ("{file}:narrow", r"must take two arguments, \(problem, rollout\)"),
        ("{file}x.py:contains", "there is no file"),
        ("no.such.module:contains", "cannot be imported"),
    ],
)
def test_a_wrong_specification_says_what_to_write(file: Path, spec: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        load_reward(spec.format(file=file))
    assert "--reward" in str(error.value)


def test_a_file_that_is_no_python_is_named(file: Path) -> None:
    file.write_text("def contains(:\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is not valid Python"):
        load_reward(f"{file}:contains")
