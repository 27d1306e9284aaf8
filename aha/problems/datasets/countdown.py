"""Countdown rows: numbers and a target that an expression has to make from them.

The built-in world draws such problems with a solution. Files publish them without one, as
`{"nums": [19, 36, 55, 7], "target": 65}`: the reference answer then says the task itself, and the rule of the domain
compares an answer with that. Whether the numbers can make the target is not checked.

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
    """What a Countdown problem asks for.

    Attributes:
        numbers: to be used exactly once each.
        target: what the expression has to make.
    """

    numbers: tuple[int, ...]
    target: Fraction | int


def countdown_row(fields: Fields) -> Problem:
    """Numbers from nums or numbers, and target; the row's own question, or one in plain words.

    Raises:
        BadRow: there are no numbers or no target, or no expression that can be read makes one from the others.
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
    """The task that a reference answer says, such as `65 from 19, 36, 55, 7`; None where it says none."""
    found = _TASK.fullmatch(text)
    if found is None:
        return None
    return CountdownTask(numbers=tuple(map(int, found[2].split(", "))), target=int(found[1]))


def _in_words(task: CountdownTask) -> str:
    # Any ten words in a row hold three of the numbers, so that problems do not look alike to the search for overlaps.
    numbers = ", ".join(map(str, task.numbers))
    return (
        f"Write {task.target} as an expression of the numbers {numbers}, each used exactly once, "
        "with + - * / and parentheses."
    )


def _numbers(fields: Fields) -> tuple[int, ...]:
    name = "nums" if "nums" in fields else "numbers"
    given = find(fields, name)
    if given is None or given in ("", []):
        raise BadRow(f"no numbers: field {name!r} is empty")
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise BadRow(f"field {name!r} is no list of numbers")
    if len(given) > MAX_NUMBERS:
        raise BadRow(f"{len(given)} numbers; 1 to {MAX_NUMBERS} are possible")

    numbers = []
    for one in given:
        number = _integer(one)
        if number is None or number < 0:
            raise BadRow(f"field {name!r} holds {str(one)[:40]}; whole numbers without a sign are possible")
        numbers.append(number)
    return tuple(numbers)


def _target(fields: Fields) -> int:
    given = find(fields, "target")
    if given is None or given == "":
        raise BadRow("no target: field 'target' is empty")
    target = _integer(given)
    if target is None:
        raise BadRow(f"the target {given!r:.40} is no whole number of at most {_MAX_DIGITS} digits")
    return target


def _integer(given: Any) -> int | None:
    """A whole number of limited size, as a number or as text; None for anything else."""
    if isinstance(given, float) and given.is_integer() and abs(given) < 2**53:
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int | str):
        return None
    # Python refuses to write integers of many digits.
    if isinstance(given, int) and abs(given) >= 10**_MAX_DIGITS:
        return None
    return int(given) if _INTEGER.fullmatch(str(given).strip()) else None
