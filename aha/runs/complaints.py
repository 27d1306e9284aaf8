"""What is wrong with the options of a command, in one line each."""

import re

from pydantic import ValidationError

__all__ = ["illegal_value", "without_box"]

_CONFLICT = re.compile(r"config\.?(\S*?): \d+ validation errors? for \w+ Value error, (.*?) \[type=value_error")


_ILLEGAL = re.compile(
    r"config\.?(\S*?): \d+ validation errors? for \w+ (\w+) (.*?) \[type=\w+, input_value=(.*?), input_type"
)


def illegal_value(error: ValidationError) -> str:
    """What a configuration finds wrong first, in one line."""
    first = error.errors()[0]
    what = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return what
    option = ".".join(map(str, first["loc"])).replace("_", "-")
    return f"--{option}: {what[:1].lower()}{what[1:]} (given: {first['input']})"


def without_box(text: str) -> str:
    """A complaint about an illegal value of a configuration in one line; any other complaint as it is."""
    flat = " ".join(text.translate({ord(sign): " " for sign in "│╭╮╰╯─"}).split())
    if conflict := _CONFLICT.search(flat):
        return f"aha: {_with_options_of(*conflict.groups())}\n"

    illegal = _ILLEGAL.search(flat)
    if not illegal:
        return text

    where, field, what, value = illegal.groups()
    option = ".".join(part for part in (where, field) if part).replace("_", "-")
    return f"aha: --{option}: {what[:1].lower()}{what[1:]} (given: {value})\n"


def _with_options_of(where: str, complaint: str) -> str:
    """What a configuration finds wrong among its own options, with the names that they have where it stands."""
    if not where:
        return complaint
    option = f"--{where.replace('_', '-')}"
    named = re.sub(r"--(?=\w)", f"{option}.", complaint)
    return named if named != complaint else f"{option}: {complaint}"
