"""How sequences lie end to end in a stream of tokens, and what attends to what.

Linear layers see the flat stream and never a padded token. Where there is a kernel for it, attention does not either;
in torch it works on padded rows, grouped by length. A prompt that several sequences share is computed once and attended
to by all of them. The plain layout, `rows`, is what this one is tested against.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from aha.kernels.attention import attention, has_attention
from aha.kernels.cuda.flash import FlashPlan, flash_attention, has_flash, plan

__all__ = ["Layout", "Segment", "pack", "rows", "take_entries"]

MAX_STRETCH = 1.25
"""A row joins a block while it is at most this much longer than the block's shortest row."""

MAX_ROWS = 64
"""Rows of a block, at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Rows of similar length whose attention is computed at once; their tokens are contiguous in the stream.

    Attributes:
        start: index in the stream of the first token of the block.
        stop: one past the last.
        queries_RQ: index in the stream of each query, 0 where padded.
        keys_RS: index of each key, 0 where padded; None where the keys are the queries.
        bias_RQS: 0 where a query may see a key, minus infinity elsewhere, [R, 1, Q, S].
        real_N: indices in [R * Q] of the queries that are no padding, in stream order; None where all are real.
    """

    start: int
    stop: int
    queries_RQ: Tensor
    keys_RS: Tensor | None
    bias_RQS: Tensor
    real_N: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A run of the stream: a shared prefix, or what a sequence has of its own after it.

    Attributes:
        start: index in the stream of its first token.
        length: its tokens.
        prefix_start: index of the first token of its prefix.
        prefix_length: tokens of its prefix; 0 where it has none.
    """

    start: int
    length: int
    prefix_start: int = 0
    prefix_length: int = 0

    @property
    def indices(self) -> list[int]:
        """Indices in the stream of all tokens that the last token attends to, in the order of the sequence."""
        prefix = range(self.prefix_start, self.prefix_start + self.prefix_length)
        continuation = range(self.start, self.start + self.length)
        return [*prefix, *continuation]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """A stream of tokens with its attention.

    Attributes:
        tokens_N: the stream.
        positions_N: position of each token in its own sequence.
        where_BT: index in the stream of token t of sequence b; 0 where there is none.
        segments: the attention: each segment is causal, and sees its prefix. They follow on each other in the stream.
        biases: each block's bias as the heads need it: made once, or every layer would keep its own for the gradient.
    """

    tokens_N: Tensor
    positions_N: Tensor
    where_BT: Tensor
    segments: tuple[Segment, ...]
    biases: dict[tuple[int, int, torch.dtype], Tensor] = field(default_factory=dict, repr=False)

    @cached_property
    def segments_S4(self) -> Tensor:
        """The segments as `aha.kernels.attention` takes them."""
        fields = [(s.start, s.length, s.prefix_start, s.prefix_length) for s in self.segments]

        # The view gives an empty stream its four columns too.
        return torch.tensor(fields, dtype=torch.int64).view(-1, 4)

    @cached_property
    def max_keys(self) -> int:
        """Tokens that the last token of the longest sequence attends to."""
        return max((s.length + s.prefix_length for s in self.segments), default=0)

    @cached_property
    def flash_plan(self) -> FlashPlan:
        """Where the keys are, as `aha.kernels.cuda.flash` takes them."""
        return plan(self.segments_S4, self.tokens_N.device)

    def to(self, device: torch.device) -> "Layout":
        """The same layout on a device."""
        if self.tokens_N.device == device:
            return self
        return Layout(
            tokens_N=self.tokens_N.to(device),
            positions_N=self.positions_N.to(device),
            where_BT=self.where_BT.to(device),
            segments=self.segments,
        )

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The segments in blocks, for torch."""
        device = self.tokens_N.device
        is_even = all(s.length == self.segments[0].length and not s.prefix_length for s in self.segments)

        # Segments of one length need neither padding nor indices, as long as their keys are their own.
        if is_even:
            return (_even_block(self.segments, device),)
        return tuple(_block(chunk, device) for chunk in _chunks(self.segments))

    def attend(self, layer: int, q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor, scale: float) -> Tensor:
        """Causal attention inside each sequence: a layout is an `aha.policy.policy.Context`."""
        del layer
        if has_attention(q_NHK, k_NJK, v_NJM):
            return attention(q_NHK, k_NJK, v_NJM, scale, self.segments_S4, self.max_keys)
        if has_flash(q_NHK, k_NJK, v_NJM):
            return flash_attention(q_NHK, k_NJK, v_NJM, scale, self.flash_plan)
        return self.attend_in_blocks(q_NHK, k_NJK, v_NJM, scale)

    def attend_in_blocks(self, q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor, scale: float) -> Tensor:
        """Attention as `attend` defines it, through torch; every other way is tested against this one."""
        repeat = q_NHK.shape[1] // k_NJK.shape[1]
        outs: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            bias_RQS = self._bias(number, repeat, q_NHK.dtype)
            outs.append(_attend_block(block, bias_RQS, q_NHK, k_NJK, v_NJM, scale))
        return outs[0] if len(outs) == 1 else torch.cat(outs)

    def _bias(self, number: int, repeat: int, dtype: torch.dtype) -> Tensor:
        """Bias of a block for query heads that share a key head `repeat` at a time, [R, 1, repeat * Q, S]."""
        key = (number, repeat, dtype)
        if key not in self.biases:
            bias_RQS = self.blocks[number].bias_RQS.to(dtype)
            self.biases[key] = bias_RQS if repeat == 1 else bias_RQS.repeat(1, 1, repeat, 1)
        return self.biases[key]


def _attend_block(block: Block, bias_RQS: Tensor, q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor, scale: float) -> Tensor:
    """Attention of one block, [stop - start, H, M]."""
    num_rows, num_queries = block.queries_RQ.shape
    num_heads = q_NHK.shape[1]
    num_shared = k_NJK.shape[1]
    repeat = num_heads // num_shared

    q = q_NHK[block.start : block.stop]
    if block.real_N is not None:
        q = take_entries(q_NHK, block.queries_RQ.flatten())

    # [R, Q, J, repeat, K] -> [R, J, repeat * Q, K]: query heads that share a key head lie along the query axis, so that
    # keys and values are not repeated.
    q = q.view(num_rows, num_queries, num_shared, repeat, q_NHK.shape[-1])
    q = q.permute(0, 2, 3, 1, 4).flatten(2, 3)
    k = _keys_of_block(block, k_NJK)
    v = _keys_of_block(block, v_NJM)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_RQS, scale=scale)

    # Back to the stream, without the padded queries.
    out = torch.unflatten(out, 2, (repeat, num_queries))
    out = out.permute(0, 3, 1, 2, 4).reshape(num_rows * num_queries, num_heads, v_NJM.shape[-1])
    return out if block.real_N is None else out.index_select(0, block.real_N)


def _keys_of_block(block: Block, x_NJK: Tensor) -> Tensor:
    """Keys or values of a block's rows, [R, J, S, K]."""
    x = x_NJK[block.start : block.stop]
    if block.keys_RS is not None:
        x = take_entries(x_NJK, block.keys_RS.flatten())

    # Both sizes are named: torch cannot infer one of them where there is no token.
    num_rows = len(block.queries_RQ)
    num_keys = block.bias_RQS.shape[-1]
    return torch.unflatten(x, 0, (num_rows, num_keys)).transpose(1, 2)


def take_entries(x_NX: Tensor, indices_M: Tensor) -> Tensor:
    """Entries of a tensor, [M, ...]; an entry that is taken several times gets its gradients added in a fixed order."""
    # On a GPU the gradient of `index_select` is added up in whatever order it comes.
    return x_NX[indices_M] if x_NX.is_cuda else x_NX.index_select(0, indices_M)


def rows(tokens_RT: Tensor) -> Layout:
    """The plain layout, for rows that are all of one length, such as those of pretraining: a view, without any index.

    Shorter sequences may be padded on the right: their padding is computed, and their tokens never attend to it.
    """
    num_rows, length = tokens_RT.shape
    where_BT = torch.arange(num_rows * length, device=tokens_RT.device).view(num_rows, length)
    segments = [Segment(start=row * length, length=length) for row in range(num_rows)]
    return Layout(
        tokens_N=tokens_RT.flatten(),
        positions_N=(where_BT % length).flatten(),
        where_BT=where_BT,
        segments=tuple(segments),
    )


def pack(tokens_BT: Tensor, lengths_B: Tensor, prefix_lengths: Sequence[int] | None = None) -> Layout:
    """The fast layout: no padding in the stream, and equal prefixes computed once.

    Args:
        tokens_BT: sequences, padded on the right.
        lengths_B: tokens of each.
        prefix_lengths: how many leading tokens of each sequence may be shared with sequences that begin with the same
            ones. None shares nothing.

    Returns:
        A layout whose `where_BT` sends equal prefixes to the same tokens of the stream.

    Raises:
        ValueError: a prefix is longer than its sequence.
    """
    lengths = lengths_B.tolist()
    shared = list(prefix_lengths) if prefix_lengths is not None else [0] * len(lengths)
    if any(prefix > length for prefix, length in zip(shared, lengths, strict=True)):
        raise ValueError(f"a shared prefix is part of its sequence; prefixes {shared}, sequences {lengths}")

    beginnings: list[tuple[int, ...]] = []
    endings: list[list[int]] = []
    for tokens, prefix_length, length in zip(tokens_BT.tolist(), shared, lengths, strict=True):
        beginnings.append(tuple(tokens[:prefix_length]))
        endings.append(tokens[prefix_length:length])

    # First the prefixes, each different one once. Short ones come first: blocks are made of neighbours of like length.
    stream: list[int] = []
    prefixes: dict[tuple[int, ...], Segment] = {}
    for beginning in sorted(set(beginnings), key=lambda beginning: (len(beginning), beginning)):
        prefixes[beginning] = Segment(start=len(stream), length=len(beginning))
        stream += beginning

    # Then what follows on the prefix in each sequence, again in the order of length.
    continuations: dict[int, Segment] = {}
    for row in sorted(range(len(endings)), key=lambda row: (len(endings[row]), row)):
        prefix = prefixes[beginnings[row]]
        continuations[row] = Segment(
            start=len(stream),
            length=len(endings[row]),
            prefix_start=prefix.start,
            prefix_length=prefix.length,
        )
        stream += endings[row]

    # A sequence that is all prefix has no tokens of its own, and still an index for each of them.
    where_BT = torch.zeros(tokens_BT.shape, dtype=torch.int64)
    for row, segment in continuations.items():
        where_BT[row, : lengths[row]] = torch.tensor(segment.indices)

    # The kernels take segments of at least one token.
    segments = [segment for segment in (*prefixes.values(), *continuations.values()) if segment.length]
    positions: list[int] = []
    for segment in segments:
        positions += range(segment.prefix_length, segment.prefix_length + segment.length)

    device = tokens_BT.device
    return Layout(
        tokens_N=torch.tensor(stream, dtype=torch.int64, device=device),
        positions_N=torch.tensor(positions, dtype=torch.int64, device=device),
        where_BT=where_BT.to(device),
        segments=tuple(segments),
    )


def _chunks(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Runs of segments that are similar enough to be one block: prefixes, then others, each sorted by length."""
    chunks: list[list[Segment]] = []
    for segment in segments:
        current = chunks[-1] if chunks else []
        if current and len(current) < MAX_ROWS and _are_similar(current[0], segment):
            current.append(segment)
        else:
            chunks.append([segment])
    return chunks


def _are_similar(first: Segment, other: Segment) -> bool:
    """Whether a segment is close enough in length to the first one of a block, and has a prefix if that one has."""
    if bool(first.prefix_length) != bool(other.prefix_length):
        return False
    return first.length <= other.length <= MAX_STRETCH * first.length + 2


def _even_block(segments: Sequence[Segment], device: torch.device) -> Block:
    """One block of segments of one length, without prefixes: a view of the stream."""
    num_rows = len(segments)
    length = segments[0].length if segments else 0
    num_tokens = num_rows * length
    causal_QS = torch.full((length, length), float("-inf"), device=device).triu(1)
    return Block(
        start=0,
        stop=num_tokens,
        queries_RQ=torch.arange(num_tokens, device=device).view(num_rows, length),
        keys_RS=None,
        bias_RQS=causal_QS[None, None],
        real_N=None,
    )


def _block(segments: Sequence[Segment], device: torch.device) -> Block:
    """One block of segments that lie next to each other in the stream."""
    num_rows = len(segments)
    num_queries = max(segment.length for segment in segments)
    num_keys = max(segment.prefix_length for segment in segments) + num_queries
    queries_RQ = torch.zeros(num_rows, num_queries, dtype=torch.int64)
    keys_RS = torch.zeros(num_rows, num_keys, dtype=torch.int64)
    is_real_RQ = torch.zeros(num_rows, num_queries, dtype=torch.bool)

    # A padded query sees the first key: the softmax over none would be undefined.
    is_hidden_RQS = torch.ones(num_rows, num_queries, num_keys, dtype=torch.bool)
    is_hidden_RQS[:, :, 0] = False

    for row, segment in enumerate(segments):
        indices = torch.tensor(segment.indices)
        length = segment.length
        seen = segment.prefix_length + length
        queries_RQ[row, :length] = indices[segment.prefix_length :]
        keys_RS[row, :seen] = indices
        is_real_RQ[row, :length] = True

        # Causal: query i sees the whole prefix and the segment up to its own token, which is key prefix_length + i.
        later = torch.ones(length, seen, dtype=torch.bool)
        is_hidden_RQS[row, :length, :seen] = later.triu(segment.prefix_length + 1)

    bias_RQS = torch.zeros(is_hidden_RQS.shape).masked_fill_(is_hidden_RQS, float("-inf"))
    real_N = is_real_RQ.flatten().nonzero()[:, 0]
    return Block(
        start=segments[0].start,
        stop=segments[-1].start + segments[-1].length,
        queries_RQ=queries_RQ.to(device),
        keys_RS=keys_RS.to(device),
        bias_RQS=bias_RQS[:, None].to(device),
        real_N=None if is_real_RQ.all() else real_N.to(device),
    )
