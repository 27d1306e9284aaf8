"""Which models of `transformers` can be policies, and their shapes: decided before any weight is read.

First the config.json is looked at, for settings whose effect a `Policy` cannot have. Then the model is made without
memory (on the meta device) and computes a few tokens: its attention has to ask for every layer once, for sizes that are
the same in all layers, and for nothing that a `Context` cannot give.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aha.policy.config import HFConfig
from aha.policy.hf.attention import UnsupportedModelError, hidden_states
from aha.policy.hf.library import causal_model, in_words, library_for, parts_of, settings_of

__all__ = ["read_shape"]

_NUM_KEPT = 8
"""Shapes that are remembered: a command asks for that of one model many times."""

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_HEAD_FACTORS = ("logits_scaling", "logit_scale", "lm_head_multiplier", "logits_scale")
_CAPS = ("final_logit_softcapping", "attn_logit_softcapping")
_MOVING_ROTATIONS = ("dynamic", "longrope")
_OTHER_DROPOUTS = ("classifier", "summary", "token_classifier")
"""Dropouts of heads that a language model does not have."""


def read_shape(path: Path, described: Mapping[str, Any]) -> HFConfig:
    """The shape of a model that `transformers` computes.

    Args:
        path: the config.json, for messages.
        described: its content.

    Raises:
        ValueError: `transformers` knows no such model, or it cannot be a policy; says what it lacks.
        RuntimeError: the extra `hf` is not installed.
    """
    # As text, in which a shape can be remembered.
    text = json.dumps(described, sort_keys=True)
    try:
        return _shape(text)
    except ValueError as error:
        raise ValueError(f"{path}: {described['model_type']}: {error}") from None


@lru_cache(maxsize=_NUM_KEPT)
def _shape(text: str) -> HFConfig:
    """The shape that a config.json describes."""
    described: dict[str, Any] = json.loads(text)
    library = library_for(described["model_type"])
    if described["model_type"] not in library.CONFIG_MAPPING:
        raise ValueError(f"neither aha nor transformers {library.__version__} knows such models")

    try:
        settings = settings_of(described)
        is_known = type(settings) in library.MODEL_FOR_CAUSAL_LM_MAPPING
        complaint = _complaint(settings.to_dict(), settings.max_position_embeddings)
    # The library's errors for a strange file are those of whatever it stumbles over.
    except Exception as error:
        raise ValueError(f"transformers cannot read it ({in_words(error)})") from error

    if not is_known:
        raise ValueError(f"transformers {library.__version__} has no language model of this kind")
    if complaint:
        raise ValueError(complaint)

    try:
        return _probed(described, settings)
    except UnsupportedModelError:
        raise
    except Exception as error:
        raise ValueError(f"transformers cannot run it as a policy ({in_words(error)})") from error


def _complaint(settings: Mapping[str, Any], positions: int) -> str:
    """Why a model cannot be a policy, by its settings; empty where nothing is known against it."""
    if settings.get("is_encoder_decoder") or settings.get("add_cross_attention"):
        return "an encoder-decoder is not supported, only models that continue a text"
    for name in ("text_config", "vision_config", "audio_config"):
        if settings.get(name):
            return f"a model of several parts ({name}) is not supported: take its text model alone"
    if settings.get("quantization_config"):
        return "quantised checkpoints are not supported: take the one in bfloat16 or float32"
    if any((settings.get(name) or 0) > 1 for name in _EXPERTS):
        return "a mixture of experts is not supported: its router may choose others in training than in sampling"

    return _strange_scores(settings) or _strange_rotation(settings) or _strange_layers(settings, positions)


def _strange_scores(settings: Mapping[str, Any]) -> str:
    """What is done with scores of the attention or of the output head that is not supported; empty where nothing is."""
    for name in _CAPS:
        if settings.get(name):
            return f"{name} {settings[name]} is not supported: neither attention nor output head cap their scores"
    for name in _HEAD_FACTORS:
        if settings.get(name) not in (None, 1, 1.0):
            return f"{name} {settings[name]} is not supported: the output head is a plain projection"
    if settings.get("alibi") or settings.get("position_embedding_type") == "alibi":
        return "biases of positions (ALiBi) are not supported: attention has none"

    # Training would compute another policy than the one that sampled.
    for name, value in settings.items():
        is_dropout = ("dropout" in name or name.endswith("pdrop")) and not name.startswith(_OTHER_DROPOUTS)
        if is_dropout and isinstance(value, int | float) and value > 0:
            return f"{name} {value} is not supported: a policy has no dropout; set it to 0 in config.json"
    return ""


def _strange_rotation(settings: Mapping[str, Any]) -> str:
    """Why the rotary settings are not supported; empty where they are."""
    rotary = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    # Some models have one entry for each kind of layer.
    entries = [rotary, *(entry for entry in rotary.values() if isinstance(entry, Mapping))]
    for entry in entries:
        rope_type = entry.get("rope_type", entry.get("type"))
        if rope_type in _MOVING_ROTATIONS:
            return (
                f"rotary scaling {rope_type!r} is not supported: its frequencies change with the longest sequence that "
                "is computed at once"
            )
    return ""


def _strange_layers(settings: Mapping[str, Any], positions: int) -> str:
    """Why the layers are not supported; empty where they are."""
    kinds = set(settings.get("layer_types") or ())
    others = sorted(kinds - {"full_attention", "sliding_attention"})
    if others:
        return f"layers of the kind {', '.join(others)} are not supported, only attention to all tokens before"

    window = settings.get("sliding_window")
    is_used = "sliding_attention" in kinds if kinds else settings.get("use_sliding_window") is not False
    if isinstance(window, int) and is_used and window < positions:
        return (
            f"sliding-window attention is not supported, and the window of {window} tokens is shorter than "
            f"max_position_embeddings ({positions}): lower max_position_embeddings to {window} to stay within it"
        )
    return ""


class _Probe:
    """A `Context` that remembers what its layers ask for.

    Attributes:
        layers: the numbers of the layers that have asked.
        sizes: query heads, key-value heads, size of a key and of a value, of each of them.
    """

    def __init__(self) -> None:
        self.layers: list[int] = []
        self.sizes: set[tuple[int, int, int, int]] = set()

    def attend(self, layer: int, q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor, scale: float) -> Tensor:
        """Something of the right shape, [N, H, M]."""
        del scale
        self.layers.append(layer)
        num_tokens, num_heads, key_size = q_NHK.shape
        value_size = v_NJM.shape[-1]
        self.sizes.add((num_heads, k_NJK.shape[1], key_size, value_size))
        return q_NHK.new_zeros(num_tokens, num_heads, value_size)


def _probed(described: dict[str, Any], settings: Any) -> HFConfig:
    """The shape of a model, which computes a few tokens without memory.

    Raises:
        UnsupportedModelError: it cannot be a policy; says what it lacks.
    """
    with torch.device("meta"):
        model, _ = causal_model(settings)

    num_layers = int(settings.num_hidden_layers)
    parts = parts_of(model, num_layers)
    head = model.get_submodule(parts.head)
    embedding = model.get_input_embeddings()
    if any("experts" in name.split(".") for name, _ in model.named_modules()):
        raise UnsupportedModelError("a mixture of experts is not supported")

    # As in training, where an attention with dropout shows it.
    model.train()
    probe = _Probe()
    tokens_N = torch.zeros(5, dtype=torch.int64, device="meta")
    with torch.no_grad():
        hidden_ND = hidden_states(model.get_submodule(parts.backbone), tokens_N, tokens_N, probe)

    if probe.layers != list(range(num_layers)):
        raise UnsupportedModelError(
            f"its layers are not {num_layers} attentions, one in each, that transformers lets others compute; those "
            f"that ask for it are {probe.layers}"
        )
    if len(probe.sizes) > 1:
        raise UnsupportedModelError("heads of different sizes in different layers are not supported")
    if hidden_ND.shape != (5, head.in_features) or len(embedding.weight) != head.out_features:
        raise UnsupportedModelError(
            "the output head does not read the hidden states, or has other words than the embedding"
        )

    [(num_heads, num_shared, key_size, value_size)] = probe.sizes
    sizes = settings.to_dict()
    width = int(head.in_features)
    return HFConfig(
        model_type=described["model_type"],
        vocab_size=head.out_features,
        hidden_size=width,
        intermediate_size=sizes.get("intermediate_size") or sizes.get("ffn_dim") or sizes.get("n_inner") or 4 * width,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_shared,
        key_size=key_size,
        value_size=value_size,
        max_position_embeddings=settings.max_position_embeddings,
        tie_word_embeddings=head.weight is embedding.weight,
        described=described,
    )
