"""The loop in `examples/grpo.py`, to be read beside the paper, computes what the recipe computes."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from command import ROOT, Call
from safetensors.torch import load_file

from aha.problems.world.questions import TrainingProblems
from aha.recipes.base_model import BUILT_IN
from aha.recipes.scales import R1_ZERO_SCALES

GRPO = ROOT / "examples" / "grpo.py"

SEED = 26
"""With it one problem is asked twice in the second iteration, and its responses must not be the same ones again."""

LOOP = {
    "iterations": 3,
    "problems-per-iteration": 6,
    "group-size": 4,
    "num-minibatches": 2,
    "max-new-tokens": 40,
    "reference-every": 3,
    "evaluate-every": 2,
}
"""Three iterations of two updates each, after the third of which the reference moves."""

WARMUP_STEPS = 2
"""The learning rate rises for two updates and then falls along its cosine."""

REST = {
    "longer.iterations": 0,
    "validation.num-problems": 2,
    "validation.num-samples": 2,
    "validation.max-new-tokens": 8,
    "evaluation.num-problems": 1,
    "evaluation.num-samples": 2,
    "evaluation.max-new-tokens": 8,
    "processes": 1,
}
"""What a run does besides, as little of it as can be."""


def call_example(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run the file as a program, in this process."""
    monkeypatch.setattr(sys, "argv", [str(GRPO), *arguments])
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(GRPO), run_name="__main__")
    finally:
        torch.set_num_threads(threads)


@pytest.mark.full
def test_the_example_ends_with_the_bits_of_the_recipe(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = TrainingProblems(seed=SEED)(LOOP["problems-per-iteration"], LOOP["problems-per-iteration"])
    assert len({problem.id for problem in asked}) < len(asked)
    options = [f"--zero.{name}={value}" for name, value in LOOP.items()]
    options += [f"--{name}={value}" for name, value in REST.items()]
    options += [f"--zero.optimizer.warmup-steps={WARMUP_STEPS}"]
    ended = call("run", "r1_zero", "--seed", SEED, "--run", tmp_path / "run", *options)
    assert ended.status == 0, ended.err

    own = [f"--{name}={value}" for name, value in LOOP.items()]
    own += [f"--warmup-steps={WARMUP_STEPS}", "--num-validated=2", f"--seed={SEED}", f"--out={tmp_path / 'model'}"]
    call_example(monkeypatch, *own)
    printed = capsys.readouterr().out

    start = load_file(BUILT_IN / "model.safetensors")
    recipe = load_file(tmp_path / "run" / "stages" / "zero" / "final" / "model.safetensors")
    example = load_file(tmp_path / "model" / "model.safetensors")
    assert example.keys() == recipe.keys()
    assert all(torch.equal(example[name], recipe[name]) for name in recipe)
    assert not all(torch.equal(start[name], recipe[name]) for name in recipe)
    assert printed.count("\niteration ") + printed.startswith("iteration ") == LOOP["iterations"]


def test_the_numbers_of_the_example_are_those_of_the_recipe() -> None:
    settings = runpy.run_path(str(GRPO))["Settings"]()
    config = R1_ZERO_SCALES["tiny"].zero
    algorithm, optimizer = config.algorithm, config.optimizer
    assert algorithm.name == "grpo"
    assert (settings.clip_eps, settings.kl_coef) == (algorithm.clip_eps, algorithm.kl_coef)
    for part, names in (
        (config, [name.replace("-", "_") for name in LOOP]),
        (optimizer, ["learning_rate", "warmup_steps", "final_share"]),
    ):
        numbers = part.model_dump()
        assert {name: vars(settings)[name] for name in names} == {name: numbers[name] for name in names}


def test_the_example_says_what_it_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_example(monkeypatch, "--help")
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    assert "GRPO" in help_text
    assert "--group-size" in help_text


def test_the_example_refuses_a_folder_that_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"--out .* is not empty: name a new folder"):
        call_example(monkeypatch, f"--out={tmp_path}")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--group-size=1"], "--group-size 1"),
        (["--num-minibatches=5", "--problems-per-iteration=2", "--group-size=4"], "--num-minibatches 5"),
    ],
)
def test_the_example_refuses_numbers_without_a_meaning(
    options: list[str], error: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        call_example(monkeypatch, *options)
    assert error in capsys.readouterr().err


@pytest.mark.full
def test_the_data_for_a_real_model_are_right_and_apart() -> None:
    """Every demonstration adds up to its answer, and no question stands in two of the three sets."""
    demonstrations, problems, held_out = runpy.run_path(str(ROOT / "examples" / "real.py"))["make_data"](
        num_demonstrations=20, num_held_out=30
    )
    assert (len(demonstrations), len(held_out)) == (20, 30)
    assert len(problems) > 1000
    questions = [row["question"] for row in (*demonstrations, *problems, *held_out)]
    assert len(set(questions)) == len(questions)
    for row in demonstrations:
        *steps, last = re.findall(r"(\d+) ([*+]) (\d+) = (\d+)\.", row["response"])
        for first, sign, second, result in (*steps, last):
            assert int(result) == (int(first) * int(second) if sign == "*" else int(first) + int(second))
        assert row["response"].endswith(f"</think> <answer> {last[-1]} </answer>")
