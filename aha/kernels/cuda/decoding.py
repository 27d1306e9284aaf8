"""Kernels of decoding on GPUs: one token a row.

Figures are float32 inside whatever the type of the tensors, and are added up in an order that depends on the row alone.
A function with `@jit` is one program of a kernel; the function behind it starts a grid of such programs.
"""

import torch
from torch import Tensor

from aha.kernels.cuda.extra import cdiv, jit, next_power_of_2, tl

__all__ = ["add_norm", "attend", "draw", "place"]

CHUNK = 4096
"""Words of the vocabulary that a program reads at a time."""

WIDE = 128
"""Size of a head from which on a program of the attention reads 64 keys at a time, with 3 blocks on their way."""

PART = 1024
"""Keys that one program of the attention reads; more are divided among programs."""


@jit
def _add_norm(x, update, weight, total, out, width, eps, HAS_UPDATE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    at = row * width + column
    value = tl.load(x + at, mask=inside, other=0.0)
    if HAS_UPDATE:
        # Rounded to the type of the stream, as between two layers.
        change = tl.load(update + at, mask=inside, other=0.0)
        value = (value.to(tl.float32) + change.to(tl.float32)).to(value.dtype)
        tl.store(total + at, value, mask=inside)

    wide = value.to(tl.float32)
    mean_square = tl.sum(wide * wide, 0) / width
    scale = tl.rsqrt(mean_square + eps)
    factor = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, wide * scale * factor, mask=inside)


def add_norm(x_ND: Tensor, update_ND: Tensor | None, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The sum of a residual stream and an update of it, and that sum's RMSNorm; no gradient."""
    num_rows, width = x_ND.shape
    out = torch.empty_like(x_ND)
    has_update = update_ND is not None
    total = torch.empty_like(x_ND) if has_update else x_ND

    # Without an update the kernel never reads this argument.
    update = update_ND if has_update else x_ND
    block = next_power_of_2(width)
    _add_norm[(num_rows,)](x_ND, update, weight_D, total, out, width, eps, HAS_UPDATE=has_update, BLOCK=block)
    return total, out


@jit
def _place(
    qkv,
    cos,
    sin,
    q_norm,
    k_norm,
    queries,
    keys,
    values,
    rows,
    num_slots,
    columns,
    eps,
    HEADS: tl.constexpr,
    SHARED: tl.constexpr,
    HALF: tl.constexpr,
    ALL: tl.constexpr,
    HAS_NORM: tl.constexpr,
):
    # All heads of a row: queries, keys, values. A head is read as two halves, whose entries the rotation pairs.
    row = tl.program_id(0)
    head = tl.arange(0, ALL)[:, None]
    k = tl.arange(0, HALF)[None, :]
    inside = head < HEADS + 2 * SHARED
    is_query = head < HEADS
    is_key = (head >= HEADS) & (head < HEADS + SHARED)
    is_value = head >= HEADS + SHARED
    source = qkv + (row.to(tl.int64) * (HEADS + 2 * SHARED) + head) * 2 * HALF + k
    a = tl.load(source, mask=inside, other=0.0)
    b = tl.load(source + HALF, mask=inside, other=0.0)
    slot = tl.load(rows + row).to(tl.int64)
    length = tl.load(rows + num_slots + row)
    prompt_length = tl.load(rows + 3 * num_slots + row)

    x = a.to(tl.float32)
    y = b.to(tl.float32)
    if HAS_NORM:
        squares = tl.sum(x * x, 1) + tl.sum(y * y, 1)
        scale = tl.rsqrt(squares / (2 * HALF) + eps)[:, None]
        a_factor = tl.where(is_query, tl.load(q_norm + k), tl.load(k_norm + k)).to(tl.float32)
        b_factor = tl.where(is_query, tl.load(q_norm + HALF + k), tl.load(k_norm + HALF + k)).to(tl.float32)
        # Rounded to the type that the head came in, as between two layers.
        x = (x * scale * a_factor).to(a.dtype).to(tl.float32)
        y = (y * scale * b_factor).to(b.dtype).to(tl.float32)

    # Values are written as they came.
    at = (prompt_length + length).to(tl.int64) * HALF + k
    c = tl.load(cos + at).to(tl.float32)
    s = tl.load(sin + at).to(tl.float32)
    a = tl.where(is_value, a, (x * c - y * s).to(a.dtype))
    b = tl.where(is_value, b, (y * c + x * s).to(b.dtype))
    to_query = queries + (row.to(tl.int64) * HEADS + head) * 2 * HALF + k
    tl.store(to_query, a, mask=is_query)
    tl.store(to_query + HALF, b, mask=is_query)
    to_key = keys + ((slot * SHARED + head - HEADS) * columns + length) * 2 * HALF + k
    tl.store(to_key, a, mask=is_key)
    tl.store(to_key + HALF, b, mask=is_key)
    to_value = values + ((slot * SHARED + head - HEADS - SHARED) * columns + length) * 2 * HALF + k
    tl.store(to_value, a, mask=is_value & inside)
    tl.store(to_value + HALF, b, mask=is_value & inside)


def place(
    qkv_BJ: Tensor,
    cos_TK: Tensor,
    sin_TK: Tensor,
    norms: tuple[Tensor, Tensor] | None,
    responses: Tensor,
    rows_4S: Tensor,
    *,
    num_heads: int,
    eps: float,
) -> Tensor:
    """Rotate queries and keys by their positions, and append keys and values to those of their rows in the cache.

    Args:
        qkv_BJ: queries, keys and values of one token a row, [B, (H + 2 G) K].
        cos_TK: cosines of each position, [T, K/2].
        sin_TK: sines.
        norms: factors of the norms of queries and keys, [K] each, where there are such norms.
        responses: keys and values of the responses, [2, S, G, T, K].
        rows_4S: of each row its slot, the tokens in it, its prompt's slot and its prompt's tokens, int32.
        num_heads: H.
        eps: of the norms.

    Returns:
        Queries, [B, H, K].
    """
    num_rows = len(qkv_BJ)
    _, _, num_shared, columns, size = responses.shape
    queries = qkv_BJ.new_empty(num_rows, num_heads, size)

    # Without norms the kernel never reads these arguments.
    q_norm, k_norm = norms or (responses, responses)
    _place[(num_rows,)](
        qkv_BJ,
        cos_TK,
        sin_TK,
        q_norm,
        k_norm,
        queries,
        responses[0],
        responses[1],
        rows_4S,
        rows_4S.shape[1],
        columns,
        eps,
        HEADS=num_heads,
        SHARED=num_shared,
        HALF=size // 2,
        ALL=next_power_of_2(num_heads + 2 * num_shared),
        HAS_NORM=norms is not None,
        num_warps=4,
    )
    return queries


@jit
def _attend(
    q,
    keys,
    values,
    rows,
    out,
    lse,
    num_slots,
    first_response,
    prompt_columns,
    columns,
    scale,
    SHARED: tl.constexpr,
    REPEAT: tl.constexpr,
    SIZE: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
):
    # The query heads of a row that share one key head, and a part of the keys.
    row, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    r, k = tl.arange(0, QUERIES), tl.arange(0, SIZE)
    at = ((row * SHARED + head) * REPEAT + r[:, None]) * SIZE + k[None, :]
    query = tl.load(q + at, mask=r[:, None] < REPEAT, other=0.0)
    slot = tl.load(rows + row).to(tl.int64)
    length = tl.load(rows + num_slots + row) + 1
    prompt = tl.load(rows + 2 * num_slots + row).to(tl.int64)
    prompt_length = tl.load(rows + 3 * num_slots + row)

    # The prompt's columns, then the row's own: one run of keys, so that loads never wait for each other.
    prompt_start = (prompt * SHARED + head) * prompt_columns
    response_start = first_response + (slot * SHARED + head) * columns - prompt_length
    # The softmax in one pass: when a higher score appears, what has been added up is scaled down to it.
    top = tl.full((QUERIES,), float("-inf"), tl.float32)
    total, acc = tl.zeros((QUERIES,), tl.float32), tl.zeros((QUERIES, SIZE), tl.float32)
    stop = tl.minimum(part * PART + PART, prompt_length + length)
    for first in range(part * PART, stop, BLOCK):
        t = first + tl.arange(0, BLOCK)
        is_seen = t < stop
        column = tl.where(t < prompt_length, prompt_start, response_start) + t
        offset = column[:, None] * SIZE + k[None, :]
        key = tl.load(keys + offset, mask=is_seen[:, None], other=0.0)
        value = tl.load(values + offset, mask=is_seen[:, None], other=0.0)
        # Scores are in powers of 2 (the factor is 1 / ln 2), for `exp2`.
        score = tl.dot(query, tl.trans(key), input_precision="ieee") * (scale * 1.4426950408889634)
        score = tl.where(is_seen[None, :], score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1))
        weight, decay = tl.exp2(score - higher[:, None]), tl.exp2(top - higher)
        total = total * decay + tl.sum(weight, 1)
        acc = acc * decay[:, None] + tl.dot(weight.to(value.dtype), value, input_precision="ieee")
        top = higher
    # A part behind the end of the row has no keys: its log-sum-exp gives it no weight.
    acc = acc / tl.where(total > 0, total, 1.0)[:, None]
    if PARTS > 1:
        index = ((row * SHARED + head) * PARTS + part) * QUERIES + r
        tl.store(lse + index, tl.where(total > 0, (top + tl.log2(total)) / 1.4426950408889634, float("-inf")))
        tl.store(out + index[:, None] * SIZE + k[None, :], acc)
    else:
        tl.store(out + at, acc, mask=r[:, None] < REPEAT)


def attend(q_BHK: Tensor, prompts: Tensor, responses: Tensor, rows_4S: Tensor, *, scale: float) -> Tensor:
    """Attention of one token a row to the row's prompt and to what has been written behind it, itself included.

    Source: FlashAttention-2, arXiv:2307.08691, Algorithm 1, with the keys of long sequences shared out as in
    Flash-Decoding (Dao et al. 2023).

    Args:
        q_BHK: queries.
        prompts: keys and values of the prompts, [2, P, G, T0, K].
        responses: keys and values of the responses, [2, S, G, T, K], behind those of the prompts in one tensor
            [2, P G T0 + S G T, K].
        rows_4S: as in `place`, before the tokens are counted that `place` wrote.
        scale: factor of the scores.

    Returns:
        [B, H, K].
    """
    num_rows, num_heads, size = q_BHK.shape
    _, num_prompts, num_shared, prompt_columns, _ = prompts.shape
    columns = responses.shape[3]
    repeat = num_heads // num_shared
    num_parts = cdiv(columns + prompt_columns, PART)

    # A matrix product of the GPU has at least 16 rows: query heads that share a key head are laid into them.
    queries = max(16, next_power_of_2(repeat))
    out = torch.empty_like(q_BHK)

    # With one part nobody reads log-sum-exps: any tensor takes their argument.
    lse = q_BHK
    if num_parts > 1:
        shape = (num_rows, num_shared, num_parts, queries)
        out = q_BHK.new_empty(*shape, size, dtype=torch.float32)
        lse = q_BHK.new_empty(shape, dtype=torch.float32)
    _attend[(num_rows, num_shared, num_parts)](
        q_BHK,
        prompts[0],
        prompts[1],
        rows_4S,
        out,
        lse,
        rows_4S.shape[1],
        num_prompts * num_shared * prompt_columns,
        prompt_columns,
        columns,
        scale,
        SHARED=num_shared,
        REPEAT=repeat,
        SIZE=size,
        QUERIES=queries,
        BLOCK=64 if size >= WIDE else 32,
        PART=PART,
        PARTS=num_parts,
        num_warps=2,
        num_stages=3 if size >= WIDE else 4,
    )
    if num_parts == 1:
        return out

    # The parts' results are weighted by their shares of the softmax's denominator.
    weights = lse.softmax(2)[..., None]
    mixed = (out * weights).sum(2)[:, :, :repeat]
    return mixed.reshape(num_rows, num_heads, size).to(q_BHK.dtype)


@jit
def _chunk_sums(logits, tops, sums, vocabulary, chunks, factor, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    chunk = tl.program_id(1)
    word = chunk * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row.to(tl.int64) * vocabulary + word, mask=word < vocabulary, other=float("-inf"))
    x = x.to(tl.float32) * factor
    top = tl.max(x, 0)

    # In a chunk of logits that are all minus infinity the difference would be undefined.
    shift = tl.where(top > float("-inf"), top, 0.0)
    tl.store(tops + row * chunks + chunk, top)
    tl.store(sums + row * chunks + chunk, tl.sum(tl.exp(x - shift), 0))


@jit
def _draw(
    logits, tops, sums, uniforms, tokens, logp, vocabulary, chunks, factor, BLOCK: tl.constexpr, CHUNKS: tl.constexpr
):
    # First the chunk in which the cumulative sum passes the threshold.
    row = tl.program_id(0)
    c = tl.arange(0, CHUNKS)
    top_C = tl.load(tops + row * chunks + c, mask=c < chunks, other=float("-inf"))
    top = tl.max(top_C, 0)
    sum_C = tl.load(sums + row * chunks + c, mask=c < chunks, other=0.0)
    mass_C = (sum_C * tl.exp(top_C - top)).to(tl.float64)
    total = tl.sum(mass_C, 0)
    threshold = tl.load(uniforms + row) * total
    num_passed = tl.sum((tl.cumsum(mass_C, 0) <= threshold).to(tl.int32), 0)

    # Rounding may put the threshold behind all chunks: then it is the last one that has any mass.
    last_chunk = tl.max(tl.where(mass_C > 0, c, 0), 0)
    chunk = tl.minimum(num_passed, last_chunk)
    before = tl.sum(tl.where(c < chunk, mass_C, 0.0), 0)

    # Then the word within it, in the same way.
    v = tl.arange(0, BLOCK)
    word = chunk * BLOCK + v
    x = tl.load(logits + row.to(tl.int64) * vocabulary + word, mask=word < vocabulary, other=float("-inf"))
    x = x.to(tl.float32) * factor
    mass = tl.exp(x - top).to(tl.float64)
    num_passed = tl.sum((before + tl.cumsum(mass, 0) <= threshold).to(tl.int32), 0)
    last_word = tl.max(tl.where(mass > 0, v, 0), 0)
    index = tl.minimum(num_passed, last_word)

    tl.store(tokens + row, (chunk * BLOCK + index).to(tl.int64))
    chosen = tl.sum(tl.where(v == index, x, 0.0), 0)
    tl.store(logp + row, chosen - top - tl.log(total.to(tl.float32)))


def draw(logits_BV: Tensor, uniforms_B: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token for each row by inversion of the cumulative distribution, in two passes over the logits' chunks.

    Args:
        logits_BV: logits of the next token, contiguous.
        uniforms_B: one uniform draw in [0, 1) a row, float64.
        temperature: > 0.

    Returns:
        Tokens [B] int64, and their log-probabilities [B] float32, nats.
    """
    num_rows, vocabulary = logits_BV.shape
    chunks = cdiv(vocabulary, CHUNK)
    tops, sums = logits_BV.new_empty(2, num_rows, chunks, dtype=torch.float32)
    tokens_B = uniforms_B.new_empty(num_rows, dtype=torch.int64)
    logp_B = tops.new_empty(num_rows)
    if not num_rows:
        return tokens_B, logp_B

    _chunk_sums[(num_rows, chunks)](logits_BV, tops, sums, vocabulary, chunks, 1 / temperature, BLOCK=CHUNK)
    _draw[(num_rows,)](
        logits_BV,
        tops,
        sums,
        uniforms_B,
        tokens_B,
        logp_B,
        vocabulary,
        chunks,
        1 / temperature,
        BLOCK=CHUNK,
        CHUNKS=next_power_of_2(chunks),
    )
    return tokens_B, logp_B
