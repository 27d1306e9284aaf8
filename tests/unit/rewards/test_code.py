"""The code reward: what it takes from a response, what it says of it, and what it cannot be talked into."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from code_hacks import ENTRY_POINT, FORM_HACKS, HACKS, PROGRAM_HACKS, SQUARES, STARTER, TESTS

from aha.rewards.code import CodeReward, _is_near, _quote, extract_code
from aha.rewards.sandbox.isolation import Limits, probe
from aha.rewards.sandbox.sandbox import Sandbox
from aha.rewards.table import BatchedReward, part_name, score_all
from aha.types import Problem, Rollout

ROOT = Path(__file__).parents[3]
SQUARE = "def square(x):\n    return x * x\n"
PROBLEM = Problem(id="squares", question="", answer=ENTRY_POINT, domain="code", tests=TESTS, starter=STARTER)
PROGRAM = Problem(id="program", question="", answer="", domain="stdio", tests=SQUARES)


@pytest.fixture(scope="module")
def reward() -> Iterator[CodeReward]:
    found = probe()
    if found.strength != "full":
        pytest.skip(f"bubblewrap does not work: {found.reason}")
    with Sandbox(isolation=found, num_workers=2, limits=Limits(seconds=20)) as sandbox:
        yield CodeReward(sandbox)


def test_the_code_of_a_response() -> None:
    for text, code in [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("<think>```python\nx = 0\n```</think><answer>\n```py\nx = 1\n```\n</answer>", "x = 1\n"),
        ("<think>a</think> So:\n```python\nx = 1\n```\nand the output\n```\n2\n```", "x = 1\n"),
        ("```python\nx = 1\n```\n```python\nx = 2\n```", "x = 2\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("~~~~Python3\nx = '''\n```\n'''\n~~~~", "x = '''\n```\n'''\n"),
        ("```python\nx = 1", "x = 1\n"),
        ("\n    return x\n", "    return x"),
        ("<think>a</think>x = 1", "x = 1"),
        ("<think>```python\nx = 1\n```", None),
        ("<think>a</think>", None),
        ("", None),
    ]:
        assert extract_code(text) == code, (text, code)


def test_code_is_read_in_time_proportional_to_its_length() -> None:
    assert extract_code("```" * 50_000) is not None
    assert extract_code("```python\n" * 20_000) is not None


def test_it_is_the_accuracy_of_its_domains(reward: CodeReward, rollout: Callable[[str], Rollout]) -> None:
    assert isinstance(reward, BatchedReward)
    assert part_name(reward) == "accuracy"
    right, wrong = (
        rollout(f"<think>easy</think>\n```python\n{SQUARE}```"),
        rollout("```python\ndef square(x): return x\n```"),
    )
    table = {"code": {reward: 1.0}, "stdio": {reward: 2.0}}
    rewards = score_all(table, [(PROBLEM, right), (PROBLEM, wrong), (PROGRAM, rollout("print(int(input()) ** 2)"))])
    assert [found.total for found in rewards] == [1.0, 0.0, 2.0]
    assert [found.kinds["accuracy"] for found in rewards] == ["correct", "wrong", "correct"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (SQUARE, "correct"),
        pytest.param("    return x * x", "correct", marks=pytest.mark.full),
        pytest.param(STARTER + "    return x ** 2", "correct", marks=pytest.mark.full),
        ("def square(x): raise KeyError('" + "long " * 1000 + "')", "wrong"),
        pytest.param("1 / 0", "wrong", marks=pytest.mark.full),
        ("The answer is four.", "unparsable"),
        ("def square(x:\n", "unparsable"),
        ("x = '\0'", "unparsable"),
        ("#" * 100_001, "unparsable"),
        (" \n ", "unparsable"),
        ("def square(x): return len(bytearray(10**11))", "crash"),
    ],
)
def test_kinds_of_verdicts(reward: CodeReward, code: str, kind: str) -> None:
    verdict = reward.judge_codes([(PROBLEM, code)])[0]
    assert verdict.kind == kind, verdict
    assert verdict.score == (kind == "correct")
    assert 0 < len(verdict.reason) <= 300
    assert "\n" not in verdict.reason


@pytest.mark.full
def test_what_takes_too_long_is_a_timeout(reward: CodeReward) -> None:
    with Sandbox(isolation=reward.sandbox.isolation, limits=Limits(seconds=0.7), num_workers=2) as quick:
        endless = [(PROBLEM, "def square(x):\n    while True: pass"), (PROGRAM, "while True: pass")]
        assert [verdict.kind for verdict in CodeReward(quick).judge_codes(endless)] == ["timeout", "timeout"]


@pytest.mark.full
def test_outputs_are_compared_by_line_and_word(reward: CodeReward) -> None:
    test = json.dumps({"stdin": "", "stdout": "1 2\n3\n"})
    problem = replace(PROGRAM, tests=(test,))
    codes = ["print('1  2 \\n3\\n\\n')", "print('1 2 3')", "print('1 2\\n3\\n4')", "print('1 2\\n3', end='')"]
    assert [verdict.score for verdict in reward.judge_codes([(problem, code) for code in codes])] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        ("print(9)", "wrong", "passes 1 of 3 tests; test 2: it prints '9"),
        ("x = int(input())\nprint(x * x if x < 12 else 0)", "wrong", "passes 2 of 3 tests; test 3: it prints '0"),
        (
            "x = int(input())\nassert x < 5, 'too large'\nprint(x * x)",
            "wrong",
            "passes 1 of 3 tests; test 2: it ends with exit code 1: ",
        ),
        (
            "x = int(input())\nraise MemoryError if x == 5 else ValueError",
            "wrong",
            "passes 0 of 3 tests; test 1: it ends with exit code 1: ",
        ),
        (
            "x = int(input())\nif x == 5: raise MemoryError\nprint(x * x if x == 3 else 0)",
            "crash",
            "passes 1 of 3 tests; test 2: it ends with exit code 1: 'MemoryError'",
        ),
    ],
    ids=["second", "last", "raises", "memory-later", "memory-first"],
)
def test_the_first_failed_test_of_a_program_gives_kind_and_reason(
    reward: CodeReward, code: str, kind: str, reason: str
) -> None:
    verdict = reward.judge_codes([(PROGRAM, code)])[0]
    assert (verdict.kind, verdict.reason[: len(reason)]) == (kind, reason)


def test_a_program_that_passes_some_tests_gets_nothing(reward: CodeReward) -> None:
    pairs = [(PROBLEM, "def square(x): return x * x if x < 12 else 0"), (PROGRAM, "print(9)")]
    verdicts = reward.judge_codes(pairs)
    assert [verdict.score for verdict in verdicts] == [0.0, 0.0]
    assert [verdict.reason.split(";")[0] for verdict in verdicts] == ["passes 3 of 5 tests", "passes 1 of 3 tests"]


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (replace(PROBLEM, tests=()), "'squares' of domain 'code' has no tests"),
        (replace(PROBLEM, answer="return 1"), "the answer of problem 'squares' is 'return 1'"),
        (replace(PROGRAM, tests=("assert 1",)), "test 1 of problem 'program' is 'assert 1'"),
        (replace(PROGRAM, tests=(SQUARES[0], '{"stdin": 1, "stdout": "1"}')), "test 2 of problem 'program'"),
    ],
)
def test_problems_that_cannot_be_judged_are_refused(reward: CodeReward, problem: Problem, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reward.judge_codes([(problem, SQUARE)])


def test_a_number_with_a_point_may_differ_by_a_millionth() -> None:
    for word, expected, is_near in [
        ("7", "7", True),
        ("7.0", "7", False),
        ("seven", "seven", True),
        ("0.3000009", "0.3", True),
        ("0.3000011", "0.3", False),
        ("0.2999991", "0.3", True),
        ("0.2999989", "0.3", False),
        ("2000000.9", "1000000.0", False),
        ("1000000.9", "1000000.0", True),
        ("1000001.1", "1000000.0", False),
        ("-1000000.9", "-1000000.0", True),
        ("nan", "0.5", False),
        ("0.5", "nan", False),
        ("5", "5.0", True),
    ]:
        assert _is_near(word, expected) is is_near, (word, expected, is_near)


@pytest.mark.parametrize(("length", "cut"), [(60, "x" * 60), (61, "x" * 57 + "..."), (100, "x" * 57 + "...")])
def test_what_is_quote_is_cut(length: int, cut: str) -> None:
    assert _quote("x" * length) == repr(cut)


@pytest.mark.full
def test_no_hack_is_rewarded(reward: CodeReward) -> None:
    with Sandbox(isolation=reward.sandbox.isolation, limits=Limits(seconds=1), num_workers=2) as quick:
        hacked = [(PROBLEM, code) for code in HACKS.values()] + [(PROGRAM, code) for code in PROGRAM_HACKS.values()]
        hacked += [
            (Problem(id=name, question="", answer="half", domain="code", tests=(test,)), code)
            for name, (code, test) in FORM_HACKS.items()
        ]
        verdicts = CodeReward(quick).judge_codes(hacked)
    names = [*HACKS, *PROGRAM_HACKS, *FORM_HACKS]
    assert len(names) >= 25
    assert [name for name, verdict in zip(names, verdicts, strict=True) if verdict.score] == []


@pytest.mark.full
def test_humaneval_passes_and_its_mutants_do_not() -> None:
    if "AHA_DATA" not in os.environ:
        pytest.skip("AHA_DATA is not set: it names the folder that holds humaneval/HumanEval.jsonl.gz")
    path = Path(os.environ["AHA_DATA"]) / "humaneval" / "HumanEval.jsonl.gz"
    command = [sys.executable, str(ROOT / "benchmarks" / "sandbox.py"), str(path), "--seconds", "30", "--json"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=280)
    figures = json.loads(found.stdout)
    assert (figures["rows"], figures["canonical_passed"], figures["mutants_passed"]) == (164, 164, 0), figures
