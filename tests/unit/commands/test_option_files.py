"""Options in a TOML file: which words they become, and that the command line holds over them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from aha.commands.option_files import WrongUseError, last_value, with_option_file

FILE = """
seed = 3
fresh = true
keep_rollouts = 2
run = "folder"
problems = ["a.jsonl", 2]
note = "-1 = \\"so\\""
quick = false
[zero]
max_new_tokens = -4
[zero.optimizer]
is_fused = false
lora = { is_on = true }
"""
WORDS = [
    "--seed=3",
    "--fresh",
    "--keep-rollouts=2",
    "--run=folder",
    "--problems",
    "a.jsonl",
    "2",
    '--note=-1 = "so"',
    "--no-quick",
    "--zero.max-new-tokens=-4",
    "--zero.optimizer.no-is-fused",
    "--zero.optimizer.lora.is-on",
]
FOR_THE_DOCTOR = [word for word in WORDS if word not in {"--fresh", "--keep-rollouts=2", "--run=folder"}]
"""The doctor writes nothing."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def as_they_are(words: Sequence[str]) -> list[str]:
    return list(words)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("run r1", ""),
        ("run r1 --scale gpu", "gpu"),
        ("run r1 --scale=gpu", "gpu"),
        ("--scale gpu", "gpu"),
        ("run --scale gpu --scale=tiny", "tiny"),
        ("run --scale=tiny --scale gpu --seed 1", "gpu"),
        ("run --scale", ""),
        ("run --scale gpu --scale", "gpu"),
        ("run --scales gpu", ""),
        ("run --scale=a=b", "a=b"),
    ],
)
def test_the_last_value_of_an_option_holds(words: str, value: str) -> None:
    assert last_value(words.split(), "--scale") == value


@pytest.mark.parametrize(("command", "expected"), [("run", WORDS), ("doctor", FOR_THE_DOCTOR)])
def test_the_options_of_a_file_stand_before_those_of_the_command_line(
    command: str, expected: list[str], file: Path
) -> None:
    words = [command, "r1", "--config", str(file), "--seed", "9"]
    assert with_option_file(words, as_they_are) == [command, "r1", *expected, "--config", str(file), "--seed", "9"]


def test_without_a_file_the_words_stay(file: Path) -> None:
    for words in (["run", "r1"], ["run", "r1", "--seed", "9"], ["-h"], []):
        assert with_option_file(words, as_they_are) == words
    assert with_option_file(["run", f"--config={file}"], as_they_are)[1:-1] == WORDS


def test_file_and_command_line_are_spread_each_for_itself(file: Path) -> None:
    """What is reordered among the options of the file never passes those of the command line."""
    words = with_option_file(["run", "r1", "--config", str(file), "--a", "--b"], lambda options: sorted(options))
    assert words == ["run", "r1", *sorted(WORDS), *sorted(["--config", str(file), "--a", "--b"])]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"none\.toml cannot be read \(.*No such file.*\): --config takes a TOML file"),
        (b"\xe9 = 1", r"none\.toml cannot be read \(.*utf-8.*\): --config takes a TOML file"),
        (b"seed = ", r"none\.toml is not valid TOML: "),
    ],
)
def test_a_file_that_cannot_be_read_is_wrong_use(content: bytes | None, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongUseError, match=complaint):
        with_option_file(["run", "--config", str(path)], as_they_are)
