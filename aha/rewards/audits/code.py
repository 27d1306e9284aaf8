"""An audit of the code reward: it judges labelled programs and lists every disagreement with a label."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aha.rewards.code import CodeReward
from aha.rewards.sandbox.sandbox import Sandbox
from aha.types import Problem, Verdict, VerdictKind

__all__ = ["CodeAudit", "Disagreement", "audit_code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A row on which the reward and the label differ.

    Attributes:
        row: its number, from 1 on.
        passes: the label.
        verdict: what the reward says.
        code: the program.
    """

    row: int
    passes: bool
    verdict: Verdict
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeAudit:
    """The result of an audit.

    Attributes:
        num_rows: number of programs.
        kinds: number of verdicts of each kind.
        disagreements: the rows on which reward and label differ, in order.
        seconds: wall-clock time.
    """

    num_rows: int
    kinds: Mapping[VerdictKind, int]
    disagreements: tuple[Disagreement, ...]
    seconds: float

    @property
    def num_agreements(self) -> int:
        """Rows on which reward and label agree."""
        return self.num_rows - len(self.disagreements)

    @property
    def num_false_negatives(self) -> int:
        """Programs that pass by their label, and not by the reward."""
        return sum(disagreement.passes for disagreement in self.disagreements)

    @property
    def num_false_positives(self) -> int:
        """Programs that pass by the reward, and not by their label."""
        return len(self.disagreements) - self.num_false_negatives

    @property
    def num_timeouts(self) -> int:
        """Programs that took too long."""
        return self.kinds.get("timeout", 0)

    @property
    def num_crashes(self) -> int:
        """Programs on which the verifier failed, or memory ran out."""
        return self.kinds.get("crash", 0)

    @property
    def num_unsupported(self) -> int:
        """Programs that cannot be judged, because of the form of a test or the type of a result."""
        return self.kinds.get("unsupported", 0)

    @property
    def executions_per_second(self) -> float:
        """Programs judged in a second of wall-clock time."""
        return self.num_rows / self.seconds if self.seconds else 0.0


def audit_code(rows: Iterable[Mapping[str, object]], sandbox: Sandbox) -> CodeAudit:
    """Judges labelled programs.

    Args:
        rows: each with `code` (the program), `tests` (a Python test or a list of them, or a list of objects with
            `stdin` and `stdout`), `passes` (whether it passes them), and if need be `entry_point` and `starter`, as in
            `aha.rewards.code`.
        sandbox: runs the programs, as many at a time as it has workers.

    Raises:
        ValueError: there are no rows, or one is not of this form; it names the row and the field.
    """
    programs = [_read(number, row) for number, row in enumerate(rows, 1)]
    if not programs:
        raise ValueError("no rows to audit; each needs code, tests and passes")

    # All at once, as in training: the speed that is reported is that of all workers.
    start = time.monotonic()
    pairs = [(problem, code) for problem, code, _ in programs]
    verdicts = CodeReward(sandbox).judge_codes(pairs)
    seconds = time.monotonic() - start

    disagreements = []
    for number, ((_, code, passes), verdict) in enumerate(zip(programs, verdicts, strict=True), 1):
        # Only `correct` is a pass: a timeout, a crash or an unsupported test earns nothing in training either.
        if passes != (verdict.kind == "correct"):
            disagreements.append(Disagreement(row=number, passes=passes, verdict=verdict, code=code))

    return CodeAudit(
        num_rows=len(programs),
        kinds=Counter(verdict.kind for verdict in verdicts if verdict.kind),
        disagreements=tuple(disagreements),
        seconds=seconds,
    )


def _read(number: int, row: Mapping[str, object]) -> tuple[Problem, str, bool]:
    """Reads a row as problem, program and label.

    Raises:
        ValueError: a field is missing or has the wrong form.
    """
    passes = row.get("passes")
    if not isinstance(passes, bool):
        raise ValueError(f"row {number}: field 'passes' is {_shown(row, 'passes')}; it must be true or false")

    code = _text(number, row, "code")
    entry_point = _text(number, row, "entry_point")
    starter = _text(number, row, "starter")
    if entry_point and not entry_point.removeprefix("Solution().").isidentifier():
        raise ValueError(
            f"row {number}: field 'entry_point' is {_shown(row, 'entry_point')}; it must be a Python name, or "
            "`Solution().NAME`"
        )

    # Data sets such as MBPP have several tests for a program, HumanEval has one.
    tests = row.get("tests")
    if isinstance(tests, str):
        tests = [tests]
    if not (isinstance(tests, list) and tests and (_are_sources(tests) or _are_inputs(tests))):
        raise ValueError(
            f"row {number}: field 'tests' is {_shown(row, 'tests')}; it must be the text of a Python test, a list of "
            "them, or a list of objects with the texts `stdin` and `stdout`"
        )

    problem = Problem(
        id=f"row {number}",
        question="",
        answer=entry_point,
        domain="code" if _are_sources(tests) else "stdio",
        tests=tuple(test if isinstance(test, str) else json.dumps(test) for test in tests),
        starter=starter,
    )
    return problem, code, passes


def _text(number: int, row: Mapping[str, object], name: str) -> str:
    text = row.get(name, None if name == "code" else "")
    if not isinstance(text, str):
        raise ValueError(f"row {number}: field {name!r} is {_shown(row, name)}; it must be a text")
    return text


def _are_sources(tests: list[object]) -> bool:
    return all(isinstance(test, str) for test in tests)


def _are_inputs(tests: list[object]) -> bool:
    for test in tests:
        if not (isinstance(test, dict) and isinstance(test.get("stdin"), str) and isinstance(test.get("stdout"), str)):
            return False
    return True


def _shown(row: Mapping[str, object], name: str) -> str:
    return repr(row[name])[:60] if name in row else "missing"
