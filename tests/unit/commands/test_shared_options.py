"""Settings that the stages of a kind share: what they reach, what holds over them, and a help that shows them once."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from leaves import leaves

from aha.commands.command_line import parse
from aha.commands.options import DoctorCommand, RunCommand
from aha.commands.shared_options import abridged, with_shared_options
from aha.recipes.catalogue import RECIPES
from aha.recipes.r1.scales import R1Config
from aha.recipes.recipe import Recipe
from aha.recipes.scales import R1_ZERO_SCALES
from aha.runs.config import Config
from aha.stages.config import EvaluationConfig, RejectionConfig, RLConfig, SupervisedConfig

MOST_OPTIONS = 145
"""Options that the help of a recipe may list."""

NUM_OTHER_OPTIONS = 15
"""Options of `run r1` that are no settings of its stages."""


def blocks(config: Config) -> Iterator[Config]:
    """Every configuration inside a configuration."""
    for _, value in config:
        if isinstance(value, Config):
            yield value
            yield from blocks(value)


def numbers(*words: str) -> Any:
    """The numbers that a command line of `run` gives."""
    command = parse(["run", *words])
    assert isinstance(command, RunCommand)
    return command.config


def settings(config: Config, kind: type[Config], name: str) -> set[object]:
    """The values of a setting in all stages of a kind."""
    return {getattr(block, name) for block in blocks(config) if type(block) is kind}


@pytest.mark.parametrize(
    ("option", "kind", "name", "value"),
    [
        ("--rl.temperature", RLConfig, "temperature", 0.5),
        ("--sft.max-tokens", SupervisedConfig, "max_tokens", 99),
        ("--rejection.num_kept", RejectionConfig, "num_kept", 3),
        ("--eval.top-p", EvaluationConfig, "top_p", 0.7),
    ],
)
def test_a_shared_option_reaches_every_stage_of_its_kind_and_no_other(
    option: str, kind: type[Config], name: str, value: object
) -> None:
    before, after = numbers("r1"), numbers("r1", option, str(value))
    assert settings(after, kind, name) == {value} != settings(before, kind, name)
    others = {RLConfig, SupervisedConfig, RejectionConfig, EvaluationConfig} - {kind}
    for other in others:
        assert [one for one in blocks(after) if type(one) is other] == [
            one for one in blocks(before) if type(one) is other
        ]
    assert after.rewards.training == before.rewards.training


def test_settings_of_blocks_inside_a_stage_are_shared_too() -> None:
    config = numbers("r1", "--rl.optimizer.lora.targets", "q_proj", "v_proj", "--rl.algorithm.kl-coef=0.5")
    stages = [one for one in blocks(config) if type(one) is RLConfig]
    assert {one.optimizer.lora.targets for one in stages} == {("q_proj", "v_proj")}
    assert {one.algorithm.model_dump()["kl_coef"] for one in stages} == {0.5}


def test_the_option_of_a_stage_holds_over_the_shared_one_wherever_it_stands() -> None:
    shared, own = ["--rl.group-size", "4"], ["--longer.group-size", "8"]
    for words in ([*shared, *own], [*own, *shared]):
        config = numbers("r1_zero", *words)
        assert (config.zero.group_size, config.longer.group_size) == (4, 8)


def test_a_file_may_share_settings_and_the_command_line_holds_over_it(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[longer]\ngroup_size = 8\n[rl]\ngroup_size = 4\ntemperature = 0.5\n", encoding="utf-8")
    config = numbers("r1_zero", "--config", str(path))
    assert (config.zero.group_size, config.longer.group_size, config.zero.temperature) == (4, 8, 0.5)
    config = numbers("r1_zero", "--config", str(path), "--rl.group-size", "2")
    assert (config.zero.group_size, config.longer.group_size, config.zero.temperature) == (2, 2, 0.5)


def test_the_doctor_knows_them() -> None:
    command = parse(["doctor", "--rl.group-size", "4"])
    assert isinstance(command, DoctorCommand)
    assert (command.config.zero.group_size, command.config.longer.group_size) == (4, 4)


def test_no_other_word_is_lost() -> None:
    for words in (["-h"], ["-h", "--seed", "3"], ["--students", "a", "b", "--json", "-h"], []):
        assert with_shared_options(words, R1Config) == words
    assert with_shared_options(["-h", "--sft.epochs=3"], R1Config)[-1] == "-h"


def test_a_setting_that_no_stage_has_is_named_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["run", "r1_zero", "--rl.tempreature", "1"])
    assert (ended.value.code, "--rl.tempreature" in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize(
    "recipe",
    [recipe if recipe.name == "r1" else pytest.param(recipe, marks=pytest.mark.full) for recipe in RECIPES],
    ids=lambda recipe: recipe.name,
)
def test_what_the_help_shows_is_short_and_names_every_setting(recipe: Recipe[Any, Any]) -> None:
    """Each setting stands there under its own name, or under the shared one; details of optimizers stand there once."""
    numbers_of_scale = next(iter(recipe.scales.values()))
    shown = [*leaves(abridged(numbers_of_scale))]
    assert len(shown) + NUM_OTHER_OPTIONS <= MOST_OPTIONS
    for path in leaves(numbers_of_scale):
        assert any(f".{option}".endswith(f".{path.rsplit('.', 1)[-1]}") for option in shown), path


@pytest.mark.full
def test_the_longest_help_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["run", "r1", "--help"])
    options = re.findall(r"^\W*--[a-z]", capsys.readouterr().out, re.MULTILINE)
    assert 100 < len(options) <= MOST_OPTIONS


@pytest.mark.full
def test_the_help_says_where_stages_differ() -> None:
    shown = dict(abridged(R1_ZERO_SCALES["tiny"]))
    assert list(shown) == ["rl", "eval", "zero", "longer", "validation", "evaluation", "processes"]
    assert set(dict(shown["longer"])) == {"iterations", "max_new_tokens", "optimizer"}
    assert set(dict(shown["longer"])["optimizer"].model_dump()) == {"learning_rate"}
    kinds = type(shown["rl"]).__annotations__
    assert "each stage's own" in repr(kinds["iterations"])
    assert "each stage's own" not in repr(kinds["group_size"])
