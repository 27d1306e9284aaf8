"""What a model's name stands for: a folder, or the result of a run wherever its folder is now."""

import json
import shutil
from pathlib import Path

import pytest

from aha.recipes.base_model import BUILT_IN, open_base


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
