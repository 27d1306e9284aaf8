"""Parses the command line; the options of `run` and `doctor` depend on recipe, scale and algorithm.

The numbers decide which options there are and what their defaults are, so the words that choose them (the recipe,
`--scale`, `--algorithm`) are read before the real parse.
"""

import io
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from typing import Annotated, Any, Union, get_args

import tyro
from pydantic import ValidationError

from aha.algorithms.catalogue import algorithm_named
from aha.commands.option_files import WrongUseError, last_value, with_option_file
from aha.commands.options import Command, DoctorCommand, PretrainCommand, RunCommand, doctor_command, run_command
from aha.commands.shared_options import abridged, with_shared_options
from aha.recipes.catalogue import RECIPES
from aha.recipes.recipe import Recipe
from aha.recipes.scales import BASE_SCALES, R1_ZERO_SCALES, Fit, R1ZeroConfig, with_algorithm
from aha.runs.complaints import illegal_value, without_box
from aha.runs.config import Config

__all__ = ["WRONG_USE", "parse"]

DESCRIPTION = "The DeepSeek-R1 training system as one program."

WRONG_USE = 2
"""Exit status of a command line that cannot be carried out as it is written."""


def parse(arguments: list[str]) -> Command:
    """Parse a command line; the options of `run` are those of its recipe, with the defaults of its scale.

    Args:
        arguments: the words after `aha`.

    Raises:
        WrongUseError: options do not go together, or the option file cannot be read.
        SystemExit: help was asked for (0), or an option is illegal, of which a line is printed (2).
    """
    recipe = _recipe_in(arguments)
    config_classes: dict[str, type[Config]] = {"run": recipe.config, "doctor": R1ZeroConfig}
    command_name = arguments[0] if arguments else ""
    stages = config_classes.get(command_name, Config)
    words = with_option_file(arguments, lambda options: with_shared_options(options, stages))

    of_run = _numbers(recipe.scales, words, is_this_command=command_name == "run")
    of_doctor = _numbers(R1_ZERO_SCALES, words, is_this_command=command_name == "doctor")
    is_for_help = "-h" in words or "--help" in words
    if is_for_help and command_name in config_classes:
        of_run = replace(of_run, config=abridged(of_run.config))
        of_doctor = replace(of_doctor, config=abridged(of_doctor.config))

    command = _typed(words, _subcommands(recipe, of_run, of_doctor))
    # Options were made for the word that stands right after `run`; of another recipe they would be the wrong ones.
    if isinstance(command, RunCommand) and command.recipe != recipe.name:
        raise WrongUseError(f"write the recipe right after `run`: aha run {command.recipe} ...")
    return command


def _recipe_in(arguments: Sequence[str]) -> Recipe[Any, Any]:
    """The recipe that the word after the command names; else the first one, which `aha run --help` explains."""
    return next((recipe for recipe in RECIPES if recipe.name in arguments[1:2]), RECIPES[0])


def _numbers(scales: Mapping[str, Any], words: Sequence[str], *, is_this_command: bool) -> Fit[Any]:
    """The numbers of the scale and the algorithm that are named, the defaults of all that is not.

    Args:
        scales: the numbers of the recipe by scale.
        words: of the command line.
        is_this_command: whether the command is the one that these numbers are for.
    """
    named = last_value(words, "--scale")
    first = next(iter(scales))
    # An unknown scale is refused by the real parse, which lists those that there are.
    numbers = Fit(scale=first, config=scales.get(named, scales[first]))
    if not named and is_this_command:
        numbers = _fitting_numbers(scales, words) or numbers

    name = last_value(words, "--algorithm")
    if not name:
        return numbers

    try:
        return replace(numbers, config=with_algorithm(numbers.config, algorithm_named(name)))
    except ValueError as error:
        raise WrongUseError(str(error)) from None


def _fitting_numbers(scales: Mapping[str, Any], words: Sequence[str]) -> Fit[Any] | None:
    """The numbers that fit the model that is named; None where none is, or where it cannot be read."""
    model = last_value(words, "--model") or last_value(words, "--base")
    if not model:
        return None

    # They import torch.
    from aha.recipes.fitting import fit

    device = last_value(words, "--device")
    try:
        return fit(scales, model, "cpu" if device == "cpu" else "auto")
    except (ValueError, RuntimeError):
        # The command will say what is wrong with the model.
        return None


def _subcommands(recipe: Recipe[Any, Any], of_run: Fit[Any], of_doctor: Fit[Any]) -> tuple[Any, ...]:
    """The class of every command, annotated with its name and, where it has numbers, its defaults."""
    run = run_command(recipe, type(of_run.config))
    doctor = doctor_command(type(of_doctor.config))
    defaults: dict[type[Any], Any] = {
        run: run(recipe=tyro.MISSING, config=of_run.config, scale=of_run.scale, fit=of_run.says),
        doctor: doctor(config=of_doctor.config, scale=of_doctor.scale, fit=of_doctor.says),
        PretrainCommand: PretrainCommand(config=BASE_SCALES["tiny"]),
    }

    # `RunCommand` is the first of the union: the class of the recipe's own options takes its place.
    names: dict[type[Any], str] = {run: "run"}
    for kind in get_args(Command)[1:]:
        shown = doctor if kind is DoctorCommand else kind
        names[shown] = kind.__name__.removesuffix("Command").lower()

    subcommands = []
    for kind, name in names.items():
        default = {"default": defaults[kind]} if kind in defaults else {}
        subcommands.append(Annotated[kind, tyro.conf.subcommand(name, **default)])
    return tuple(subcommands)


def _typed(words: Sequence[str], subcommands: tuple[Any, ...]) -> Command:
    """The words as one of the commands; a complaint is printed without the box that tyro draws around it."""
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            union: Any = Union[subcommands]  # noqa: UP007  # made from a tuple
            command: Command = tyro.cli(
                union, args=words, prog="aha", description=DESCRIPTION, config=(tyro.conf.AvoidSubcommands,)
            )
    except ValidationError as error:
        print(f"aha: {illegal_value(error)}", file=sys.stderr)
        raise SystemExit(WRONG_USE) from None
    except SystemExit as ended:
        sys.stderr.write(without_box(complaint.getvalue()))
        # Whatever status tyro ends with, that of wrong use is 2.
        raise SystemExit(WRONG_USE if ended.code else 0) from None
    return command
