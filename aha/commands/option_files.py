"""Options in a TOML file: they stand before those of the command line, which hold over them."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["WrongUseError", "last_value", "with_option_file"]

RUN_ONLY = ("run", "fresh", "force", "keep_rollouts", "keep-rollouts")
"""Options in a file of `run` that the doctor, which writes nothing, leaves out."""


class WrongUseError(ValueError):
    """Options that do not go together."""


def last_value(words: Sequence[str], option: str) -> str:
    """Value of an option before the real parse: the last one, which holds over those before it."""
    value = ""
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            value = words[index + 1]
        elif word.startswith(f"{option}="):
            value = word.split("=", 1)[1]
    return value


def with_option_file(arguments: list[str], spread: Callable[[list[str]], list[str]]) -> list[str]:
    """The arguments with those of the TOML file that they name put before them, so that they hold over it.

    Args:
        arguments: the words of the command line.
        spread: applied to the options of the file and to those of the command line, each alone: it reorders options,
            and those of the command line must stay behind those of the file.
    """
    start = next((index for index, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    file_name = last_value(arguments, "--config")
    file_options: list[str] = []
    if file_name:
        content = _read(Path(file_name), is_for_doctor=arguments[0] == "doctor")
        file_options = list(_as_arguments(content))
    return [*arguments[:start], *spread(file_options), *spread(arguments[start:])]


def _read(path: Path, *, is_for_doctor: bool) -> dict[str, Any]:
    """The options in a TOML file; a file of `run` serves the doctor, which writes nothing."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path} cannot be read ({error}): --config takes a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise WrongUseError(f"{path} is not valid TOML: {error}") from None

    if is_for_doctor:
        return {option: value for option, value in content.items() if option not in RUN_ONLY}
    return content


def _as_arguments(content: Mapping[str, Any], prefix: str = "--") -> Iterator[str]:
    """The options of a TOML table as a command line has them; tables are the parts before a dot."""
    for name, value in content.items():
        option = prefix + name.replace("_", "-")
        match value:
            case dict():
                yield from _as_arguments(value, f"{option}.")
            case bool():
                yield option if value else _negated(option)
            case list():
                # tyro takes the words after an option until the next one as the list.
                yield from (option, *map(str, value))
            case _:
                # In one word, since a negative number or a text may begin with a dash.
                yield f"{option}={value}"


def _negated(option: str) -> str:
    """The option that sets a flag to false, in which `no-` stands before the last part of the name."""
    block, dot, flag = option.removeprefix("--").rpartition(".")
    return f"--{block}{dot}no-{flag}"
