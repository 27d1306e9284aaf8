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
        self._num_rows = 0
        self._rows: list[tuple[int, int]] = []
        self._length_B = torch.zeros(0, dtype=torch.int64)
        self._set_kept(torch.zeros(0, dtype=torch.bool))

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
        """Add rows, in the order of the responses: the number of each one's prompt, and its slot."""
        places = enumerate(rows, self._num_rows)
        is_kept = [number in self._prompts and self._is_wanted(place) for place, (number, _) in places]
        self._num_rows += len(rows)
        self._rows += rows
        self._length_B = torch.cat((self._length_B, torch.zeros(len(rows), dtype=torch.int64)))
        self._set_kept(torch.cat((self._is_kept_B, torch.tensor(is_kept))))

    def step(self, tokens_B: Tensor) -> Tensor:
        """Addresses for each row's next token, [B], 0 for nowhere."""
        addresses_B = torch.zeros(len(tokens_B), dtype=torch.int64)
        if self._activations is None:
            return addresses_B
        while len(self._kept_R) > self._activations.num_free:
            self._drop(int(self._kept_R[self._length_B[self._kept_R].argmin()]))
        if len(self._kept_R):
            places_R, kept_R = self._activations.take(len(self._kept_R)), self._kept_R
            where = self._slots_R, self._length_B[kept_R]
            self._places_ST[where], self._tokens_ST[where] = places_R, tokens_B[kept_R]
            addresses_B[kept_R] = self._activations.addresses(places_R)
            self._length_B += 1
        return addresses_B

    def keep(self, rows_B: Tensor) -> None:
        """Go on with these rows; what is kept of the others is known from now on."""
        if self._activations is not None:
            leaves_B = self._is_kept_B.clone()
            leaves_B[rows_B] = False
            for row in leaves_B.nonzero()[:, 0].tolist():
                (number, slot), length = self._rows[row], self._length_B[row]
                tokens_T = torch.cat((self._work.prompts[number], self._tokens_ST[slot, :length]))
                own_T = self._places_ST[slot, :length]
                if not self._activations.put(tokens_T, torch.cat((self._prompts[number], own_T))):
                    self._activations.give_back(own_T)
        self._rows = [self._rows[row] for row in rows_B.tolist()]
        self._length_B = self._length_B[rows_B]
        self._set_kept(self._is_kept_B[rows_B])

    def _set_kept(self, is_kept_B: Tensor) -> None:
        """Say of which rows something is kept."""
        self._is_kept_B, self._kept_R = is_kept_B, is_kept_B.nonzero()[:, 0]
        self._slots_R = torch.tensor([self._rows[row][1] for row in self._kept_R.tolist()], dtype=torch.int64)

    def _is_wanted(self, response: int) -> bool:
        """Whether something of a response is kept while there is room."""
        wanted = self._activations.wanted if self._activations is not None else ()
        return wanted is None or response in wanted

    def _drop(self, row: int) -> None:
        """Keep no more of a row, and forget what was kept."""
        assert self._activations is not None
        self._activations.give_back(self._places_ST[self._rows[row][1], : self._length_B[row]])
        self._is_kept_B[row] = False
        self._set_kept(self._is_kept_B)
