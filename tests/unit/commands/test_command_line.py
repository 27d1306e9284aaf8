"""What decides the options of a command before it is parsed: the recipe, whether help is asked for, and the numbers."""

from collections.abc import Sequence
from typing import Any

import pytest

from aha.commands import command_line
from aha.commands.command_line import parse
from aha.commands.option_files import WrongUseError
from aha.recipes import fitting
from aha.recipes.catalogue import RECIPES
from aha.recipes.r1.scales import R1_SCALES
from aha.recipes.scales import R1_ZERO_SCALES, Fit


@pytest.mark.parametrize("recipe", [recipe.name for recipe in RECIPES if recipe.name in {"distill", "r1", "sft"}])
def test_a_recipe_stands_right_after_run(recipe: str) -> None:
    with pytest.raises(WrongUseError, match=rf"^write the recipe right after `run`: aha run {recipe} \.\.\.$"):
        parse(["run", "--seed", "3", recipe])


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The numbers from which the options of a run and of the doctor are made; nothing is parsed, and help is short."""
    found: list[Any] = []

    def subcommands(recipe: Any, of_run: Any, of_doctor: Any) -> Sequence[object]:
        found[:] = [recipe.name, of_run.config, of_doctor.config]
        return ()

    monkeypatch.setattr(command_line, "_subcommands", subcommands)
    monkeypatch.setattr(command_line, "_typed", lambda words, subcommands: None)
    monkeypatch.setattr(command_line, "abridged", lambda config: ("short", config))
    return found


@pytest.mark.parametrize(
    ("words", "is_short"),
    [
        ("run r1 -h", True),
        ("run r1 --seed 3 --help", True),
        ("run r1 --help --seed 3", True),
        ("doctor -h", True),
        ("run r1 --seed 3", False),
        ("doctor", False),
        ("eval -h", False),
        ("list --help", False),
    ],
)
def test_the_help_of_commands_with_stages_is_short(words: str, is_short: bool, numbers: list[Any]) -> None:
    parse(words.split())
    assert [isinstance(config, tuple) for config in numbers[1:]] == [is_short, is_short]


@pytest.mark.parametrize(
    ("words", "recipe", "scale"),
    [
        ("run r1", "r1", "tiny"),
        ("run r1 --scale gpu", "r1", "gpu"),
        ("run r1 --scale gpu --scale=paper", "r1", "paper"),
        ("run r1 --scale huge", "r1", "tiny"),
        ("run", RECIPES[0].name, "tiny"),
        ("run --seed r1", RECIPES[0].name, "tiny"),
    ],
)
def test_the_numbers_are_those_of_the_recipe_and_the_scale(
    words: str, recipe: str, scale: str, numbers: list[Any]
) -> None:
    """An unknown scale is refused later, with a list of those that there are."""
    parse(words.split())
    assert numbers[0] == recipe
    if recipe == "r1":
        assert numbers[1:] == [R1_SCALES[scale], R1_ZERO_SCALES[scale]]


@pytest.mark.parametrize(
    ("words", "is_fitted"),
    [
        ("run r1_zero --model large", (True, False)),
        ("run r1_zero --base=large", (True, False)),
        ("doctor --model large", (False, True)),
        ("run r1_zero --model large --scale tiny", (False, False)),
        ("run r1_zero", (False, False)),
        ("run r1_zero --model none", (False, False)),
        ("eval large", (False, False)),
    ],
)
def test_numbers_that_nobody_named_fit_the_model(
    words: str, is_fitted: tuple[bool, bool], numbers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that cannot be read is refused later, by the command itself."""

    def fit(scales: Any, model: str, device: str) -> Fit[Any]:
        if model != "large":
            raise ValueError("no model folder")
        return Fit(scale="small", config=scales["small"], says="because")

    monkeypatch.setattr(fitting, "fit", fit)
    parse(words.split())
    assert numbers[1:] == [R1_ZERO_SCALES["small" if is_small else "tiny"] for is_small in is_fitted]


def test_the_algorithm_is_that_of_every_loop(numbers: list[Any]) -> None:
    parse(["run", "r1", "--algorithm", "rloo"])
    _, run, doctor = numbers
    loops = [run.zero.zero, run.zero.longer, run.dev2, run.reasoning, run.scenarios, doctor.zero, doctor.longer]
    assert {loop.algorithm.name for loop in loops} == {"rloo"}
    with pytest.raises(WrongUseError, match="nothing"):
        parse(["run", "r1", "--algorithm", "nothing"])


@pytest.mark.parametrize(("given", "status"), [(0, 0), (1, 2), (2, 2)])
def test_whatever_the_parser_ends_with_wrong_use_is_status_2(
    given: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object, **__: object) -> None:
        raise SystemExit(given)

    monkeypatch.setattr(command_line.tyro, "cli", end)
    with pytest.raises(SystemExit) as ended:
        command_line._typed(["list"], (int,))
    assert ended.value.code == status
