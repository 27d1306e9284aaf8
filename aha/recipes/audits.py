"""Audits of verifiers: rows whose truth is known, judged as training would judge them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aha.problems.files import read_rows
from aha.rewards.audit import audit
from aha.rewards.code_audit import audit_code
from aha.rewards.sandbox import Sandbox
from aha.rewards.verifier import MathVerifier

__all__ = ["audit_file"]

NUM_WORKERS = 2
_SHOWN_CHARS = 80


def audit_file(
    path: Path,
    *,
    is_code: bool = False,
    weak_sandbox: bool = False,
    packages: Sequence[str] = (),
    num_shown: int = 20,
) -> tuple[dict[str, Any], str]:
    """Audit the verifier of mathematics, or the sandbox, on a file of labelled rows.

    Args:
        path: JSON lines: `gold`, `answer`, `correct`; or `code`, `tests`, `passes`.
        is_code: whether the rows are code.
        weak_sandbox: run code also where it cannot be isolated well.
        packages: installed packages that the code may import.
        num_shown: disagreements that are listed.

    Returns:
        The figures for programs, and for people.

    Raises:
        ValueError: the file cannot be read, or a row lacks something; says which. Or a package is not installed.
        RuntimeError: the rows are code, and nothing here isolates it, or the packages cannot be imported.
    """
    rows = _rows(path)
    with ExitStack() as stack:
        sandbox = None
        if is_code:
            sandbox = Sandbox(num_workers=NUM_WORKERS, allow_weak=weak_sandbox, packages=packages)
            stack.enter_context(sandbox)
        try:
            return _of_code(rows, sandbox, num_shown) if sandbox else _of_answers(rows, num_shown)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _rows(path: Path) -> Iterator[Mapping[str, object]]:
    """The rows of a file, all of which have to be readable."""
    if not path.exists():
        raise ValueError("there is no such file")
    for row in read_rows(path):
        if row.fault:
            raise ValueError(f"{row.place}: {row.fault}")
        yield row.fields


def _of_answers(rows: Iterator[Mapping[str, object]], num_shown: int) -> tuple[dict[str, Any], str]:
    found = audit(rows, MathVerifier())
    lines = [
        f"rows             {found.num_rows} ({found.num_correct} correct)",
        f"false negatives  {found.false_negatives}",
        f"false positives  {found.false_positives}",
        f"unparsable       {found.unparsable}",
        f"verdicts / s     {found.per_second:.0f}",
    ]
    for one in found.disagreements[:num_shown]:
        truth = "correct" if one.correct else "wrong"
        lines.append(f"row {one.row}: {truth}, judged {one.kind}: {_short(one.answer)} for {_short(one.gold)}")
    return asdict(found), "\n".join(lines)


def _of_code(rows: Iterator[Mapping[str, object]], sandbox: Sandbox, num_shown: int) -> tuple[dict[str, Any], str]:
    found = audit_code(rows, sandbox)
    strength = sandbox.isolation.strength
    figures = {
        "num_rows": found.num_rows,
        "false_negatives": found.num_false_negatives,
        "false_positives": found.num_false_positives,
        "unparsable": found.kinds.get("unparsable", 0),
        "timeouts": found.num_timeouts,
        "crashes": found.num_crashes,
        "unsupported": found.num_unsupported,
        "per_second": found.executions_per_second,
        "isolation": strength,
        "disagreements": [asdict(one) for one in found.disagreements],
    }
    lines = [f"{name.replace('_', ' '):16} {value}" for name, value in figures.items() if name != "disagreements"]
    for one in found.disagreements[:num_shown]:
        truth = "passes" if one.passes else "fails"
        lines.append(f"row {one.row}: {truth}, judged {one.verdict.kind}: {one.verdict.reason}")
    return figures, "\n".join(lines)


def _short(text: str) -> str:
    """The beginning of a text, in one line."""
    flat = repr(text)
    return flat if len(flat) <= _SHOWN_CHARS else f"{flat[:_SHOWN_CHARS]} ..."
