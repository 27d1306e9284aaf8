"""The policy's forward pass for decoding, in C: weights in panels, keys and values in segments of memory.

What `aha.policy.transformer` computes with torch, `decode.c` computes here for rows of one token each, a whole pass in
one call. It is for policies in float32 on the CPU; `can_be_packed` says whether one is.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aha.kernels.cpu.allocation import huge_memory
from aha.kernels.cpu.compiled import built_for, functions
from aha.policy.fast.paths import can_be_packed
from aha.policy.policy import Policy
from aha.policy.rope import frequencies

__all__ = ["ROW_FIELDS", "PackedPolicy"]

ROW_FIELDS = 11
"""Numbers that describe a row, int64: addresses, lengths and rooms of its three segments, its token, its position."""

_PER_LAYER = 10

_SIGNATURES = {
    "scratch_floats": "pii:i",
    "forward": "ppppppiipp",
    "matmul": "pipppiiii",
}


class _Shape(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("layers", "width", "inner", "heads", "shared", "size")),
        ("eps", ctypes.c_double),
    )


@cache
def _kernels() -> dict[str, Callable[..., Any]] | None:
    """The kernels by name; None where there are none."""
    return functions("decode", _SIGNATURES)


def _panel() -> int:
    """Columns of a matrix, or keys, that lie together: two vectors. There must be kernels."""
    instructions = built_for("decode")
    assert instructions is not None
    return 2 * instructions.lanes


class PackedPolicy:
    """A policy's weights as the kernels read them; a copy, of the moment when it is made.

    Attributes:
        config: its shape.
        panel: keys that lie together; the room of a segment is a multiple of it.
    """

    def __init__(self, policy: Policy, num_positions: int) -> None:
        """Copy a policy.

        Args:
            policy: one that `can_be_packed`.
            num_positions: positions that will be asked for.

        Raises:
            ValueError: the kernels cannot compute this policy.
        """
        kernels = _kernels()
        if kernels is None or not can_be_packed(policy):
            raise ValueError("the compiled kernels cannot compute this policy: ask `can_be_packed` first")
        self._kernels, self.config = kernels, policy.config
        self.panel = _panel()
        config = policy.config
        self._shape = _Shape(
            config.num_hidden_layers,
            config.hidden_size,
            config.intermediate_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            config.rms_norm_eps,
        )
        weights = {name: weight.detach() for name, weight in policy.named_parameters(remove_duplicate=False)}
        matrices = (weight for name, weight in weights.items() if weight.dim() == 2 and "embed" not in name)
        self._free = huge_memory(sum(self._padded(len(weight)) * weight.shape[1] for weight in matrices))
        self._kept = [part for layer in range(config.num_hidden_layers) for part in self._layer(weights, layer)]
        self._layers = (ctypes.c_void_p * len(self._kept))(*(0 if t is None else t.data_ptr() for t in self._kept))
        self._embedding, self._norm = weights["model.embed_tokens.weight"], weights["model.norm.weight"]
        self._head = self._panels(weights["lm_head.weight"])
        frequencies_K = frequencies(config, config.head_dim, torch.device("cpu"))
        angles_NK = torch.arange(num_positions).float()[:, None] * frequencies_K
        self._angles_NK = torch.cat((angles_NK.cos(), angles_NK.sin()), dim=-1).contiguous()

    def _layer(self, weights: dict[str, Tensor], layer: int) -> list[Tensor | None]:
        """What `Layer` in decode.c points to, in its order."""
        own = f"model.layers.{layer}."

        def named(part: str) -> Tensor | None:
            return weights.get(f"{own}{part}")

        def joined(*parts: str) -> Tensor:
            return torch.cat([weights[f"{own}{part}.weight"] for part in parts])

        attention = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        biases = [bias for part in attention if (bias := named(f"{part}.bias")) is not None]
        o_bias = named("self_attn.o_proj.bias")
        found = [
            named("input_layernorm.weight"),
            self._panels(joined(*attention)),
            self._filled(torch.cat(biases)) if biases else None,
            named("self_attn.q_norm.weight"),
            named("self_attn.k_norm.weight"),
            self._panels(joined("self_attn.o_proj")),
            None if o_bias is None else self._filled(o_bias),
            named("post_attention_layernorm.weight"),
            self._panels(joined("mlp.gate_proj", "mlp.up_proj")),
            self._panels(joined("mlp.down_proj")),
        ]
        assert len(found) == _PER_LAYER
        return found

    def _padded(self, count: int) -> int:
        """Whole panels that hold so many."""
        return -(-count // self.panel) * self.panel

    def _filled(self, x: Tensor) -> Tensor:
        """Whole panels: zeros behind the last row."""
        return F.pad(x, (0, 0) * (x.dim() - 1) + (0, self._padded(len(x)) - len(x))).contiguous()

    def _panels(self, weight_OI: Tensor) -> Tensor:
        """A matrix as [out / panel, in, panel], where memory is free."""
        panels = torch.unflatten(self._filled(weight_OI), 0, (-1, self.panel)).transpose(1, 2)
        taken, self._free = torch.split(self._free, [panels.numel(), len(self._free) - panels.numel()])
        return taken.view(panels.shape).copy_(panels)

    def room(self, num_tokens: int) -> int:
        """Room that so many tokens need in a segment."""
        return self._padded(num_tokens)

    def segment_floats(self, num_tokens: int) -> int:
        """Size of the memory of a segment with room for so many tokens."""
        config = self.config
        figures = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
        return figures * self.room(num_tokens)

    def rows_of(self, tokens_N: Tensor, memory: Tensor, before: Sequence[tuple[Tensor, int]]) -> Tensor:
        """A row for each token of a sequence, to be computed in this order; int64, [N, `ROW_FIELDS`].

        Args:
            tokens_N: the sequence.
            memory: takes its keys and values.
            before: memory and length of what it follows on, at most two segments; empty ones are left out.
        """
        count, position = len(tokens_N), sum(length for _, length in before)
        segments = [(earlier.data_ptr(), length, self.room(length)) for earlier, length in before if length]
        segments += [(0, 0, 0)] * (2 - len(segments))
        segments.append((memory.data_ptr(), 1, memory.numel() // self.segment_floats(1) * self.panel))
        addresses, lengths, rooms = zip(*segments, strict=True)
        rows_NF = torch.tensor([*addresses, *lengths, *rooms, 0, position]).repeat(count, 1)
        places_N = torch.arange(count)
        rows_NF[:, 5] += places_N
        rows_NF[:, 9] = tokens_N
        rows_NF[:, 10] += places_N
        return rows_NF

    def forward(self, rows_BF: Tensor, longest: int) -> Tensor:
        """Hidden states after the last norm; writes each row's key and value where its last segment ends.

        Args:
            rows_BF: the rows, int64, [B, `ROW_FIELDS`], contiguous; all that they point to is kept by the caller.
            longest: most tokens that a row attends to, its own included.

        Returns:
            [B, D], float32.
        """
        num_rows = len(rows_BF)
        hidden_BD = torch.empty(num_rows, self.config.hidden_size)
        scratch = torch.empty(self._kernels["scratch_floats"](ctypes.byref(self._shape), num_rows, longest))
        self._kernels["forward"](
            ctypes.byref(self._shape),
            self._layers,
            self._embedding.data_ptr(),
            self._norm.data_ptr(),
            self._angles_NK.data_ptr(),
            rows_BF.data_ptr(),
            num_rows,
            longest,
            scratch.data_ptr(),
            hidden_BD.data_ptr(),
        )
        return hidden_BD

    def logits(self, hidden_BD: Tensor) -> Tensor:
        """Logits of the next token, [B, V], float32."""
        num_rows, width = hidden_BD.shape
        across = len(self._head) * self.panel
        logits_BV = torch.empty(num_rows, across)
        pointers = (self._head.data_ptr(), None, logits_BV.data_ptr())
        self._kernels["matmul"](hidden_BD.data_ptr(), width, *pointers, num_rows, across, width, 0)
        return logits_BV[:, : self.config.vocab_size]
