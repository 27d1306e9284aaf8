"""Parts that families of policies share: norm, feed-forward layer, block, and the stack of blocks."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aha.kernels.ops import linear, normalise, swiglu
from aha.policy.config import PolicyConfig
from aha.policy.policy import Context

__all__ = ["SPARSE_ABOVE", "Backbone", "Block", "FeedForward", "RMSNorm", "project"]

SPARSE_ABOVE = 8
"""Ratio of the vocabulary to the tokens of a micro-batch above which most of the embedding's gradient is 0."""


class RMSNorm(nn.Module):
    """RMSNorm with its weight."""

    def __init__(self, width: int, eps: float) -> None:
        """Make the weight, 1."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_XD: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return normalise(x_XD, self.weight, self.eps)


def project(x_ND: Tensor, *projections: nn.Module) -> tuple[Tensor, ...]:
    """Projections of one input; one that is no plain `nn.Linear`, such as an adapter, is called as a module."""
    weights: list[tuple[Tensor, Tensor | None]] = []
    for projection in projections:
        # By exact type: a subclass may compute something else.
        if type(projection) is nn.Linear:
            weights.append((projection.weight, projection.bias))

    if len(weights) == len(projections):
        # Computed together, so that a kernel may keep their input once for all gradients.
        return linear(x_ND, *weights)
    return tuple(projection(x_ND) for projection in projections)


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: PolicyConfig) -> None:
        """Make the three projections."""
        super().__init__()
        width = config.hidden_size
        inner = config.intermediate_size
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """[N, D] -> [N, D]."""
        gate_NI, up_NI = project(hidden_ND, self.gate_proj, self.up_proj)
        inner_NI = swiglu(gate_NI, up_NI)
        (out_ND,) = project(inner_NI, self.down_proj)
        return out_ND


class Block(nn.Module):
    """One layer: attention, then feed-forward, each behind a norm and beside a residual."""

    def __init__(self, config: PolicyConfig, attention: nn.Module) -> None:
        """Make one layer around an attention: (hidden [N, D], cosines, sines, context) -> [N, D]."""
        super().__init__()
        width = config.hidden_size
        eps = config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, eps=eps)
        self.self_attn = attention
        self.post_attention_layernorm = RMSNorm(width, eps=eps)
        self.mlp = FeedForward(config)

    def forward(self, hidden_ND: Tensor, cos_NK: Tensor, sin_NK: Tensor, context: Context) -> Tensor:
        """[N, D] -> [N, D]."""
        normed_ND = self.input_layernorm(hidden_ND)
        hidden_ND = hidden_ND + self.self_attn(normed_ND, cos_NK, sin_NK, context)

        normed_ND = self.post_attention_layernorm(hidden_ND)
        out: Tensor = hidden_ND + self.mlp(normed_ND)
        return out


class Backbone(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, config: PolicyConfig, attentions: Iterable[nn.Module]) -> None:
        """Make all layers, one around each attention."""
        super().__init__()
        width = config.hidden_size

        # Uniform: torch imports half of itself, for seconds, to draw normal numbers on the meta device.
        initial_VD = torch.empty(config.vocab_size, width).uniform_(-1.0, 1.0)
        self.embed_tokens = nn.Embedding(config.vocab_size, width, _weight=initial_VD)
        self.layers = nn.ModuleList(Block(config, attention) for attention in attentions)
        self.norm = RMSNorm(width, eps=config.rms_norm_eps)

    def forward(self, tokens_N: Tensor, cos_NK: Tensor, sin_NK: Tensor, context: Context) -> Tensor:
        """Hidden states of tokens [N] whose positions turn by these angles, [N, D]."""
        hidden_ND = self._embed(tokens_N)
        for layer in self.layers:
            hidden_ND = layer(hidden_ND, cos_NK, sin_NK, context)
        out: Tensor = self.norm(hidden_ND)
        return out

    def _embed(self, tokens_N: Tensor) -> Tensor:
        """[N] -> [N, D]."""
        weight_VD = self.embed_tokens.weight

        # A sparse gradient saves a second tensor of the embedding's size, but only where there is a dense one of the
        # same type to which it is added.
        grad_VD = weight_VD.grad
        has_dense_gradient = grad_VD is not None and grad_VD.dtype == weight_VD.dtype
        is_sparse = has_dense_gradient and len(weight_VD) > SPARSE_ABOVE * len(tokens_N)
        return F.embedding(tokens_N, weight_VD, sparse=is_sparse)
