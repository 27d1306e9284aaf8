"""Countdown rows: numbers, and a target that an expression of them must reach.

The built-in world draws such problems with a solution. Files publish them without one, as
`{"nums": [19, 36, 55, 7], "target": 65}`: the reference answer is then the task itself, and the rule of the domain
checks an answer against it. Whether the numbers can reach the target is not checked.

Source: the rows of Countdown-Tasks-3to4, which TinyZero trains on: each number is used exactly once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aha.problems.datasets.conversations import has_messages, question_of
from aha.problems.datasets.fields import BadRow, Fields, find, id_field, level_field
from aha.types import Problem

__all__ = ["MAX_NUMBERS", "CountdownTask", "countdown_row", "parse_task"]

MAX_NUMBERS = 32
"""More numbers make expressions that are too long to be read."""

_MAX_DIGITS = 18
_INTEGER = re.compile(rf"[-+]?[0-9]{{1,{_MAX_DIGITS}}}", re.ASCII)
_NUMBER = rf"[0-9]{{1,{_MAX_DIGITS}}}"
_TASK = re.compile(rf"(-?{_NUMBER}) from ({_NUMBER}(?:, {_NUMBER})*)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountdownTask:
    """The task of a Countdown problem.

    Attributes:
        numbers: the numbers, each to be used exactly once.
        target: the value that the expression must have.
    """

    numbers: tuple[int, ...]
    target: Fraction | int


def countdown_row(fields: Fields) -> Problem:
    """The problem of a row with `nums` or `numbers`, and `target`; its question is the row's own, or the task in words.

    Raises:
        BadRow: there are no numbers or no target, or they are not of the right kind.
    """
    task = CountdownTask(numbers=_numbers(fields), target=_target(fields))
    has_question = "question" in fields or has_messages(fields)
    return Problem(
        id=id_field(fields, "id"),
        question=question_of(fields) if has_question else _in_words(task),
        answer=f"{task.target} from {', '.join(map(str, task.numbers))}",
        domain="countdown",
        level=level_field(fields),
    )


def parse_task(text: str) -> CountdownTask | None:
    """The task of a reference answer such as `65 from 19, 36, 55, 7`; None for any other text."""
    match = _TASK.fullmatch(text)
    if match is None:
        return None
    target, numbers = match.groups()
    return CountdownTask(numbers=tuple(map(int, numbers.split(", "))), target=int(target))


def _in_words(task: CountdownTask) -> str:
    # Any ten consecutive words hold three of the numbers, so that the search for overlaps tells problems apart.
    numbers = ", ".join(map(str, task.numbers))
    return (
        f"Write {task.target} as an expression of the numbers {numbers}, each used exactly once, "
        "with + - * / and parentheses."
    )


def _numbers(fields: Fields) -> tuple[int, ...]:
    name = "nums" if "nums" in fields else "numbers"
    value = find(fields, name)
    if value is None or value in ("", []):
        raise BadRow(f"no numbers: field {name!r} is empty")
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise BadRow(f"field {name!r} is no list of numbers")
    if len(value) > MAX_NUMBERS:
        raise BadRow(f"{len(value)} numbers; 1 to {MAX_NUMBERS} are possible")

    numbers = []
    for entry in value:
        number = _integer(entry)
        if number is None or number < 0:
            raise BadRow(f"field {name!r} holds {str(entry)[:40]}; whole numbers without a sign are possible")
        numbers.append(number)

    return tuple(numbers)


def _target(fields: Fields) -> int:
    value = find(fields, "target")
    if value is None or value == "":
        raise BadRow("no target: field 'target' is empty")
    target = _integer(value)
    if target is None:
        raise BadRow(f"the target {value!r:.40} is no whole number of at most {_MAX_DIGITS} digits")
    return target


def _integer(value: Any) -> int | None:
    """A whole number of limited size, as a number or as text; None for anything else."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # above, a float may have been rounded
        value = int(value)
    # A truth value is an integer in Python.
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    # Python refuses to write integers of many digits.
    if isinstance(value, int) and abs(value) >= 10**_MAX_DIGITS:
        return None
    text = str(value).strip()
    return int(text) if _INTEGER.fullmatch(text) else None
