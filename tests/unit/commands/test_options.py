"""Options from a TOML file: the same names as on the command line, which holds over the file."""

from pathlib import Path

import pytest

from aha.algorithms.algorithm import Algorithm
from aha.algorithms.catalogue import ALGORITHMS
from aha.algorithms.grpo_sequence import GRPOSequence
from aha.commands.command_line import parse
from aha.commands.option_files import WrongUseError
from aha.commands.options import (
    AlgorithmChoice,
    Command,
    DoctorCommand,
    EvalCommand,
    ModelChoice,
    RunCommand,
    SampleCommand,
)
from aha.recipes.own.own_data import OwnData
from aha.recipes.scales import R1_ZERO_SCALES
from aha.runs.config import Config
from aha.stages.config import RLConfig

FILE = """
seed = 3
model = "elsewhere"
problems = ["a.jsonl", "b.jsonl"]
bad_rows = "skip"
fresh = true

[zero]
iterations = 7

[zero.optimizer]
learning_rate = 1e-5
"""


@pytest.fixture
def options(tmp_path: Path) -> str:
    path = tmp_path / "run.toml"
    path.write_text(FILE, encoding="utf-8")
    return str(path)


def test_a_file_gives_options_of_every_kind(options: str) -> None:
    command = parse(["run", "r1_zero", "--config", options])
    assert isinstance(command, RunCommand)
    assert isinstance(command, ModelChoice)
    assert (command.seed, command.model, command.fresh, command.json) == (3, "elsewhere", True, False)
    assert (command.options.own.problems, command.options.own.bad_rows) == (("a.jsonl", "b.jsonl"), "skip")
    assert (command.config.zero.iterations, command.config.zero.optimizer.learning_rate) == (7, 1e-5)
    assert command.config.longer.iterations == 30


def test_the_command_line_holds_over_the_file(options: str) -> None:
    given = ["--config", options, "--seed", "4", "--zero.iterations=9", "--no-fresh", "--problems", "c.jsonl"]
    command = parse(["run", "r1_zero", *given])
    assert isinstance(command, RunCommand)
    assert (command.seed, command.fresh, command.options.own.problems) == (4, False, ("c.jsonl",))
    assert command.config.zero.iterations == 9


def test_a_file_may_name_the_scale(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('scale = "paper"\n', encoding="utf-8")
    command = parse(["run", "r1_zero", f"--config={path}"])
    assert isinstance(command, RunCommand)
    assert command.config.zero.max_new_tokens == 32768


def test_the_doctor_takes_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('groups = 2\nrun = "runs/own"\nfresh = true\n[zero]\ngroup-size = 4\n', encoding="utf-8")
    command = parse(["doctor", "--config", str(path)])
    assert isinstance(command, DoctorCommand)
    assert (command.groups, command.config.zero.group_size) == (2, 4)


def stop_of(command: Command) -> tuple[str, ...] | None:
    """The stop strings of a command."""
    match command:
        case RunCommand():
            own: OwnData = command.options.own
            return own.stop
        case DoctorCommand():
            return command.own.stop
        case EvalCommand() | SampleCommand():
            return command.stop
        case _:
            raise ValueError(f"{command} has none")


@pytest.mark.parametrize("words", [["run", "r1_zero"], ["doctor"], ["eval", "base"], ["sample", "base"]])
def test_stop_strings_can_be_given_wherever_responses_are_sampled(words: list[str]) -> None:
    """Without the option the checkpoint decides; alone it lets nothing but the end token end a response."""
    cases: list[tuple[list[str], tuple[str, ...] | None]] = [
        (["--stop", "</answer>", "User:"], ("</answer>", "User:")),
        (["--stop"], ()),
        ([], None),
    ]
    for given, expected in cases:
        command = parse([*words, *given])
        stop = stop_of(command)
        assert stop == expected


@pytest.mark.parametrize("recipe", ["r1_zero", "r1"])
def test_base_is_another_word_for_model(recipe: str) -> None:
    command = parse(["run", recipe, "--base", "folder"])
    assert isinstance(command, ModelChoice)
    assert command.model == "folder"


@pytest.mark.full
def test_each_recipe_has_the_options_of_its_record_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("base --model folder", "base --algorithm rloo", "r1 --teacher base", "r1_zero --students a b"):
        with pytest.raises(SystemExit) as ended:
            parse(["run", *words.split()])
        assert (ended.value.code, words.split()[1] in capsys.readouterr().err) == (2, True), words


def test_options_before_the_recipe_are_not_taken_for_those_of_another_one() -> None:
    with pytest.raises(WrongUseError, match=r"^write the recipe right after `run`: aha run r1 \.\.\.$"):
        parse(["run", "--seed", "3", "r1"])


@pytest.mark.parametrize("num_words", [1, 300])
def test_an_option_without_its_value_at_the_end_is_wrong_use(
    num_words: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pattern of the shell can stand for hundreds of words."""
    with pytest.raises(SystemExit) as ended:
        parse(["run", "r1_zero", "--problems", *(["a.jsonl"] * num_words), "--config"])
    assert ended.value.code == 2
    assert "--config" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("seed = ", "is not valid TOML"), (None, "cannot be read")],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str | None, complaint: str) -> None:
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(WrongUseError, match=complaint) as error:
        parse(["run", "r1_zero", "--config", str(path)])
    assert str(path) in str(error.value)


@pytest.mark.parametrize("line", ["zero.iteratoins = 3", "sede = 3", "[zero]\nclip = 0.2"])
def test_an_unknown_option_of_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        parse(["run", "r1_zero", "--config", str(path)])
    assert ended.value.code == 2
    assert line.split()[0].strip("[]").split(".")[0] in capsys.readouterr().err


def algorithms(config: Config, prefix: str = "") -> dict[str, Algorithm]:
    """The algorithm of each stage of reinforcement, by the path of the stage."""
    found: dict[str, Algorithm] = {}
    for name, value in config:
        if isinstance(value, RLConfig):
            found[prefix + name] = value.algorithm
        elif isinstance(value, Config):
            found |= algorithms(value, f"{prefix}{name}.")
    return found


ZERO_LOOPS = {"zero": 0.2, "longer": 0.2}
R1_LOOPS = {
    "zero.zero": 0.2,
    "zero.longer": 0.2,
    "dev2": 10.0,
    "reasoning": 10.0,
    "scenarios": 10.0,
    "students.direct": 0.2,
    "students.further": 0.2,
}
"""The stages of reinforcement, and the clip that every scale has there."""


@pytest.mark.parametrize(
    ("words", "clips"),
    [("run r1_zero", ZERO_LOOPS), ("doctor --scale paper", ZERO_LOOPS), ("run r1 --scale gpu", R1_LOOPS)],
)
def test_an_algorithm_is_chosen_for_all_stages_and_keeps_the_clip_of_the_scale(
    words: str, clips: dict[str, float]
) -> None:
    command = parse([*words.split(), "--algorithm", "grpo_sequence"])
    assert isinstance(command, RunCommand | DoctorCommand)
    chosen = {stage: GRPOSequence(clip_eps=clip_eps) for stage, clip_eps in clips.items()}
    assert algorithms(command.config) == chosen


def test_a_stage_has_the_options_of_the_chosen_algorithm_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "r1_zero", "--algorithm", "grpo_sequence"]
    command = parse([*words, "--zero.algorithm.clip-eps", "0.3"])
    assert isinstance(command, RunCommand)
    assert command.config.zero.algorithm == GRPOSequence(clip_eps=0.3)
    assert command.config.longer.algorithm == GRPOSequence()

    with pytest.raises(SystemExit) as ended:
        parse([*words, "--zero.algorithm.aggregation", "token"])
    assert ended.value.code == 2
    assert "--zero.algorithm.aggregation" in capsys.readouterr().err


def test_an_unknown_algorithm_is_wrong_use_that_lists_those_that_there_are() -> None:
    with pytest.raises(WrongUseError, match=f"--algorithm sarsa.*only {', '.join(ALGORITHMS)}"):
        parse(["run", "r1_zero", "--algorithm", "sarsa"])


@pytest.mark.parametrize("words", [["run", "r1_zero"], ["doctor"]])
def test_a_file_may_name_the_algorithm(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('algorithm = "grpo_sequence"\n[zero.algorithm]\nkl-coef = 0.5\n', encoding="utf-8")
    command = parse([*words, "--config", str(path)])
    assert isinstance(command, RunCommand | DoctorCommand)
    assert command.config.zero.algorithm == GRPOSequence(kl_coef=0.5)


@pytest.mark.parametrize("is_first", [True, False])
def test_scale_and_algorithm_of_the_command_line_hold_over_those_of_a_file(is_first: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('scale = "paper"\nalgorithm = "grpo_sequence"\n', encoding="utf-8")
    file, given = ["--config", str(path)], ["--scale", "tiny", "--algorithm", "grpo"]
    command = parse(["run", "r1_zero", *(given + file if is_first else file + given)])
    assert isinstance(command, AlgorithmChoice)
    assert command.algorithm == "grpo"
    assert isinstance(command, RunCommand)
    assert command.scale == "tiny"
    assert command.config == R1_ZERO_SCALES["tiny"]


TO_ALL = "goes on with the training of"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("r1_zero --processes 3", "--zero.group-size: 16 cannot be shared out evenly by --processes 3"),
        ("r1 --zero.processes 3", "--zero.zero.group-size: 16 cannot be shared out evenly by --zero.processes 3"),
        (
            "r1_zero --zero.optimizer.lora.rank 3",
            f"--longer {TO_ALL} --zero, so --longer.optimizer.lora.rank must be 3, not 0",
        ),
        (
            "r1 --zero.zero.optimizer.lora.alpha 8",
            f"--zero.longer {TO_ALL} --zero.zero, so --zero.longer.optimizer.lora.alpha must be 8.0, not 32.0",
        ),
        (
            "r1 --scenarios.optimizer.state host",
            f"--scenarios {TO_ALL} --reasoning, so --scenarios.optimizer.state must be float32, not host",
        ),
        (
            "r1 --dev3.optimizer.lora.rank 2 --dev3.optimizer.state 8-bit",
            "--dev3.optimizer: state '8-bit' is for training all weights: the moments of adapters are few; use state "
            "'float32'",
        ),
        (
            "r1_zero --zero.optimizer.lora.targets --longer.iterations 0",
            "--zero.optimizer.lora.targets: tuple should have at least 1 item after validation, not 0 (given: ())",
        ),
    ],
)
def test_what_does_not_go_together_is_told_in_the_words_of_the_command_line(
    words: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration names its own options; the command line knows where it stands among others."""
    with pytest.raises(SystemExit) as ended:
        parse(["run", *words.split()])
    assert (ended.value.code, capsys.readouterr().err) == (2, f"aha: {complaint}\n")


FOR_POLICIES = "is for reinforcement learning and fine-tuning"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("run r1 --students.pretrain.optimizer.state 8-bit", f"state: 8-bit {FOR_POLICIES}; pretraining takes float32"),
        ("run r1 --students.pretrain.optimizer.lora.rank 2", f"lora.rank: 2 {FOR_POLICIES}; pretraining takes 0"),
        ("pretrain --pretrain.optimizer.state host", f"state: host {FOR_POLICIES}; pretraining takes float32"),
        (
            "pretrain --pretrain.optimizer.precision bfloat16",
            f"precision: bfloat16 {FOR_POLICIES}; pretraining takes float32",
        ),
        ("run r1 --rewards.training.optimizer.lora.rank 2", f"lora.rank: 2 {FOR_POLICIES}; reward models take 0"),
    ],
)
def test_what_a_later_stage_cannot_do_is_refused_before_the_first(
    words: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words.split())
    option = words.rpartition("--")[2].partition("optimizer")[0]
    assert (ended.value.code, capsys.readouterr().err) == (2, f"aha: --{option}optimizer.{complaint}\n")
