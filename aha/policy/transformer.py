"""The policy pi_theta: one decoder-only transformer for training, scoring and decoding.

Tokens of several sequences lie end to end ([N]); what attends to what is the business of a `Context`. Training passes
an `aha.policy.layout.Layout`, the engine passes its key-value cache: one forward pass serves both.
Parameters carry the names of Qwen2, Qwen3, Llama and Mistral checkpoints.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aha.kernels.ops import linear, normalise, rotate, swiglu
from aha.policy.config import PolicyConfig
from aha.policy.policy import Context
from aha.policy.rope import turns

__all__ = ["RMSNorm", "Transformer", "initialise", "rotate"]

SPARSE_ABOVE = 8
"""Words of the vocabulary for each token of a micro-batch, above which most of the embedding's gradient is 0."""


class RMSNorm(nn.Module):
    """RMSNorm with its weight."""

    def __init__(self, width: int, eps: float) -> None:
        """Make the weight, 1."""
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x_XD: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return normalise(x_XD, self.weight, self.eps)


def projected(x_ND: Tensor, *projections: nn.Module) -> tuple[Tensor, ...]:
    """Projections of one input; one that is no plain `nn.Linear` has a way of its own."""
    plain = [projection for projection in projections if type(projection) is nn.Linear]
    if len(plain) == len(projections):
        return linear(x_ND, *((projection.weight, projection.bias) for projection in plain))
    return tuple(projection(x_ND) for projection in projections)


class Attention(nn.Module):
    """Grouped-query attention."""

    def __init__(self, config: PolicyConfig, layer: int) -> None:
        """Make the projections of one layer."""
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.scale = 1 / math.sqrt(config.head_dim)
        width, has_bias = config.hidden_size, config.attention_bias or config.model_type == "qwen2"
        inner, shared = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(width, inner, bias=has_bias)
        self.k_proj = nn.Linear(width, shared, bias=has_bias)
        self.v_proj = nn.Linear(width, shared, bias=has_bias)
        self.o_proj = nn.Linear(inner, width, bias=config.attention_bias)
        if config.model_type == "qwen3":
            self.q_norm: nn.Module = RMSNorm(config.head_dim, eps=config.rms_norm_eps)
            self.k_norm: nn.Module = RMSNorm(config.head_dim, eps=config.rms_norm_eps)
        else:
            self.q_norm, self.k_norm = nn.Identity(), nn.Identity()

    def forward(self, hidden_ND: Tensor, cos_NK: Tensor, sin_NK: Tensor, context: Context) -> Tensor:
        """Mix tokens as the context allows, [N, D] -> [N, D]."""
        heads = (-1, self.head_dim)
        q, k, v = projected(hidden_ND, self.q_proj, self.k_proj, self.v_proj)
        q_NHK, k_NJK, v_NJK = (torch.unflatten(x, -1, heads) for x in (q, k, v))

        q_NHK, k_NJK = self.q_norm(q_NHK), self.k_norm(k_NJK)
        q_NHK, k_NJK = rotate(q_NHK, cos_NK, sin_NK), rotate(k_NJK, cos_NK, sin_NK)

        mixed_NHK = context.attend(self.layer, q_NHK, k_NJK, v_NJK, self.scale)
        (out_ND,) = projected(mixed_NHK.flatten(-2), self.o_proj)
        return out_ND


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: PolicyConfig) -> None:
        """Make the three projections."""
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """[N, D] -> [N, D]."""
        gate_NI, up_NI = projected(hidden_ND, self.gate_proj, self.up_proj)
        (out,) = projected(swiglu(gate_NI, up_NI), self.down_proj)
        return out


class Block(nn.Module):
    """One layer: attention, then feed-forward, each behind a norm and beside a residual."""

    def __init__(self, config: PolicyConfig, layer: int) -> None:
        """Make one layer."""
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, hidden_ND: Tensor, cos_NK: Tensor, sin_NK: Tensor, context: Context) -> Tensor:
        """[N, D] -> [N, D]."""
        hidden_ND = hidden_ND + self.self_attn(self.input_layernorm(hidden_ND), cos_NK, sin_NK, context)
        out: Tensor = hidden_ND + self.mlp(self.post_attention_layernorm(hidden_ND))
        return out


class Decoder(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, config: PolicyConfig) -> None:
        """Make all layers."""
        super().__init__()
        # Uniform: torch imports half of itself, for seconds, to draw normal numbers on the meta device.
        initial_VD = torch.empty(config.vocab_size, config.hidden_size).uniform_(-1.0, 1.0)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=initial_VD)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def embedded(self, tokens_N: Tensor) -> Tensor:
        """[N] -> [N, D]. Where a gradient is added to one that is there, a large vocabulary's is sparse."""
        weight_VD = self.embed_tokens.weight
        is_awaited = weight_VD.grad is not None and weight_VD.grad.dtype == weight_VD.dtype
        is_sparse = is_awaited and len(weight_VD) > SPARSE_ABOVE * len(tokens_N)
        return F.embedding(tokens_N, weight_VD, sparse=is_sparse)


class Transformer(nn.Module):
    """The policy.

    Attributes:
        config: its shape.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """Make a policy with some initial values, to be read or drawn; see `initialise`."""
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie()

    def tie(self) -> None:
        """Make the output head the embedding, where the configuration says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @property
    def head_VD(self) -> Tensor:
        """Weight of the output head, [V, D]."""
        return self.lm_head.weight

    def forward(self, tokens_N: Tensor, positions_N: Tensor, context: Context) -> Tensor:
        """Hidden states after the last norm.

        Args:
            tokens_N: token ids, int64.
            positions_N: place of each token in its own sequence, from 0.
            context: what attends to what.

        Returns:
            [N, D]; the logits of the next token are `hidden @ head_VD.T`.
        """
        hidden_ND = self.model.embedded(tokens_N)
        cos_NK, sin_NK = turns(self.config, positions_N, hidden_ND.dtype)
        for block in self.model.layers:
            hidden_ND = block(hidden_ND, cos_NK, sin_NK, context)
        out: Tensor = self.model.norm(hidden_ND)
        return out


def initialise(policy: Transformer, generator: torch.Generator) -> None:
    """Fresh weights, in place: normal, std 1/sqrt(fan in), residual outputs over sqrt(2 layers); norms 1, biases 0.

    Args:
        policy: the policy to fill.
        generator: source of the draws.

    Source: GPT-2's residual scaling (Radford et al. 2019, section 2.3). Ours: fan-in scaling in place of a constant
    0.02.
    """
    depth_scale = (2 * policy.config.num_hidden_layers) ** -0.5
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if weight.dim() == 1:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            std = weight.shape[1] ** -0.5 if "embed" not in name and "lm_head" not in name else 0.02
            std *= depth_scale if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
            weight.normal_(0.0, std, generator=generator)
