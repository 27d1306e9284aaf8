"""A sandbox for model-written Python: programs, functions under tests, and programs with many inputs.

`aha.rewards.sandbox.harness` is the program that runs inside, `aha.rewards.sandbox.isolation` isolates it. Tests and
the code under test run in two cells that share nothing but two pipes, and only plain data goes through them, so that
the code cannot reach its judge. This does not exclude code that has memorised the right results, or that times its
answers; a test that accepts too much; or a fault in the kernel. A test that passes a function, uses a class of the
program, or reads attributes of a result that is no plain data cannot be judged.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2: a compiler evaluates the responses against predefined test cases.
"""

import queue
import subprocess
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from aha.rewards.sandbox.control_groups import REMEDY
from aha.rewards.sandbox.guest_process import Ending, GuestProcess, Pipes, watch
from aha.rewards.sandbox.isolation import Cell, Isolation, Limits, probe
from aha.rewards.sandbox.packages import find_packages
from aha.rewards.sandbox.reports import (
    Examination,
    Execution,
    decode_text,
    examination_end,
    first_fault,
    read_execution,
    read_report,
)

__all__ = ["Sandbox"]

_MAX_ERRORS_BYTES = 64_000
_MAX_REPORT = 16
_MAX_RUNS_AT_DEADLINE = 4


class Sandbox:
    """Runs untrusted Python programs, a given number at the same time.

    It may be used from several threads; a thread waits while all workers are busy. Equal programs print equal text:
    hashes and the `random` module have fixed seeds inside.
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
        """Prepares the cells.

        Warns once where nothing bounds the memory of all processes of a program together.

        Args:
            limits: limits of each execution.
            num_workers: executions at the same time, 1 to 16.
            isolation: the isolation of programs; by default the strongest that works here.
            allow_weak: whether to accept the fallback where bubblewrap does not work, with a warning of what it leaves
                open.
            packages: installed packages that programs may import besides the standard library; none by default.

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
        self._free_pairs: queue.SimpleQueue[tuple[Cell, Cell]] = queue.SimpleQueue()
        self._cells: list[Cell] = []
        self.num_workers = num_workers

        # Each worker has a cell for the program and one for its tests.
        for _ in range(num_workers):
            pair = (self._new_cell(), self._new_cell())
            self._cells += pair
            self._free_pairs.put(pair)

        self._warn_of_missing_groups()
        self._try_packages()

    def _refuse_weakness(self, is_allowed: bool) -> None:
        """Refuses weak isolation, or warns of it where it is allowed."""
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
        """Imports the packages once, so that a package that does not work is an error now and not in every verdict."""
        if not self.packages.modules:
            return

        # All in one program, under the limits that programs have: together they may take too much memory.
        execution = self.run(f"import {', '.join(self.packages.modules)}")
        if self.isolation.can_share_packages and execution.status == "ended" and execution.exit_code == 0:
            return

        self.close()
        error_lines = execution.errors.strip().splitlines()
        fault = error_lines[-1] if error_lines else execution.status
        if not self.isolation.can_share_packages:
            fault = (
                f"the interpreter inside is {self.isolation.interpreter}, and not the one that they are installed for"
            )

        raise RuntimeError(
            f"packages {', '.join(self.packages.versions)} cannot be imported in the sandbox: {fault}. "
            "Leave them out of --allow-packages"
        )

    def _warn_of_missing_groups(self) -> None:
        """Warns that each process alone is bounded, where no control group bounds the whole cell."""
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
        """Closes the sandbox."""
        self.close()

    def close(self) -> None:
        """Removes folders and control groups; no program may run at this time or later."""
        for cell in self._cells:
            cell.close()

    def run(self, program: str, stdin: str = "") -> Execution:
        """Runs a program.

        Args:
            program: its source.
            stdin: its standard input.

        Returns:
            How it ended, and its output. Nothing is raised, whatever the program does.
        """
        start = time.monotonic()
        with self._cell_pair() as (cell, _), Pipes() as pipes:
            stdin_file = pipes.memory(stdin.encode(errors="replace"))
            stdout, stdout_end = pipes.pair()
            stderr, stderr_end = pipes.pair()
            job = {"role": "script", "program": program}
            guest = GuestProcess(pipes, cell, job, stdin=stdin_file, stdout=stdout_end, stderr=stderr_end)

            # The guest alone may hold the writing ends: the end of its output would never be seen otherwise.
            buffers = {stdout: b"", stderr: b""}
            pipes.close_all_but([*buffers, guest.started])
            deadline = start + self.limits.seconds
            watched = watch(guest, buffers, deadline=deadline, max_bytes=self.limits.output_bytes)
            exit_code = guest.end()

        return Execution(
            status=guest.ending(watched),
            exit_code=exit_code if watched == "ended" else None,
            output=decode_text(buffers[stdout][: self.limits.output_bytes]),
            errors=decode_text(buffers[stderr][:_MAX_ERRORS_BYTES]),
            seconds=time.monotonic() - start,
        )

    def run_each(self, program: str, inputs: Sequence[str]) -> list[Execution]:
        """Runs a program once for each input, each time in a new process of the same cell.

        Each run has the time limit of its own, all together have that of four. After a run that took too long, no
        further one starts; the rest count as timeouts.

        Args:
            program: its source.
            inputs: the standard input of each run.

        Returns:
            How each run ended, in order. Nothing is raised, whatever the program does.
        """
        start = time.monotonic()
        seconds = self.limits.seconds
        output_bytes = self.limits.output_bytes

        with self._cell_pair() as (cell, _), Pipes() as pipes:
            report, report_end = pipes.pair()
            stderr, stderr_end = pipes.pair()
            job = {
                "role": "repeat",
                "program": program,
                "inputs": list(inputs),
                "seconds": seconds,
                "output_bytes": output_bytes,
            }
            guest = GuestProcess(pipes, cell, job, stdout=report_end, stderr=stderr_end)

            buffers = {report: b"", stderr: b""}
            pipes.close_all_but([*buffers, guest.started])
            num_full_runs = min(max(len(inputs), 1), _MAX_RUNS_AT_DEADLINE)
            deadline = start + seconds * num_full_runs + 1.0
            watched = watch(guest, buffers, deadline=deadline, max_bytes=_MAX_REPORT * output_bytes, until=report)
            guest.end()

        status = guest.ending(watched)
        lines = read_report(buffers[report])[: len(inputs)]
        runs = [read_execution(line, output_bytes) for line in lines]

        # The runs that were not made end like the last one, or else like the process that should have made them.
        if runs and runs[-1].status in ("timeout", "unparsable"):
            rest = runs[-1]
        elif status == "ended":
            rest = _lost_run("failed", "the program ended what ran it", start)
        else:
            rest = _lost_run(status, decode_text(buffers[stderr][-300:]), start)

        return runs + [rest] * (len(inputs) - len(runs))

    def examine(self, program: str, tests: Sequence[str], *, entry_point: str = "", starter: str = "") -> Examination:
        """Runs tests of a program's functions.

        The program and its tests run in two cells; a test calls the entry point through a stand-in under its name, or
        under the name `candidate`. A test is Python that raises an exception where the program is wrong: `assert`s, a
        function `check(candidate)`, or test functions and classes, which are then called. Tests and program may use the
        helpers of the starter.

        Args:
            program: its source; it defines the entry point, or continues the starter.
            tests: sources of the tests, at least one.
            entry_point: the function under test, or a method of the program's class `Solution`; empty for tests that
                name the functions of the program themselves.
            starter: code that the program may continue.

        Returns:
            How each test ended. Nothing is raised, whatever program and tests do.

        Raises:
            ValueError: there are no tests.
        """
        if not tests:
            raise ValueError("no tests: a program without tests can be neither right nor wrong")

        start = time.monotonic()
        with self._cell_pair() as (cell, judge_cell), Pipes() as pipes:
            calls, calls_end = pipes.pair()
            replies, replies_end = pipes.pair()
            report, report_end = pipes.pair()
            stderr, stderr_end = pipes.pair()

            shared = {"starter": starter, "entry_point": entry_point}
            serve_job = {"role": "serve", "program": program, "calls": calls, "replies": replies_end, **shared}
            examine_job = {"role": "examine", "tests": list(tests), "calls": calls_end, "replies": replies, **shared}
            code = GuestProcess(pipes, cell, serve_job, stdout=subprocess.DEVNULL, stderr=stderr_end)
            judge = GuestProcess(pipes, judge_cell, examine_job, stdout=report_end, stderr=stderr_end)

            buffers = {report: b"", stderr: b""}
            pipes.close_all_but([*buffers, code.started, judge.started])
            deadline = start + self.limits.seconds
            watched = watch(judge, buffers, deadline=deadline, max_bytes=_MAX_REPORT * 2**16, until=report)
            exit_code = code.end()
            judge.end()

        # The report is written beside the tests and never beside the code, which therefore cannot forge it.
        lines = read_report(buffers[report])
        kind, reason = examination_end(lines, judge.ending(watched), code.ending("ended"), exit_code)
        kind, reason = first_fault(lines, kind, reason or decode_text(buffers[stderr][-300:]))

        # A test that was not reached did not pass; lines beyond the number of tests do not count.
        passed = [line["test"] == "passed" for line in lines if "test" in line][: len(tests)]
        passed += [False] * (len(tests) - len(passed))
        return Examination(
            passed=tuple(passed),
            kind=kind,
            reason="" if kind == "done" and all(passed) else reason,
            seconds=time.monotonic() - start,
        )

    @contextmanager
    def _cell_pair(self) -> Iterator[tuple[Cell, Cell]]:
        """Lends two cells to one execution; waits until a pair is free."""
        cells = self._free_pairs.get()
        try:
            yield cells
        finally:
            # Swept before it is lent again: a program must not meet what the one before it has left.
            for cell in cells:
                cell.sweep()
            self._free_pairs.put(cells)


def _lost_run(status: Ending, errors: str, start: float) -> Execution:
    """A run of which there is no report."""
    return Execution(status=status, exit_code=None, output="", errors=errors, seconds=time.monotonic() - start)
