"""A sandbox for model-written Python: programs, functions under tests, and programs with many inputs.

What runs inside is `aha.rewards.sandbox.harness`; how it is closed in is `aha.rewards.sandbox.isolation`. Tests and the
code under test run in two cells that share nothing but two pipes, and only plain data goes through them, so code that
is judged cannot reach its judge. What this cannot exclude: code that knows the right results by heart, or that times
its answers; a test that accepts too much; and a fault in the kernel. A test that passes a function, uses a class of
the program or reads attributes of a result that is no plain data cannot be judged.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2: a compiler evaluates the responses against predefined test cases.
"""

import json
import queue
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from aha.rewards.sandbox.control_groups import REMEDY
from aha.rewards.sandbox.guest_process import Ending, GuestProcess, Pipes, watch
from aha.rewards.sandbox.isolation import Cell, Isolation, Limits, probe
from aha.rewards.sandbox.packages import find_packages

__all__ = ["Examination", "Execution", "Sandbox"]

Status = Literal["ended", "unparsable", "timeout", "overflow", "memory", "failed"]
Kind = Literal["done", "unparsable", "raised", "gone", "timeout", "memory", "overflow", "unsupported", "failed"]

_MAX_ERRORS_BYTES = 64_000
_MAX_REPORT = 16
_MAX_RUNS_AT_DEADLINE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One run of a program.

    Attributes:
        status: `ended` (by itself), `unparsable` (it never began, `errors` says why), `timeout`, `overflow` (of
            output), `memory` (killed for it), or `failed`: the sandbox itself did.
        exit_code: as a shell reports it, 128 and the number for a signal; None where it was killed.
        output: what it wrote to standard output, cut at the limit.
        errors: what it wrote to standard error, cut.
        seconds: how long it took, start of the interpreter included.
    """

    status: Status
    exit_code: int | None
    output: str
    errors: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Tests of one program.

    Attributes:
        passed: whether each test passed; a test that was not reached did not.
        kind: `done` (every test ran), `unparsable` (the program does not parse), `raised` (it raises before any test),
            `gone` (it ended during a test), `timeout`, `memory`, `overflow` (a result too large), `unsupported`
            (no test failed, and one cannot be judged) or `failed` (the sandbox itself did).
        reason: why the first test of that kind did not pass, in words, short; empty where all passed.
        seconds: how long it took.
    """

    passed: tuple[bool, ...]
    kind: Kind
    reason: str
    seconds: float


class Sandbox:
    """Runs Python programs that nobody has read, a given number at the same time.

    It may be used from several threads; who finds all places taken waits. Equal programs print equal text: hashes and
    the `random` module have fixed seeds inside.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        num_workers: int = 1,
        isolation: Isolation | None = None,
        allow_weak: bool = False,
        packages: Sequence[str] = (),
    ) -> None:
        """Prepares the places.

        Args:
            limits: bounds of each execution.
            num_workers: executions at the same time, 1 to 16.
            isolation: how programs are closed in; the strongest that works here by default.
            allow_weak: take the fallback where bubblewrap does not work, with a warning of what it leaves open.
            packages: installed packages that programs may import besides the standard library; none by default.

        Warns once where nothing bounds the memory of a program's processes together.

        Raises:
            ValueError: num_workers is out of range, or a package is not installed.
            RuntimeError: only weak isolation is possible and `allow_weak` is not given, or none at all; or packages
                cannot be imported inside.
        """
        if not 1 <= num_workers <= 16:
            raise ValueError(f"num_workers is {num_workers}; allowed are 1 to 16")
        self.limits = limits or Limits()
        self.isolation = isolation or probe()
        self._refuse_weakness(allow_weak)
        self.packages = find_packages(packages)
        self._places: queue.SimpleQueue[tuple[Cell, Cell]] = queue.SimpleQueue()
        self._cells: list[Cell] = []
        self.num_workers = num_workers
        for _ in range(num_workers):
            pair = (self._new_cell(), self._new_cell())
            self._cells += pair
            self._places.put(pair)
        self._warn_of_single_bounds()
        self._try_packages()

    def _refuse_weakness(self, is_allowed: bool) -> None:
        if self.isolation.strength == "full":
            return
        text = (
            f"model-written code cannot be isolated fully here ({self.isolation.reason}); the fallback leaves open "
            f"{', '.join(self.isolation.missing)}"
        )
        if not is_allowed:
            raise RuntimeError(
                f"{text}. Install bubblewrap and allow user namespaces, or allow weak isolation (--weak-sandbox)"
            )
        warnings.warn(f"WEAK SANDBOX: {text}", RuntimeWarning, stacklevel=3)

    def _new_cell(self) -> Cell:
        return Cell(self.isolation, self.limits, self.packages)

    def _try_packages(self) -> None:
        """Imports the packages once, so that what does not work does so now, and not in every verdict."""
        if not self.packages.modules:
            return
        tried = self.run(f"import {', '.join(self.packages.modules)}")
        if self.isolation.can_share_packages and tried.status == "ended" and tried.exit_code == 0:
            return
        self.close()
        fault = (tried.errors.strip().splitlines() or [tried.status])[-1]
        if not self.isolation.can_share_packages:
            fault = (
                f"the interpreter inside is {self.isolation.interpreter}, and not the one that they are installed for"
            )
        raise RuntimeError(
            f"packages {', '.join(self.packages.versions)} cannot be imported in the sandbox: {fault}. "
            "Leave them out of --allow-packages"
        )

    def _warn_of_single_bounds(self) -> None:
        """Says that only each process is bounded, where no control group bounds all of a cell."""
        if all(cell.is_bounded for cell in self._cells):
            return
        memory = self.limits.memory_bytes * self.limits.num_processes / 2**30
        warnings.warn(
            "memory and processes of model-written code are bounded for each process alone, since no control group can "
            f"be made here: all processes of a program together may take {memory:.0f} GiB. "
            f"With systemd, start it as `{REMEDY}`; in a container, mount /sys/fs/cgroup writable",
            RuntimeWarning,
            stacklevel=3,
        )

    def __enter__(self) -> Self:
        """The sandbox itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Removes folders and control groups; nothing may run any more."""
        for cell in self._cells:
            cell.close()

    def run(self, program: str, stdin: str = "") -> Execution:
        """Runs one program.

        Args:
            program: its text.
            stdin: its standard input.

        Returns:
            How it ended and what it wrote. Whatever the program does, nothing is raised.
        """
        start = time.monotonic()
        with self._place() as (cell, _), Pipes() as pipes:
            source = pipes.memory(stdin.encode(errors="replace"))
            out, err = pipes.pair(), pipes.pair()
            job = {"role": "script", "program": program}
            guest = GuestProcess(pipes, cell, job, stdin=source, stdout=out[1], stderr=err[1])
            texts = {out[0]: b"", err[0]: b""}
            pipes.keep([*texts, guest.started])
            status = watch(guest, texts, deadline=start + self.limits.seconds, cap=self.limits.output_bytes)
            code = guest.end()
        return Execution(
            status=guest.ending(status),
            exit_code=code if status == "ended" else None,
            output=_text(texts[out[0]][: self.limits.output_bytes]),
            errors=_text(texts[err[0]][:_MAX_ERRORS_BYTES]),
            seconds=time.monotonic() - start,
        )

    def run_each(self, program: str, inputs: Sequence[str]) -> list[Execution]:
        """Runs one program once for each input, each time in a new process of one sandbox.

        Each run has the time of the limits, all together have that of four. Runs after one that took too long are not
        made, and count as too late.

        Args:
            program: its text.
            inputs: the standard input of each run.

        Returns:
            How each run ended, in order. Whatever the program does, nothing is raised.
        """
        start, seconds = time.monotonic(), self.limits.seconds
        with self._place() as (cell, _), Pipes() as pipes:
            report, err = pipes.pair(), pipes.pair()
            output_bytes = self.limits.output_bytes
            job = {"role": "repeat", "program": program, "inputs": list(inputs), "seconds": seconds}
            job |= {"output_bytes": output_bytes}
            guest = GuestProcess(pipes, cell, job, stdout=report[1], stderr=err[1])
            texts = {report[0]: b"", err[0]: b""}
            pipes.keep([*texts, guest.started])
            deadline = start + seconds * min(max(len(inputs), 1), _MAX_RUNS_AT_DEADLINE) + 1.0
            seen = watch(guest, texts, deadline=deadline, cap=_MAX_REPORT * output_bytes, until=report[0])
            guest.end()
        status, found = guest.ending(seen), _lines(texts[report[0]])
        runs = [_execution(line, output_bytes) for line in found[: len(inputs)]]
        if runs and runs[-1].status in ("timeout", "unparsable"):
            rest = runs[-1]
        else:
            errors = "the program ended what ran it" if status == "ended" else _text(texts[err[0]][-300:])
            status = "failed" if status == "ended" else status
            rest = Execution(status=status, exit_code=None, output="", errors=errors, seconds=time.monotonic() - start)
        return runs + [rest] * (len(inputs) - len(runs))

    def examine(self, program: str, tests: Sequence[str], *, entry_point: str = "", starter: str = "") -> Examination:
        """Runs tests of a program's functions.

        The program and its tests run in two cells; a test calls the entry point through a stand-in of its name, or of
        the name `candidate`. A test is Python that raises where the program is wrong: `assert`s, a function
        `check(candidate)`, or test functions and classes, which are then called. The helpers of the starter are there
        for the tests and for the program.

        Args:
            program: its text: it defines the entry point, or continues the starter.
            tests: sources of the tests, at least one.
            entry_point: the function under test, or a method of the program's class `Solution`; empty for tests that
                name the functions of the program themselves.
            starter: code that the program may continue.

        Returns:
            How each test ended. Whatever program and tests do, nothing is raised.

        Raises:
            ValueError: there are no tests.
        """
        if not tests:
            raise ValueError("no tests: a program without tests can be neither right nor wrong")
        start = time.monotonic()
        with self._place() as (cell, judge_cell), Pipes() as pipes:
            calls, replies, report, err = pipes.pair(), pipes.pair(), pipes.pair(), pipes.pair()
            both = {"starter": starter, "entry_point": entry_point}
            served = {"role": "serve", "program": program, "calls": calls[0], "replies": replies[1]} | both
            asked = {"role": "examine", "tests": list(tests), "calls": calls[1], "replies": replies[0]} | both
            code = GuestProcess(pipes, cell, served, stdout=subprocess.DEVNULL, stderr=err[1])
            judge = GuestProcess(pipes, judge_cell, asked, stdout=report[1], stderr=err[1])
            texts = {report[0]: b"", err[0]: b""}
            pipes.keep([*texts, code.started, judge.started])
            seen = watch(judge, texts, deadline=start + self.limits.seconds, cap=_MAX_REPORT * 2**16, until=report[0])
            exit_code = code.end()
            judge.end()
        ended = _lines(texts[report[0]])
        kind, reason = _kind(ended, judge.ending(seen), code.ending("ended"), exit_code)
        passed = [line["test"] == "passed" for line in ended if "test" in line][: len(tests)]
        kind, reason = _first_fault(ended, kind, reason or _text(texts[err[0]][-300:]))
        return Examination(
            passed=tuple(passed + [False] * (len(tests) - len(passed))),
            kind=kind,
            reason="" if kind == "done" and all(passed) else reason,
            seconds=time.monotonic() - start,
        )

    @contextmanager
    def _place(self) -> Iterator[tuple[Cell, Cell]]:
        """Two cells that nobody else uses meanwhile."""
        cells = self._places.get()
        try:
            yield cells
        finally:
            for cell in cells:
                cell.sweep()
            self._places.put(cells)


def _first_fault(lines: Sequence[dict[str, Any]], kind: Kind, reason: str) -> tuple[Kind, str]:
    """How an examination ended, with the outcomes of its tests taken into account.

    One wrong result decides, whatever else cannot be judged.
    """
    faults = {
        str(line["test"]): str(line["reason"]) for line in reversed(lines) if line.get("test", "passed") != "passed"
    }
    outcomes: dict[str, Kind] = {"memory": "memory", "failed": "done", "unsupported": "unsupported"}
    for outcome, meaning in outcomes.items():
        if outcome in faults:
            return (meaning if kind == "done" else kind), faults[outcome]
    return kind, reason


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _lines(data: bytes) -> list[dict[str, Any]]:
    """The whole lines of a report, as far as they can be read."""
    found = []
    for line in data.split(b"\n")[:-1]:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(message, dict):
            break
        found.append(message)
    return found


def _execution(line: dict[str, Any], output_bytes: int) -> Execution:
    """One run as the harness reports it; the code under test could write such a line, so its types are checked."""
    output, errors, code = line.get("output", ""), line.get("errors", ""), line.get("status")
    if "unparsable" in line:
        return Execution(status="unparsable", exit_code=None, output="", errors=str(line["unparsable"]), seconds=0.0)
    if not (isinstance(output, str) and isinstance(errors, str) and isinstance(code, int | None)):
        return Execution(status="failed", exit_code=None, output="", errors="forged report", seconds=0.0)
    status: Status = "timeout" if line.get("is_late") else "ended"
    if len(output.encode(errors="replace")) > output_bytes:
        status = "overflow"
    code = 128 - code if code is not None and code < 0 else code
    seconds = line.get("seconds")
    return Execution(
        status=status,
        exit_code=code if status == "ended" else None,
        output=output[:output_bytes],
        errors=errors,
        seconds=float(seconds) if isinstance(seconds, float) else 0.0,
    )


def _kind(lines: Sequence[dict[str, Any]], judged: Ending, served: Ending, exit_code: int) -> tuple[Kind, str]:
    """How an examination ended, and why where no test says so.

    Args:
        lines: the report of the tests.
        judged: how the process of the tests ended.
        served: how the process of the code ended.
        exit_code: that of the process of the code.
    """
    ends = [line for line in lines if "end" in line]
    if judged == "failed" or served == "failed":
        return "failed", ""
    if not ends:
        reasons = {"timeout": "it takes too long", "memory": "the tests take too much memory"}
        return ("timeout" if judged == "timeout" else "failed"), reasons.get(judged, "the tests ended early")
    kind, reason = str(ends[0]["end"]), str(ends[0].get("reason", ""))
    if kind == "gone" and served == "memory":
        return "memory", "it takes too much memory"
    if kind == "gone" and exit_code == 128 + signal.SIGXCPU:
        return "timeout", "it takes too much processor time"
    if kind in ("gone", "forged"):
        return "gone", "it ended during a test" if kind == "gone" else "it wrote what is no reply"
    if kind == "overflow":
        return "overflow", "it returned too much"
    known: dict[str, Kind] = {"done": "done", "unparsable": "unparsable", "raised": "raised", "memory": "memory"}
    return known.get(kind, "failed"), reason
