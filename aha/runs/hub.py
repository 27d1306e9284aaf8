"""Models and data sets of the Hugging Face hub, by name; they are downloaded once into the cache of the hub.

Only weights, settings and data are downloaded, never code or pickles. Address, token, cache and offline mode are those
of `huggingface_hub`: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_OFFLINE`.
"""

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Literal

__all__ = ["DATA_FILES", "MODEL_FILES", "dataset_files", "model_folder"]

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model")
"""The files of a model that are downloaded, from its top folder."""

DATA_FILES = tuple(f"*{suffix}" for suffix in (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".json.gz", ".parquet"))
"""The files of a data set that may be downloaded."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


def model_folder(name: str, *, revision: str = "", cache: Path | None = None) -> Path:
    """The local folder of a model.

    Args:
        name: a folder, which is taken as it is, or a name on the hub such as `Qwen/Qwen2.5-0.5B`.
        revision: branch, tag or commit; the main branch where empty.
        cache: folder of the hub's cache; its own where None.

    Raises:
        ValueError: no such model, it cannot be fetched, or it has no weights as safetensors.
        RuntimeError: the extra `hub` is not installed.
    """
    if name and Path(name).is_dir():
        return Path(name)

    folder = _snapshot("model", name, revision, MODEL_FILES, cache)
    missing = [kind for kind in ("config.json", "*.safetensors") if not any(folder.glob(kind))]
    if missing:
        raise ValueError(
            f"model {name!r} has no {missing[0]} in {folder}: weights are read as safetensors only, "
            "and a copy that was cached in part is completed online"
        )

    return folder


def dataset_files(name: str, pattern: str = "", *, revision: str = "", cache: Path | None = None) -> list[Path]:
    """Data files of a data set on the hub.

    Args:
        name: such as `openai/gsm8k`.
        pattern: path of the file in the data set; `*` stands for anything, for files in several parts. All data files
            where it is empty.
        revision: branch, tag or commit; the main branch where empty.
        cache: folder of the hub's cache; its own where None.

    Returns:
        The files, in the order of their paths.

    Raises:
        ValueError: the pattern asks for other than data files, nothing fits it, or it cannot be fetched.
        RuntimeError: the extra `hub` is not installed.
    """
    is_data = any(fnmatch(pattern, kind) for kind in DATA_FILES) and ".." not in pattern.split("/")
    if pattern and not is_data:
        endings = ", ".join(kind.removeprefix("*") for kind in DATA_FILES)
        raise ValueError(f"{pattern!r} names no data files: they end in {endings}")

    patterns = (pattern,) if pattern else DATA_FILES
    folder = _snapshot("dataset", name, revision, patterns, cache)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    # The cache may hold other files of the same revision, from an earlier request.
    files = []
    for path in paths:
        relative = path.relative_to(folder).as_posix()
        if any(fnmatch(relative, allowed) for allowed in patterns):
            files.append(path)

    if not files:
        present = ", ".join(path.relative_to(folder).as_posix() for path in paths[:5]) or "nothing"
        wanted = f"file {pattern!r}" if pattern else "data file"
        raise ValueError(f"data set {name!r} has no {wanted} in {folder}, but {present}")

    return files


def _snapshot(
    kind: Literal["model", "dataset"], name: str, revision: str, patterns: Sequence[str], cache: Path | None
) -> Path:
    """The folder of one revision, with the files that fit the patterns."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is neither a folder nor a name on the hub, such as Qwen/Qwen2.5-0.5B")

    hub = _hub()
    try:
        folder = hub.snapshot_download(
            name,
            repo_type=kind,
            revision=revision or None,
            allow_patterns=list(patterns),
            # The library's `*` matches slashes too, and models often hold other copies of their weights in folders.
            ignore_patterns=["*/*"] if kind == "model" else None,
            cache_dir=cache,
        )
    # The library lets errors of its network client through, whose types differ between its versions.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        advice = "check the name and the connection, and HF_TOKEN for a gated one, or name a local path"
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            advice = "HF_HUB_OFFLINE is set, so only the cache is read: fetch it once without, or name a local path"
        raise ValueError(f"{kind} {name!r} cannot be had from the hub ({reason}): {advice}") from error

    return Path(folder)


def _hub() -> ModuleType:
    # Imported here alone, since it is optional.
    try:
        import huggingface_hub
    except ImportError as error:
        raise RuntimeError("the hub needs the package `huggingface_hub`: pip install 'aha[hub]'") from error
    return huggingface_hub
