"""What the sandbox makes of reports, which the code under test may forge, and how long it waits for them."""

import signal
import time
from typing import Any

import pytest

from aha.rewards.sandbox import sandbox as module
from aha.rewards.sandbox.isolation import Limits, probe
from aha.rewards.sandbox.reports import Execution, examination_end, first_fault, read_execution, read_report
from aha.rewards.sandbox.sandbox import Sandbox

FULL = probe()
CPU_TIME = 128 + signal.SIGXCPU


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b'{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        (b'{"a": 1}\n{"b": 2}', [{"a": 1}]),
        (b'{"a": 1}\nno JSON\n{"b": 2}\n', [{"a": 1}]),
        (b'{"a": 1}\n[1]\n{"b": 2}\n', [{"a": 1}]),
        (b'{"a": 1}\n' + b"[" * 100_000 + b"\n", [{"a": 1}]),
    ],
)
def test_a_report_is_read_up_to_what_is_no_object(data: bytes, lines: list[dict[str, Any]]) -> None:
    assert read_report(data) == lines


def test_a_run_is_what_its_line_says() -> None:
    for line, expected in [
        ({"output": "abc", "errors": "e", "status": 0, "seconds": 0.5}, ("ended", 0, "abc", "e", 0.5)),
        ({"output": "abcd", "status": 0}, ("ended", 0, "abcd", "", 0.0)),
        ({"output": "abcde", "status": 0}, ("overflow", None, "abcd", "", 0.0)),
        ({"output": "äö", "status": 0}, ("ended", 0, "äö", "", 0.0)),
        ({"output": "äöü", "status": 0}, ("overflow", None, "äöü", "", 0.0)),
        ({"output": "", "status": 3}, ("ended", 3, "", "", 0.0)),
        ({"output": "", "status": -9}, ("ended", 137, "", "", 0.0)),
        ({"output": "", "status": None}, ("ended", None, "", "", 0.0)),
        ({"output": "", "status": 0, "is_late": True}, ("timeout", None, "", "", 0.0)),
        ({"output": "", "status": 0, "seconds": 2}, ("ended", 0, "", "", 0.0)),
        ({"unparsable": "line 1"}, ("unparsable", None, "", "line 1", 0.0)),
        ({"output": 5, "status": 0}, ("failed", None, "", "forged report", 0.0)),
        ({"output": "", "errors": [], "status": 0}, ("failed", None, "", "forged report", 0.0)),
        ({"output": "", "status": "0"}, ("failed", None, "", "forged report", 0.0)),
    ]:
        status, code, output, errors, seconds = expected
        assert read_execution(line, 4) == Execution(
            status=status, exit_code=code, output=output, errors=errors, seconds=seconds
        ), (line, expected)


def test_how_an_examination_ended() -> None:
    for end, judged, served, exit_code, expected in [
        ("done", "ended", "ended", 0, ("done", "")),
        ("done", "failed", "ended", 0, ("failed", "")),
        ("done", "ended", "failed", 0, ("failed", "")),
        ("", "timeout", "ended", 0, ("timeout", "it takes too long")),
        ("", "memory", "ended", 0, ("failed", "the tests take too much memory")),
        ("", "ended", "ended", 0, ("failed", "the tests ended early")),
        ("gone", "ended", "memory", 0, ("memory", "it takes too much memory")),
        ("gone", "ended", "ended", CPU_TIME, ("timeout", "it takes too much processor time")),
        ("gone", "ended", "ended", CPU_TIME + 1, ("gone", "it ended during a test")),
        ("gone", "ended", "ended", CPU_TIME - 1, ("gone", "it ended during a test")),
        ("forged", "ended", "ended", CPU_TIME, ("gone", "it wrote what is no reply")),
        ("overflow", "ended", "ended", 0, ("overflow", "it returned too much")),
        ("unparsable", "ended", "ended", 0, ("unparsable", "said")),
        ("raised", "ended", "memory", CPU_TIME, ("raised", "said")),
        ("memory", "ended", "ended", 0, ("memory", "said")),
        ("anything", "ended", "ended", 0, ("failed", "said")),
    ]:
        lines = [{"test": "passed"}, *([{"end": end, "reason": "said" if end != "done" else ""}] if end else [])]
        assert examination_end(lines, judged, served, exit_code) == expected, (end, judged, served, exit_code, expected)
        # The first end counts.
        if end == "done":
            assert examination_end([*lines, {"end": "raised"}], judged, served, exit_code) == expected


def test_the_first_fault_decides_and_a_wrong_result_before_what_cannot_be_judged() -> None:
    for tests, kind, expected in [
        ([], "done", ("done", "why")),
        (["passed"], "done", ("done", "why")),
        (["passed", "failed", "failed"], "done", ("done", "1")),
        (["unsupported", "failed"], "done", ("done", "1")),
        (["unsupported", "unsupported"], "done", ("unsupported", "0")),
        (["failed", "memory"], "done", ("memory", "1")),
        (["failed", "memory"], "timeout", ("timeout", "1")),
        (["unsupported"], "gone", ("gone", "0")),
    ]:
        lines: list[dict[str, Any]] = [{"test": outcome, "reason": str(place)} for place, outcome in enumerate(tests)]
        assert first_fault([*lines, {"end": "done"}], kind, "why") == expected, (tests, kind, expected)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Seconds until the deadline, and the most bytes of output, of every wait of the sandbox."""
    found: list[tuple[float, int]] = []
    watch = module.watch

    def watching(*arguments: Any, deadline: float, max_bytes: int, **options: Any) -> Any:
        found.append((deadline - time.monotonic(), max_bytes))
        return watch(*arguments, deadline=deadline, max_bytes=max_bytes, **options)

    monkeypatch.setattr(module, "watch", watching)
    return found


@pytest.mark.full
@pytest.mark.skipif(FULL.strength != "full", reason=f"bubblewrap does not work: {FULL.reason}")
def test_all_runs_of_a_program_have_the_time_of_four_and_a_second(waits: list[tuple[float, int]]) -> None:
    limits = Limits(seconds=30.0, output_bytes=5000)
    with Sandbox(limits=limits, isolation=FULL) as sandbox:
        for num_runs in (0, 3, 4, 5):
            assert len(sandbox.run_each("print(1)", ["x"] * num_runs)) == num_runs
        sandbox.run("print(1)")
        sandbox.examine("def f(): return 1", ["assert f() == 1"], entry_point="f")

    # Some of the time has passed when the wait begins.
    budgets = [31.0, 91.0, 121.0, 121.0, 30.0, 30.0]
    for (seconds, _), budget in zip(waits, budgets, strict=True):
        assert budget - 15 < seconds <= budget
    assert [cap for _, cap in waits] == [16 * 5000] * 4 + [5000, 16 * 2**16]


@pytest.mark.skipif(FULL.strength != "full", reason=f"bubblewrap does not work: {FULL.reason}")
def test_a_test_that_was_not_reached_has_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(limits=Limits(seconds=30.0), isolation=FULL) as sandbox:
        program = "import os\ndef f(x):\n    if x > 1: os._exit(3)\n    return x"
        tests = [f"assert f({number}) == {number}" for number in range(4)]
        found = sandbox.examine(program, tests, entry_point="f")
        assert (found.passed, found.kind) == ((True, True, False, False), "gone")
        assert found.reason == "it ended during a test"
        with pytest.raises(ValueError, match="no tests"):
            sandbox.examine(program, [])
