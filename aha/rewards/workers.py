"""A pool of processes that compare mathematics with `math_verify`, each within limits of time and memory.

A question that hangs or eats memory costs its own deadline and nothing else: the process that worked on it is killed
and replaced at once, and the other questions are answered.
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Literal, Self

import aha

__all__ = ["Outcome", "Question", "WorkerPool"]

START_SECONDS: Final = 120.0
"""How long a worker may take to import what it needs."""

GRACE_SECONDS: Final = 10.0
"""How long a worker may take to answer after its deadline, before it is replaced as a whole."""

Outcome = Literal["correct", "wrong", "unparsable", "timeout", "crash", "gold"]
"""How a comparison ended; `gold`: the reference cannot be read."""


@dataclass(frozen=True, slots=True)
class Question:
    """Is an answer equal to a reference?

    Attributes:
        gold: the reference, LaTeX.
        answer: what a model wrote, LaTeX.
        places: decimals to which a number that is written as a decimal must agree.
    """

    gold: str
    answer: str
    places: int = 6

    def line(self) -> bytes:
        """What is sent."""
        return json.dumps({"gold": self.gold, "answer": self.answer, "places": self.places}).encode() + b"\n"


@dataclass(slots=True)
class _Worker:
    """One process, and the question it works on."""

    process: subprocess.Popen[bytes]
    until: float
    is_ready: bool = False
    place: int | None = None

    @property
    def output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout


@dataclass(eq=False)
class WorkerPool:
    """Processes that answer questions. Not for several threads at once.

    Attributes:
        num_workers: processes.
        deadline_seconds: wall clock that one question may take.
        max_bytes: address space that a process may take.
        counts: outcomes so far, and `start` for each process that was started.
        peak_bytes: largest resident memory that a process reported.
        slowest_seconds: longest time from a question to its outcome.
    """

    num_workers: int = 2
    deadline_seconds: float = 5.0
    max_bytes: int = 1 << 30
    counts: Counter[str] = field(default_factory=Counter, init=False)
    peak_bytes: int = field(default=0, init=False)
    slowest_seconds: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Start nothing yet."""
        if self.num_workers < 1 or not self.deadline_seconds > 0 or self.max_bytes < 1 << 28:
            raise ValueError(
                f"num_workers {self.num_workers}, deadline_seconds {self.deadline_seconds}, "
                f"max_bytes {self.max_bytes}; allowed: at least 1, above 0, at least {1 << 28}"
            )
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; the next question starts new ones."""
        for worker in self._workers:
            _end(worker)
        self._workers.clear()

    def pids(self) -> list[int]:
        """Ids of the processes that run."""
        return [worker.process.pid for worker in self._workers]

    def start(self) -> None:
        """Start the processes that do not run, and wait until they can be asked.

        Raises:
            RuntimeError: they do not start.
        """
        try:
            self._workers += [self._start() for _ in range(self.num_workers - len(self._workers))]
            while not all(worker.is_ready for worker in self._workers):
                self._collect([])
        except BaseException:
            self.close()
            raise

    def ask(self, questions: Sequence[Question]) -> list[Outcome]:
        """How each comparison ends, in order.

        Args:
            questions: each is answered within its deadline, whatever becomes of the others.

        Raises:
            RuntimeError: the processes do not start.
        """
        outcomes: list[Outcome] = ["crash"] * len(questions)
        waiting = deque(range(len(questions)))
        if waiting and not self._workers:
            self.start()
        try:
            while waiting or any(worker.place is not None for worker in self._workers):
                for slot in range(len(self._workers)):
                    self._give(slot, waiting, questions)
                self._collect(outcomes)
        except BaseException:
            # An interrupted worker may still answer an old question.
            self.close()
            raise
        self.counts.update(outcomes)
        return outcomes

    def _give(self, slot: int, waiting: deque[int], questions: Sequence[Question]) -> None:
        """Hand the next question to a worker that has none."""
        worker = self._workers[slot]
        if not waiting or not worker.is_ready or worker.place is not None:
            return
        place = waiting.popleft()
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(questions[place].line())
            worker.process.stdin.flush()
        except OSError:
            waiting.appendleft(place)
            self._replace(slot)
            return
        worker.place, worker.until = place, time.monotonic() + self.deadline_seconds + GRACE_SECONDS

    def _collect(self, outcomes: list[Outcome]) -> None:
        """Wait for the next answers, and replace the workers that cannot give one."""
        with selectors.DefaultSelector() as selector:
            for slot, worker in enumerate(self._workers):
                if worker.place is not None or not worker.is_ready:
                    selector.register(worker.output, selectors.EVENT_READ, slot)
            patience = max(0.0, min(worker.until for worker in self._workers) - time.monotonic())
            answered = {key.data for key, _ in selector.select(min(patience, 1.0))}
        for slot in answered:
            self._read(slot, outcomes)
        for slot, worker in enumerate(self._workers):
            if (worker.place is not None or not worker.is_ready) and time.monotonic() > worker.until:
                self._give_up(slot, outcomes, "timeout")

    def _read(self, slot: int, outcomes: list[Outcome]) -> None:
        """Take the answer of a worker, or its death."""
        worker = self._workers[slot]
        line = worker.output.readline()
        if not line:
            self._give_up(slot, outcomes, "crash")
        elif not worker.is_ready:
            worker.is_ready, worker.until = True, float("inf")
        elif worker.place is not None:
            answer = json.loads(line)
            outcomes[worker.place] = answer["kind"]
            self.peak_bytes = max(self.peak_bytes, answer.get("peak_bytes", 0))
            taken_seconds = time.monotonic() - worker.until + self.deadline_seconds + GRACE_SECONDS
            self.slowest_seconds = max(self.slowest_seconds, taken_seconds)
            worker.place, worker.until = None, float("inf")

    def _give_up(self, slot: int, outcomes: list[Outcome], outcome: Outcome) -> None:
        """Replace a worker; its question ends here."""
        worker = self._workers[slot]
        if not worker.is_ready:
            raise RuntimeError(
                f"a worker of the math verifier did not start within {START_SECONDS:.0f} s, or died: try "
                f"`{sys.executable} -c 'import math_verify'`; it may take {self.max_bytes} bytes of address space"
            )
        if worker.place is not None:
            outcomes[worker.place] = outcome
        self._replace(slot)

    def _replace(self, slot: int) -> None:
        _end(self._workers[slot])
        self._workers[slot] = self._start()

    def _start(self) -> _Worker:
        """Start a process that knows nothing of this one: no variables of its environment, no open files."""
        self.counts["start"] += 1
        package = str(Path(aha.__file__).parents[1])
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "aha.rewards.equivalence", str(self.deadline_seconds), str(self.max_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath, "PYTHONPATH": package, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        )
        return _Worker(process, time.monotonic() + START_SECONDS)


def _end(worker: _Worker) -> None:
    """Kill a process and close its pipes; its fork ends with its input."""
    worker.process.kill()
    worker.process.wait()
    if worker.process.stdin is not None:
        # What could not be sent to a dead process is of no use to anybody.
        with contextlib.suppress(OSError):
            worker.process.stdin.close()
    worker.output.close()
