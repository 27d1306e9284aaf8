"""Errors in the options of a command, each as one line."""

import re

from pydantic import ValidationError

__all__ = ["illegal_value", "without_box"]

_CONFLICT = re.compile(r"config\.?(\S*?): \d+ validation errors? for \w+ Value error, (.*?) \[type=value_error")


_ILLEGAL = re.compile(
    r"config\.?(\S*?): \d+ validation errors? for \w+ (\w+) (.*?) \[type=\w+, input_value=(.*?), input_type"
)


def illegal_value(error: ValidationError) -> str:
    """The first error of a configuration, in one line."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message

    option = ".".join(map(str, first["loc"])).replace("_", "-")
    return f"--{option}: {message[:1].lower()}{message[1:]} (given: {first['input']})"


def without_box(text: str) -> str:
    """The error of an illegal value of a configuration in one line, without its box; any other text unchanged."""
    flat = " ".join(text.translate({ord(sign): " " for sign in "│╭╮╰╯─"}).split())

    conflict = _CONFLICT.search(flat)
    if conflict:
        section, message = conflict.groups()
        return f"aha: {_with_full_names(section, message)}\n"

    illegal = _ILLEGAL.search(flat)
    if not illegal:
        return text

    section, field, message, value = illegal.groups()
    option = ".".join(part for part in (section, field) if part).replace("_", "-")
    return f"aha: --{option}: {message[:1].lower()}{message[1:]} (given: {value})\n"


def _with_full_names(section: str, message: str) -> str:
    """An error that a configuration finds among its own options, with their full names on the command line."""
    if not section:
        return message

    option = f"--{section.replace('_', '-')}"
    renamed = re.sub(r"--(?=\w)", f"{option}.", message)
    return renamed if renamed != message else f"{option}: {message}"
