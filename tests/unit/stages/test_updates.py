"""The loop over updates: what is written, told and saved after each of them, when a stage goes on after two of four."""

import json
from pathlib import Path
from typing import Any

import pytest

from aha.runs.folder import RunFolder
from aha.stages.run import Run
from aha.stages.updates import make_updates


def test_each_update_is_logged_told_and_saved_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    saved: list[Any] = []
    run = Run(folder=RunFolder(tmp_path), seed=0, report=lambda *given: told.append(given[:3]))

    def checkpoint(_: Run, name: str, key: str, save: Any, **given: Any) -> None:
        saved.append((name, key, save(given["done"]).step, given["done"], given["total"], given["every"]))

    monkeypatch.setattr(Run, "checkpoint", checkpoint)
    actor: Any = object()
    end = make_updates(
        run, "sft", "key", actor, lambda step: {"loss": float(step)}, steps=range(2, 4), checkpoint_every=5
    )

    assert told == [("sft", 3, 4), ("sft", 4, 4)]
    assert saved == [("sft", "key", 3, 3, 4, 5), ("sft", "key", 4, 4, 4, 5)]
    assert (end.iteration, end.step) == (4, 4)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["stage"], row["iteration"], row["step"], row["loss"]) for row in rows] == [
        ("sft", 2, 3, 2.0),
        ("sft", 3, 4, 3.0),
    ]
