"""R1-Zero learns on two cores in minutes what the paper reports; on shuffled answers there is nothing to learn."""

import json
from pathlib import Path

import pytest
from command import run

pytestmark = pytest.mark.slow

SEED = 0
Figures = dict[str, float]


def start_and_end(recipe: str, folder: Path) -> tuple[Figures, Figures]:
    """The figures of the base model and of the trained one on the held-out test problems."""
    ended = run("run", recipe, "--seed", str(SEED), "--run", str(folder), "--json", seconds=None)
    assert ended.status == 0, ended.err
    report = json.loads(ended.out)
    start, end = ({name: part["value"] for name, part in report[moment].items()} for moment in ("start", "end"))
    print(f"{recipe}, seed {SEED}: {start} -> {end}")
    return start, end


def test_r1_zero_learns(tmp_path: Path) -> None:
    start, end = start_and_end("r1_zero", tmp_path / "r1_zero")
    assert start["pass@1"] <= 0.20
    assert end["pass@1"] >= 0.70
    assert end["length"] >= 2 * start["length"]
    assert end["reflection"] >= 2 * start["reflection"]


def test_the_control_on_shuffled_answers_does_not(tmp_path: Path) -> None:
    start, end = start_and_end("r1_zero_control", tmp_path / "control")
    assert end["pass@1"] <= start["pass@1"] + 0.05
