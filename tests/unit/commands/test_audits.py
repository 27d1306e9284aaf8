"""Audits of files: what they count, what they list, and what they say of a file that is not of their form."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aha.commands.audits import audit_file
from aha.rewards.audits.code import CodeAudit, Disagreement
from aha.types import Verdict

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


def test_an_audit_of_answers_in_words(tmp_path: Path) -> None:
    figures, text = audit_file(write(tmp_path / "rows.jsonl", ANSWERS))
    lines = text.splitlines()
    assert lines[:4] == [
        "rows             4 (2 correct)",
        "false negatives  1",
        "false positives  1",
        "unparsable       0",
    ]
    assert lines[4] == f"verdicts / s     {figures['per_second']:.0f}"
    assert len(lines) == 7
    assert audit_file(tmp_path / "rows.jsonl", num_shown=0)[1].splitlines()[5:] == []


def test_an_audit_of_code_names_every_kind_of_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox is started as the user allows, with two workers."""
    sandboxes: list[dict[str, object]] = []

    class Opened(nullcontext[None]):
        isolation = SimpleNamespace(strength="full")

        def __init__(self, **given: object) -> None:
            super().__init__()
            sandboxes.append(given)

        def __enter__(self) -> Any:
            return self

    def miss(number: int, passes: bool) -> Disagreement:
        verdict = Verdict(score=0.0, reason="why", kind="timeout")
        return Disagreement(row=number, passes=passes, verdict=verdict, code="pass")

    found = CodeAudit(
        num_rows=25,
        kinds={"unparsable": 2, "timeout": 3, "crash": 4, "unsupported": 1},
        disagreements=(miss(2, True), miss(5, False), miss(7, False)),
        seconds=2.0,
    )
    monkeypatch.setattr("aha.commands.audits.Sandbox", Opened)
    monkeypatch.setattr("aha.commands.audits.audit_code", lambda rows, sandbox: found)
    path = write(tmp_path / "code.jsonl", [])
    figures, text = audit_file(path, is_code=True, weak_sandbox=True, packages=("numpy",), num_shown=2)
    assert sandboxes == [{"num_workers": 2, "allow_weak": True, "packages": ("numpy",)}]
    assert text.splitlines() == [
        "num rows         25",
        "false negatives  1",
        "false positives  2",
        "unparsable       2",
        "timeouts         3",
        "crashes          4",
        "unsupported      1",
        "per second       12.5",
        "isolation        full",
        "row 2: passes, judged timeout: why",
        "row 5: fails, judged timeout: why",
    ]
    assert [one["row"] for one in figures["disagreements"]] == [2, 5, 7]


def test_twenty_disagreements_are_shown_unless_more_are_asked_for(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"gold": "7", "answer": "8", "correct": True} for _ in range(21)]
    path = write(tmp_path / "rows.jsonl", rows)
    assert audit_file(path)[1].count("row ") == 20
    assert audit_file(path, num_shown=21)[1].count("row ") == 21


@pytest.mark.parametrize(("num_chars", "is_cut"), [(78, False), (79, True)])
def test_eighty_characters_of_an_answer_are_shown(num_chars: int, is_cut: bool, tmp_path: Path) -> None:
    """Its quotation marks are among them."""
    answer = "8" * num_chars
    path = write(tmp_path / "rows.jsonl", [{"gold": "7", "answer": answer, "correct": True}])
    shown = f"'{answer} ... for '7'" if is_cut else f"'{answer}' for '7'"
    assert audit_file(path)[1].endswith(shown)
