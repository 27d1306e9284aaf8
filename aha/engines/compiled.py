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

from aha.engines.decoder import Prompt, PromptUse, Work, unique_prompts
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
        self._packed = PackedPolicy(policy, work.max_prompt_tokens + work.max_new_tokens)
        self._num_threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._num_threads) if self._num_threads > 1 else None

        # Small pages are given only when they are written to: rows that stay short then need less memory.
        num_floats = work.num_slots * self._packed.segment_floats(work.max_new_tokens)
        own = huge_memory(num_floats) if 4 * num_floats <= MAX_HUGE_BYTES else torch.empty(num_floats)
        self._own_SM = own.view(work.num_slots, -1)
        self._free = list(range(work.num_slots))[::-1]

        self._num_common = len(work.common)
        self._common = self._segment(self._num_common)
        if self._num_common:
            rows_NF = self._packed.rows_of(work.common, self._common, ())
            self._prefill([rows_NF])

        self._prompts: dict[int, _PromptCache] = {}
        self._use = PromptUse()
        self._rows_BF = torch.zeros(0, ROW_FIELDS, dtype=torch.int64)
        self._one_step_F = torch.zeros(ROW_FIELDS, dtype=torch.int64)
        self._one_step_F[[_OWN_LENGTH, _POSITION]] = 1
        self._members: list[tuple[int, int]] = []
        self._longest = 0

    def admit(self, prompts: Sequence[Prompt]) -> Tensor:
        """Add a row for each of these prompts; their logits, [len(prompts), V]."""
        self._compute([prompt for prompt in unique_prompts(prompts) if prompt.number not in self._prompts])
        new_rows_BF = torch.stack([self._row(prompt.number) for prompt in prompts])
        self._rows_BF = torch.cat((self._rows_BF, new_rows_BF))
        self._longest = int(self._rows_BF[:, _POSITION].max()) + 1
        return torch.stack([self._prompts[prompt.number].logits_V for prompt in prompts])

    def release(self, prompt: Prompt) -> None:
        """No further row of this prompt will be added; its keys and values stay as long as it has rows."""
        if self._use.release(prompt.number):
            self._prompts.pop(prompt.number, None)

    def keep(self, rows_B: Tensor) -> None:
        """Go on with these rows only; the memory of the others is free again."""
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
            parts = torch.split(rows_BF, rows_per_thread)
            logits_BV = torch.cat(list(self._pool.map(self._logits, parts)))

        rows_BF += self._one_step_F
        self._longest += 1
        return logits_BV

    def _logits(self, rows_BF: Tensor) -> Tensor:
        """Logits of some rows."""
        return self._packed.logits(self._packed.forward(rows_BF, self._longest))

    def _segment(self, num_tokens: int) -> Tensor:
        """Memory for the keys and values of some tokens."""
        return torch.empty(self._packed.segment_floats(num_tokens))

    def _row(self, number: int) -> Tensor:
        """A new row of a prompt, in a free slot, [F]."""
        slot = self._free.pop()
        self._members.append((number, slot))
        self._use.add_row(number)
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
        parts = [packed.rows_of(rest, memory, (common,)) for rest, memory in zip(rests, memories, strict=True)]
        logits_PV = packed.logits(self._prefill(parts))

        for prompt, rest, memory, logits_V in zip(prompts, rests, memories, logits_PV, strict=True):
            # A row to copy for each response: it reads the prompt, and its own memory is filled in later.
            row_1F = packed.rows_of(rest[:1], self._own_SM[0], (common, (memory, len(rest))))
            self._prompts[prompt.number] = _PromptCache(memory=memory, logits_V=logits_V, row_F=row_1F[0])

    def _prefill(self, parts: Sequence[Tensor]) -> Tensor:
        """Compute the rows of prompts, each in its order; hidden states of the last of each, [P, D]."""
        rows_NF = torch.cat(list(parts))
        longest = int(rows_NF[:, _POSITION].max()) + 1
        chunks = torch.split(rows_NF, PREFILL_ROWS)
        hidden_ND = torch.cat([self._packed.forward(rows_CF, longest) for rows_CF in chunks])
        last_P = torch.tensor([len(part) for part in parts]).cumsum(0) - 1
        return hidden_ND[last_P]
