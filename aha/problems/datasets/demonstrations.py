"""Demonstrations from files: questions with the response that a model is to imitate.

| row | question | response |
|---|---|---|
| `question`, `response` | a text | a text |
| `prompt`, `completion` | a text, or messages | a text, or one message of the assistant |
| `messages` | the user's turn, after a system message if there is one | the assistant's turn, which is the last |

Source: DeepSeek-R1, arXiv:2501.12948v2, B.4.2: fine-tuning on demonstrations, one response to one question.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.problems.datasets.conversations import question_of
from aha.problems.datasets.fields import BadRow, Fields, text_field
from aha.problems.datasets.files import FileRow, data_files, read_rows
from aha.problems.datasets.formats import OWN
from aha.problems.datasets.sets import MAX_QUESTION_CHARS, Fault, OnBad, check_length, check_text
from aha.types import Demonstration

__all__ = ["DemonstrationSet", "read_demonstrations"]

NUM_NAMED = 50  # bad rows that an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationSet:
    """Demonstrations of some files.

    Attributes:
        demonstrations: in the order of the files.
        places: `file:line` of each.
        says: what was read, in words.
    """

    demonstrations: Sequence[Demonstration]
    places: Sequence[str]
    says: str

    def __len__(self) -> int:
        return len(self.demonstrations)


def read_demonstrations(paths: Sequence[Path], *, on_bad: OnBad = "stop") -> DemonstrationSet:
    """Reads demonstrations.

    Args:
        paths: JSON lines, a JSON list (either may be gzipped) or Parquet; of a folder, all such files in order.
        on_bad: whether a row that is no demonstration stops the reading, or is left out and counted.

    Raises:
        ValueError: a file cannot be read, rows are bad (each with its place), or no demonstration is left.
        RuntimeError: the extra that a file needs is not installed.
    """
    demonstrations: list[Demonstration] = []
    places: list[str] = []
    faults: list[Fault] = []
    for row in _rows(paths):
        try:
            demonstrations.append(_demonstration(row))
            places.append(row.place)
        except BadRow as error:
            faults.append(Fault(place=row.place, reason=str(error)))

    source = ", ".join(map(str, paths))
    if faults and (on_bad == "stop" or not demonstrations):
        raise ValueError(_complaint(source, faults, has_others=bool(demonstrations)))
    if not demonstrations:
        raise ValueError(f"{source} holds no rows")

    left_out = f" ({len(faults):,} bad rows left out)" if faults else ""
    says = f"{len(demonstrations):,} demonstrations of {source}{left_out}"
    return DemonstrationSet(demonstrations=demonstrations, places=places, says=says)


def _rows(paths: Sequence[Path]) -> Iterator[FileRow]:
    for path in paths:
        for file in data_files(path):
            yield from read_rows(file)


def _complaint(source: str, faults: Sequence[Fault], *, has_others: bool) -> str:
    """All bad rows with their places, and what helps."""
    lines = [f"{source}: rows that are no demonstrations: {len(faults):,}"]
    lines += map(str, faults[:NUM_NAMED])
    if len(faults) > NUM_NAMED:
        lines.append(f"and {len(faults) - NUM_NAMED:,} more")
    if has_others:
        lines.append("--bad-rows skip leaves them out")
    return "\n".join(lines)


def _demonstration(row: FileRow) -> Demonstration:
    """The demonstration of a row; a `BadRow` says why there is none."""
    if row.fault:
        raise BadRow(row.fault)

    question, response = _texts(row.fields)
    for name, text in (("question", question), ("response", response)):
        if not text.strip():
            raise BadRow(f"the {name} is empty")
        check_length(name, text, MAX_QUESTION_CHARS)
        check_text(text)

    # The id depends on the contents and not on the line: it stays when the file is sorted in another way.
    contents = hashlib.sha256(f"{question}\0{response}".encode()).hexdigest()[:12]
    name = row.path.name.split(".")[0]
    return Demonstration(
        problem_id=f"{name}/{contents}",
        question=question,
        response=response,
        domain=OWN,
        language="en",
        source=name,
    )


def _texts(fields: Fields) -> tuple[str, str]:
    """Question and response of a row."""
    if "question" in fields:
        return text_field(fields, "question"), text_field(fields, "response")
    if isinstance(fields.get("prompt"), str):
        return text_field(fields, "prompt"), _completion(fields)
    if "prompt" in fields:
        return question_of(fields), _completion(fields)
    if "messages" in fields:
        return question_of(fields), _last_turn(fields["messages"])
    columns = ", ".join(sorted(fields)) or "no fields"
    raise BadRow(f"it needs question and response, or prompt and completion, or messages; it has {columns}")


def _completion(fields: Fields) -> str:
    """The response of a row with a prompt: a text, or the only message of a list."""
    completion = fields.get("completion")
    if isinstance(completion, list) and len(completion) == 1:
        return _last_turn(completion)
    return text_field(fields, "completion")


def _last_turn(messages: Any) -> str:
    """The response of a conversation: its last message, which must be the assistant's."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        raise BadRow("the last message is not the assistant's")
    return text_field(last, "content")
