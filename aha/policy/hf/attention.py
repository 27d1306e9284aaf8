"""The attention of models that `transformers` computes: it asks the `Context` of the forward pass, as every other does.

`transformers` lets an attention function be registered under a name. Each of its attention modules calls it with
queries, keys and values, and with whatever else its architecture needs; what no `Context` can give is refused here. The
context itself travels as the attention mask: one of four dimensions goes from the forward pass to each attention as it
is, and to a layer that is recomputed as well.
"""

from typing import Any

import torch
from torch import Tensor, nn

from aha.policy.policy import Context

__all__ = ["NAME", "UnsupportedModelError", "attend", "hidden_states"]

NAME = "aha"
"""Under which `transformers` knows the attention."""

_HARMLESS = frozenset(
    ("position_ids", "position_embeddings", "cache_position", "use_cache", "output_attentions", "output_hidden_states")
)
"""What attention modules pass on that changes nothing of a result."""


class UnsupportedModelError(ValueError):
    """A model that needs something which a `Policy` or a `Context` does not have."""


class _ContextMask(Tensor):
    """A mask of four dimensions that holds a context. Whatever is computed of it is an ordinary tensor.

    Attributes:
        context: what attends to what.
    """

    context: Context
    # As torch has it for parameters.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


def _mask_of(context: Context, device: torch.device) -> _ContextMask:
    """The mask that holds a context."""
    mask: _ContextMask = torch.empty(1, 1, 1, 1, device=device).as_subclass(_ContextMask)
    mask.context = context
    return mask


def hidden_states(backbone: nn.Module, tokens_N: Tensor, positions_N: Tensor, context: Context) -> Tensor:
    """Hidden states after the last norm, [N, D], as `Policy.forward` says.

    Args:
        backbone: a model of `transformers` without its output head.
        tokens_N: token ids of one or several sequences end to end.
        positions_N: position of each token in its own sequence.
        context: what attends to what.
    """
    out = backbone(
        input_ids=tokens_N[None],
        position_ids=positions_N[None],
        attention_mask=_mask_of(context, tokens_N.device),
        use_cache=False,
    )
    hidden_ND: Tensor = out.last_hidden_state[0]
    return hidden_ND


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """The attention of one layer: a function as `transformers` calls it.

    Args:
        module: the attention's module, which knows the number of its layer.
        query: [1, H, N, K].
        key: [1, J, N, K].
        value: [1, J, N, M].
        attention_mask: holds the context.
        options: `scaling`, `dropout` and whatever else the architecture passes on.

    Returns:
        [1, N, H, M], and no weights.

    Raises:
        UnsupportedModelError: the architecture needs what no context can give; says what.
    """
    if not isinstance(attention_mask, _ContextMask):
        raise UnsupportedModelError("its layers make an attention mask of their own, which is not supported")

    scaling = options.pop("scaling", None)
    complaint = _complaint(module, options)
    if complaint:
        raise UnsupportedModelError(complaint)

    # [1, H, N, K] -> [N, H, K]
    q_NHK = query[0].transpose(0, 1).contiguous()
    k_NJK = key[0].transpose(0, 1).contiguous()
    v_NJM = value[0].transpose(0, 1).contiguous()
    scale = float(scaling) if scaling is not None else q_NHK.shape[-1] ** -0.5
    out_NHM = attention_mask.context.attend(int(module.layer_idx), q_NHK, k_NJK, v_NJM, scale)
    return out_NHM[None], None


def _complaint(module: Any, options: dict[str, Any]) -> str:
    """What of an attention cannot be computed; empty where all can."""
    if options.pop("dropout", 0.0):
        return "its attention has dropout, which is not supported: set it to 0 in config.json"

    positions = int(module.config.max_position_embeddings)
    window = options.pop("sliding_window", None)
    if window is not None and window < positions:
        return (
            f"sliding-window attention is not supported, and the window of {window} tokens is shorter than "
            f"max_position_embeddings ({positions}): lower max_position_embeddings to {window} to stay within it"
        )

    # A module without the attribute is causal: so `transformers` has it.
    is_causal = options.pop("is_causal", None)
    if is_causal is False or (is_causal is None and vars(module).get("is_causal") is False):
        return "its attention is not causal"

    needed = [name for name, value in options.items() if name not in _HARMLESS and value is not None]
    needed = [name for name in needed if options[name] is not False]
    return f"its attention needs {', '.join(sorted(needed))}, which is not supported" if needed else ""
