"""The built-in base model: pretrained on the corpus of the built-in world, and shipped with the package."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import aha
from aha.recipes.adapted_model import is_adapter, merged_folder, name_of_its_model
from aha.recipes.scales import BaseConfig
from aha.runs.folder import RunFolder
from aha.runs.gguf import SUFFIX, gguf_folder
from aha.runs.hub import model_folder
from aha.stages.pretrain import corpus_digest, pretrain
from aha.stages.run import Run
from aha.training.checkpoint import MANIFEST, publish_model, read_state, verify, weights_digest
from aha.types import Checkpoint

__all__ = ["BUILT_IN", "base", "model_folder_of", "open_base", "open_training", "publish"]

BUILT_IN = Path(aha.__file__).parent / "policy" / "base"
"""Folder of the shipped base model."""

HUB = "hub:"
"""How the name of a model at the hub begins."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


def base(run: Run, scale: BaseConfig) -> Checkpoint:
    """Pretrain the base model."""
    return pretrain(run, "base", config=scale.pretrain)


def open_base(model: Path | str | None = None) -> Checkpoint:
    """A model as the start of a recipe.

    Args:
        model: its folder, that of a LoRA adapter, that of a run for the run's result, a GGUF file, or
            `hub:OWNER/NAME`; None, or `base` where there is no such folder, for the built-in base.

    Raises:
        ValueError: there is no such folder or file, it is damaged, or it is that of a run without a result.
        RuntimeError: an extra that reads it is not installed.
    """
    path = model_folder_of(model)
    # The weights alone count here: a start does not go on with moments.
    verify(path, with_training=False)
    return Checkpoint(path=path, stage="base", step=0, key=weights_digest(path))


def model_folder_of(model: Path | str | None = None) -> Path:
    """The folder of a model that is named as for `open_base`; its weights are not looked at.

    Args:
        model: as `open_base` takes it.

    Raises:
        ValueError: there is no such folder or file, or it is that of a run without a result.
        RuntimeError: an extra that reads it is not installed.
    """
    name = "" if model is None else str(model)
    # A folder of the user's may be called `base`.
    if not name or (name == "base" and not Path(name).exists()):
        path = BUILT_IN
    else:
        path = _folder_of(name)
        # OWNER/NAME is a path as well, so nothing is downloaded without the mark.
        if _HUB_NAME.fullmatch(name) and not path.exists():
            raise ValueError(
                f"there is no folder {name}; for the model of the Hugging Face hub write --model {HUB}{name}"
            )

    is_run = (path / "run.json").exists() and not (path / "config.json").exists()
    if is_run:
        path = _result_of(path)
    return path


def _folder_of(name: str) -> Path:
    """The folder of a model that is named: at the hub, in a GGUF file, by its folder or by that of an adapter."""
    path = Path(name)
    if name.startswith(HUB):
        path = model_folder(name.removeprefix(HUB))
    elif name.endswith(SUFFIX) and not path.is_dir():
        path = gguf_folder(path)

    if is_adapter(path):
        base_name = name_of_its_model(path)
        # `peft` writes a name at the hub without a mark.
        base_folder = _folder_of(base_name) if Path(base_name).exists() else model_folder(base_name)
        path = merged_folder(path, base_folder)
    return path


def _result_of(run: Path) -> Path:
    """The model that a run ended with."""
    result = RunFolder(run, is_writer=False).read("result.json")
    if result is None:
        models = sorted(run.glob("stages/*/*/config.json"), key=lambda path: path.stat().st_mtime)
        advice = f": name one of its models, such as {models[-1].parent}" if models else ", and holds no model yet"
        raise ValueError(f"{run} is a run without a result so far{advice}")

    recorded = Path(str(result.get("model")))
    # The path was recorded where the run stood when it ended, and it may have been moved since.
    here = run / "stages" / recorded.parent.name / recorded.name
    return here if here.is_dir() else recorded


def open_training(folder: Path) -> Checkpoint:
    """A checkpoint of a stage of reinforcement, as the start of a run that continues its training.

    Args:
        folder: `stages/NAME/final` or `stages/NAME/iteration-NUMBER` of a run.

    Raises:
        ValueError: there is no such folder, it is damaged, or it holds no training.
    """
    state, _ = read_state(folder)
    if "training" not in state:
        raise ValueError(
            f"--continue-from {folder}: no stage of reinforcement made this model, so that there is no training to go "
            "on with; start from it with --model"
        )
    # Moments and reference decide what follows, so the key is that of all files, not of the weights alone.
    content = (folder / MANIFEST).read_bytes()
    key = hashlib.sha256(content).hexdigest()[:16]
    return Checkpoint(path=folder, stage=state["stage"], step=state["step"], key=key)


def publish(run: Path, model: Path, out: Path) -> Path:
    """Copy a finished base model to a folder of its own, with its provenance.

    The provenance file holds command, revision, seed, corpus digest and loss curve.

    Args:
        run: the run folder that made it.
        model: the model folder.
        out: where it goes; replaced as a whole.

    Returns:
        `out`.
    """
    return publish_model(model, out, _provenance(run))


def _provenance(run: Path) -> dict[str, Any]:
    """What made the model."""
    folder = RunFolder(run, is_writer=False)
    described = folder.read("run.json") or {}
    # `run.json` has more under `config` than the numbers, such as the instruction set.
    numbers = {name: described["config"][name] for name in BaseConfig.model_fields}
    config = BaseConfig.model_validate(numbers)

    rows = (run / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(row)["loss"] for row in rows]
    last_losses = losses[-20:]
    return {
        "command": described["provenance"]["command"],
        "revision": described["provenance"]["revision"],
        "libraries": described["provenance"]["libraries"],
        "seed": described["seed"],
        "config": config.model_dump(),
        "corpus_sha256": corpus_digest(config.pretrain, described["seed"]),
        "updates": len(losses),
        "loss_curve_every_20_updates": [round(loss, 4) for loss in losses[::20]],
        # The loss of a single batch is noisy.
        "final_loss": round(sum(last_losses) / len(last_losses), 4),
    }
