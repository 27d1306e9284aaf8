"""Export: the model of a run alone, in the type of the weights that its training began with, ready to be served.

A training in float32 writes float32, whatever it began with: later stages, and a run that goes on, need these bits. A
server does not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import aha
from aha.policy.weights import stored_dtype
from aha.recipes.base_model import open_base
from aha.runs.folder import RunFolder
from aha.training.checkpoint import check_unoccupied, export_model, read_figures, read_model, read_scorer
from aha.training.config import ExportDtype
from aha.types import Checkpoint

__all__ = ["export", "original_dtype", "record_starts"]

STARTS = "starts.json"
"""The file of a run folder that holds the type of the weights of each model that the run starts from."""

_DTYPES: Mapping[str, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def export(name: str, out: Path, dtype: ExportDtype = "auto") -> dict[str, Any]:
    """Write a model alone into a folder of its own: weights, settings, tokenizer and a `provenance.json`.

    Args:
        name: a model folder, the folder of a run for its result, `hub:OWNER/NAME`, or `base`.
        out: the folder to write; new or empty.
        dtype: type of the weights; `auto` is that of `original_dtype`.

    Returns:
        What the provenance says, with `model`, the folder written.

    Raises:
        ValueError: there is something in `out`, the name is no model's, or the type cannot hold the weights.
        OSError: the disk is full or cannot be written; nothing half written is left.
    """
    # Asked before the model is read, which can take minutes; `export_model` asks once more before it writes.
    check_unoccupied(out)
    folder = out.resolve()
    source = open_base(name)
    target = original_dtype(source.path) if dtype == "auto" else _DTYPES[dtype]

    # A reward model has a head of its own.
    is_reward_model = (source.path / "reward_model.json").exists()
    read = read_scorer if is_reward_model else read_model
    model, tokenizer = read(source.path, dtype=target)
    # float16 has too small a range for some weights, which would become infinite without a word.
    _check_finite(model, target)

    provenance = {**_origin(source), "dtype": _name(target)}
    export_model(model, tokenizer, folder, provenance)
    return {"model": str(folder), **provenance}


def original_dtype(model: Path) -> torch.dtype:
    """The type in which the weights were stored that a model was trained from.

    Args:
        model: a model folder. Where it lies in a run folder that knows of its start, the type is the start's; otherwise
            that of its own weights.

    Raises:
        ValueError: the model or the record of the run is damaged.
    """
    run = _run_of(model)
    if run is None:
        return stored_dtype(model)

    stage = model.resolve().parent.name
    start_key = _start_of(run, stage)
    dtypes_by_key = run.read(STARTS) or {}
    # A run that starts from no model has no such file, and a damaged record is passed over.
    recorded = _DTYPES.get(str(dtypes_by_key.get(str(start_key))))
    return stored_dtype(model) if recorded is None else recorded


def record_starts(folder: RunFolder, models: Sequence[Checkpoint]) -> None:
    """Write down in which types the weights are stored that a run starts from, by the models' keys.

    A start that a run made itself counts as the start of that run. What was recorded before stays.
    """
    if not models or folder.read(STARTS) is not None:
        return
    dtypes_by_key = {model.key: _name(original_dtype(model.path)) for model in models}
    folder.write(STARTS, dtypes_by_key)


def _run_of(model: Path) -> RunFolder | None:
    """The run whose stage wrote a model, RUN/stages/NAME/final or .../iteration-NUMBER; None where none did."""
    stages = model.resolve().parent.parent
    folder = stages.parent
    if stages.name != "stages" or not (folder / "run.json").exists():
        return None
    return RunFolder(folder, is_writer=False)


def _start_of(run: RunFolder, stage: str) -> str | None:
    """The key of the model from which a chain of stages started; None where a stage of the run made its own model."""
    records = {}
    for path in sorted(run.path.glob("stages/*/inputs.json")):
        name = path.parent.name
        records[name] = run.read(f"stages/{name}/inputs.json")
    inputs_by_key = {record["key"]: record["inputs"] for record in records.values() if record}

    record = records.get(stage)
    key = record["key"] if record else None

    # Each step goes from a model to the one that it was trained from, which is named first. A damaged record could
    # name itself, so each is followed once.
    while key in inputs_by_key:
        made_from = inputs_by_key.pop(key)
        sources = made_from.get("sources") or [made_from.get("policy")]
        key = sources[0]
    return key


def _check_finite(model: nn.Module, dtype: torch.dtype) -> None:
    """Refuse a type with too small a range for a weight."""
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(
                f"{name} has values that are not finite in {_name(dtype)}: take --dtype bfloat16 or float32"
            )


def _origin(source: Checkpoint) -> dict[str, Any]:
    """Where a model comes from: its run, stage, step and the digest of its weights."""
    origin: dict[str, Any] = {"aha": aha.__version__, "run": None, "stage": None, "step": None}
    if run := _run_of(source.path):
        described = run.read("run.json") or {}
        # The name of the folder alone: a path means nothing on another machine.
        origin["run"] = {"folder": run.path.name}
        origin["run"] |= {name: described.get(name) for name in ("recipe", "scale", "seed")}
        figures = read_figures(source.path)
        origin |= {"stage": figures.get("stage"), "step": figures.get("step")}
    return {**origin, "weights": source.key}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
