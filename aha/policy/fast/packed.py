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

from aha.kernels.cpu.allocation import huge_memory
from aha.kernels.cpu.compiled import built_for, functions
from aha.policy.fast.paths import can_be_packed
from aha.policy.policy import Policy
from aha.policy.rope import frequencies

__all__ = ["ROW_FIELDS", "PackedPolicy"]

ROW_FIELDS = 11
"""Numbers that describe a row, int64: addresses, lengths and capacities of its three segments, its token, its position.

They are the fields of `Row` in decode.c, in its order.
"""

_PER_LAYER = 10
"""Pointers of a layer."""

_OWN_LENGTH = 5
_TOKEN = 9
_POSITION = 10
"""Fields of a row that differ between the tokens of a sequence."""

_SIGNATURES = {
    "scratch_floats": "pii:i",
    "forward": "ppppppiipp",
    "matmul": "pipppiiii",
}


class _Shape(ctypes.Structure):
    """Sizes of a policy, as `Shape` in decode.c."""

    _fields_ = (
        ("layers", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("inner", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("shared", ctypes.c_int64),
        ("size", ctypes.c_int64),
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
        panel: keys that lie together; the capacity of a segment is a multiple of it.
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

        config = policy.config
        self.config = config
        self.panel = _panel()
        self._kernels = kernels
        self._shape = _Shape(
            config.num_hidden_layers,
            config.hidden_size,
            config.intermediate_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            config.rms_norm_eps,
        )

        # A tied head is copied although it is the embedding: a product reads panels, a look-up reads rows.
        weights = {name: weight.detach() for name, weight in policy.named_parameters(remove_duplicate=False)}
        num_floats = 0
        for name, weight in weights.items():
            if weight.dim() == 2 and "embed" not in name:
                num_floats += self._padded(len(weight)) * weight.shape[1]
        self._free = huge_memory(num_floats)

        # The kernels get addresses alone, so that the tensors themselves have to be held here.
        self._tensors: list[Tensor | None] = []
        for layer in range(config.num_hidden_layers):
            self._tensors += self._layer(weights, layer)
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in self._tensors]
        self._layers = (ctypes.c_void_p * len(addresses))(*addresses)
        self._embedding = weights["model.embed_tokens.weight"]
        self._norm = weights["model.norm.weight"]
        self._head = self._panels(weights["lm_head.weight"])

        frequencies_K = frequencies(config, config.head_dim, torch.device("cpu"))
        angles_NK = torch.arange(num_positions).float()[:, None] * frequencies_K
        self._angles_NK = torch.cat((angles_NK.cos(), angles_NK.sin()), dim=-1).contiguous()

    def _layer(self, weights: dict[str, Tensor], layer: int) -> list[Tensor | None]:
        """What `Layer` in decode.c points to, in its order."""
        prefix = f"model.layers.{layer}."

        def named(part: str) -> Tensor | None:
            return weights.get(f"{prefix}{part}")

        def joined(*parts: str) -> Tensor:
            return torch.cat([weights[f"{prefix}{part}.weight"] for part in parts])

        attention = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        biases = [bias for part in attention if (bias := named(f"{part}.bias")) is not None]
        o_bias = named("self_attn.o_proj.bias")
        tensors = [
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
        assert len(tensors) == _PER_LAYER
        return tensors

    def _padded(self, count: int) -> int:
        """The smallest multiple of a panel that is at least this."""
        num_panels = (count + self.panel - 1) // self.panel
        return num_panels * self.panel

    def _filled(self, x: Tensor) -> Tensor:
        """The rows of a tensor, and rows of zeros behind them up to a whole panel."""
        num_zeros = self._padded(len(x)) - len(x)
        zeros = x.new_zeros(num_zeros, *x.shape[1:])
        return torch.cat((x, zeros))

    def _panels(self, weight_OI: Tensor) -> Tensor:
        """A matrix as [out / panel, in, panel], in the next part of the huge memory."""
        panels = torch.unflatten(self._filled(weight_OI), 0, (-1, self.panel))
        panels = panels.transpose(1, 2)
        size = panels.numel()
        memory = self._free[:size]
        self._free = self._free[size:]
        return memory.view(panels.shape).copy_(panels)

    def room(self, num_tokens: int) -> int:
        """Capacity of a segment of `num_tokens`, in tokens: whole panels."""
        return self._padded(num_tokens)

    def segment_floats(self, num_tokens: int) -> int:
        """Floats of the memory of a segment of `num_tokens`."""
        config = self.config
        floats_per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
        return floats_per_token * self.room(num_tokens)

    def rows_of(self, tokens_N: Tensor, memory: Tensor, before: Sequence[tuple[Tensor, int]]) -> Tensor:
        """A row for each token of a sequence, to be computed in this order; int64, [N, `ROW_FIELDS`].

        Args:
            tokens_N: the sequence.
            memory: takes its keys and values.
            before: memory and length of what it follows on, at most two segments; empty ones are left out.
        """
        num_tokens = len(tokens_N)
        position = sum(length for _, length in before)
        segments = [(earlier.data_ptr(), length, self.room(length)) for earlier, length in before if length]

        # A row has three segments, the last one its own; the kernel passes over one without tokens.
        segments += [(0, 0, 0)] * (2 - len(segments))
        capacity = memory.numel() // self.segment_floats(1) * self.panel
        segments.append((memory.data_ptr(), 1, capacity))

        addresses, lengths, capacities = zip(*segments, strict=True)
        first_row_F = torch.tensor([*addresses, *lengths, *capacities, 0, position])
        rows_NF = first_row_F.repeat(num_tokens, 1)

        # Each token sees itself and those of its own segment before it.
        index_N = torch.arange(num_tokens)
        rows_NF[:, _OWN_LENGTH] += index_N
        rows_NF[:, _TOKEN] = tokens_N
        rows_NF[:, _POSITION] += index_N
        return rows_NF

    def forward(self, rows_BF: Tensor, longest: int) -> Tensor:
        """Hidden states after the last norm; writes each row's key and value where its last segment ends.

        Args:
            rows_BF: the rows, int64, [B, `ROW_FIELDS`], contiguous; all that they point to is kept by the caller.
            longest: the largest number of tokens that a row attends to, its own included.

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

        # The head's panels may be wider than the vocabulary.
        num_columns = len(self._head) * self.panel
        logits_BV = torch.empty(num_rows, num_columns)
        no_bias = None
        self._kernels["matmul"](
            hidden_BD.data_ptr(),
            width,
            self._head.data_ptr(),
            no_bias,
            logits_BV.data_ptr(),
            num_rows,
            num_columns,
            width,
            0,
        )
        return logits_BV[:, : self.config.vocab_size]
