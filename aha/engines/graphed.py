"""Decoding on a GPU: kernels for one token a row, recorded once for each batch size and replayed.

A row's keys and values lie in two places: its prompt's, which all rows of the prompt read, and its own slot. Rows that
come and go move no keys: a table says where each row's are. What the host does in a step is to start one graph.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aha.engines.decoder import Prompt, PromptUse, Work, last_tokens, new_prompts
from aha.policy.blocks import RMSNorm
from aha.policy.fast.adjacent import adjacent
from aha.policy.fast.paths import is_dense
from aha.policy.layout import Layout, Segment
from aha.policy.policy import Policy
from aha.policy.rope import frequencies
from aha.policy.scoring import logits_of

__all__ = ["GraphedDecoder"]

PREFILL_TOKENS = 16384
"""Tokens of prompts that are computed at once, where a prompt has no more."""

ALIGNED = 16
"""The number of columns of the cache is a multiple of this."""

LOOK_EVERY = 16
"""Steps between two looks at the rows. To look, the host waits for the GPU."""

_PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_FEED_FORWARD = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """Weights of one layer, those with one input joined."""

    before: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    norms: tuple[Tensor, Tensor] | None
    out: Tensor
    out_bias: Tensor | None
    between: Tensor
    gate_up: Tensor
    down: Tensor


def _layer(block: nn.Module) -> _Layer:
    """The weights of one block, as its kernels read them."""
    q, k, v, out = (_linear(block, name) for name in _PROJECTIONS)
    gate, up, down = (_linear(block, name) for name in _FEED_FORWARD)

    # Three products with one input are one product with the weights joined, which a GPU does in less time.
    qkv, qkv_bias = adjacent([q, k, v])
    q_norm = block.get_submodule("self_attn.q_norm")
    k_norm = block.get_submodule("self_attn.k_norm")
    has_norms = isinstance(q_norm, RMSNorm) and isinstance(k_norm, RMSNorm)
    return _Layer(
        before=block.get_parameter("input_layernorm.weight"),
        qkv=qkv,
        qkv_bias=qkv_bias,
        norms=(q_norm.get_parameter("weight"), k_norm.get_parameter("weight")) if has_norms else None,
        out=out.weight,
        out_bias=out.bias,
        between=block.get_parameter("post_attention_layernorm.weight"),
        gate_up=adjacent([gate, up])[0],
        down=down.weight,
    )


def _linear(block: nn.Module, name: str) -> nn.Linear:
    """A projection of a block."""
    part = block.get_submodule(name)
    assert isinstance(part, nn.Linear)
    return part


def _sizes(largest: int) -> list[int]:
    """Batch sizes that are recorded: powers of 2 and the middles between them, up to the first that is enough."""
    sizes = [1, 2]
    while sizes[-1] < largest:
        last = sizes[-1]
        sizes += [last * 3 // 2, last * 2]

    smaller = [size for size in sizes if size < largest]
    return [*smaller, largest]


class GraphedDecoder:
    """A `Decoder` for one GPU.

    Rows are padded to the next size that is recorded. Padding writes into a slot that nobody reads.
    """

    has_own_threads = False
    look_every = LOOK_EVERY

    def __init__(self, policy: Policy, work: Work) -> None:
        """Allocate the cache: a slot for each row and for each prompt that may be open.

        Raises:
            ValueError: the policy is not of the dense family.
        """
        if not is_dense(policy):
            raise ValueError("graphs compute plain policies of the dense family: ask `can_be_graphed` first")
        config = policy.config
        like = policy.head_VD
        self._policy = policy
        self._like = like
        self._layers = [_layer(block) for block in policy.layers]

        # Keys and values of prompts and of rows are two parts of one memory, which a kernel reads as one run of keys.
        # Padding writes into one more slot.
        num_heads = config.num_key_value_heads
        num_slots = work.num_slots
        prompt_columns = _aligned(work.max_prompt_tokens)
        row_columns = _aligned(work.max_new_tokens)
        prompt_shape = (work.num_prompts, num_heads, prompt_columns)
        row_shape = (num_slots + 1, num_heads, row_columns)
        lengths = [prod(prompt_shape), prod(row_shape)]
        memory = like.new_empty(config.num_hidden_layers, 2, sum(lengths), config.head_dim)
        prompt_memory, row_memory = torch.split(memory, lengths, dim=2)
        self._prompts = torch.unflatten(prompt_memory, 2, prompt_shape)
        self._own = torch.unflatten(row_memory, 2, row_shape)

        # Angles are float32 in any type: bfloat16 could not tell positions above 256 apart.
        device = like.device
        num_positions = work.max_prompt_tokens + row_columns
        positions = torch.arange(num_positions, device=device).float()
        turns_per_token = frequencies(config, config.head_dim, device)
        angles = positions[:, None] * turns_per_token
        self._cos = angles.cos().to(like.dtype)
        self._sin = angles.sin().to(like.dtype)

        # The table has of each row its slot, the tokens in it, its prompt's slot and tokens. Graphs read table and
        # tokens where they lie, so neither is ever replaced.
        padding = [[num_slots], [0], [0], [0]]
        self._nothing = torch.tensor(padding, dtype=torch.int32, device=device)
        self._rows = self._nothing.repeat(1, num_slots)
        self._tokens = like.new_zeros(num_slots, dtype=torch.int64)

        self._sizes = _sizes(num_slots)
        self._open: list[tuple[int, int]] = []
        self._free_slots = list(reversed(range(num_slots)))
        self._free_prompts = list(reversed(range(work.num_prompts)))
        self._prompt_slots: dict[int, int] = {}
        self._use = PromptUse()
        self._first_logits: dict[int, Tensor] = {}
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor] | None] = {}

    def admit(self, prompts: Sequence[Prompt]) -> Tensor:
        """Add a row for each of these prompts; their logits, [len(prompts), V]."""
        for part in _parts(new_prompts(prompts, self._prompt_slots)):
            self._compute(part)

        num_before = len(self._open)
        rows = []
        for prompt in prompts:
            slot = self._free_slots.pop()
            self._open.append((slot, prompt.number))
            self._use.add_row(prompt.number)
            prompt_slot = self._prompt_slots[prompt.number]
            rows.append((slot, 0, prompt_slot, len(prompt.tokens)))

        # One copy to the device for all new rows.
        num_rows = len(self._open)
        new_rows = torch.tensor(rows, dtype=torch.int32).T
        self._rows[:, num_before:num_rows] = new_rows.to(self._rows.device)

        first_logits = [self._first_logits[prompt.number] for prompt in prompts]
        return torch.stack(first_logits)

    def release(self, prompt: Prompt) -> None:
        """No further row of this prompt will be added; its slot becomes free when all of its rows have ended."""
        if self._use.release(prompt.number):
            self._forget(prompt.number)

    def keep(self, rows_B: Tensor) -> None:
        """Go on with these rows only; the slot of a prompt of which all rows have ended becomes free."""
        rows = rows_B.tolist()
        num_before = len(self._open)
        for row in set(range(num_before)) - set(rows):
            slot, number = self._open[row]
            self._free_slots.append(slot)
            if self._use.remove_row(number):
                self._forget(number)

        # The recorded size may be larger than the number of rows: those behind are padding.
        num_rows = len(rows)
        self._open = [self._open[row] for row in rows]
        self._rows[:, :num_rows] = self._rows[:, rows_B]
        self._rows[:, num_rows:num_before] = self._nothing

    def _forget(self, number: int) -> None:
        """Free the slot of a prompt, if it was computed at all."""
        if number in self._prompt_slots:
            self._free_prompts.append(self._prompt_slots.pop(number))
            del self._first_logits[number]

    def step(self, tokens_B: Tensor) -> Tensor:
        """Take each row's next token; the logits of the one after it, [B, V], until the next call."""
        count = len(tokens_B)
        size = next(size for size in self._sizes if size >= count)
        self._tokens[:count] = tokens_B
        return self._run(size)[:count]

    def _run(self, size: int) -> Tensor:
        """One step of `size` rows: the first runs as it is, the second is recorded, all later ones are replayed."""
        # Kernels are built when they are first called, which cannot be recorded.
        if not self._like.is_cuda or size not in self._graphs:
            self._graphs[size] = None
            return self._forward(size)

        recorded = self._graphs[size]
        if recorded is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                logits_BV = self._forward(size)
            recorded = (graph, logits_BV)
            self._graphs[size] = recorded

        graph, logits_BV = recorded
        graph.replay()
        return logits_BV

    def _forward(self, size: int) -> Tensor:
        """Logits of the first `size` rows, [size, V]. Stores their keys and values, and adds one to their lengths."""
        from aha.kernels.cuda.decoding import add_norm, attend, place
        from aha.kernels.cuda.training import swiglu_halves

        config = self._policy.config
        model = self._policy.model
        num_heads = config.num_attention_heads
        eps = config.rms_norm_eps
        scale = config.head_dim**-0.5

        # A layer's result is added to the residual stream by the norm that follows it: one pass over memory for both.
        x_BD = F.embedding(self._tokens[:size], model.embed_tokens.weight)
        update_BD = None
        for layer, prompts, stored in zip(self._layers, self._prompts, self._own, strict=True):
            x_BD, normed_BD = add_norm(x_BD, update_BD, layer.before, eps)
            qkv = F.linear(normed_BD, layer.qkv, layer.qkv_bias)

            # Norms and rotates queries and keys, and writes the keys and values into the rows' slots.
            q_BHK = place(qkv, self._cos, self._sin, layer.norms, stored, self._rows, num_heads=num_heads, eps=eps)
            mixed_BHK = attend(q_BHK, prompts, stored, self._rows, scale=scale)
            update_BD = F.linear(mixed_BHK.flatten(1), layer.out, layer.out_bias)

            x_BD, normed_BD = add_norm(x_BD, update_BD, layer.between, eps)
            gate_up = F.linear(normed_BD, layer.gate_up)
            inner_BI = swiglu_halves(gate_up)
            update_BD = F.linear(inner_BI, layer.down)

        _, normed_BD = add_norm(x_BD, update_BD, model.norm.weight, eps)
        logits_BV = logits_of(normed_BD, self._like)

        # A row that has ended goes on until the engine looks, and must not leave its slot.
        last_column = self._own.shape[4] - 1
        self._rows[1, :size].add_(1).clamp_(max=last_column)
        return logits_BV

    def _compute(self, new: Sequence[Prompt]) -> None:
        """Prefill these prompts, all in one pass."""
        device = self._like.device
        prompts = [prompt.tokens for prompt in new]
        layout = _layout(prompts).to(device)
        slots = [self._free_prompts.pop() for _ in new]

        # Every token of a prompt is stored in the prompt's slot.
        lengths_P = torch.tensor([len(prompt) for prompt in prompts])
        slot_N = torch.tensor(slots).repeat_interleave(lengths_P)
        context = _Prompts(layout, slot_N.to(device), self._prompts)
        hidden_ND = self._policy(layout.tokens_N, layout.positions_N, context)

        last_PD = hidden_ND[last_tokens(prompts)]
        logits_PV = logits_of(last_PD, self._like)
        for prompt, slot, logits_V in zip(new, slots, logits_PV, strict=True):
            self._prompt_slots[prompt.number] = slot
            self._first_logits[prompt.number] = logits_V


def _layout(prompts: Sequence[Tensor]) -> Layout:
    """Prompts laid end to end, each seeing itself alone."""
    segments: list[Segment] = []
    start = 0
    for prompt in prompts:
        segments.append(Segment(start=start, length=len(prompt)))
        start += len(prompt)

    positions = [torch.arange(len(prompt)) for prompt in prompts]
    return Layout(
        tokens_N=torch.cat(list(prompts)),
        positions_N=torch.cat(positions),
        # There is no batch in which anybody would look tokens up.
        where_BT=torch.zeros(0, 0, dtype=torch.int64),
        segments=tuple(segments),
    )


def _parts(prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
    """Prompts in parts of at most `PREFILL_TOKENS` tokens, or one prompt."""
    part: list[Prompt] = []
    remaining = PREFILL_TOKENS
    for prompt in prompts:
        length = len(prompt.tokens)
        if part and length > remaining:
            yield part
            part = []
            remaining = PREFILL_TOKENS
        part.append(prompt)
        remaining -= length

    if part:
        yield part


class _Prompts:
    """A `Context` that writes the keys and values of prompts into their slots."""

    def __init__(self, layout: Layout, slot_N: Tensor, cache: Tensor) -> None:
        """Take the prompts' layout, each token's slot, and the slots, [L, 2, slots, J, columns, K]."""
        self._layout = layout
        self._slot_N = slot_N
        self._cache = cache

    def attend(self, layer: int, q_NHK: Tensor, k_NJK: Tensor, v_NJK: Tensor, scale: float) -> Tensor:
        """Causal attention inside each prompt."""
        keys, values = self._cache[layer]
        positions_N = self._layout.positions_N
        keys[self._slot_N, :, positions_N] = k_NJK
        values[self._slot_N, :, positions_N] = v_NJK
        return self._layout.attend(layer, q_NHK, k_NJK, v_NJK, scale)


def _aligned(count: int) -> int:
    """The next multiple of `ALIGNED`."""
    return -(-count // ALIGNED) * ALIGNED
