"""A policy in its plainest form: one sequence at a time, in float64, from the tensors of a checkpoint.

A transformer whose output head is the embedding: RMSNorm, rotary positions, grouped-query attention, SwiGLU. Qwen3 also
normalises queries and keys, and Qwen2 has biases. Nothing here is shared with the package.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

Weights = dict[str, Tensor]
Config = Mapping[str, Any]


def read_weights(folder: Path) -> Weights:
    """All tensors of a model folder, in float64."""
    return {name: weight.double() for name, weight in load_file(folder / "model.safetensors").items()}


def read_config(folder: Path) -> Config:
    """The shape of the model in a folder."""
    config: Config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["tie_word_embeddings"]
    return config


def hidden_states(weights: Weights, config: Config, tokens_T: Tensor) -> Tensor:
    """What the last norm returns for each token, [T, D]."""
    num_heads, num_kv_heads, head_dim = (
        config[name] for name in ("num_attention_heads", "num_key_value_heads", "head_dim")
    )
    num_tokens = len(tokens_T)
    is_later_TT = torch.ones(num_tokens, num_tokens, dtype=torch.bool).triu(1)
    x_TD = weights["model.embed_tokens.weight"][tokens_T]

    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        own = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
        y_TD = rms_norm(x_TD, own["input_layernorm.weight"], config)
        q_THK = project(y_TD, own, "self_attn.q_proj").view(num_tokens, num_heads, head_dim)
        k_TJK = project(y_TD, own, "self_attn.k_proj").view(num_tokens, num_kv_heads, head_dim)
        v_TJK = project(y_TD, own, "self_attn.v_proj").view(num_tokens, num_kv_heads, head_dim)
        if "self_attn.q_norm.weight" in own:
            q_THK = rms_norm(q_THK, own["self_attn.q_norm.weight"], config)
            k_TJK = rms_norm(k_TJK, own["self_attn.k_norm.weight"], config)
        q_THK, k_TJK = rotate(q_THK, config), rotate(k_TJK, config)

        # Every key-value head serves several query heads in a row.
        k_THK = k_TJK.repeat_interleave(num_heads // num_kv_heads, dim=1)
        v_THK = v_TJK.repeat_interleave(num_heads // num_kv_heads, dim=1)
        scores_HTT = torch.einsum("thk,shk->hts", q_THK, k_THK) / math.sqrt(head_dim)
        shares_HTT = scores_HTT.masked_fill(is_later_TT, -math.inf).softmax(dim=-1)
        mixed_TI = torch.einsum("hts,shk->thk", shares_HTT, v_THK).reshape(num_tokens, -1)
        x_TD = x_TD + project(mixed_TI, own, "self_attn.o_proj")

        y_TD = rms_norm(x_TD, own["post_attention_layernorm.weight"], config)
        gate_TI = torch.nn.functional.silu(project(y_TD, own, "mlp.gate_proj"))
        x_TD = x_TD + project(gate_TI * project(y_TD, own, "mlp.up_proj"), own, "mlp.down_proj")

    return rms_norm(x_TD, weights["model.norm.weight"], config)


def project(x_TI: Tensor, own: Weights, name: str) -> Tensor:
    """A matrix of a layer, and its bias where it has one."""
    out_TI = x_TI @ own[f"{name}.weight"].T
    return out_TI + own[f"{name}.bias"] if f"{name}.bias" in own else out_TI


def rms_norm(x: Tensor, weight: Tensor, config: Config) -> Tensor:
    """RMSNorm over the last dimension."""
    return weight * x / (x.square().mean(dim=-1, keepdim=True) + config["rms_norm_eps"]).sqrt()


def rotate(x_THK: Tensor, config: Config) -> Tensor:
    """Rotary positions: entry k and entry k + K/2 of a head are a plane, turned by position * theta^(-2k/K)."""
    num_tokens, _, head_dim = x_THK.shape
    exponents_K = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
    angles_T1K = torch.arange(num_tokens).double()[:, None, None] * config["rope_theta"] ** -exponents_K
    first, second = x_THK.split(head_dim // 2, dim=-1)
    turned = (
        first * angles_T1K.cos() - second * angles_T1K.sin(),
        second * angles_T1K.cos() + first * angles_T1K.sin(),
    )
    return torch.cat(turned, dim=-1)


def response_distribution(
    weights: Weights, config: Config, prompt: list[int], response: list[int], *, temperature: float = 1.0
) -> Tensor:
    """Log-probabilities of the whole vocabulary at each token of a response, [T, V], nats."""
    hidden_TD = hidden_states(weights, config, torch.tensor(prompt + response))
    # The token at a position is predicted from the position before it.
    hidden_TD = hidden_TD[len(prompt) - 1 : -1]
    logits_TV = hidden_TD @ weights["model.embed_tokens.weight"].T
    return (logits_TV / temperature).log_softmax(dim=-1)


def response_logp(
    weights: Weights, config: Config, prompt: list[int], response: list[int], *, temperature: float = 1.0
) -> Tensor:
    """Log-probabilities of the tokens of a response, [T], nats."""
    logp_TV = response_distribution(weights, config, prompt, response, temperature=temperature)
    return logp_TV.gather(1, torch.tensor(response)[:, None])[:, 0]


def num_matrix_parameters(weights: Weights) -> int:
    """Parameters that each token is multiplied with: the embedding counts once, as the output head."""
    return sum(weight.numel() for weight in weights.values())
