"""Demonstrations from files: questions with the response that a model is to imitate.

| row | response |
|---|---|
| a question, and `response`, `completion` or `output` | a text, or a list of one message of the assistant |
| `messages` or `conversations` | the last turn, which is the assistant's |

[reading.py](reading.py) has where the question may stand. The thinking stands in the response, in `<think>` tags, or in
a field of its own.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.4.2: fine-tuning on demonstrations, one response to one question.
"""

from collections.abc import Sequence

from aha.problems.datasets.conversations import turns_of, with_thinking
from aha.problems.datasets.fields import BadRow, Fields, text_field
from aha.problems.datasets.formats import OWN
from aha.problems.datasets.mapping import parse_pairs
from aha.problems.datasets.sets import OnBad
from aha.problems.responses.reading import (
    RowSet,
    check_texts,
    columns_of,
    question_in,
    read_row_set,
    row_id,
)
from aha.types import Demonstration

__all__ = ["DemonstrationSet", "read_demonstrations", "response_in"]

DemonstrationSet = RowSet[Demonstration]

_RESPONSES = ("response", "completion", "output")
_QUESTIONS = ("question", "problem", "prompt", "instruction")
_CONVERSATIONS = ("messages", "conversations", "conversation")


def read_demonstrations(addresses: Sequence[str], *, mapping: str = "", on_bad: OnBad = "stop") -> DemonstrationSet:
    """Reads demonstrations.

    Args:
        addresses: JSON lines, JSON lists (either may be gzipped) or Parquet; of a folder, all such files in order; or
            files of the hub.
        mapping: which columns hold what, as in `question=problem,response=solution,reasoning=trace`.
        on_bad: whether a row that is no demonstration stops the reading, or is left out and counted.

    Raises:
        ValueError: the mapping cannot be read, a file cannot be read, rows are bad (each with its place), or no
            demonstration is left.
        RuntimeError: the extra that a file needs is not installed.
    """
    columns = parse_pairs(mapping, ("question", "response", "reasoning", "system", "messages"))
    return read_row_set(addresses, _demonstration, noun="demonstrations", columns=columns, on_bad=on_bad)


def _demonstration(fields: Fields, name: str) -> Demonstration:
    """The demonstration of a row; a `BadRow` says why there is none."""
    if not _has_both(fields):
        raise BadRow(
            "it needs a question (question, prompt, or instruction) and a response (response, completion, or output), "
            f"or messages; it has {columns_of(fields)}: --demonstration-fields says which columns hold them"
        )

    question = question_in(fields)
    response = response_in(fields)
    check_texts(question=question, response=response)

    return Demonstration(
        problem_id=row_id(name, question, response),
        question=question,
        response=response,
        domain=OWN,
        language="en",
        source=name,
    )


def _has_both(fields: Fields) -> bool:
    """Whether a row has a question and a response, as far as its columns tell."""
    has_question = any(name in fields for name in _QUESTIONS)
    has_response = any(name in fields for name in _RESPONSES)
    return (has_question and has_response) or any(name in fields for name in _CONVERSATIONS)


def response_in(fields: Fields) -> str:
    """The response of a row, with its thinking.

    Raises:
        BadRow: there is none.
    """
    for name in _RESPONSES:
        if name not in fields:
            continue
        value = fields[name]
        # TRL writes a completion as a list of one message.
        if isinstance(value, list) and len(value) == 1:
            return _last_turn(value, name)
        return with_thinking(fields, text_field(fields, name))

    for name in _CONVERSATIONS:
        if name in fields:
            return _last_turn(fields[name], name)
    raise BadRow("no response")


def _last_turn(messages: object, name: str) -> str:
    """The response of a conversation: its last message, which must be the assistant's."""
    turns = turns_of(messages, name)
    if not turns or turns[-1].role != "assistant":
        raise BadRow("the last message is not the assistant's")
    return turns[-1].text
