"""Which rows of a decoder leave their activations for the update, and where."""

from collections.abc import Sequence

import torch
from torch import Tensor

from aha.rollouts.decoder import Work

__all__ = ["Recorder"]


class Recorder:
    """Gives places to the tokens of rows, as long as there are some: then the shortest rows lose theirs."""

    def __init__(self, work: Work) -> None:
        """Record nothing yet; nothing at all where the work has no activations, or no room for one response."""
        longest = max(len(prompt) for prompt in work.prompts) + work.max_new_tokens
        has_room = work.activations is not None and work.activations.num_free >= longest
        self._work, self._activations = work, work.activations if has_room else None
        self._prompts: dict[int, Tensor] = {}
        shape = (work.num_slots if has_room else 0, work.max_new_tokens)
        self._tokens_ST, self._places_ST = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
        self._rows: list[tuple[int, int]] = []
        self._is_kept_B, self._length_B = torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)

    def prefill(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Addresses for so many tokens of prompts, [count], 0 for nowhere; and their places, if they have some."""
        if self._activations is None or self._activations.num_free < count:
            return torch.zeros(count, dtype=torch.int64), None
        places = self._activations.take(count)
        return self._activations.addresses(places), places

    def know(self, number: int, places: Sequence[Tensor | None]) -> None:
        """Take the places of a prompt's tokens, in parts; where one is missing nothing of its rows is kept."""
        found = [part for part in places if part is not None]
        if self._activations is not None and len(found) == len(places):
            self._prompts[number] = torch.cat(found)

    def admit(self, rows: Sequence[tuple[int, int]]) -> None:
        """Add rows: the number of each one's prompt, and its slot."""
        self._rows += rows
        is_kept = [number in self._prompts for number, _ in rows]
        self._is_kept_B = torch.cat((self._is_kept_B, torch.tensor(is_kept)))
        self._length_B = torch.cat((self._length_B, torch.zeros(len(rows), dtype=torch.int64)))

    def step(self, tokens_B: Tensor) -> Tensor:
        """Addresses for each row's next token, [B], 0 for nowhere."""
        addresses_B = torch.zeros(len(tokens_B), dtype=torch.int64)
        kept_R = self._is_kept_B.nonzero()[:, 0]
        if self._activations is None or not len(kept_R):
            return addresses_B
        while len(kept_R) > self._activations.num_free:
            shortest = int(self._length_B[kept_R].argmin())
            self._drop(int(kept_R[shortest]))
            kept_R = torch.cat((kept_R[:shortest], kept_R[shortest + 1 :]))
        slots_R = torch.tensor([self._rows[row][1] for row in kept_R.tolist()], dtype=torch.int64)
        places_R = self._activations.take(len(kept_R))
        where = slots_R, self._length_B[kept_R]
        self._places_ST[where], self._tokens_ST[where] = places_R, tokens_B[kept_R]
        self._length_B += 1
        addresses_B[kept_R] = self._activations.addresses(places_R)
        return addresses_B

    def keep(self, rows_B: Tensor) -> None:
        """Go on with these rows; what is kept of the others is known from now on."""
        for row in (self._is_kept_B & ~torch.isin(torch.arange(len(self._rows)), rows_B)).nonzero()[:, 0].tolist():
            number, slot = self._rows[row]
            tokens_T, places_T = (x[slot, : self._length_B[row]].clone() for x in (self._tokens_ST, self._places_ST))
            assert self._activations is not None
            whole = torch.cat((self._work.prompts[number], tokens_T)), torch.cat((self._prompts[number], places_T))
            if not self._activations.put(*whole):
                self._activations.give_back(places_T)
        self._rows = [self._rows[row] for row in rows_B.tolist()]
        self._is_kept_B, self._length_B = self._is_kept_B[rows_B], self._length_B[rows_B]

    def _drop(self, row: int) -> None:
        """Keep no more of a row, and forget what was kept."""
        assert self._activations is not None
        self._is_kept_B[row] = False
        self._activations.give_back(self._places_ST[self._rows[row][1], : self._length_B[row]])
