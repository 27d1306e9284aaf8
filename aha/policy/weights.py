"""Weights in and out of a model folder: safetensors, in one file or in shards that an index names.

Files are mapped into memory and read one tensor after the other, each straight into its type and its device, so that
reading needs little more memory than the weights and one file. Nothing that could hold code is ever loaded.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from aha.runs.objects import read_object, write_object

__all__ = ["MAX_SHARD_BYTES", "Dtype", "load_weights", "read_weights", "stored_dtype", "write_weights"]

Dtype = torch.dtype | Literal["auto"]
"""Type of parameters; `auto` is that of the checkpoint."""

MAX_SHARD_BYTES = 5_000_000_000
"""Largest file of weights that is written, unless one tensor alone is larger; the limit of `transformers`."""

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_CHUNK = 1 << 22
"""Entries of a tensor that are read at once."""

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_EMBEDDING = "model.embed_tokens.weight"
_BUFFER = "rotary_emb.inv_freq"
"""Old Llama checkpoints hold what every program computes for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """Where a tensor lies, and what it is like."""

    path: Path
    shape: list[int]
    dtype: str


def load_weights(
    model: nn.Module,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: Dtype = torch.float32,
    stored_name: Callable[[str], str] = str,
    copies: Mapping[str, str] | None = None,
) -> None:
    """Give a model its weights; what it had before is never read, so that it may be made on the meta device.

    Args:
        model: the model; its parameters are replaced, its buffers stay.
        folder: a model folder.
        device: where the parameters go.
        dtype: their type, whatever the file's; `auto` takes that of the first parameter in the file.
        stored_name: from the name of a parameter to that of its tensor in the files.
        copies: tensors that may be in the files a second time: the name of the copy, and of the original.

    Raises:
        ValueError: a file is missing or damaged, or tensors are missing, unexpected, of another shape or quantised;
            the message names them and the folder.
    """
    copies = copies or {}
    stored = _directory(folder)
    expected: dict[str, str] = {}
    shapes: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        expected[stored_name(name)] = name
        shapes[stored_name(name)] = list(parameter.shape)
    originals = {name: tensor for name, tensor in stored.items() if name not in copies}
    _check_fit(originals, shapes, folder)

    # All types are looked at, so that a quantised tensor is refused before anything is read.
    types = {name: _type_of(stored[name], name, folder) for name in sorted(expected)}
    target = dtype
    if target == "auto":
        first_name = next(iter(expected))
        target = types[first_name]

    loaded: dict[str, Tensor] = {}
    for path in sorted({stored[name].path for name in expected}):
        names = [name for name in expected if stored[name].path == path]
        weights = _read(path, names, device=device, dtype=target)
        for name, weight in weights.items():
            loaded[expected[name]] = weight

    # Not strict: buffers are not in the files, and stay.
    model.load_state_dict(loaded, strict=False, assign=True)

    for copy, original in copies.items():
        if copy in stored:
            _compare(stored[copy].path, copy, loaded[expected[original]])


def read_weights(folder: Path, *, dtype: torch.dtype) -> dict[str, Tensor]:
    """All weights of a model folder by name, on the CPU.

    Args:
        folder: the model folder.
        dtype: their type, whatever the file's.

    Raises:
        ValueError: a file is missing or damaged, or weights are quantised; the message names it.
    """
    stored = {name: tensor for name, tensor in _directory(folder).items() if not name.endswith(_BUFFER)}
    for name, tensor in stored.items():
        _type_of(tensor, name, folder)

    weights: dict[str, Tensor] = {}
    for path in sorted({tensor.path for tensor in stored.values()}):
        names = [name for name, tensor in stored.items() if tensor.path == path]
        weights |= _read(path, names, device="cpu", dtype=dtype)
    return weights


def _check_fit(stored: Mapping[str, _Stored], shapes: Mapping[str, list[int]], folder: Path) -> None:
    """Refuse tensors that are not exactly those of the model.

    Raises:
        ValueError: tensors are missing, unexpected or of another shape.
    """
    present = {name for name in stored if not name.endswith(_BUFFER)}
    missing = sorted(shapes.keys() - present)
    unexpected = sorted(present - shapes.keys())
    common = sorted(present & shapes.keys())
    misshapen = [name for name in common if stored[name].shape != shapes[name]]
    if missing or unexpected or misshapen:
        raise ValueError(
            f"the weights in {folder} do not fit its config.json: "
            f"missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape {misshapen[:3]}"
        )


def stored_dtype(folder: Path) -> torch.dtype:
    """The type in which a model folder holds its weights, that of the embedding.

    Where no tensor has the name that the embedding has in most families, it is the type of the largest one.

    Raises:
        ValueError: a file is missing or damaged, or the weights are quantised; the message says which.
    """
    stored = _directory(folder)
    if not stored:
        raise ValueError(f"there are no weights in {folder}")

    name = _EMBEDDING
    if name not in stored:
        name = max(stored, key=lambda name: math.prod(stored[name].shape))
    return _type_of(stored[name], name, folder)


def _type_of(tensor: _Stored, name: str, folder: Path) -> torch.dtype:
    """The type of a stored tensor."""
    if tensor.dtype not in _TYPES:
        raise ValueError(
            f"{folder} holds {name} as {tensor.dtype}: quantised weights are not supported, only {', '.join(_TYPES)}"
        )
    return _TYPES[tensor.dtype]


def _directory(folder: Path) -> dict[str, _Stored]:
    """All tensors of a folder by name, none of them read."""
    tensors: dict[str, _Stored] = {}
    for path in _files(folder):
        with _open(path) as file:
            for name in file.keys():  # noqa: SIM118 (it is no dictionary)
                part = file.get_slice(name)
                tensors[name] = _Stored(path=path, shape=part.get_shape(), dtype=part.get_dtype())
    return tensors


def _files(folder: Path) -> list[Path]:
    """The files of weights: the single one, or those that the index names."""
    names = [_SINGLE]
    index = folder / _INDEX
    if index.exists() and not (folder / _SINGLE).exists():
        weight_map = read_object(index).get("weight_map")
        names = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []

        # A name with a folder in it could point anywhere on the disk.
        if not names or any(Path(name).name != name for name in names):
            raise ValueError(f"{index} names no files of this folder: the checkpoint is damaged")

    for name in names:
        if (folder / name).exists():
            continue
        pickles = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth"))
        if pickles:
            raise ValueError(
                f"{folder} has its weights only in {pickles[0]}, which can run code when it is loaded: convert it to "
                "safetensors where you trust it (transformers: model.save_pretrained writes safetensors)"
            )
        raise ValueError(f"{folder} has no {name}: the checkpoint is incomplete")
    return [folder / name for name in names]


def _open(path: Path) -> safe_open:
    """A file of weights, mapped into memory.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}): the checkpoint is damaged") from None


def _read(path: Path, names: list[str], *, device: torch.device | str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors of one file. They are copied: a parameter in a mapped file would break when the file changes."""
    weights: dict[str, Tensor] = {}
    with _open(path) as file:
        for name in names:
            stored = file.get_slice(name)
            shape = stored.get_shape()
            weight = torch.empty(shape, dtype=dtype, device=device)
            weights[name] = weight
            if weight.numel() <= _CHUNK:
                weight.copy_(file.get_tensor(name))
                continue

            # A large tensor is read in parts: another type would need it twice in memory.
            num_rows = max(1, _CHUNK * shape[0] // weight.numel())
            for start in range(0, shape[0], num_rows):
                part = slice(start, start + num_rows)
                weight[part].copy_(stored[part])
    return weights


def _compare(path: Path, copy: str, weight: Tensor) -> None:
    """Refuse a copy that differs from its original: one of the two would be lost unnoticed."""
    with _open(path) as file:
        copied = file.get_tensor(copy).to(device=weight.device, dtype=weight.dtype)
        is_same = torch.equal(copied, weight)
    if not is_same:
        raise ValueError(
            f"{path} has a {copy} of its own, but config.json ties it to the embedding: "
            "set tie_word_embeddings to false there to keep it"
        )


def write_weights(weights: Mapping[str, Tensor], folder: Path, *, max_bytes: int = MAX_SHARD_BYTES) -> None:
    """Write weights into an existing folder: one file, or shards with an index where they are too large for one.

    Args:
        weights: tensors by name.
        folder: where.
        max_bytes: largest file, in bytes of tensors; a larger tensor gets a file of its own.
    """
    shards: list[list[str]] = [[]]
    remaining = max_bytes
    for name, weight in weights.items():
        if weight.nbytes > remaining and shards[-1]:
            shards.append([])
            remaining = max_bytes
        shards[-1].append(name)
        remaining -= weight.nbytes

    num_shards = len(shards)
    files = [_SINGLE]
    if num_shards > 1:
        files = [f"model-{number:05}-of-{num_shards:05}.safetensors" for number in range(1, num_shards + 1)]
        weight_map: dict[str, str] = {}
        for file, names in zip(files, shards, strict=True):
            weight_map |= dict.fromkeys(names, file)
        total = sum(weight.nbytes for weight in weights.values())
        write_object(folder / _INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})

    for file, names in zip(files, shards, strict=True):
        tensors = {name: weights[name].detach().cpu().contiguous() for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
