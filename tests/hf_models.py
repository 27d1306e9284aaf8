"""Small random models of architectures that only `transformers` computes, as folders with a tokenizer of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lazy_transformers as transformers
import torch
from torch import nn

from aha.prompts.pretrained import write_tokenizer
from aha.prompts.tokenizer import Tokenizer

OTHERS: dict[str, dict[str, Any]] = {
    "gpt_neox": {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}},
    "phi3": {"num_key_value_heads": 2, "rope_theta": 100.0},
    "olmo2": {"num_key_value_heads": 2, "rope_theta": 100.0},
    "gemma": {"num_key_value_heads": 1, "head_dim": 16, "rope_theta": 100.0},
    "stablelm": {"num_key_value_heads": 2, "use_qkv_bias": True},
}
"""LayerNorm, parallel blocks, partial rotation and one joint projection; joint projections; norms behind the blocks and
of whole queries; tied and scaled embeddings and heads wider than the model; layers that pass on no options."""


def settings(kind: str, *, vocab_size: int, **changes: object) -> dict[str, Any]:
    """The config.json of a model with two layers and a width of 32."""
    shape = {
        "model_type": kind,
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
    }
    return {**shape, **OTHERS.get(kind, {}), **changes}


@contextmanager
def quiet() -> Iterator[None]:
    """A context without progress bars of `transformers`."""
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.enable_progress_bar()


def their_model(kind: str, *, vocab_size: int, seed: int = 0, **changes: object) -> nn.Module:
    """A model of `transformers` whose every parameter is random, biases and norms too."""
    config = transformers.CONFIG_MAPPING[kind].from_dict(settings(kind, vocab_size=vocab_size, **changes))
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.2)
            else:
                std = 0.25 if "embed" in name else weight.shape[1] ** -0.5
                weight.normal_(0.0, std, generator=generator)
    return model.eval()


def write_their_model(folder: Path, kind: str, tokenizer: Tokenizer, *, seed: int = 0, **changes: object) -> nn.Module:
    """A random model in a folder, written by `transformers`, with a tokenizer."""
    model = their_model(kind, vocab_size=tokenizer.vocab_size, seed=seed, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(folder)
    write_tokenizer(tokenizer, folder)
    return model
