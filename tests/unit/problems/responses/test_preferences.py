"""Rankings and labels of a user's files: every form of row, and what a broken row is told."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aha.problems.responses.preferences import JudgedSet, read_labelled, read_ranked

USER = {"role": "user", "content": "2 + 2?"}
RIGHT = {"role": "assistant", "content": "It is 4."}
WRONG = {"role": "assistant", "content": "It is 5."}
HUMAN = "\n\nHuman: 2 + 2?\n\nAssistant: "


def read(
    rows: Sequence[Any], folder: Path, reader: Callable[..., JudgedSet] = read_ranked, **options: Any
) -> JudgedSet:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return reader([str(path)], **options)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 2?", "chosen": "It is 4.", "rejected": "It is 5."},
        {"question": "2 + 2?", "chosen": "It is 4.", "rejected": "It is 5."},
        {"prompt": [USER], "chosen": [RIGHT], "rejected": [WRONG]},
        {"prompt": "2 + 2?", "chosen": [USER, RIGHT], "rejected": [USER, WRONG], "score_chosen": 9.0},
        {"chosen": [USER, RIGHT], "rejected": [USER, WRONG]},
        {"chosen": f"{HUMAN}It is 4.", "rejected": f"{HUMAN}It is 5."},
        {"prompt": "2 + 2?", "responses": ["It is 4.", "It is 5."], "scores": [0.5, -1]},
        {"prompt": "2 + 2?", "responses": ["It is 4.", "It is 5."], "ranks": [1, 2]},
        {
            "instruction": "2 + 2?",
            "completions": [
                {"response": "It is 4.", "overall_score": 9.0, "model": "a"},
                {"response": "It is 5.", "overall_score": 2.5, "model": "b"},
            ],
        },
        {"prompt": HUMAN, "answers": [{"answer": "It is 4.", "rank": 1.0}, {"answer": "It is 5.", "rank": 2.0}]},
        {"prompt": "2 + 2?", "response_0": "It is 4.", "response_1": "It is 5.", "better_response_id": 0},
    ],
)
def test_a_row_of_each_form_is_the_same_ranking(row: dict[str, Any], tmp_path: Path) -> None:
    found = read([row], tmp_path)
    (one,) = found.items
    assert (one.question, one.responses) == ("2 + 2?", ("It is 4.", "It is 5."))
    assert one.qualities[0] > one.qualities[1]
    assert (found.places, found.says) == ([f"{tmp_path}/rows.jsonl:1"], f"1 rankings of {tmp_path}/rows.jsonl")


def test_of_several_turns_all_but_the_last_response_is_the_question(tmp_path: Path) -> None:
    before = "\n\nHuman: Hello\n\nAssistant: Hello!\n\nHuman: 2 + 2?\n\nAssistant: "
    (transcript,) = read([{"chosen": before + "4", "rejected": before + "5"}], tmp_path).items
    hello = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}, USER]
    row = {"chosen": [*hello, {**RIGHT, "content": "4"}], "rejected": [*hello, {**WRONG, "content": "5"}]}
    (messages,) = read([row], tmp_path).items
    assert transcript == messages
    assert transcript.question == "User: Hello\n\nAssistant: Hello!\n\nUser: 2 + 2?"


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        ({"prompt": "How?", "response": "No.", "is_safe": True}, (1.0,)),
        ({"prompt": "How?", "response": "No.", "is_safe": 0}, (0.0,)),
        ({"question": "How?", "response": "No.", "is_safe": "unsafe"}, (0.0,)),
        # A column that says the contrary has a name of its own.
        ({"prompt": "How?", "response": "No.", "is_unsafe": True}, (0.0,)),
        ({"prompt": "How?", "response": "No.", "is_unsafe": "0"}, (1.0,)),
        ({"prompt": [{"role": "user", "content": "How?"}], "completion": "No.", "label": 1.0}, (1.0,)),
        (
            {
                "prompt": "How?",
                "response_0": "No.",
                "response_1": "So.",
                "is_response_0_safe": True,
                "is_response_1_safe": False,
                "better_response_id": 1,
            },
            (1.0, 0.0),
        ),
    ],
)
def test_a_label_is_one_for_safe(row: dict[str, Any], labels: tuple[float, ...], tmp_path: Path) -> None:
    (one,) = read([row], tmp_path, read_labelled).items
    assert (one.question, one.responses[0], one.qualities) == ("How?", "No.", labels)


PAIR = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
LABELLED = {"prompt": "How?", "response": "No.", "is_safe": True}


@pytest.mark.parametrize(
    ("row", "reader", "reason"),
    [
        ({"prompt": "2 + 2?", "better": "4"}, read_ranked, "it has better, prompt: --preference-fields"),
        ({**PAIR, "rejected": "4"}, read_ranked, "the same or equally good"),
        ({**PAIR, "rejected": " "}, read_ranked, "the response is empty"),
        ({**PAIR, "rejected": 5}, read_ranked, "field 'rejected' is a number, not text"),
        ({"chosen": [USER, RIGHT], "rejected": [RIGHT]}, read_ranked, "differ before their last turn"),
        ({"chosen": [USER], "rejected": [USER]}, read_ranked, "is not the assistant's"),
        ({"prompt": "?", "responses": ["a", "b"], "scores": [1]}, read_ranked, "2 responses with 1 labels"),
        ({"prompt": "?", "responses": ["a", "b"], "scores": [1, 1]}, read_ranked, "the same or equally good"),
        ({"prompt": "?", "responses": ["a", "b"], "scores": [1, "x"]}, read_ranked, "'scores' holds 'x'"),
        ({"prompt": "?", "responses": "ab", "scores": [1, 2]}, read_ranked, "'responses' is no list of texts"),
        ({"instruction": "?", "completions": ["a"]}, read_ranked, "'completions' is no list of objects"),
        (
            {"prompt": "?", "responses": [str(number) for number in range(65)], "scores": list(range(65))},
            read_ranked,
            "65 responses; 64 are possible",
        ),
        (
            {"prompt": "?", "response_0": "a", "response_1": "b", "better_response_id": 2},
            read_ranked,
            "better_response_id is '2', neither 0 nor 1",
        ),
        ({**LABELLED, "is_safe": "perhaps"}, read_labelled, "is 'perhaps'; true or false, 1 or 0, safe or unsafe"),
        ({**LABELLED, "is_safe": None}, read_labelled, "is 'none'; true or false"),
        ({"prompt": "How?", "is_safe": True}, read_labelled, "no response"),
        ({"prompt": "How?", "response": "No."}, read_labelled, "it has prompt, response: --safety-fields"),
        ([1], read_labelled, "a JSON list, not an object"),
    ],
)
def test_a_broken_row_is_told_with_its_place(
    row: Any, reader: Callable[..., JudgedSet], reason: str, tmp_path: Path
) -> None:
    good = PAIR if reader is read_ranked else LABELLED
    with pytest.raises(ValueError, match=rf"(?s)rows\.jsonl:2: .*{reason}.*--bad-rows skip leaves them out"):
        read([good, row], tmp_path, reader)
    assert len(read([good, row], tmp_path, reader, on_bad="skip")) == 1


def test_a_mapping_names_the_columns(tmp_path: Path) -> None:
    row = {"ask": "2 + 2?", "good": "4", "bad": "5"}
    (one,) = read([row], tmp_path, mapping="question=ask,chosen=good,rejected=bad").items
    assert (one.question, one.responses) == ("2 + 2?", ("4", "5"))
    rated = {"ask": "How?", "said": "No.", "verdict": {"ok": False}}
    mapping = "question=ask,response=said,is_safe=verdict.ok"
    (other,) = read([rated], tmp_path, read_labelled, mapping=mapping).items
    assert (other.responses, other.qualities) == (("No.",), (0.0,))
