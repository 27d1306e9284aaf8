"""The program of a worker: are two mathematical texts equal? The only module that imports `math_verify`.

It runs as a process of its own, `python -m aha.rewards.equivalence SECONDS BYTES`, reads one question a line from its
input and writes one answer a line to its output. The process that reads keeps everything imported and warm, and never
looks at a question itself: a fork of it does, within limits of time and memory, and is replaced when it passes one.
Nothing heavier than `math_verify` may be imported here.
"""

import contextlib
import json
import logging
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, BinaryIO, Final

__all__ = ["main"]

READY: Final = b'{"kind": "ready"}\n'
MAX_QUESTIONS: Final = 2_000
"""Questions that one fork answers before a fresh one takes over."""

FAR_APART: Final = 1e-3
"""Relative difference that no rounding explains."""

_POINTS: Final = (1.372, 2.618)
"""Where unknowns are put: above 1, where roots and logarithms are real."""

_WARM_UP: Final = (
    ("\\frac{\\sqrt{3}}{2}", "\\sqrt{3}-1"),
    ("(1,\\pi)", "(1,2)"),
    ("x^2+1", "x=1"),
    ("\\{1,2\\}", "[1,2)"),
)


def main() -> None:
    """Answer questions until the input ends."""
    seconds, max_bytes = float(sys.argv[1]), int(sys.argv[2])
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    # What a library prints of a hostile answer must not reach the terminal, nor the answers.
    with open(os.devnull, "r+b") as nothing:
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    logging.disable(logging.CRITICAL)
    # An interrupt is for the program that asks, which may want to finish first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    judge = _judge()
    for gold, answer in _WARM_UP:
        judge(gold, answer, 6)
    answers.write(READY)
    keeper = _Keeper(judge, seconds, max_bytes, (questions.fileno(), answers.fileno()))
    for question in questions:
        answers.write(keeper.ask(question))
    keeper.end()


class _Keeper:
    """Has one fork at a time that answers questions."""

    def __init__(self, judge: Callable[..., str], seconds: float, max_bytes: int, own_fds: tuple[int, int]) -> None:
        self._judge, self._seconds, self._max_bytes, self._own_fds = judge, seconds, max_bytes, own_fds
        self._fork()

    def ask(self, question: bytes) -> bytes:
        """The answer to one question, however it ends."""
        try:
            self._to.write(question)
            ready, _, _ = select.select([self._from], [], [], self._seconds)
            answer = self._from.readline() if ready else b""
            kind = "crash" if ready else "timeout"
        except OSError:
            answer, kind = b"", "crash"
        if answer.endswith(b"!\n"):
            self._replace()
        elif not answer:
            self._replace()
            return json.dumps({"kind": kind}).encode() + b"\n"
        return answer.rstrip(b"!\n") + b"\n"

    def end(self) -> None:
        """Kill the fork."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _replace(self) -> None:
        self.end()
        self._to.close()
        self._from.close()
        self._fork()

    def _fork(self) -> None:
        questions, self_to = os.pipe()
        self_from, answers = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            for end in (self_to, self_from, *self._own_fds):
                os.close(end)
            self._serve(os.fdopen(questions, "rb"), os.fdopen(answers, "wb", buffering=0))
        os.close(questions)
        os.close(answers)
        self._to: BinaryIO = os.fdopen(self_to, "wb", buffering=0)
        self._from = os.fdopen(self_from, "rb")

    def _serve(self, questions: BinaryIO, answers: BinaryIO) -> None:
        """Be the fork: answer questions, and never return."""
        resource.setrlimit(resource.RLIMIT_AS, (self._max_bytes, self._max_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        for count, question in enumerate(questions, 1):
            usage = resource.getrusage(resource.RUSAGE_SELF)
            # Should the keeper be killed, nobody is left to end a fork that hangs, but the kernel.
            cpu_seconds = int(usage.ru_utime + usage.ru_stime + self._seconds) + 2
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, resource.RLIM_INFINITY))
            fields = json.loads(question)
            kind = self._judge(fields["gold"], fields["answer"], fields["places"])
            peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            is_worn = count >= MAX_QUESTIONS or peak_bytes > self._max_bytes // 2
            reply = json.dumps({"kind": kind, "peak_bytes": peak_bytes}).encode()
            answers.write(reply + (b"!\n" if is_worn else b"\n"))
        os._exit(0)


def _judge() -> Callable[[str, str, int], str]:
    """A function from reference, answer and decimals of a rounding to how they compare."""
    from math_verify import (  # type: ignore[import-untyped]  # the library ships no types
        LatexExtractionConfig,
        parse,
        verify,
    )

    config = [LatexExtractionConfig()]

    def read(text: str) -> list[Any]:
        # No time limit of its own: it would swallow the alarm, and writes the answer to the log.
        return list(
            parse(f"\\boxed{{{text}}}", extraction_config=config, fallback_mode="no_fallback", parsing_timeout=0)
        )

    remembered = lru_cache(maxsize=512)(read)

    def judge(gold: str, answer: str, places: int) -> str:
        try:
            reference = remembered(gold)
            if not reference:
                return "gold"
            result = read(answer)
            if not result:
                return "unparsable"
            # Most wrong answers are far off, and need no algebra.
            if "%" not in gold + answer and _are_apart(reference[0], result[0]):
                return "wrong"
            is_same = verify(reference, result, float_rounding=places, allow_set_relation_comp=True, timeout_seconds=0)
        except MemoryError:
            return "crash"
        except RecursionError:
            return "unparsable"
        return "correct" if is_same else "wrong"

    return judge


def _are_apart(left: Any, right: Any) -> bool:
    """Whether two expressions have far different values at two points; False for whatever has no values."""
    try:
        if left.is_Symbol or right.is_Symbol:
            return False
        names = sorted(left.free_symbols | right.free_symbols, key=str)
        for point in _POINTS:
            values = {name: point + place / 7 for place, name in enumerate(names)}
            here, there = (complex(side.evalf(20, subs=values)) for side in (left, right))
            if not abs(here - there) > FAR_APART * max(1e-9, abs(here), abs(there)):
                return False
    except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        return False
    return True


if __name__ == "__main__":
    main()
