"""Reads the fields of a row by name, and says why a field is not what it should be."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["BadRow", "Fields", "answer_field", "boxed", "final_number", "find", "id_field", "level_field", "text_field"]

Fields = Mapping[str, Any]
"""The values of a row by the normal name of their column."""

_NUMBER = re.compile(r"[-+]?\$?\s*[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?", re.ASCII)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_LEVEL = re.compile(r"(?:Level\s+)?([0-9]{1,4})", re.ASCII)  # MATH writes `Level 5`


class BadRow(ValueError):
    """A row that is no problem; the message is the reason."""


def find(fields: Fields, name: str) -> Any:
    """The value of a field; dots lead into objects: `reward_model.ground_truth`.

    Raises:
        BadRow: there is no such field.
    """
    # A column may have a dot in its own name.
    parts = [name] if name in fields else name.split(".")
    value: Any = fields
    for part in parts:
        if not isinstance(value, Mapping) or part not in value:
            raise BadRow(f"no field {name!r}")
        value = value[part]
    return value


def text_field(fields: Fields, name: str) -> str:
    """The text in a field.

    Raises:
        BadRow: the field is missing, empty, or no text.
    """
    value = find(fields, name)
    if value is None or value == "":
        raise BadRow(f"field {name!r} is empty")
    if not isinstance(value, str):
        raise BadRow(f"field {name!r} is {_kind(value)}, not text")
    return value


def answer_field(fields: Fields, name: str) -> str:
    """The answer in a field: text or a number.

    Raises:
        BadRow: the field is missing, empty, or something else.
    """
    value = find(fields, name)
    # A truth value is an integer in Python, but no answer.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_text(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow(f"no answer: field {name!r} is empty")
    if not isinstance(value, str):
        raise BadRow(f"the answer in field {name!r} is {_kind(value)}, neither text nor a number")
    return value.strip()


def _number_text(value: int | float) -> str:
    """A number as the text of an answer: 3.0 is `3`."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # above, a float may have been rounded
        return str(int(value))
    return str(value)


def id_field(fields: Fields, *names: str) -> str:
    """The first of the fields that names the row; empty where none does."""
    for name in names:
        if isinstance(fields.get(name), str | int):
            return str(fields[name]).strip()
    return ""


def level_field(fields: Fields) -> int:
    """The difficulty in the field `level`, as a number or as MATH writes it (`Level 5`); 0 where there is none."""
    text = str(fields.get("level", "")).strip()
    match = _LEVEL.fullmatch(text)
    return int(match[1]) if match else 0


def final_number(answer: str) -> str:
    """The text after the last `####`; a number loses its thousands separators, plus and dollar signs.

    Raises:
        BadRow: there is no such mark, or nothing after it.

    Source: Training Verifiers to Solve Math Word Problems (GSM8K), arXiv:2110.14168.
    """
    _, mark, final = answer.rpartition("####")
    final = final.strip()
    if not mark:
        raise BadRow("no '####' before the final answer")
    if not final:
        raise BadRow("no answer: nothing follows '####'")
    if _NUMBER.fullmatch(final):
        return re.sub(r"[,$+\s]", "", final)
    return final


def boxed(solution: str) -> str:
    r"""The content of the last `\boxed{}` of a reference solution; MATH also writes `\boxed 5` and `\fbox{5}`.

    Raises:
        BadRow: there is no box, it has no end, or it is empty.
    """
    boxes = list(_BOX.finditer(solution))
    if not boxes:
        raise BadRow(r"no \boxed{} in the solution")

    rest = solution[boxes[-1].end() :]
    content = _braced(rest) if rest.startswith("{") else rest[:1]
    if not content.strip(" $"):
        raise BadRow(r"no answer: the last \boxed{} of the solution is empty")
    return content.strip()


def _braced(text: str) -> str:
    depth = 0
    # An escaped brace is a sign of the text: the pattern takes it together with its backslash.
    for brace in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth and brace[0] == "}":
            return text[1 : brace.start()]
    raise BadRow(r"the last \boxed{} of the solution has no end")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, Sequence) else "something else"
