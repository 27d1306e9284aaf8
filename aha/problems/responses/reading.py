"""What all rows with responses have in common: how files become rows, and where the question of a row stands.

| the question is in | as in |
|---|---|
| `question` or `problem` | a text |
| `prompt` | a text, or messages |
| `instruction`, with `input` or `context` below it | Alpaca and Dolly |
| `messages` or `conversations` | OpenAI's interface, ShareGPT |

A text in `system` stands before the question, unless a conversation has a system message of its own.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aha.problems.datasets.conversations import question_of
from aha.problems.datasets.fields import BadRow, Fields, find, text_field
from aha.problems.datasets.files import FileRow, read_rows
from aha.problems.datasets.sets import MAX_QUESTION_CHARS, Fault, OnBad, check_length, check_text
from aha.problems.datasets.sources import files_at

__all__ = ["RowSet", "check_texts", "columns_of", "question_in", "read_row_set", "row_id"]

NUM_NAMED = 50  # bad rows that an error names

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSet(Generic[ItemT]):
    """What was read from the rows of some files.

    Attributes:
        items: one for each row, in the order of the files.
        places: `file:line` of each.
        says: what was read, in words.
    """

    items: Sequence[ItemT]
    places: Sequence[str]
    says: str

    def __len__(self) -> int:
        return len(self.items)

    def only(self, indices: Sequence[int]) -> "RowSet[ItemT]":
        """The rows with these numbers."""
        items = [self.items[index] for index in indices]
        return RowSet(items=items, places=[self.places[index] for index in indices], says=self.says)


def read_row_set(
    addresses: Sequence[str],
    build: Callable[[Fields, str], ItemT],
    *,
    noun: str,
    columns: Mapping[str, str],
    on_bad: OnBad,
) -> RowSet[ItemT]:
    """Reads files of one kind of rows.

    Args:
        addresses: files, folders, or data sets of the hub, as `files_at` reads them.
        build: makes something of the fields of a row and the name of its file; a `BadRow` says why it cannot.
        noun: what a row is, in the plural.
        columns: the user's column of each field, from `parse_pairs`.
        on_bad: whether a bad row stops the reading, or is left out and counted.

    Raises:
        ValueError: a file cannot be read, rows are bad (each with its place), or nothing is left.
        RuntimeError: the extra that a file needs is not installed.
    """
    items: list[ItemT] = []
    places: list[str] = []
    faults: list[Fault] = []
    for row in _rows(addresses):
        try:
            if row.fault:
                raise BadRow(row.fault)
            name = row.path.name.split(".")[0]
            items.append(build(_renamed(row.fields, columns), name))
            places.append(row.place)
        except BadRow as error:
            faults.append(Fault(place=row.place, reason=str(error)))

    source = ", ".join(addresses)
    if faults and (on_bad == "stop" or not items):
        raise ValueError(_complaint(source, noun, faults, has_others=bool(items)))
    if not items:
        raise ValueError(f"{source} holds no rows")

    left_out = f" ({len(faults):,} bad rows left out)" if faults else ""
    return RowSet(items=items, places=places, says=f"{len(items):,} {noun} of {source}{left_out}")


def _rows(addresses: Sequence[str]) -> Iterator[FileRow]:
    for address in addresses:
        for file in files_at(address):
            yield from read_rows(file)


def _complaint(source: str, noun: str, faults: Sequence[Fault], *, has_others: bool) -> str:
    """All bad rows with their places, and what helps."""
    lines = [f"{source}: rows that are no {noun}: {len(faults):,}"]
    # A column that is called otherwise makes the same fault of every row, which is said once.
    places: dict[str, list[str]] = {}
    for fault in faults:
        places.setdefault(fault.reason, []).append(fault.place)
    for reason, of_reason in list(places.items())[:NUM_NAMED]:
        more = f" and {len(of_reason) - 1:,} more" if len(of_reason) > 1 else ""
        lines.append(f"{of_reason[0]}{more}: {reason}")
    if len(places) > NUM_NAMED:
        lines.append(f"and {len(places) - NUM_NAMED:,} other reasons")
    if has_others:
        lines.append("--bad-rows skip leaves them out")
    return "\n".join(lines)


def _renamed(fields: Fields, columns: Mapping[str, str]) -> Fields:
    """The fields of a row under our names; with a mapping, only those that it names."""
    if not columns:
        return fields

    values: dict[str, Any] = {}
    for name, column in columns.items():
        # What a row lacks is told under the user's own name, unless another field stands for it.
        with suppress(BadRow):
            values[name] = find(fields, column)
    if not values:
        raise BadRow(f"none of the mapped columns {', '.join(columns.values())}; it has {columns_of(fields)}")
    return values


def columns_of(fields: Fields) -> str:
    """The columns of a row, for an error."""
    return ", ".join(sorted(fields)) or "no fields"


def question_in(fields: Fields) -> str:
    """The question of a row, wherever it stands.

    Raises:
        BadRow: there is none.
    """
    for name in ("question", "problem"):
        if name in fields:
            return _after_system(fields, text_field(fields, name))
    if "instruction" in fields:
        return _after_system(fields, _instruction(fields))
    if isinstance(fields.get("prompt"), str):
        return _after_system(fields, text_field(fields, "prompt"))
    return question_of(fields, system=_system(fields))


def _system(fields: Fields) -> str:
    """The text of a column `system`; empty where there is none."""
    system = fields.get("system")
    return system.strip() if isinstance(system, str) else ""


def _after_system(fields: Fields, question: str) -> str:
    """The question, after the text of a column `system`."""
    system = _system(fields)
    return f"{system}\n\n{question}" if system else question


def _instruction(fields: Fields) -> str:
    """An instruction, and below it what it is about."""
    parts = [text_field(fields, "instruction")]
    for name in ("input", "context"):
        if fields.get(name):
            parts.append(text_field(fields, name))
    return "\n\n".join(parts)


def row_id(name: str, *contents: str) -> str:
    """The id of a row of a file. It depends on the contents and not on the line: a file may be sorted anew."""
    digest = hashlib.sha256("\0".join(contents).encode()).hexdigest()[:12]
    return f"{name}/{digest}"


def check_texts(**texts: str) -> None:
    """Refuses texts that are empty, too long, or cannot be written as UTF-8, as a `BadRow` that names them."""
    for name, text in texts.items():
        if not text.strip():
            raise BadRow(f"the {name} is empty")
        check_length(name, text, MAX_QUESTION_CHARS)
        check_text(text)
