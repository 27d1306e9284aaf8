"""Models in a GGUF file, the format of llama.cpp: each is read once, into an ordinary model folder in the user's cache.

`transformers` and `gguf` do the reading. Quantised weights become the float32 numbers that they stand for, so the model
computes what it was quantised to, not what it was before.
"""

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from aha.runs.cache import cached_folder
from aha.runs.libraries import import_transformers

__all__ = ["SUFFIX", "gguf_folder"]

SUFFIX = ".gguf"
"""How the name of such a file ends."""

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
"""Architectures that policies know. llama.cpp counts Mistral's models among `llama`."""


def gguf_folder(path: Path, *, cache: Path | None = None) -> Path:
    """The model folder of a GGUF file, written when the file is first read.

    Args:
        path: the file.
        cache: where model folders are kept; `aha/gguf` in the user's cache where None (`XDG_CACHE_HOME`).

    Returns:
        A folder with config.json, safetensors in float32, and the tokenizer, named by the SHA-256 of the file.

    Raises:
        ValueError: there is no such file, it is no GGUF file or a part of one, or it holds another architecture.
        RuntimeError: the extra `gguf` is not installed.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]

    def make(folder: Path) -> None:
        reader, transformers = _libraries()
        kinds = _checked(reader, path)
        print(f"aha: {path}: {', '.join(kinds)} weights become float32", file=sys.stderr)
        _convert(transformers, path, folder)

    return cached_folder("gguf", f"{path.stem}-{digest}", make, cache=cache)


def _libraries() -> tuple[ModuleType, ModuleType]:
    """The reader of the format, and what makes models of it."""
    try:
        import gguf

        transformers = import_transformers()
    except ImportError as error:
        raise RuntimeError(
            f"GGUF files need the packages `gguf` and `transformers`: pip install 'aha[gguf]' ({error})"
        ) from error
    return gguf, transformers


def _checked(reader: ModuleType, path: Path) -> list[str]:
    """The types of the weights in a file, which is made sure to be a whole model that policies know."""
    try:
        content = reader.GGUFReader(path)
        architecture = content.fields["general.architecture"].contents()
        parts = content.fields.get("split.count")
        num_parts = parts.contents() if parts else 1
        kinds = sorted({tensor.tensor_type.name for tensor in content.tensors})
    # The library's errors for a torn file are those of whatever it stumbles over.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is no GGUF file, or not all of one ({type(error).__name__}: {reason})") from error

    if num_parts > 1:
        raise ValueError(
            f"{path} is one of {num_parts} parts of a model: join them with `llama-gguf-split --merge` first"
        )
    if architecture not in ARCHITECTURES:
        raise ValueError(f"{path} holds a model of architecture {architecture}: {', '.join(ARCHITECTURES)} can be read")
    return kinds


def _convert(transformers: Any, path: Path, folder: Path) -> None:
    """Write the model folder."""
    import torch

    source = {"pretrained_model_name_or_path": path.resolve().parent, "gguf_file": path.name}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        quantised = transformers.AutoModelForCausalLM.from_pretrained(**source)
    # A file that the reader takes may still lack what the model needs.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be read as a model ({type(error).__name__}: {reason})") from error

    # A model that was read from GGUF refuses to be saved, although its weights are ordinary by now. They are moved into
    # another one of the same class, which is made without weights of its own.
    config = quantised.config
    del config.quantization_config
    with torch.device("meta"):
        plain = type(quantised)(config)
    plain.load_state_dict(quantised.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
