"""What computes the next token's logits for the rows that are being written: the engine's inner boundary.

There are two: `aha.engines.plain` with torch, on any device and in any type, and `aha.engines.compiled` with the C
kernels, for float32 on the CPU. The engine takes the second where it can.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from aha.policy.policy import Policy

__all__ = ["Decoder", "DecoderFactory", "Work", "common_length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be decoded.

    Attributes:
        prompts: token ids of each prompt.
        num_samples: responses for each prompt.
        max_new_tokens: length cap of a response.
        num_slots: rows at once.
    """

    prompts: Sequence[Tensor]
    num_samples: int
    max_new_tokens: int
    num_slots: int


class Decoder(Protocol):
    """Keys and values of the open rows, which are counted from 0 without gaps.

    Attributes:
        has_own_threads: whether it shares rows out among threads itself; torch's own would stand in their way.
        look_every: steps after which the engine looks which rows have ended; those that have go on unread until then.
    """

    has_own_threads: bool
    look_every: int

    def admit(self, prompts: Sequence[int]) -> Tensor:
        """Add a row for each of these prompts (by number) behind the others.

        Returns:
            Logits of their first tokens, [len(prompts), V].
        """
        ...

    def keep(self, rows_B: Tensor) -> None:
        """Go on with these rows only, in this order."""
        ...

    def step(self, tokens_B: Tensor) -> Tensor:
        """Take each row's next token; the logits of the one after it, [B, V]."""
        ...


DecoderFactory = Callable[[Policy, Work], Decoder]
"""Makes a decoder for one call of the engine; the policy's weights do not change while it lives."""


def common_length(prompts: Sequence[Tensor]) -> int:
    """Leading tokens that all prompts share; the last token of a prompt is never among them."""
    shortest = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0][:shortest]
    for prompt in prompts[1:]:
        differs = (prompt[: len(first)] != first).nonzero()
        first = first[: int(differs[0])] if len(differs) else first
    return len(first)
