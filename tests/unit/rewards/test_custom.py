"""A user's reward function: loaded by name, held to its signature, known by its contents."""

from pathlib import Path
from typing import Any

import pytest
import torch

from aha.rewards.custom import CustomReward, failure_kind, function_reward, load_reward
from aha.rewards.scorer import Scorer
from aha.rewards.table import identity, overlaps, score
from aha.types import Problem, Rollout

PROBLEM = Problem(id="p", question="2 + 2", answer="4", domain="mine")
SOURCE = """
import numpy
import torch

from aha.types import Verdict

LIMIT = 10

def contains(problem, rollout):
    return problem.answer in rollout.text

def explained(problem, rollout):
    return Verdict(score=0.25, reason="a quarter")

def abstains(problem, rollout):
    return None

def words(problem, rollout):
    return "good"

def raises(problem, rollout):
    return {"4": 1.0}[rollout.text]

def from_numpy(problem, rollout):
    return numpy.float32(0.5)

def truth_of_numpy(problem, rollout):
    return numpy.bool_(True)

def from_array(problem, rollout):
    return numpy.array(0.25)

def from_torch(problem, rollout):
    return torch.tensor(0.75)

def several(problem, rollout):
    return torch.tensor([0.75])

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
    found = {name: load_reward(f"{file}:{name}")[0] for name in ("explained", "contains", "words")}
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
    ("name", "expected"),
    [("from_numpy", 0.5), ("truth_of_numpy", 1.0), ("from_array", 0.25), ("from_torch", 0.75)],
)
def test_numbers_of_numpy_and_torch_are_numbers(file: Path, name: str, expected: float) -> None:
    function, weight = load_reward(f"{file}:{name}")
    part = score({"mine": {function: weight}}, PROBLEM, rollout("")).parts[name]
    assert (part, type(part)) == (expected, float)


def test_a_function_that_returns_none_abstains(file: Path) -> None:
    """The response has no such part, and all other parts count as they would without it."""
    abstaining, contains = (load_reward(f"{file}:{name}")[0] for name in ("abstains", "contains"))
    reward = score({"mine": {abstaining: 1.0, contains: 0.5}}, PROBLEM, rollout("4"))
    assert reward.parts == {"contains": 1.0}
    assert reward.weights == {"contains": 0.5}
    assert reward.total == 0.5


def test_a_function_may_abstain_while_sampling_goes_on(file: Path) -> None:
    file.write_text(file.read_text() + "\nabstains.overlaps_sampling = True\n")
    abstaining = load_reward(f"{file}:abstains")[0]
    pairs = [(PROBLEM, rollout("4"))]
    with Scorer({"mine": {abstaining: 1.0}}) as scorer:
        scorer.take(0, pairs)
        assert scorer.rewards([pairs])[0][0].parts == {}


def test_an_error_is_told_once_per_kind_with_file_and_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run goes on: the response gets 0 with the verdict `crash`, which the metrics count."""
    function, _ = load_reward(f"{file}:raises")
    texts = ("4", "5", "6", "5")
    rewards = [score({"mine": {function: 1.0}}, PROBLEM, rollout(text)) for text in texts]

    line = SOURCE.splitlines().index('    return {"4": 1.0}[rollout.text]') + 1
    assert [reward.total for reward in rewards] == [1.0, 0.0, 0.0, 0.0]
    assert [reward.kinds for reward in rewards] == [{}, *[{"raises": "crash"}] * 3]
    assert f"{file}:{line}: KeyError: '5'" in rewards[1].reasons["raises"]

    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "reward 'raises' fails for problem 'p'" in told[0]
    assert f"{file}:{line}: KeyError: '5'" in told[0]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("words", "returned str"), ("several", "returned Tensor"), ("infinite", "returned inf")],
)
def test_what_is_no_finite_number_is_a_failure_too(
    file: Path, name: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    function, weight = load_reward(f"{file}:{name}")
    reward = score({"mine": {function: weight}}, PROBLEM, rollout(""))
    line = SOURCE.splitlines().index(f"def {name}(problem, rollout):") + 1
    assert (reward.total, reward.kinds) == (0.0, {name: "crash"})
    assert f"{file}:{line}: " in reward.reasons[name]
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("{file}", "write FILE.py:FUNCTION"),
        ("{file}:contains=much", "'much' is no weight"),
        ("{file}:contained", "has no function 'contained'; it has: abstains, contains"),
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


def test_a_file_that_raises_when_it_is_read_is_named_with_its_line(file: Path) -> None:
    file.write_text("LIMIT = 10\nRATE = LIMIT / 0\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.py:2: ZeroDivisionError: division by zero"):
        load_reward(f"{file}:contains")


def test_an_object_that_can_be_called_is_named_by_its_specification(file: Path) -> None:
    file.write_text(SOURCE + "\nfrom functools import partial\nhalf = partial(lambda s, p, r: s, 0.5)\n")
    function, _ = load_reward(f"{file}:half")
    assert score({"mine": {function: 1.0}}, PROBLEM, rollout("")).parts == {"half": 0.5}


@pytest.mark.parametrize("score_of", ['float("nan")', 'float("-inf")', '"good"', "None", "numpy.array([1.0])"])
def test_a_verdict_whose_score_is_no_finite_number_is_a_failure_too(
    file: Path, score_of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run does not end because of a Verdict when it would go on with the same bare number."""
    file.write_text(SOURCE + f"\ndef damaged(problem, rollout):\n    return Verdict(score={score_of}, reason='')\n")
    function, weight = load_reward(f"{file}:damaged")
    reward = score({"mine": {function: weight}}, PROBLEM, rollout(""))
    assert (reward.total, reward.kinds) == (0.0, {"damaged": "crash"})
    assert "returned Verdict with score" in capsys.readouterr().err


def test_a_verdict_with_a_score_of_numpy_has_a_plain_number(file: Path) -> None:
    file.write_text(SOURCE + "\ndef one(problem, rollout):\n    return Verdict(score=numpy.float32(0.5), reason='r')\n")
    verdict = load_reward(f"{file}:one")[0](PROBLEM, rollout(""))
    assert verdict is not None
    assert (verdict.score, type(verdict.score), verdict.reason) == (0.5, float, "r")


@pytest.mark.parametrize(("name", "kind"), [("raises", "KeyError"), ("words", "returned str")])
def test_the_kind_of_a_failure_leaves_out_what_differs_between_responses(
    file: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    function = load_reward(f"{file}:{name}")[0]
    verdicts = [function(PROBLEM, rollout(text)) for text in ("5", "6: a")]
    kinds = {failure_kind(verdict.reason) for verdict in verdicts if verdict}
    assert len(kinds) == 1
    assert kinds.pop().endswith(f": {kind}")
    assert capsys.readouterr().err


def test_a_function_that_ends_the_process_fails_like_one_that_raises(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`exit()` with status 0 would otherwise end a run, or an audit, as if all were well."""
    file.write_text(SOURCE + "\ndef leaves(problem, rollout):\n    raise SystemExit(0)\n", encoding="utf-8")
    function, weight = load_reward(f"{file}:leaves")
    reward = score({"mine": {function: weight}}, PROBLEM, rollout(""))
    assert (reward.total, reward.kinds) == (0.0, {"leaves": "crash"})
    assert "SystemExit" in capsys.readouterr().err


def test_a_file_that_ends_the_process_when_it_is_read_is_named_with_its_line(file: Path) -> None:
    file.write_text("import sys\nsys.exit()\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"fails when it is read \(.*mine\.py:2: SystemExit"):
        load_reward(f"{file}:contains")


def test_a_function_that_was_typed_at_a_prompt_is_known_by_its_code() -> None:
    """Its source cannot be found again; one in a file is known by its text."""

    def typed(source: str) -> CustomReward:
        names: dict[str, Any] = {}
        exec(source, names)
        return function_reward(names["mine"])

    first = typed("def mine(problem, rollout): return 1.0")
    same = typed("def mine(problem, rollout):\n    return 1.0")
    others = [typed("def mine(problem, rollout): return 2.0"), typed("def mine(problem, rollout): return problem")]
    assert (first.key, first.name) == (same.key, "mine")
    assert len({first.key, *(other.key for other in others)}) == 3

    def here(problem: Problem, rollout: Rollout) -> float:
        return 1.0

    assert function_reward(here).key == function_reward(here).key != first.key
    assert Path(function_reward(here).file) == Path(__file__)
