"""Audits of files: what they count, what they list, and what they say of a file that is not of their form."""

import json
import shutil
from pathlib import Path

import pytest

from aha.commands.audits import audit_file

ANSWERS = [
    {"gold": "42", "answer": "$42", "correct": True},
    {"gold": "42", "answer": "24", "correct": False},
    {"gold": "1/2", "answer": "0.5", "correct": False},
    {"gold": "7", "answer": "8", "correct": True},
]
EXAMPLES = Path(__file__).parents[3] / "examples"


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_answers_are_judged_and_disagreements_listed(tmp_path: Path) -> None:
    figures, text = audit_file(write(tmp_path / "rows.jsonl", ANSWERS))
    counted = {name: figures[name] for name in ("num_rows", "false_negatives", "false_positives", "unparsable")}
    assert counted == {"num_rows": 4, "false_negatives": 1, "false_positives": 1, "unparsable": 0}
    assert [one["row"] for one in figures["disagreements"]] == [3, 4]
    assert figures["per_second"] > 0
    assert "row 3: wrong, judged correct: '0.5' for '1/2'" in text
    assert "row 4: correct, judged wrong: '8' for '7'" in text


def test_only_so_many_disagreements_are_shown(tmp_path: Path) -> None:
    figures, text = audit_file(write(tmp_path / "rows.jsonl", ANSWERS), num_shown=1)
    assert "row 3" in text
    assert "row 4" not in text
    assert len(figures["disagreements"]) == 2


@pytest.mark.full
def test_the_example_of_answers_has_no_disagreement() -> None:
    assert audit_file(EXAMPLES / "answers.jsonl")[0]["disagreements"] == ()


@pytest.mark.full
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_the_example_of_code_has_no_disagreement() -> None:
    figures, _ = audit_file(EXAMPLES / "code.jsonl", is_code=True)
    assert (figures["num_rows"], figures["disagreements"], figures["isolation"]) == (4, [], "full")
    assert figures["unsupported"] == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"gold": "1", "answer": "1", "correct": true}\n{"gold": "1"', r"rows.jsonl:2: no JSON"),
        ('{"gold": "1", "answer": "1"}\n', "row 1.*correct"),
        ("", "no rows"),
        (None, "there is no such file"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str | None, complaint: str) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint) as error:
        audit_file(path)
    assert str(path) in str(error.value)
