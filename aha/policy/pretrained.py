"""Policies in and out of Hugging Face model folders: config.json and model.safetensors.

Qwen2, Qwen3 and Llama checkpoints are read, and what is written here `transformers` loads with the same logits.
"""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from aha.policy.config import PolicyConfig
from aha.policy.transformer import Transformer

__all__ = ["read_policy", "write_policy"]

_ARCHITECTURES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}


def write_policy(policy: Transformer, folder: Path, *, end_id: int, pad_id: int) -> None:
    """Write config.json, generation_config.json and model.safetensors into an existing folder.

    Args:
        policy: the policy; tied weights are written once.
        folder: where.
        end_id: token that ends a response.
        pad_id: token for padding.
    """
    config = policy.config
    tokens = {"eos_token_id": end_id, "pad_token_id": pad_id, "bos_token_id": None}
    described: dict[str, Any] = config.model_dump() | {
        "architectures": [_ARCHITECTURES[config.model_type]],
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "torch_dtype": str(policy.head_VD.dtype).removeprefix("torch."),
        "use_cache": True,
        **tokens,
    }
    generation = {"do_sample": True, **tokens}
    (folder / "config.json").write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2, sort_keys=True) + "\n")
    weights = {name: weight.detach().cpu().contiguous() for name, weight in policy.state_dict().items()}
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


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
    if not folder.is_dir():
        raise ValueError(
            f"no model folder at {folder}: give the folder of a checkpoint (with config.json and model.safetensors)"
        )
    policy = Transformer(_read_config(folder / "config.json"))
    weights = _read_weights(folder)
    if policy.config.tie_word_embeddings:
        weights["lm_head.weight"] = weights.get("model.embed_tokens.weight", torch.empty(0))
    expected = policy.state_dict()
    missing, surplus = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & weights.keys() if expected[name].shape != weights[name].shape)
    if missing or surplus or wrong:
        raise ValueError(
            f"the weights in {folder} do not fit its config.json: "
            f"missing {missing[:3]}, unexpected {surplus[:3]}, of another shape {wrong[:3]}"
        )
    policy.load_state_dict(weights)
    return policy.to(device=device, dtype=dtype)


def _read_config(path: Path) -> PolicyConfig:
    """The shape of a policy from a config.json, old or new style."""
    if not path.exists():
        raise ValueError(f"{path.parent} has no config.json: it is not a model folder")
    given = _read_object(path)
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


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): the checkpoint is damaged") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds no JSON object: the checkpoint is damaged")
    return given


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of model.safetensors, or of the shards that its index names."""
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists() and not (folder / names[0]).exists():
        names = sorted(set(_read_object(index).get("weight_map", {}).values()))
    weights: dict[str, torch.Tensor] = {}
    for name in names:
        path = folder / name
        if not path.exists():
            raise ValueError(f"{folder} has no {name}: the checkpoint is incomplete")
        try:
            weights |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read ({error}): the checkpoint is damaged") from None
    return weights
