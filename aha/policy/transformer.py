"""The dense family of policies: Qwen2, Qwen3, Llama and Mistral, with grouped-query attention.

Tokens of several sequences lie end to end ([N]); what attends to what is the business of a `Context`. Training passes
an `aha.policy.layout.Layout`, the engine passes its key-value cache: one forward pass serves both. Parameters carry the
names of the checkpoints.
"""

import math

import torch
from torch import Tensor, nn

from aha.kernels.ops import rotate
from aha.policy.blocks import Backbone, RMSNorm, project
from aha.policy.config import DenseConfig
from aha.policy.policy import Context, Policy
from aha.policy.rope import turns

__all__ = ["Attention", "Transformer", "initialise"]


class Attention(nn.Module):
    """Grouped-query attention."""

    def __init__(self, config: DenseConfig, layer: int) -> None:
        """Make the projections of one layer."""
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.scale = 1 / math.sqrt(config.head_dim)

        width = config.hidden_size
        inner = config.num_attention_heads * config.head_dim
        shared = config.num_key_value_heads * config.head_dim
        has_bias = config.attention_bias or config.model_type == "qwen2"
        self.q_proj = nn.Linear(width, inner, bias=has_bias)
        self.k_proj = nn.Linear(width, shared, bias=has_bias)
        self.v_proj = nn.Linear(width, shared, bias=has_bias)
        self.o_proj = nn.Linear(inner, width, bias=config.attention_bias)

        self.q_norm: nn.Module = nn.Identity()
        self.k_norm: nn.Module = nn.Identity()
        if config.model_type == "qwen3":
            self.q_norm = RMSNorm(config.head_dim, eps=config.rms_norm_eps)
            self.k_norm = RMSNorm(config.head_dim, eps=config.rms_norm_eps)

    def forward(self, hidden_ND: Tensor, cos_NK: Tensor, sin_NK: Tensor, context: Context) -> Tensor:
        """Mix tokens as the context allows, [N, D] -> [N, D]."""
        q, k, v = project(hidden_ND, self.q_proj, self.k_proj, self.v_proj)

        # The number of heads is inferred, so that it may differ between queries and keys.
        heads = (-1, self.head_dim)
        q_NHK = torch.unflatten(q, -1, heads)
        k_NJK = torch.unflatten(k, -1, heads)
        v_NJK = torch.unflatten(v, -1, heads)

        # Qwen3 normalises before it rotates; in the other models these norms do nothing.
        q_NHK = rotate(self.q_norm(q_NHK), cos_NK, sin_NK)
        k_NJK = rotate(self.k_norm(k_NJK), cos_NK, sin_NK)
        mixed_NHK = context.attend(self.layer, q_NHK, k_NJK, v_NJK, self.scale)
        (out_ND,) = project(mixed_NHK.flatten(-2), self.o_proj)
        return out_ND


class Transformer(Policy):
    """A policy of the dense family.

    Attributes:
        config: its shape.
        model: all but the output head.
    """

    config: DenseConfig

    def __init__(self, config: DenseConfig) -> None:
        """Make a policy with some initial values, to be read or drawn; see `initialise`."""
        super().__init__()
        self.config = config
        attentions = (Attention(config, layer) for layer in range(config.num_hidden_layers))
        self.model = Backbone(config, attentions)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie()

    def tie(self) -> None:
        """Make the output head the embedding, where the configuration says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks."""
        return self.model.layers

    def forward(self, tokens_N: Tensor, positions_N: Tensor, context: Context) -> Tensor:
        """Hidden states after the last norm, [N, D], as `Policy.forward` says."""
        # Once for all layers: every layer turns by the same angles.
        dtype = self.model.embed_tokens.weight.dtype
        cos_NK, sin_NK = turns(self.config, self.config.head_dim, positions_N, dtype)
        out: Tensor = self.model(tokens_N, cos_NK, sin_NK, context)
        return out


def initialise(policy: Policy, generator: torch.Generator) -> None:
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

            is_vocabulary = "embed" in name or "lm_head" in name
            std = 0.02 if is_vocabulary else weight.shape[1] ** -0.5

            # What is added to the residual stream is scaled down, or its variance would grow with the depth.
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std *= depth_scale
            weight.normal_(0.0, std, generator=generator)
