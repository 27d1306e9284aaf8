"""Policies in and out of Hugging Face model folders: config.json and model.safetensors.

Qwen2, Qwen3 and Llama checkpoints are read, and what is written here `transformers` loads with the same logits.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aha.policy.config import PolicyConfig
from aha.policy.transformer import Transformer

__all__ = ["load_weights", "read_config", "read_object", "read_policy", "read_weights", "write_files", "write_policy"]

_FAMILIES = {"qwen2": "Qwen2", "qwen3": "Qwen3", "llama": "Llama"}


def write_policy(policy: Transformer, folder: Path, *, end_id: int, pad_id: int) -> None:
    """Write config.json, generation_config.json and model.safetensors into an existing folder.

    Args:
        policy: the policy; tied weights are written once.
        folder: where.
        end_id: token that ends a response.
        pad_id: token for padding.
    """
    tokens = {"eos_token_id": end_id, "pad_token_id": pad_id, "bos_token_id": None}
    generation = {"do_sample": True, **tokens}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2, sort_keys=True) + "\n")
    weights = policy.state_dict()
    if policy.config.tie_word_embeddings:
        weights.pop("lm_head.weight")
    write_files(weights, policy.config, folder, kind="ForCausalLM", described=tokens)


def write_files(
    weights: Mapping[str, Tensor], config: PolicyConfig, folder: Path, *, kind: str, described: Mapping[str, Any]
) -> None:
    """Write config.json and model.safetensors of a model of any kind.

    Args:
        weights: under the names that `transformers` gives them, all of one type.
        config: the shape of its transformer.
        folder: where.
        kind: what follows the family in the name of the architecture.
        described: what config.json says besides the shape.
    """
    dtype = weights["model.embed_tokens.weight"].dtype
    content: dict[str, Any] = config.model_dump() | {
        "architectures": [_FAMILIES[config.model_type] + kind],
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "torch_dtype": str(dtype).removeprefix("torch."),
        "use_cache": True,
        **described,
    }
    (folder / "config.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def read_policy(folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Transformer:
    """Read a policy from a model folder.

    Args:
        folder: a Hugging Face model folder.
        device: where the parameters go.
        dtype: their type, whatever the file's.

    Raises:
        ValueError: no such folder, a missing or broken file, an architecture that is not supported, or weights that
            do not fit; the message says which.
    """
    policy = Transformer(read_config(folder))
    weights = read_weights(folder)
    if policy.config.tie_word_embeddings:
        weights["lm_head.weight"] = weights.get("model.embed_tokens.weight", torch.empty(0))
    load_weights(policy, weights, folder)
    return policy.to(device=device, dtype=dtype)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Give a model its weights.

    Raises:
        ValueError: some are missing, unexpected or of another shape; the message names them and the folder.
    """
    expected = model.state_dict()
    missing, surplus = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & weights.keys() if expected[name].shape != weights[name].shape)
    if missing or surplus or wrong:
        raise ValueError(
            f"the weights in {folder} do not fit its config.json: "
            f"missing {missing[:3]}, unexpected {surplus[:3]}, of another shape {wrong[:3]}"
        )
    model.load_state_dict(weights)


def read_config(folder: Path) -> PolicyConfig:
    """The shape of a policy from the config.json of a model folder, old or new style.

    Raises:
        ValueError: no such folder or file, or a shape that is not supported.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise ValueError(
            f"no model folder at {folder}: give the folder of a checkpoint (with config.json and model.safetensors)"
        )
    if not path.exists():
        raise ValueError(f"{folder} has no config.json: it is not a model folder")
    given = read_object(path)
    rope = given.get("rope_parameters") or given.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ValueError(f"{path}: rotary scaling {kind!r} is not supported")
    if given.get("use_sliding_window"):
        raise ValueError(f"{path}: sliding-window attention is not supported")
    if given.get("hidden_act", "silu") != "silu":
        raise ValueError(f"{path}: activation {given['hidden_act']!r} is not supported, only 'silu'")
    known: dict[str, Any] = {name: given[name] for name in PolicyConfig.model_fields if given.get(name) is not None}
    known.setdefault("model_type", None)
    known.setdefault("rope_theta", rope.get("rope_theta", 10000.0))
    known.setdefault("tie_word_embeddings", False)
    known.setdefault("num_key_value_heads", known.get("num_attention_heads"))
    if "head_dim" not in known and "hidden_size" in known and "num_attention_heads" in known:
        known["head_dim"] = known["hidden_size"] // known["num_attention_heads"]
    try:
        return PolicyConfig.model_validate(known)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']} (given: {first.get('input')!r})"
        ) from None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ValueError: the file holds none.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): the checkpoint is damaged") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds no JSON object: the checkpoint is damaged")
    return given


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of model.safetensors, or of the shards that its index names.

    Raises:
        ValueError: a file is missing or damaged.
    """
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists() and not (folder / names[0]).exists():
        names = sorted(set(read_object(index).get("weight_map", {}).values()))
    weights: dict[str, Tensor] = {}
    for name in names:
        path = folder / name
        if not path.exists():
            raise ValueError(f"{folder} has no {name}: the checkpoint is incomplete")
        try:
            weights |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read ({error}): the checkpoint is damaged") from None
    return weights
