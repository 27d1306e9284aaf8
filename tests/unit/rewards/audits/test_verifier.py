"""The audit: counts, disagreements, rows that are refused."""

import pytest

from aha.rewards.audits.verifier import audit
from aha.rewards.verifier import MathVerifier


@pytest.fixture(scope="module")
def verifier() -> MathVerifier:
    return MathVerifier()


def row(gold: str, answer: str, correct: bool) -> dict[str, object]:
    return {"gold": gold, "answer": answer, "correct": correct, "source": "not looked at"}


def test_counts_and_disagreements(verifier: MathVerifier) -> None:
    found = audit(
        [
            row("5", "5.0", True),
            row("5", "6", False),
            row("5", "1 2", True),
            row("5", "5", False),
            row(r"\sqrt{8}", r"2\sqrt{2}", True),
        ],
        verifier,
    )
    assert (found.num_rows, found.num_correct) == (5, 3)
    assert (found.false_negatives, found.false_positives, found.unparsable) == (1, 1, 1)
    assert [(item.row, item.kind, item.correct) for item in found.disagreements] == [
        (3, "unparsable", True),
        (4, "correct", False),
    ]
    assert found.per_second > 0


def test_a_second_audit_counts_its_own_rows(verifier: MathVerifier) -> None:
    found = audit([row("5", "5", True)], verifier)
    assert (found.num_rows, found.false_negatives) == (1, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"gold": "5", "answer": "5"}, "row 2 has no field correct"),
        ({"gold": 5, "answer": "5", "correct": True}, "row 2, field gold: 5 is not a text"),
        ({"gold": "5", "answer": None, "correct": True}, "row 2, field answer: None"),
        ({"gold": "5", "answer": "5", "correct": 1}, "row 2, field correct: 1 is not true or false"),
        (row("", "5", True), "row 2, field gold: .*empty"),
    ],
)
def test_bad_rows_are_named(bad: dict[str, object], message: str, verifier: MathVerifier) -> None:
    with pytest.raises(ValueError, match=message):
        audit([row("5", "5", True), bad], verifier)


def test_no_rows_are_refused(verifier: MathVerifier) -> None:
    with pytest.raises(ValueError, match="no rows"):
        audit([], verifier)
