"""Options in a TOML file: they stand before those of the command line, which hold over them."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["WrongUseError", "peek", "with_option_file"]

RUN_ONLY = ("run", "fresh", "force", "keep_rollouts", "keep-rollouts")
"""Options in a file of `run` that the doctor, which writes nothing, leaves out."""


class WrongUseError(ValueError):
    """Options that do not go together."""


def peek(given: Sequence[str], option: str) -> str:
    """Value of an option before the real parse: the last one, which holds over those before it."""
    value = ""
    for place, word in enumerate(given):
        if word == option and place + 1 < len(given):
            value = given[place + 1]
        elif word.startswith(f"{option}="):
            value = word.split("=", 1)[1]
    return value


def with_option_file(given: list[str], spread: Callable[[list[str]], list[str]]) -> list[str]:
    """The arguments with those of the TOML file that they name put before them, so that they hold over it.

    Args:
        given: the arguments.
        spread: applied to the options of the file and to those of the command line, each alone.
    """
    start = next((place for place, word in enumerate(given) if word.startswith("-")), len(given))
    name = peek(given, "--config")
    in_file = list(_as_arguments(_read(Path(name), is_for_doctor=given[0] == "doctor"))) if name else []
    return [*given[:start], *spread(in_file), *spread(given[start:])]


def _read(path: Path, *, is_for_doctor: bool) -> dict[str, Any]:
    """The options in a TOML file; a file of `run` serves the doctor, which writes nothing."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path} cannot be read ({error}): --config takes a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise WrongUseError(f"{path} is not valid TOML: {error}") from None
    return {option: value for option, value in content.items() if not (is_for_doctor and option in RUN_ONLY)}


def _as_arguments(content: Mapping[str, Any], prefix: str = "--") -> Iterator[str]:
    """The options of a TOML table as a command line has them; tables are the parts before a dot."""
    for name, value in content.items():
        option = prefix + name.replace("_", "-")
        match value:
            case dict():
                yield from _as_arguments(value, f"{option}.")
            case bool():
                start, _, last = option.rpartition(".") if "." in option else ("", "", option.removeprefix("--"))
                yield option if value else (f"{start}.no-{last}" if start else f"--no-{last}")
            case list():
                yield from (option, *map(str, value))
            case _:
                yield f"{option}={value}"
