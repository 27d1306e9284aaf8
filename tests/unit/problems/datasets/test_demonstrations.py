"""Demonstrations of a user's files: every form of row, and what a broken row is told."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aha.problems.datasets.demonstrations import read_demonstrations

USER = {"role": "user", "content": "2 + 2?"}
REPLY = {"role": "assistant", "content": "It is 4."}


def written(folder: Path, rows: Sequence[Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"question": "2 + 2?", "response": "It is 4.", "answer": "4"},
        {"prompt": "2 + 2?", "completion": "It is 4."},
        {"prompt": [USER], "completion": [REPLY]},
        {"messages": [USER, REPLY]},
    ],
)
def test_a_row_of_each_form_is_the_same_demonstration(row: dict[str, Any], tmp_path: Path) -> None:
    read = read_demonstrations([written(tmp_path, [row])])
    (one,) = read.demonstrations
    assert (one.question, one.response, one.source) == ("2 + 2?", "It is 4.", "rows")
    assert read.places == [f"{tmp_path / 'rows.jsonl'}:1"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "2 + 2?", "answer": "4"}, "no field 'response'"),
        ({"question": "2 + 2?", "response": "  "}, "the response is empty"),
        ({"question": "2 + 2?", "response": 4}, "field 'response' is a number, not text"),
        ({"question": "2 + 2?", "response": "\ud800"}, r"half a character"),
        ({"question": "q" * 200_001, "response": "r"}, "the question has 200,001 characters"),
        ({"messages": [USER]}, "the last message is not the assistant's"),
        ({"messages": "hello"}, "no list of messages"),
        ({"messages": [USER, REPLY, USER, REPLY]}, "a conversation of user, assistant, user, assistant"),
        ({"prompt": "2 + 2?", "completion": [REPLY, REPLY]}, "field 'completion' is a list, not text"),
        ({"text": "2 + 2 is 4"}, "it needs question and response, .*; it has text"),
        ([1], "a JSON list, not an object"),
    ],
)
def test_a_broken_row_is_told_with_its_place(row: Any, reason: str, tmp_path: Path) -> None:
    good = {"question": "2 + 2?", "response": "4"}
    path = written(tmp_path, [good, row, good, row])
    with pytest.raises(
        ValueError, match=rf"(?s)rows that are no demonstrations: 2.*rows\.jsonl:2: .*{reason}"
    ) as error:
        read_demonstrations([path])
    assert "rows.jsonl:4: " in str(error.value)

    read = read_demonstrations([path], on_bad="skip")
    assert (len(read), read.says) == (2, f"2 demonstrations of {path} (2 bad rows left out)")


def test_a_file_without_a_demonstration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no rows"):
        read_demonstrations([written(tmp_path, [])])
    with pytest.raises(ValueError, match="rows that are no demonstrations: 1"):
        read_demonstrations([written(tmp_path, [{"text": "4"}])], on_bad="skip")
