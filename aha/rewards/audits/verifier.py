"""An audit of the math verifier: it judges labelled answers, and reports errors, their kinds, and the speed."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aha.rewards.verifier import MathVerifier

__all__ = ["Audit", "Disagreement", "audit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A row on which the verifier and the label differ.

    Attributes:
        row: number of the row, from 1.
        gold: its reference.
        answer: its answer.
        correct: the label.
        kind: the kind of the verdict.
        reason: the reason of the verdict.
    """

    row: int
    gold: str
    answer: str
    correct: bool
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The result of an audit.

    Attributes:
        num_rows: number of rows.
        num_correct: rows that are correct by their label.
        false_negatives: correct rows that were not judged correct, whatever the reason.
        false_positives: wrong rows that were judged correct.
        unparsable: answers that cannot be read.
        per_second: verdicts per second.
        disagreements: the false negatives and false positives, in order.
    """

    num_rows: int
    num_correct: int
    false_negatives: int
    false_positives: int
    unparsable: int
    per_second: float
    disagreements: tuple[Disagreement, ...]


def audit(rows: Iterable[Mapping[str, object]], verifier: MathVerifier) -> Audit:
    """Judges labelled answers.

    Args:
        rows: each with `gold` and `answer`, texts, and `correct`, true or false; other fields are ignored.
        verifier: judges them; equal rows are compared once.

    Returns:
        The number of errors of each kind, the speed, and every row on which verifier and label differ.

    Raises:
        ValueError: there are no rows, or a row lacks a field, has one of another type, or has a reference that cannot
            be read; the message names row and field.
    """
    labelled = [_row(number, row) for number, row in enumerate(rows, 1)]
    if not labelled:
        raise ValueError("there are no rows to audit; each needs the fields gold, answer and correct")

    # All references that cannot be read are named at once: a data set is mended once, not row after row.
    golds = [(f"row {number}, field gold", gold) for number, (gold, _, _) in enumerate(labelled, 1)]
    verifier.check_named_gold(golds)

    start_seconds = time.perf_counter()
    verdicts = verifier.compare_all([(gold, answer) for gold, answer, _ in labelled])
    seconds = time.perf_counter() - start_seconds

    disagreements = []
    for number, ((gold, answer, correct), verdict) in enumerate(zip(labelled, verdicts, strict=True), 1):
        # A right answer that cannot be read, or on which the verifier fails, is an error of it too.
        is_accepted = verdict.kind == "correct"
        if correct != is_accepted:
            disagreement = Disagreement(
                row=number, gold=gold, answer=answer, correct=correct, kind=verdict.kind, reason=verdict.reason
            )
            disagreements.append(disagreement)

    return Audit(
        num_rows=len(labelled),
        num_correct=sum(correct for *_, correct in labelled),
        false_negatives=sum(item.correct for item in disagreements),
        false_positives=sum(not item.correct for item in disagreements),
        unparsable=sum(verdict.kind == "unparsable" for verdict in verdicts),
        per_second=len(labelled) / seconds,
        disagreements=tuple(disagreements),
    )


def _row(number: int, row: Mapping[str, object]) -> tuple[str, str, bool]:
    """The fields `gold`, `answer` and `correct` of a row.

    Raises:
        ValueError: a field is missing or has another type.
    """
    match row.get("gold"), row.get("answer"), row.get("correct"):
        case str(gold), str(answer), bool(correct):
            return gold, answer, correct

    types = {"gold": str, "answer": str, "correct": bool}
    # The row is not as it should be; what follows only finds out why.
    for name, kind in types.items():
        if name not in row:
            raise ValueError(f"row {number} has no field {name}; each row needs gold, answer and correct")
        if not isinstance(row[name], kind):
            allowed = "true or false" if kind is bool else "a text in quotes"
            raise ValueError(f"row {number}, field {name}: {row[name]!r:.80} is not {allowed}")

    raise AssertionError("a field was neither right nor wrong")
