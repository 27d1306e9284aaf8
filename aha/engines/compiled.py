"""Decoding with the C kernels: float32 on the CPU, a row's bits the same whatever rows are beside it.

A row's keys and values lie in three segments: the beginning that all prompts share, the rest of its own prompt, which
all rows of the prompt share, and what it has written itself. Where torch has several threads, each takes some rows.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from aha.engines.decoder import Prompt, PromptUse, Work, last_tokens, new_prompts
from aha.kernels.cpu.allocation import huge_memory
from aha.policy.fast.packed import ROW_FIELDS, PackedPolicy
from aha.policy.policy import Policy

__all__ = ["CompiledDecoder"]

PREFILL_ROWS = 256
"""Prompt tokens computed at once, which bounds the scratch memory."""

MAX_HUGE_BYTES = 1 << 28
"""Largest memory of all rows that gets huge pages. More gets small ones, since few responses are as long as allowed."""

_OWN_MEMORY = 2
_OWN_LENGTH = 5
_TOKEN = 9
_POSITION = 10
"""Fields of a row that are its own, or change from step to step; `PackedPolicy.rows_of` lays them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _PromptCache:
    """A prompt that was computed.

    Attributes:
        memory: keys and values of what follows on the common beginning; kept for the rows that point to it.
        logits_V: logits of the token after it.
        row_F: a row that has no memory yet, before its first token is known.
    """

    memory: Tensor
    logits_V: Tensor
    row_F: Tensor


class CompiledDecoder:
    """A `Decoder` over `PackedPolicy`."""

    has_own_threads = True
    look_every = 1

    def __init__(self, policy: Policy, work: Work) -> None:
        """Copy the weights, compute the prompts' common beginning, and allocate the rows' memory."""
        packed = PackedPolicy(policy, work.max_prompt_tokens + work.max_new_tokens)
        self._packed = packed
        self._num_threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._num_threads) if self._num_threads > 1 else None

        # Small pages are given only when they are written to: rows that stay short then need less memory.
        num_slots = work.num_slots
        num_floats = num_slots * packed.segment_floats(work.max_new_tokens)
        is_huge = 4 * num_floats <= MAX_HUGE_BYTES
        row_memory = huge_memory(num_floats) if is_huge else torch.empty(num_floats)
        self._own_SM = row_memory.view(num_slots, -1)
        self._free = list(reversed(range(num_slots)))

        num_common = len(work.common)
        self._num_common = num_common
        self._common = self._segment(num_common)
        if num_common:
            rows_NF = packed.rows_of(work.common, self._common, ())
            self._prefill([rows_NF])

        self._prompts: dict[int, _PromptCache] = {}
        self._use = PromptUse()
        self._rows_BF = torch.zeros(0, ROW_FIELDS, dtype=torch.int64)

        # What a step adds to every row: one token more of its own, and the position behind it.
        self._one_step_F = torch.zeros(ROW_FIELDS, dtype=torch.int64)
        self._one_step_F[[_OWN_LENGTH, _POSITION]] = 1
        self._members: list[tuple[int, int]] = []
        self._longest = 0

    def admit(self, prompts: Sequence[Prompt]) -> Tensor:
        """Add a row for each of these prompts; their logits, [len(prompts), V]."""
        self._compute(new_prompts(prompts, self._prompts))
        new_rows = [self._row(prompt.number) for prompt in prompts]
        self._rows_BF = torch.cat((self._rows_BF, torch.stack(new_rows)))
        self._longest = _longest(self._rows_BF)

        first_logits = [self._prompts[prompt.number].logits_V for prompt in prompts]
        return torch.stack(first_logits)

    def release(self, prompt: Prompt) -> None:
        """No further row of this prompt will be added; its keys and values stay as long as it has rows."""
        if self._use.release(prompt.number):
            self._prompts.pop(prompt.number, None)

    def keep(self, rows_B: Tensor) -> None:
        """Go on with these rows only; the memory of the others is free again."""
        # In rising order, so that which slots are filled next does not hang on the order of a set.
        rows = rows_B.tolist()
        ended = sorted(set(range(len(self._members))) - set(rows))
        for row in ended:
            number, slot = self._members[row]
            self._free.append(slot)
            if self._use.remove_row(number):
                del self._prompts[number]

        self._members = [self._members[row] for row in rows]
        self._rows_BF = self._rows_BF[rows_B]

    def step(self, tokens_B: Tensor) -> Tensor:
        """Take each row's next token; the logits of the one after it, [B, V]."""
        rows_BF = self._rows_BF
        rows_BF[:, _TOKEN] = tokens_B
        rows_per_thread = math.ceil(len(rows_BF) / self._num_threads)
        if self._pool is None or rows_per_thread < 2:
            logits_BV = self._logits(rows_BF)
        else:
            # A row's bits do not depend on the rows beside it, so any division gives the same.
            parts = torch.split(rows_BF, rows_per_thread)
            logits_of_parts = list(self._pool.map(self._logits, parts))
            logits_BV = torch.cat(logits_of_parts)

        # May be too long after the longest row has left: it only bounds scratch memory.
        rows_BF += self._one_step_F
        self._longest += 1
        return logits_BV

    def _logits(self, rows_BF: Tensor) -> Tensor:
        """Logits of some rows."""
        hidden_BD = self._packed.forward(rows_BF, self._longest)
        return self._packed.logits(hidden_BD)

    def _segment(self, num_tokens: int) -> Tensor:
        """Memory for the keys and values of some tokens."""
        return torch.empty(self._packed.segment_floats(num_tokens))

    def _row(self, number: int) -> Tensor:
        """A new row of a prompt, in a free slot, [F]."""
        slot = self._free.pop()
        self._members.append((number, slot))
        self._use.add_row(number)
        # Rows are read through addresses: the tensor of all slots keeps this memory alive.
        row_F = self._prompts[number].row_F.clone()
        row_F[_OWN_MEMORY] = self._own_SM[slot].data_ptr()
        return row_F

    def _compute(self, prompts: Sequence[Prompt]) -> None:
        """Prefill these prompts."""
        if not prompts:
            return

        packed = self._packed
        common = (self._common, self._num_common)
        rests = [prompt.tokens[self._num_common :] for prompt in prompts]
        memories = [self._segment(len(rest)) for rest in rests]
        parts: list[Tensor] = []
        for rest, memory in zip(rests, memories, strict=True):
            rows_NF = packed.rows_of(rest, memory, (common,))
            parts.append(rows_NF)

        hidden_PD = self._prefill(parts)
        logits_PV = packed.logits(hidden_PD)

        for prompt, rest, memory, logits_V in zip(prompts, rests, memories, logits_PV, strict=True):
            # A row to copy for each response: it reads the prompt, and its own memory is filled in later.
            segments = (common, (memory, len(rest)))
            row_1F = packed.rows_of(rest[:1], self._own_SM[0], segments)
            self._prompts[prompt.number] = _PromptCache(memory=memory, logits_V=logits_V, row_F=row_1F[0])

    def _prefill(self, parts: Sequence[Tensor]) -> Tensor:
        """Compute the rows of prompts, each in its order; hidden states of the last of each, [P, D]."""
        rows_NF = torch.cat(list(parts))
        longest = _longest(rows_NF)

        # A token may be in one chunk with those that it attends to: a layer writes each row's key before the next row.
        chunks = torch.split(rows_NF, PREFILL_ROWS)
        hidden_of_chunks = [self._packed.forward(rows_CF, longest) for rows_CF in chunks]
        hidden_ND = torch.cat(hidden_of_chunks)
        return hidden_ND[last_tokens(parts)]


def _longest(rows_BF: Tensor) -> int:
    """The largest number of tokens that one of these rows attends to, its own included."""
    return int(rows_BF[:, _POSITION].max()) + 1
