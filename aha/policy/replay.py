"""The backward pass from activations that were kept while sampling: no forward pass through the layers before it.

The gradient is that of the policy's forward pass on the same tokens, up to rounding: here it starts at the figures from
which the tokens were drawn.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aha.policy.activations import Activations
from aha.policy.attention import attention_backward
from aha.policy.fused import (
    norm_backward,
    normalised,
    product,
    rotate,
    swiglu,
    swiglu_backward,
    weight_gradient,
)
from aha.policy.layout import Layout
from aha.policy.rope import turns
from aha.policy.transformer import Block, RMSNorm, Transformer

__all__ = ["replayed"]


def replayed(
    policy: Transformer, layout: Layout, activations: Activations, found: Sequence[Tensor | None]
) -> Tensor | None:
    """Hidden states after the last norm, as `Transformer` has them; None where something of a sequence is not kept.

    Gradients of the layers are added to their `.grad` as soon as they are known, and not passed on.

    Args:
        policy: the policy that the activations are of.
        layout: of the sequences, but for their last tokens.
        activations: what was kept of them.
        found: where that is, by sequence: from `Activations.find`.
    """
    places_N = torch.zeros_like(layout.tokens_N)
    for where_T, places_T in zip(layout.where_BT, found, strict=True):
        if places_T is None:
            return None
        places_N[where_T[: len(places_T)]] = places_T
    embedded_ND = policy.model.embedded(layout.tokens_N)
    hidden_ND: Tensor = _Layers.apply(embedded_ND, policy, layout, activations, places_N)  # type: ignore[no-untyped-call]
    out: Tensor = policy.model.norm(hidden_ND)
    return out


class _Layers(torch.autograd.Function):
    """All layers at once. Keeps nothing but what is kept already."""

    @staticmethod
    def forward(
        ctx: Any,
        embedded_ND: Tensor,
        policy: Transformer,
        layout: Layout,
        activations: Activations,
        places_N: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(embedded_ND)
        ctx.given = policy, layout, activations, places_N
        return activations.gathered(places_N, policy.config.num_hidden_layers - 1, "out")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (embedded_ND,), (policy, layout, activations, places_N) = ctx.saved_tensors, ctx.given
        cos_sin = turns(policy.config, layout.positions_N, embedded_ND.dtype)
        grad_ND = grads[0].contiguous()
        for layer in range(policy.config.num_hidden_layers - 1, -1, -1):
            block: Any = policy.model.layers[layer]  # or what recomputes it
            kept = partial(activations.gathered, places_N, layer)
            grad_ND = _through_feed_forward(block, kept, grad_ND)
            before_ND = activations.gathered(places_N, layer - 1, "out") if layer else embedded_ND
            grad_ND = _through_attention(block, kept, before_ND, grad_ND, layout, cos_sin)
        return grad_ND, None, None, None, None


Kept = Callable[[str], Tensor]
"""One part of what is kept of the tokens of a stream and a layer, by its name in `kept_fields`."""


def _through_feed_forward(block: Block, kept: Kept, grad_ND: Tensor) -> Tensor:
    """Gradient of the stream before the feed-forward layer."""
    mlp, norm = block.mlp, block.post_attention_layernorm
    middle_ND, gate_NI, up_NI = kept("middle"), kept("gate"), kept("up")
    grad_NI = _through_projection(mlp.down_proj, swiglu(gate_NI, up_NI), grad_ND)
    grads = swiglu_backward(gate_NI, up_NI, grad_NI)
    return _through_norm(norm, middle_ND, ((mlp.gate_proj, grads[0]), (mlp.up_proj, grads[1]))).add_(grad_ND)


def _through_attention(
    block: Block, kept: Kept, before_ND: Tensor, grad_ND: Tensor, layout: Layout, cos_sin: tuple[Tensor, Tensor]
) -> Tensor:
    """Gradient of the stream before attention."""
    attention = block.self_attn
    heads = (-1, attention.head_dim)
    q, k, v, mixed = (torch.unflatten(kept(field), -1, heads) for field in ("q", "k", "v", "mixed"))
    cos_NK, sin_NK = cos_sin
    (q_turned, q_scale), (k_turned, k_scale) = _head_norm(attention.q_norm, q), _head_norm(attention.k_norm, k)
    grad_mixed = _through_projection(attention.o_proj, mixed.flatten(-2), grad_ND).view_as(mixed)
    inputs = rotate(q_turned, cos_NK, sin_NK), rotate(k_turned, cos_NK, sin_NK), v
    given = (mixed, kept("lse"), grad_mixed, layout.segments_S4, layout.most_keys)
    grad_q, grad_k, grad_v = attention_backward(inputs, *given)
    grad_q = _through_head_norm(attention.q_norm, q, q_scale, rotate(grad_q, cos_NK, -sin_NK))
    grad_k = _through_head_norm(attention.k_norm, k, k_scale, rotate(grad_k, cos_NK, -sin_NK))
    grads = zip((attention.q_proj, attention.k_proj, attention.v_proj), (grad_q, grad_k, grad_v), strict=True)
    pairs = tuple((projection, grad.flatten(-2)) for projection, grad in grads)
    return _through_norm(block.input_layernorm, before_ND, pairs).add_(grad_ND)


def _through_norm(norm: RMSNorm, x_ND: Tensor, grads: tuple[tuple[nn.Linear, Tensor], ...]) -> Tensor:
    """Gradient of the input of a norm on which some projections follow, whose gradients are given."""
    normed_ND, scale_N = normalised(x_ND, norm.weight, norm.eps)
    slope_ND: Tensor | None = None
    for projection, grad_NO in grads:
        slope_ND = _through_projection(projection, normed_ND, grad_NO, slope_ND)
    assert slope_ND is not None
    return norm_backward(x_ND, norm.weight, scale_N, slope_ND, _gradient(norm.weight))


def _through_projection(projection: nn.Linear, x_NI: Tensor, grad_NO: Tensor, start_NI: Tensor | None = None) -> Tensor:
    """Gradient of the input of a projection, added to what is given."""
    weight, bias = projection.weight, projection.bias
    weight_gradient(grad_NO, x_NI, _gradient(weight))
    if bias is not None:
        _gradient(bias).add_(grad_NO.sum(0))
    return product(grad_NO, weight, start_NI, start_NI)


def _head_norm(norm: nn.Module, x_NHK: Tensor) -> tuple[Tensor, Tensor | None]:
    """Qwen3's norm of queries or keys; what is given, where there is none."""
    return normalised(x_NHK, norm.weight, norm.eps) if isinstance(norm, RMSNorm) else (x_NHK, None)


def _through_head_norm(norm: nn.Module, x_NHK: Tensor, scale_NH: Tensor | None, grad_NHK: Tensor) -> Tensor:
    """Gradient of its input."""
    if not isinstance(norm, RMSNorm) or scale_NH is None:
        return grad_NHK
    return norm_backward(x_NHK, norm.weight, scale_NH, grad_NHK, _gradient(norm.weight))


def _gradient(weight: Tensor) -> Tensor:
    """The gradient to add to."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad
