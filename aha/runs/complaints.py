"""Errors in the options of a command, each as one line."""

import re
from collections.abc import Iterable

from pydantic import ValidationError

__all__ = ["illegal_value", "without_box"]

# tyro prints an error of pydantic, which spans lines, in a box, where lines break anywhere. Both patterns are for its
# text on one line: an error that a configuration raised about several options, and one about the value of one option.
_CONFLICT = re.compile(r"config\.?(\S*?): \d+ validation errors? for \w+ Value error, (.*?) \[type=value_error")
_ILLEGAL = re.compile(
    r"config\.?(\S*?): \d+ validation errors? for \w+ (\w+) (.*?) \[type=\w+, input_value=(.*?), input_type"
)


def illegal_value(error: ValidationError) -> str:
    """The first error of a configuration, in one line."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    # An error about several options has no location, and names them itself.
    if not first["loc"]:
        return message

    return _about_option(map(str, first["loc"]), message, first["input"])


def without_box(text: str) -> str:
    """The error of an illegal value of a configuration in one line, without its box; any other text unchanged."""
    without_frame = re.sub("[│╭╮╰╯─]", " ", text)
    flat = " ".join(without_frame.split())

    conflict = _CONFLICT.search(flat)
    if conflict:
        section, message = conflict.groups()
        return f"aha: {_with_full_names(section, message)}\n"

    illegal = _ILLEGAL.search(flat)
    if not illegal:
        return text

    section, field, message, value = illegal.groups()
    path = [part for part in (section, field) if part]
    return f"aha: {_about_option(path, message, value)}\n"


def _about_option(path: Iterable[str], message: str, value: object) -> str:
    option = ".".join(path).replace("_", "-")
    return f"--{option}: {message[:1].lower()}{message[1:]} (given: {value})"


def _with_full_names(section: str, message: str) -> str:
    """An error that a configuration finds among its own options, with their full names on the command line."""
    if not section:
        return message

    # The configuration knows its option as `--clip-eps`, the command line as `--rl.algorithm.clip-eps`.
    option = f"--{section.replace('_', '-')}"
    renamed = re.sub(r"--(?=\w)", f"{option}.", message)
    return renamed if renamed != message else f"{option}: {message}"
