"""Policies in and out of Hugging Face model folders: config.json, generation_config.json and the weights.

Qwen2, Qwen3, Llama and Mistral checkpoints are read here, all others by `aha.policy.hf`; what is written `transformers`
loads with the same logits.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from aha.policy.config import DenseConfig, HFConfig, PolicyConfig, RopeConfig
from aha.policy.hf.architecture import read_shape
from aha.policy.hf.files import architecture_name, read_hf_policy, write_hf_weights
from aha.policy.hf.model import HFPolicy
from aha.policy.policy import Policy
from aha.policy.transformer import Transformer
from aha.policy.weights import MAX_SHARD_BYTES, Dtype, load_weights, write_weights
from aha.runs.objects import read_object, write_object

__all__ = ["read_config", "read_policy", "write_files", "write_policy"]

_FAMILIES = {"qwen2": "Qwen2", "qwen3": "Qwen3", "llama": "Llama", "mistral": "Mistral"}
_NOT_COPIED = {"rope_scaling", "attention_bias"}
"""Fields of a `DenseConfig` that a config.json says in other words, or for some families only."""

_MISTRAL_WINDOW = 4096
"""Sliding window of a Mistral whose config.json names none, as `transformers` has it."""


def write_policy(
    policy: Policy,
    folder: Path,
    *,
    end_id: int,
    pad_id: int,
    begin_id: int | None = None,
    stop_ids: Sequence[int] = (),
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write config.json, generation_config.json and the weights into an existing folder.

    Args:
        policy: the policy; tied weights are written once.
        folder: where.
        end_id: token that ends a response.
        pad_id: token for padding.
        begin_id: token that begins a text, where there is one.
        stop_ids: all tokens that end a response, where there are several.
        max_shard_bytes: largest file of weights.

    Raises:
        ValueError: checkpoints of the policy's family are not written.
    """
    # The end token comes first: readers that know only one take that.
    end_ids = [end_id, *(id for id in stop_ids if id != end_id)]
    tokens = {
        "eos_token_id": end_ids if len(end_ids) > 1 else end_id,
        "pad_token_id": pad_id,
        "bos_token_id": begin_id,
    }

    weights = policy.state_dict()
    if policy.config.tie_word_embeddings:
        weights.pop(f"{policy.head_name}.weight")
    write_files(weights, policy, folder, kind="ForCausalLM", described=tokens, max_shard_bytes=max_shard_bytes)
    write_object(folder / "generation_config.json", {"do_sample": True, **tokens})


def write_files(
    weights: Mapping[str, Tensor],
    policy: Policy,
    folder: Path,
    *,
    kind: str,
    described: Mapping[str, Any],
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write config.json and the weights of a model of any kind.

    Args:
        weights: under the names that `transformers` gives them, all of one type.
        policy: the policy that it is, or that it is made of.
        folder: where.
        kind: what follows the family in the name of the architecture.
        described: what config.json says besides the shape.
        max_shard_bytes: largest file of weights.

    Raises:
        ValueError: checkpoints of the policy's family are not written.
    """
    config = policy.config
    dtype = next(iter(weights.values())).dtype
    if isinstance(policy, HFPolicy):
        content = dict(policy.config.described)
        # New and old readers have two names for the type; both know the older one.
        content.pop("dtype", None)
        content["architectures"] = [architecture_name(policy, kind)]
        # Some configurations insist on a number where the tokenizer puts nothing before a text.
        if described.get("bos_token_id") is None and content.get("bos_token_id") is not None:
            described = {name: value for name, value in described.items() if name != "bos_token_id"}
        write_hf_weights(policy, weights, folder, max_shard_bytes=max_shard_bytes)
    elif isinstance(config, DenseConfig):
        content = _dense_content(config, kind)
        write_weights(weights, folder, max_bytes=max_shard_bytes)
    else:
        raise ValueError(
            f"checkpoints of {config.model_type!r} are not written, only those of {', '.join(_FAMILIES)}: keep the "
            "weights with `policy.state_dict()`"
        )

    content["torch_dtype"] = str(dtype).removeprefix("torch.")
    write_object(folder / "config.json", content | dict(described))


def _dense_content(config: DenseConfig, kind: str) -> dict[str, Any]:
    """What the config.json of a policy of the dense family says of its shape."""
    content: dict[str, Any] = config.model_dump(exclude=_NOT_COPIED)
    content |= {
        "architectures": [_FAMILIES[config.model_type] + kind],
        "hidden_act": "silu",
        "attention_bias": config.attention_bias,
        "attention_dropout": 0.0,
        "use_cache": True,
    }
    content |= _rotary(config)

    # Without the entry, `transformers` gives a Mistral a window of its own.
    if config.model_type == "mistral":
        content["sliding_window"] = None
    return content


def _rotary(config: DenseConfig) -> dict[str, Any]:
    """Rotary settings, stretched ones in the words of old and new readers alike."""
    if config.rope_scaling is None:
        return {"rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta}}

    # `rope_parameters` is what transformers 5 reads, `rope_scaling` what the versions before it read.
    scaling = {"rope_type": "llama3", **config.rope_scaling.model_dump()}
    return {"rope_parameters": {**scaling, "rope_theta": config.rope_theta}, "rope_scaling": scaling}


def read_policy(folder: Path, *, device: torch.device | str = "cpu", dtype: Dtype = torch.float32) -> Policy:
    """Read a policy from a model folder.

    Args:
        folder: a Hugging Face model folder.
        device: where the parameters go.
        dtype: their type, whatever the file's; `auto` takes the file's.

    Raises:
        ValueError: no such folder, a missing or broken file, an architecture that is not supported, or weights that
            do not fit; the message says which.
    """
    config = read_config(folder)
    if isinstance(config, HFConfig):
        return read_hf_policy(folder, config, device=device, dtype=dtype)
    assert isinstance(config, DenseConfig)

    # On the meta device no weights are made only to be replaced.
    with torch.device("meta"):
        policy = Transformer(config)

    # Some checkpoints hold a tied head although it is the embedding.
    copies = {"lm_head.weight": "model.embed_tokens.weight"} if config.tie_word_embeddings else None
    load_weights(policy, folder, device=device, dtype=dtype, copies=copies)

    # The loaded tensors took the place of the shared one.
    policy.tie()
    return policy


def read_config(folder: Path) -> PolicyConfig:
    """The shape of a policy from the config.json of a model folder, old or new style.

    Raises:
        ValueError: no such folder or file, or a shape that is not supported.
        RuntimeError: it is run through `transformers`, and the extra `hf` is not installed.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise ValueError(
            f"no model folder at {folder}: give the folder of a checkpoint (with config.json and model.safetensors)"
        )
    if not path.exists():
        raise ValueError(f"{folder} has no config.json: it is not a model folder")

    described = read_object(path)
    # A file that does not say what it is is refused below.
    model_type = described.get("model_type")
    if isinstance(model_type, str) and model_type not in _FAMILIES:
        return read_shape(path, described)

    for complaint in (_strange_rotation(described), _short_window(described), _strange_layers(described)):
        if complaint:
            raise ValueError(f"{path}: {complaint}")

    try:
        return DenseConfig.model_validate(_dense_fields(described))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {field}: {first['msg']} (given: {first.get('input')!r})") from None


def _dense_fields(described: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `DenseConfig` from a config.json, with the defaults that `transformers` has for missing ones."""
    fields: dict[str, Any] = {}
    for name in DenseConfig.model_fields:
        if described.get(name) is not None:
            fields[name] = described[name]

    # The default of a `DenseConfig` is not what a config.json without a family means: validation refuses None.
    fields.setdefault("model_type", None)

    # Other families have the entry in their files without a meaning.
    if fields["model_type"] not in ("llama", "qwen3"):
        fields.pop("attention_bias", None)

    # New files have the base of the frequencies inside the rotary settings, old ones beside them.
    rope = _rope(described)
    fields.pop("rope_scaling", None)
    fields["rope_theta"] = rope.get("rope_theta") or fields.get("rope_theta", 10000.0)
    if _rope_type(described) == "llama3":
        fields["rope_scaling"] = {name: rope[name] for name in RopeConfig.model_fields if name in rope}

    fields.setdefault("tie_word_embeddings", False)
    fields.setdefault("num_key_value_heads", fields.get("num_attention_heads"))

    # The file is not validated yet: any of these may be missing, or no number.
    width = fields.get("hidden_size")
    heads = fields.get("num_attention_heads")
    if "head_dim" not in fields and isinstance(width, int) and isinstance(heads, int) and heads > 0:
        fields["head_dim"] = width // heads
    return fields


def _rope(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rotary settings, from either of the entries that may hold them: a new one and an old one."""
    rope = described.get("rope_parameters") or described.get("rope_scaling") or {}
    if isinstance(rope, Mapping):
        return rope

    # A type that is refused later, in words that show the entry.
    return {"rope_type": f"{rope!r} (no object)"}


def _rope_type(described: Mapping[str, Any]) -> object:
    """The kind of the rotary settings; old files have another name for the entry."""
    rope = _rope(described)
    return rope.get("rope_type", rope.get("type", "default"))


def _strange_rotation(described: Mapping[str, Any]) -> str:
    """Why the rotary settings are not supported; empty where they are."""
    rope_type = _rope_type(described)
    if rope_type not in ("default", "llama3"):
        return (
            f"rotary scaling {rope_type!r} is not supported, only 'llama3'; remove it to train within the "
            "original length"
        )

    share = _rope(described).get("partial_rotary_factor", described.get("partial_rotary_factor"))
    return "" if share in (None, 1, 1.0) else f"partial_rotary_factor {share!r} is not supported, only 1"


def _short_window(described: Mapping[str, Any]) -> str:
    """Why a sliding window would change a result; empty where there is none, or no sequence is longer than it."""
    if described.get("model_type") == "mistral":
        window = described.get("sliding_window", _MISTRAL_WINDOW)
        length = described.get("max_position_embeddings")
        if not isinstance(window, int) or (isinstance(length, int) and window >= length):
            return ""
        return (
            f"sliding-window attention is not supported, and the window of {window} tokens is shorter than "
            f"max_position_embeddings ({length}): lower max_position_embeddings to {window} to stay within it"
        )
    if described.get("use_sliding_window") or "sliding_attention" in (described.get("layer_types") or ()):
        return "sliding-window attention is not supported"
    return ""


def _strange_layers(described: Mapping[str, Any]) -> str:
    """Why the layers are not supported; empty where they are."""
    if described.get("hidden_act", "silu") != "silu":
        return f"activation {described['hidden_act']!r} is not supported, only 'silu'"
    if described.get("mlp_bias"):
        return "mlp_bias is not supported: no released checkpoint of a supported family has one"
    if described.get("quantization_config"):
        return "quantised checkpoints are not supported: take the one in bfloat16 or float32"
    return ""
