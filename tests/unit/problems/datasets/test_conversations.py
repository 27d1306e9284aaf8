"""Rows whose question stands in messages, as files hold them."""

import json
from pathlib import Path

import pytest

from aha.problems.datasets.conversations import has_messages, question_of
from aha.problems.datasets.fields import BadRow
from aha.problems.datasets.sets import read_problems

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "How many? "}
REPLY = {"role": "assistant", "content": "Seven."}


def test_a_conversation_of_several_turns_is_named_by_its_place(tmp_path: Path) -> None:
    rows = [
        {"messages": [SYSTEM, USER, REPLY], "answer": "7"},
        {"messages": [USER, REPLY, {"role": "user", "content": "And now?"}], "answer": "8"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: a conversation of user, assistant, user; one turn"):
        read_problems(path)
    (problem,) = read_problems(path, on_bad="skip")
    assert (problem.question, problem.answer, problem.domain) == ("Be kind.\n\nHow many?", "7", "math")


def test_a_conversation_in_the_form_of_sharegpt_is_read(tmp_path: Path) -> None:
    turns = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "How many?"}]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"conversations": turns, "answer": "7"}) + "\n", encoding="utf-8")
    (problem,) = read_problems(path)
    assert (problem.question, problem.answer) == ("Be kind.\n\nHow many?", "7")


def test_messages_of_a_table_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"prompt": [SYSTEM, USER], "answer": 7}, {"prompt": [{"role": "user", "content": "Why?"}], "answer": 8}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = read_problems(tmp_path / "rows.parquet")
    assert [(one.question, one.answer) for one in found] == [("Be kind.\n\nHow many?", "7"), ("Why?", "8")]
    assert "compared as mathematics" in found.says


def test_the_conversation_is_the_column_that_holds_one() -> None:
    assert has_messages({"prompt": "words", "messages": [USER]})
    assert not has_messages({"prompt": "words"})
    assert question_of({"prompt": "words", "messages": [USER]}) == "How many?"
    assert question_of({"prompt": [USER], "messages": [SYSTEM, USER, REPLY]}) == "How many?"
    assert question_of({"question": "Why?", "messages": [USER]}) == "Why?"
    with pytest.raises(BadRow, match="field 'prompt' is no list of messages"):
        question_of({"prompt": "words"})
    with pytest.raises(BadRow, match="no field 'prompt'"):
        question_of({})
