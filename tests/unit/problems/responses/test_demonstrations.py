"""Demonstrations of a user's files: every form of row, and what a broken row is told."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aha.problems.responses.demonstrations import read_demonstrations

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
        {"prompt": [USER], "response": "It is 4."},
        {"problem": "2 + 2?", "response": "It is 4."},
        {"instruction": "2 + 2?", "input": "", "output": "It is 4.", "text": "all of it"},
        {"instruction": "2 + 2?", "context": "", "response": "It is 4.", "category": "closed_qa"},
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "It is 4."}]},
        {"problem": "2 + 2?", "solution": "4", "messages": [USER, REPLY], "generations": ["a", "b"]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]}, REPLY]},
    ],
)
def test_a_row_of_each_form_is_the_same_demonstration(row: dict[str, Any], tmp_path: Path) -> None:
    read = read_demonstrations([str(written(tmp_path, [row]))])
    (one,) = read.items
    assert (one.question, one.response, one.source) == ("2 + 2?", "It is 4.", "rows")
    assert read.places == [f"{tmp_path / 'rows.jsonl'}:1"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "2 + 2?", "answer": "4"}, "a response .*; it has answer, question: --demonstration-fields"),
        ({"question": "2 + 2?", "response": "  "}, "the response is empty"),
        ({"question": "2 + 2?", "response": 4}, "field 'response' is a number, not text"),
        ({"question": "2 + 2?", "response": "\ud800"}, r"half a character"),
        ({"question": "q" * 200_001, "response": "r"}, "the question has 200,001 characters"),
        ({"messages": [USER]}, "the last message is not the assistant's"),
        ({"messages": "hello"}, "no list of messages"),
        ({"messages": [USER, REPLY, USER, REPLY]}, "a conversation of user, assistant, user, assistant"),
        ({"prompt": "2 + 2?", "completion": [REPLY, REPLY]}, "field 'completion' is a list, not text"),
        ({"instruction": "Add.", "input": 4, "output": "4"}, "field 'input' is a number, not text"),
        ({"conversations": [{"from": "alien", "value": "?"}]}, "a message of 'alien': only system, user and assistant"),
        ({"text": "2 + 2 is 4"}, "it needs a question .*; it has text: --demonstration-fields"),
        ([1], "a JSON list, not an object"),
    ],
)
def test_a_broken_row_is_told_with_its_place(row: Any, reason: str, tmp_path: Path) -> None:
    good = {"question": "2 + 2?", "response": "4"}
    path = written(tmp_path, [good, row, good, row])
    with pytest.raises(
        ValueError, match=rf"(?s)rows that are no demonstrations: 2.*rows\.jsonl:2 and 1 more: .*{reason}"
    ):
        read_demonstrations([str(path)])

    # A fault of another kind has a line of its own.
    path = written(tmp_path, [good, row, {"question": "2 + 2?", "response": "x" * 200_001}])
    with pytest.raises(ValueError, match=r"(?s)rows\.jsonl:2: .*rows\.jsonl:3: the response has 200,001 characters"):
        read_demonstrations([str(path)])
    path = written(tmp_path, [good, row, good, row])

    read = read_demonstrations([str(path)], on_bad="skip")
    assert (len(read), read.says) == (2, f"2 demonstrations of {path} (2 bad rows left out)")


def test_a_file_without_a_demonstration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no rows"):
        read_demonstrations([str(written(tmp_path, []))])
    with pytest.raises(ValueError, match="rows that are no demonstrations: 1"):
        read_demonstrations([str(written(tmp_path, [{"text": "4"}]))], on_bad="skip")


THOUGHT = "<think>\nTwo and two.\n</think>\n\nIt is 4."


@pytest.mark.parametrize(
    "row",
    [
        {"question": "2 + 2?", "response": THOUGHT},
        {"question": "2 + 2?", "response": "It is 4.", "reasoning": "Two and two."},
        {"question": "2 + 2?", "response": THOUGHT, "reasoning": "said already"},
        {"messages": [USER, {**REPLY, "reasoning_content": " Two and two. "}]},
        {"prompt": "2 + 2?", "completion": [{**REPLY, "thinking": "Two and two."}]},
    ],
)
def test_thinking_stands_in_tags_before_the_reply(row: dict[str, Any], tmp_path: Path) -> None:
    (one,) = read_demonstrations([str(written(tmp_path, [row]))]).items
    assert one.response == THOUGHT


def test_marks_of_openthoughts_become_tags_and_its_system_text_stands_first(tmp_path: Path) -> None:
    said = "<|begin_of_thought|>\nTwo and two.\n<|end_of_thought|>\n\n<|begin_of_solution|>It is 4.<|end_of_solution|>"
    turns = [{"from": "user", "value": "2 + 2?"}, {"from": "assistant", "value": said}]
    (one,) = read_demonstrations([str(written(tmp_path, [{"system": "Think.", "conversations": turns}]))]).items
    assert (one.question, one.response) == ("Think.\n\n2 + 2?", THOUGHT)


def test_what_an_instruction_is_about_stands_below_it(tmp_path: Path) -> None:
    row = {"instruction": "Add.", "input": "2 and 2", "output": "4"}
    (one,) = read_demonstrations([str(written(tmp_path, [row]))]).items
    assert one.question == "Add.\n\n2 and 2"


def test_a_mapping_names_the_columns(tmp_path: Path) -> None:
    row = {"Ask": "2 + 2?", "out": {"said": "It is 4.", "thought": "Two and two."}, "response": "another text"}
    path = str(written(tmp_path, [row]))
    mapping = "question=ask,response=out.said,reasoning=out.thought"
    (one,) = read_demonstrations([path], mapping=mapping).items
    assert (one.question, one.response) == ("2 + 2?", THOUGHT)
    with pytest.raises(
        ValueError, match=r"mapping 'answer=out': write FIELD=COLUMN, with a field of question, response"
    ):
        read_demonstrations([path], mapping="answer=out")
    with pytest.raises(ValueError, match="the field 'question' is given twice"):
        read_demonstrations([path], mapping="question=a,question=b")
    with pytest.raises(ValueError, match=r"none of the mapped columns x, y; it has ask, out, response"):
        read_demonstrations([path], mapping="question=x,response=y")


def test_what_makes_problems_has_no_responses() -> None:
    with pytest.raises(ValueError, match="'gym:countdown' makes problems, and has no files with responses"):
        read_demonstrations(["gym:countdown"])
