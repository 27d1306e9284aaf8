"""What a model's name stands for: a folder, or the result of a run wherever its folder is now."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tiny import letters_tokenizer, tiny_config, tiny_policy

from aha.recipes.base_model import BUILT_IN, open_base, open_training, publish
from aha.recipes.scales import BaseConfig
from aha.stages.config import PretrainConfig
from aha.stages.pretrain import corpus_digest
from aha.training.checkpoint import PROVENANCE, weights_digest, write_checkpoint


def make_run(folder: Path, recorded: Path | None) -> Path:
    """A run whose stage `zero` has a model, and which says where its result was."""
    shutil.copytree(BUILT_IN, folder / "stages" / "zero" / "final")
    (folder / "run.json").write_text("{}", encoding="utf-8")
    if recorded is not None:
        (folder / "result.json").write_text(json.dumps({"model": str(recorded)}), encoding="utf-8")
    return folder


def test_a_run_that_was_moved_has_its_result_where_it_is_now(tmp_path: Path) -> None:
    run = make_run(tmp_path / "moved", Path("/before/the/move/stages/zero/final"))
    assert open_base(str(run)).path == run / "stages" / "zero" / "final"


def test_a_result_outside_of_the_run_is_where_it_was_written(tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(BUILT_IN, tmp_path / "elsewhere" / "model"))
    run = make_run(tmp_path / "run", elsewhere)
    assert open_base(str(run)).path == elsewhere


def test_a_run_without_a_result_names_a_model_that_it_has(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", None)
    with pytest.raises(ValueError, match="without a result so far: name one of its models") as failure:
        open_base(str(run))
    assert str(run / "stages" / "zero" / "final") in str(failure.value)


def test_the_newest_model_of_a_run_without_a_result_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", None)
    newer = Path(shutil.copytree(BUILT_IN, run / "stages" / "longer" / "iteration-000010"))
    for age, folder in ((0, newer), (60, run / "stages" / "zero" / "final")):
        os.utime(folder / "config.json", (10_000 - age, 10_000 - age))
    with pytest.raises(ValueError, match=rf"such as {newer}$"):
        open_base(str(run))


def test_a_run_that_has_no_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"without a result so far, and holds no model yet$"):
        open_base(str(tmp_path))


@pytest.mark.parametrize("name", [None, "", "base"])
def test_without_a_name_it_is_the_built_in_one(
    name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = open_base(name)
    assert (found.path, found.stage, found.step, found.key) == (BUILT_IN, "base", 0, weights_digest(BUILT_IN))


def test_a_folder_of_the_name_base_is_that_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(BUILT_IN, tmp_path / "base")
    assert open_base("base").path == Path("base")


def checkpoint(folder: Path, **state: object) -> Path:
    write_checkpoint(
        folder, tiny_policy(tiny_config()), letters_tokenizer(), state={"stage": "zero", "step": 7, **state}
    )
    return folder


def test_a_training_is_told_by_all_of_its_files(tmp_path: Path) -> None:
    """Equal weights with another state behind them are another start."""
    found = [
        open_training(checkpoint(tmp_path / str(place), training={"history": {"updates": place}})) for place in range(2)
    ]
    assert [(one.stage, one.step) for one in found] == [("zero", 7)] * 2
    assert weights_digest(found[0].path) == weights_digest(found[1].path)
    assert len({one.key for one in found}) == 2
    assert {len(one.key) for one in found} == {16}
    with pytest.raises(ValueError, match=r"--continue-from .*: no stage of reinforcement made this model"):
        open_training(checkpoint(tmp_path / "fine-tuned"))


def test_a_published_model_says_what_made_it(tmp_path: Path) -> None:
    pretrain = PretrainConfig(drill_tokens=64, problem_tokens=64, batch_tokens=64)
    config = json.loads(BaseConfig(pretrain=pretrain).model_dump_json())
    made_by = {"command": ["aha", "pretrain"], "revision": "abc", "libraries": {"torch": "2"}}
    run = tmp_path / "run"
    run.mkdir()
    described = {"seed": 5, "config": {**config, "another": 1}, "provenance": {**made_by, "host": "here"}}
    (run / "run.json").write_text(json.dumps(described), encoding="utf-8")
    losses = [5 - number / 16 + 0.00016 for number in range(43)]
    lines = [json.dumps({"stage": "base", "loss": loss}) for loss in losses]
    (run / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")

    out = publish(run, checkpoint(tmp_path / "model"), tmp_path / "out")
    assert json.loads((out / PROVENANCE).read_text(encoding="utf-8")) == {
        **made_by,
        "seed": 5,
        "config": config,
        "corpus_sha256": corpus_digest(pretrain, 5),
        "updates": 43,
        "loss_curve_every_20_updates": [5.0002, 3.7502, 2.5002],
        # The mean of the last twenty, numbers 23 to 42: 5 - 32.5 / 16 + 0.00016.
        "final_loss": 2.9689,
    }
    assert weights_digest(out) == weights_digest(tmp_path / "model")
