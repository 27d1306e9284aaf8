"""The results of programs and tests in the sandbox, read from reports that untrusted code may have written."""

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aha.rewards.sandbox.guest_process import Ending

__all__ = [
    "Examination",
    "Execution",
    "decode_text",
    "examination_end",
    "first_fault",
    "read_execution",
    "read_report",
]

Status = Literal["ended", "unparsable", "timeout", "overflow", "memory", "failed"]
Kind = Literal["done", "unparsable", "raised", "gone", "timeout", "memory", "overflow", "unsupported", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One run of a program.

    Attributes:
        status: `ended` (by itself), `unparsable` (it never started, `errors` says why), `timeout`, `overflow` (of
            output), `memory` (killed for it), or `failed` (the sandbox itself failed).
        exit_code: as a shell reports it, 128 and the number for a signal; None where it was killed.
        output: standard output, cut at the limit.
        errors: standard error, cut.
        seconds: wall-clock time, start of the interpreter included.
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
            `gone` (it ended during a test), `timeout`, `memory`, `overflow` (a result is too large), `unsupported`
            (no test failed, and one cannot be judged) or `failed` (the sandbox itself failed).
        reason: why the first test of that kind did not pass, in a few words; empty where all passed.
        seconds: wall-clock time.
    """

    passed: tuple[bool, ...]
    kind: Kind
    reason: str
    seconds: float


def read_report(data: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a report, one for each complete line, up to the first line that is none."""
    # What follows the last line end is a line that was cut off, or nothing.
    messages = []
    for line in data.split(b"\n")[:-1]:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(message, dict):
            break
        messages.append(message)

    return messages


def decode_text(data: bytes) -> str:
    """Bytes of untrusted output as text; bytes that are no UTF-8 are replaced."""
    return data.decode(errors="replace")


def read_execution(line: dict[str, Any], output_bytes: int) -> Execution:
    """One run, from a line of the harness's report.

    The code under test could write such a line too, so its types are checked.
    """
    output = line.get("output", "")
    errors = line.get("errors", "")
    code = line.get("status")

    if "unparsable" in line:
        return Execution(status="unparsable", exit_code=None, output="", errors=str(line["unparsable"]), seconds=0.0)
    if not (isinstance(output, str) and isinstance(errors, str) and isinstance(code, int | None)):
        return Execution(status="failed", exit_code=None, output="", errors="forged report", seconds=0.0)

    status: Status = "timeout" if line.get("is_late") else "ended"
    if len(output.encode(errors="replace")) > output_bytes:
        status = "overflow"

    # A negative status is the number of a signal.
    if code is not None and code < 0:
        code = 128 - code
    seconds = line.get("seconds")
    return Execution(
        status=status,
        exit_code=code if status == "ended" else None,
        output=output[:output_bytes],
        errors=errors,
        seconds=float(seconds) if isinstance(seconds, float) else 0.0,
    )


def examination_end(
    lines: Sequence[dict[str, Any]], tests_ending: Ending, code_ending: Ending, exit_code: int
) -> tuple[Kind, str]:
    """How an examination ended, and the reason where it is not that of a test.

    Args:
        lines: the report of the tests.
        tests_ending: how the process of the tests ended.
        code_ending: how the process of the code ended.
        exit_code: exit code of the process of the code.
    """
    ends = [line for line in lines if "end" in line]
    if tests_ending == "failed" or code_ending == "failed":
        return "failed", ""

    if not ends and tests_ending == "timeout":
        return "timeout", "it takes too long"
    if not ends and tests_ending == "memory":
        return "failed", "the tests take too much memory"
    if not ends:
        return "failed", "the tests ended early"

    kind = str(ends[0]["end"])
    reason = str(ends[0].get("reason", ""))

    # To the tests a program that was killed is only gone; why it was killed, its own process knows.
    if kind == "gone" and code_ending == "memory":
        return "memory", "it takes too much memory"
    if kind == "gone" and exit_code == 128 + signal.SIGXCPU:
        return "timeout", "it takes too much processor time"
    if kind == "gone":
        return "gone", "it ended during a test"
    if kind == "forged":
        return "gone", "it wrote what is no reply"
    if kind == "overflow":
        return "overflow", "it returned too much"

    kinds: dict[str, Kind] = {"done": "done", "unparsable": "unparsable", "raised": "raised", "memory": "memory"}
    return kinds.get(kind, "failed"), reason


def first_fault(lines: Sequence[dict[str, Any]], kind: Kind, reason: str) -> tuple[Kind, str]:
    """How an examination ended, with the outcomes of its tests taken into account.

    A wrong result decides, even if other tests cannot be judged.

    Args:
        lines: the report of the tests.
        kind: how the examination ended, without the outcomes.
        reason: its reason, without the outcomes.
    """
    # Of several tests with the same outcome, the first one gives the reason.
    reasons: dict[str, str] = {}
    for line in lines:
        outcome = line.get("test", "passed")
        if outcome != "passed":
            reasons.setdefault(str(outcome), str(line["reason"]))

    meanings: dict[str, Kind] = {"memory": "memory", "failed": "done", "unsupported": "unsupported"}
    for outcome, meaning in meanings.items():
        if outcome in reasons:
            return (meaning if kind == "done" else kind), reasons[outcome]

    return kind, reason
