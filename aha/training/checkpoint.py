"""Checkpoints: a Hugging Face model folder, and beside the model all that an interrupted stage needs to go on.

A checkpoint is written aside, checksummed and renamed: a folder with its final name is whole, and one that is damaged
later is found out when it is read. Nothing in it is executable: tensors are safetensors, the rest is JSON.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from aha.policy.policy import Policy
from aha.policy.pretrained import read_policy, write_policy
from aha.policy.reward_model import RewardModel, read_reward_model, write_reward_model
from aha.policy.weights import Dtype
from aha.prompts.pretrained import read_tokenizer, write_tokenizer
from aha.prompts.tokenizer import Tokenizer
from aha.runs.folder import naming
from aha.runs.objects import read_object

__all__ = [
    "MANIFEST",
    "PROVENANCE",
    "check_unoccupied",
    "export_model",
    "publish_model",
    "read_figures",
    "read_model",
    "read_scorer",
    "read_state",
    "restore_optimizers",
    "verify",
    "weights_digest",
    "write_checkpoint",
]

MANIFEST = "checksums.json"
PROVENANCE = "provenance.json"
"""The file that says where a model folder comes from that is no checkpoint."""

_STATE = "trainer.json"
_TENSORS = "trainer.safetensors"


def write_checkpoint(
    folder: Path,
    policy: Policy | RewardModel,
    tokenizer: Tokenizer,
    *,
    state: Mapping[str, Any],
    optimizers: Sequence[Optimizer] = (),
    reference: Policy | None = None,
) -> None:
    """Write a checkpoint atomically; an older one of the same name is replaced only by a whole one.

    Args:
        folder: its final name.
        policy: the policy, or a reward model.
        tokenizer: its tokenizer.
        state: figures that the stage needs to go on (JSON).
        optimizers: their moments are kept.
        reference: the reference policy, where it is not the start of the stage.

    Raises:
        OSError: the disk is full or cannot be written; what was there before is there again.
    """
    with _written_aside(folder) as aside:
        _write_model(policy, tokenizer, aside)
        (aside / _STATE).write_text(json.dumps(dict(state), indent=2, sort_keys=True) + "\n")
        _write_tensors(optimizers, reference, aside / _TENSORS)
        _seal(aside)


@contextmanager
def _written_aside(folder: Path) -> Iterator[Path]:
    """A new folder to fill. It gets its final name when it is complete, and is removed where something fails.

    Raises:
        OSError: the disk is full or cannot be written; what had the final name before has it again.
    """
    # A sibling of the final folder, so that the two are on one file system, where a rename is atomic.
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with naming(folder):
            aside.mkdir(parents=True)
            yield aside
            _put_in_place(aside, folder)
    except SafetensorError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise _as_os_error(error, folder) from error
    except BaseException:
        # Also where the user interrupts: what is half written may be gigabytes.
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _write_model(model: Policy | RewardModel, tokenizer: Tokenizer, folder: Path) -> None:
    """The model and its tokenizer, as `transformers` and other servers read them."""
    if isinstance(model, RewardModel):
        write_reward_model(model, folder, end_id=tokenizer.end_id, pad_id=tokenizer.pad_id)
    else:
        write_policy(
            model,
            folder,
            end_id=tokenizer.end_id,
            pad_id=tokenizer.pad_id,
            begin_id=tokenizer.begin_id,
            stop_ids=tokenizer.stop_ids,
        )
    write_tokenizer(tokenizer, folder)


def _write_tensors(optimizers: Sequence[Optimizer], reference: Policy | None, path: Path) -> None:
    """Moments and reference in one file; no file where there are none."""
    tensors = _optimizer_tensors(optimizers)
    if reference is not None:
        for name, weight in reference.named_parameters():
            # What is frozen is shared with the policy, whose start has it.
            if weight.requires_grad:
                tensors[f"reference.{name}"] = weight

    if tensors:
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(stored, path)


def _as_os_error(error: SafetensorError, path: Path) -> OSError:
    """The error of the operating system behind one of safetensors, which gives its number only in words."""
    number = re.search(r"os error (\d+)", str(error))
    code = int(number[1]) if number else errno.EIO
    return OSError(code, os.strerror(code), str(path))


def _optimizer_tensors(optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """The optimizers' moments by name."""
    tensors = {}
    for number, optimizer in enumerate(optimizers):
        for index, moments in optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimizer.{number}.{index}.{name}"] = torch.as_tensor(value)
    return tensors


def restore_optimizers(optimizers: Sequence[Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Give optimizers the moments that `read_state` returned."""
    for number, optimizer in enumerate(optimizers):
        prefix = f"optimizer.{number}."
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, name = key.removeprefix(prefix).split(".", 1)
                moments.setdefault(int(index), {})[name] = value

        # The settings of the groups are those of this run: only the moments are taken over.
        param_groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": param_groups})


def verify(folder: Path, *, with_training: bool = True) -> None:
    """Check a checkpoint's files against their checksums; a model folder from elsewhere, which has none, passes.

    Args:
        folder: the checkpoint.
        with_training: whether moments and reference are checked too: they are several times the size of the model.

    Raises:
        ValueError: a file is missing or was changed; the message names it.
    """
    if not folder.is_dir():
        raise ValueError(
            f"no model folder at {folder}: give the folder of a checkpoint (with config.json and model.safetensors)"
        )

    damage = "the checkpoint is damaged; use an earlier one"
    if not (folder / MANIFEST).exists():
        if (folder / _STATE).exists():
            raise ValueError(f"{folder} has lost {MANIFEST}: {damage}")
        return

    try:
        digests = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (TypeError, ValueError):
        raise ValueError(f"{folder / MANIFEST} is not valid JSON: {damage}") from None

    if not with_training:
        digests.pop(_TENSORS, None)

    for name, digest in digests.items():
        path = folder / name
        if not path.exists():
            raise ValueError(f"{folder} has lost {name}: {damage}")
        if _digest(path) != digest:
            raise ValueError(f"{path} is not what was written (checksum): {damage}")


def read_model(
    folder: Path, *, device: torch.device | str = "cpu", dtype: Dtype = torch.float32
) -> tuple[Policy, Tokenizer]:
    """Read a policy and its tokenizer from a checkpoint or any supported Hugging Face model folder.

    Args:
        folder: the folder.
        device: where the parameters go.
        dtype: their type, whatever the file's; `auto` takes the file's.

    Raises:
        ValueError: the folder is missing, incomplete, damaged or not supported; the message says what and where.
    """
    verify(folder, with_training=False)
    policy = read_policy(folder, device=device, dtype=dtype)
    return policy, read_tokenizer(folder, room=policy.config.vocab_size)


def read_scorer(
    folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[RewardModel, Tokenizer]:
    """Read a reward model and its tokenizer from a checkpoint.

    Raises:
        ValueError: the folder is missing, incomplete, damaged or holds no reward model; the message says what and
            where.
    """
    verify(folder)
    model = read_reward_model(folder, device=device, dtype=dtype)
    return model, read_tokenizer(folder, room=model.config.vocab_size)


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a stage needs to go on: its figures, and its tensors by name.

    Raises:
        ValueError: the folder is missing, damaged, or a model folder from elsewhere.
    """
    verify(folder)
    state = read_figures(folder)
    path = folder / _TENSORS
    tensors = load_file(path) if path.exists() else {}
    return state, tensors


def read_figures(folder: Path) -> dict[str, Any]:
    """The figures alone of what a stage needs to go on; nothing is checked, and no tensor is read.

    Raises:
        ValueError: the folder is a model folder from elsewhere.
    """
    if not (folder / _STATE).exists():
        raise ValueError(f"{folder} has no {_STATE}: it is a model folder, but no checkpoint of a stage")
    return read_object(folder / _STATE)


def weights_digest(folder: Path) -> str:
    """Hash of the weights of a model folder: the identity of a model that no stage of this run made.

    Raises:
        ValueError: the folder has no weights.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise ValueError(f"{folder} has no model.safetensors: it is not a model folder")
    digests = "".join(_digest(path) for path in files)
    return hashlib.sha256(digests.encode()).hexdigest()[:16]


def publish_model(model: Path, out: Path, provenance: Mapping[str, Any]) -> Path:
    """Copy a checkpoint's model, without what only training needs, to a folder of its own with a `provenance.json`.

    Args:
        model: the checkpoint.
        out: the folder to write; replaced as a whole.
        provenance: what made the model.

    Returns:
        `out`.

    Raises:
        ValueError: `out` holds something that is no published model, and stays as it is.
    """
    verify(model)
    if _is_occupied(out) and not (out / PROVENANCE).exists():
        raise ValueError(f"{out} holds something else than a published model: name another folder with --out")

    with _written_aside(out.resolve()) as aside:
        left_out = shutil.ignore_patterns(_STATE, _TENSORS, MANIFEST)
        shutil.copytree(model, aside, ignore=left_out, dirs_exist_ok=True)
        _write_provenance(provenance, aside)
        _seal(aside)
    return out


def export_model(model: Policy | RewardModel, tokenizer: Tokenizer, out: Path, provenance: Mapping[str, Any]) -> None:
    """Write a model to be served, with a `provenance.json`, to a folder of its own.

    It has no checksums, unlike what `publish_model` writes: who serves it may edit its settings.

    Args:
        model: the policy, or a reward model, in the type in which it is to be stored.
        tokenizer: its tokenizer.
        out: the folder to write; new or empty.
        provenance: what made the model.

    Raises:
        ValueError: there is something in `out`, which stays as it is.
        OSError: the disk is full or cannot be written; `out` is as it was.
    """
    check_unoccupied(out)
    with _written_aside(out.resolve()) as aside:
        _write_model(model, tokenizer, aside)
        _write_provenance(provenance, aside)
        _make_durable(aside)


def check_unoccupied(out: Path) -> None:
    """Refuse to write a model over something else.

    Raises:
        ValueError: there is something in `out`.
    """
    if _is_occupied(out):
        raise ValueError(f"--out {out} is not empty: name a new folder")


def _is_occupied(out: Path) -> bool:
    """Whether something stands where a model is to be written: a file, or a folder that is not empty."""
    if out.is_dir():
        return any(out.iterdir())
    return out.exists()


def _write_provenance(provenance: Mapping[str, Any], folder: Path) -> None:
    """Write what made a model beside it."""
    text = json.dumps(dict(provenance), indent=2)
    (folder / PROVENANCE).write_text(text + "\n", encoding="utf-8")


def _seal(folder: Path) -> None:
    """Write the checksums of a folder's files, and make all of them durable."""
    files = sorted(folder.iterdir())
    digests = {file.name: _digest(file) for file in files}
    text = json.dumps(digests, indent=2)
    (folder / MANIFEST).write_text(text + "\n")
    _make_durable(folder)


def _make_durable(folder: Path) -> None:
    """Let a folder and its files outlive a power cut."""
    files = sorted(folder.iterdir())

    # The files before the folder: a name must not outlive what it names.
    for path in (*files, folder):
        _flush(path)


def _put_in_place(aside: Path, folder: Path) -> None:
    """Give a folder its final name; an older one of that name goes only once the new one is there."""
    # A folder that is not empty cannot be replaced at once, so the older one is moved out of the way first.
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)

    try:
        os.replace(aside, folder)
    except BaseException:
        if old.exists():
            os.replace(old, folder)
        raise

    # The new name is durable before the older checkpoint goes, or a power cut could leave neither.
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Make a file or a folder's entries durable."""
    # A folder cannot be opened as a file, only by the operating system's own call.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
