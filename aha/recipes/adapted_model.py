"""A LoRA adapter as the start of a run: merged with the model that it belongs to, into an ordinary model folder."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from aha.policy.lora import CONFIG, WEIGHTS, merged, read_adapter
from aha.policy.weights import stored_dtype
from aha.runs.cache import cached_folder
from aha.training.checkpoint import export_model, read_model, weights_digest

__all__ = ["is_adapter", "merged_folder", "name_of_its_model"]


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model, as `peft` and runs with adapters write it."""
    return (folder / CONFIG).exists() and not (folder / "config.json").exists()


def name_of_its_model(adapter: Path) -> str:
    """The model that an adapter says it belongs to: a path, or a name at the hub.

    Raises:
        ValueError: the adapter names none, or its configuration is damaged.
    """
    try:
        described: dict[str, Any] = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
        name = described["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{adapter / CONFIG} cannot be read ({error}): it is damaged") from None

    # `peft` writes null for an adapter that was made of a model without a name.
    if not name:
        raise ValueError(f"{adapter / CONFIG} does not say which model it belongs to: fill in base_model_name_or_path")
    return str(name)


def merged_folder(adapter: Path, model: Path, *, cache: Path | None = None) -> Path:
    """The folder of a model with an adapter added to its weights, made when it is first asked for.

    The sum is rounded to the type in which the model's weights are stored.

    Args:
        adapter: folder of the adapter.
        model: folder of the model that it belongs to.
        cache: where such folders are kept; in the user's cache where None.

    Raises:
        ValueError: a file is missing or damaged, or the adapter does not fit the model.
    """
    if not (adapter / WEIGHTS).exists():
        raise ValueError(f"{adapter} has no {WEIGHTS}: it is not the folder of an adapter")

    # The configuration decides how the weights are scaled, so both are in the name of the cached folder.
    content = (adapter / CONFIG).read_bytes() + (adapter / WEIGHTS).read_bytes()
    adapter_digest = hashlib.sha256(content).hexdigest()
    model_digest = weights_digest(model)

    def make(folder: Path) -> None:
        print(f"aha: the adapter in {adapter} is merged with {model}", file=sys.stderr)
        policy, tokenizer = read_model(model, dtype=stored_dtype(model))
        read_adapter(policy, adapter)

        provenance = {"adapter": adapter_digest, "model": model_digest}
        with merged(policy):
            export_model(policy, tokenizer, folder, provenance)

    return cached_folder("merged", f"{adapter_digest[:16]}-{model_digest}", make, cache=cache)
