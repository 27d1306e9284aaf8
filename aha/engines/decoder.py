"""What computes the next token's logits for the rows that are running: the engine's inner boundary.

There are three: `aha.engines.plain` with torch, on any device and in any type, `aha.engines.compiled` with the C
kernels, for float32 on the CPU, and `aha.engines.graphed` for a GPU. The engine takes the fastest that can.
"""

from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from aha.policy.policy import Policy

__all__ = [
    "Capacity",
    "Decoder",
    "DecoderFactory",
    "Prompt",
    "PromptUse",
    "Work",
    "common_length",
    "last_tokens",
    "new_prompts",
    "unique_prompts",
    "work_for",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a decoder has memory for besides the requests that it is made for, so that later ones can join them.

    Attributes:
        max_prompt_tokens: the longest prompt.
        max_new_tokens: the longest response.
    """

    max_prompt_tokens: int
    max_new_tokens: int

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value out of its range.
        """
        if min(self.max_prompt_tokens, self.max_new_tokens) < 1:
            raise ValueError(f"illegal {self}: both lengths must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prompt:
    """A prompt that some rows share.

    Attributes:
        number: tells prompts of one decoder apart; a later prompt has a higher one.
        tokens: its token ids, [T0].
    """

    number: int
    tokens: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a decoder has to have memory for.

    Attributes:
        common: leading tokens of all prompts, [C], never all of a prompt.
        num_slots: rows at once.
        num_prompts: prompts at once.
        max_prompt_tokens: the longest prompt.
        max_new_tokens: the longest response.
    """

    common: Tensor
    num_slots: int
    num_prompts: int
    max_prompt_tokens: int
    max_new_tokens: int


class Decoder(Protocol):
    """Keys and values of the running rows, which are counted from 0 without gaps.

    Attributes:
        has_own_threads: whether it shares rows out among threads itself; torch's own would stand in their way.
        look_every: steps after which the engine looks which rows have ended; those that have go on unread until then.
    """

    has_own_threads: bool
    look_every: int

    def admit(self, prompts: Sequence[Prompt]) -> Tensor:
        """Add a row for each of these prompts behind the others. A prompt is computed when its first row is added.

        Returns:
            Logits of their first tokens, [len(prompts), V].
        """
        ...

    def release(self, prompt: Prompt) -> None:
        """No further row of this prompt will be added: what only new rows need may be freed."""
        ...

    def keep(self, rows_B: Tensor) -> None:
        """Go on with these rows only, in this order."""
        ...

    def step(self, tokens_B: Tensor) -> Tensor:
        """Take each row's next token; the logits of the one after it, [B, V]."""
        ...


DecoderFactory = Callable[[Policy, Work], Decoder]
"""Makes a decoder for one batch of the engine; the policy's weights do not change while it lives."""


class PromptUse:
    """Tells a decoder whose rows read the keys and values of their prompt when nobody needs these any more."""

    def __init__(self) -> None:
        """Know of no prompt."""
        self._num_rows: Counter[int] = Counter()
        self._released: set[int] = set()

    def add_row(self, number: int) -> None:
        """A row of this prompt is running."""
        self._num_rows[number] += 1

    def remove_row(self, number: int) -> bool:
        """A row of this prompt has ended; whether the prompt is not needed any more."""
        self._num_rows[number] -= 1
        return self._is_unused(number)

    def release(self, number: int) -> bool:
        """No row of this prompt will be added; whether the prompt is not needed any more."""
        self._released.add(number)
        return self._is_unused(number)

    def _is_unused(self, number: int) -> bool:
        """Whether a prompt has no rows and will get none; it is forgotten then."""
        if self._num_rows[number] or number not in self._released:
            return False

        del self._num_rows[number]
        self._released.remove(number)
        return True


def work_for(
    prompts: Sequence[Tensor], *, num_slots: int, max_new_tokens: int, capacity: Capacity | None = None
) -> Work:
    """What a decoder needs for some prompts, at least one, and for a capacity besides.

    Args:
        prompts: token ids of each prompt.
        num_slots: rows at once.
        max_new_tokens: length cap of their responses.
        capacity: what else has to fit in, any prompt of that length, as many as there are slots.
    """
    max_prompt_tokens = max(len(prompt) for prompt in prompts)
    if capacity is None:
        return Work(
            common=prompts[0][: common_length(prompts)],
            num_slots=num_slots,
            num_prompts=min(len(prompts), num_slots),
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens,
        )

    return Work(
        # Nobody knows how the prompts that are still to come begin.
        common=prompts[0][:0],
        num_slots=num_slots,
        num_prompts=num_slots,
        max_prompt_tokens=max(max_prompt_tokens, capacity.max_prompt_tokens),
        max_new_tokens=max(max_new_tokens, capacity.max_new_tokens),
    )


def unique_prompts(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Each of these prompts once, by number."""
    by_number = {prompt.number: prompt for prompt in prompts}
    return [by_number[number] for number in sorted(by_number)]


def new_prompts(prompts: Sequence[Prompt], computed: Container[int]) -> list[Prompt]:
    """Each of these prompts once whose number is not among those that have been computed."""
    return [prompt for prompt in unique_prompts(prompts) if prompt.number not in computed]


def last_tokens(prompts: Sequence[Tensor]) -> Tensor:
    """Index of the last token of each of these prompts, which lie end to end; it alone predicts a token to draw."""
    lengths_P = torch.tensor([len(prompt) for prompt in prompts])
    return lengths_P.cumsum(0) - 1


def common_length(prompts: Sequence[Tensor]) -> int:
    """Leading tokens that all prompts share; the last token of a prompt is never among them."""
    # The last token is computed for each prompt by itself: from it come the logits of the response's first token.
    shortest = min(len(prompt) for prompt in prompts) - 1
    common = prompts[0][:shortest]
    for prompt in prompts[1:]:
        is_different = prompt[: len(common)] != common
        differences = is_different.nonzero()
        if len(differences):
            common = common[: int(differences[0])]
    return len(common)
