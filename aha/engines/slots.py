"""The slots of the local engine: which request runs where, and what has been written for it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["Slots"]


class Slots:
    """Responses that are being written; as rows they are counted from 0 without gaps, in the decoder's order.

    Attributes:
        request_B: number of each row's request.
        length_B: tokens that each row has so far.
        is_over_B: whether each row has ended; it may be written on, which nobody reads.
    """

    def __init__(self, num_slots: int, max_new_tokens: int, device: torch.device) -> None:
        """Make empty slots.

        Args:
            num_slots: rows at once (S).
            max_new_tokens: the highest length cap of a response (T).
            device: where tokens are drawn.
        """
        no_rows = torch.zeros(0, dtype=torch.int64, device=device)
        self.request_B = no_rows
        self.length_B = no_rows
        self.is_over_B = no_rows.bool()
        self._slot_B = no_rows
        self._cap_B = no_rows
        self._free = list(reversed(range(num_slots)))

        # A row that has ended is written on until the engine looks: one column more is for what is written behind it.
        shape = (num_slots, max_new_tokens + 1)
        self._tokens_ST = torch.zeros(shape, dtype=torch.int64, device=device)
        self._logp_ST = torch.zeros(shape, device=device)
        self._uniforms_ST = torch.zeros(shape, dtype=torch.float64, device=device)

    def __len__(self) -> int:
        return len(self.request_B)

    @property
    def num_free(self) -> int:
        """Slots without a row."""
        return len(self._free)

    @property
    def uniforms_B(self) -> Tensor:
        """Each row's draw for its next token, in [0, 1), float64."""
        return self._uniforms_ST[self._slot_B, self.length_B]

    def fill(self, requests: Sequence[int], uniforms: Sequence[np.ndarray]) -> None:
        """Add rows behind the others.

        Args:
            requests: the number of each row's request.
            uniforms: the draws of all its tokens; there are as many as its response may have tokens.
        """
        slots = [self._free.pop() for _ in requests]
        slot_R = self.request_B.new_tensor(slots)
        caps = [len(draws_T) for draws_T in uniforms]
        max_cap = max(caps)

        # The draws of all new rows go to the device in one copy.
        uniforms_RT = np.zeros((len(caps), max_cap))
        for row, draws_T in enumerate(uniforms):
            uniforms_RT[row, : caps[row]] = draws_T
        on_device_RT = torch.from_numpy(uniforms_RT).to(slot_R.device)
        self._uniforms_ST[slot_R, :max_cap] = on_device_RT

        cap_R = slot_R.new_tensor(caps)
        request_R = slot_R.new_tensor(requests)
        length_R = torch.zeros_like(slot_R)
        self._slot_B = torch.cat((self._slot_B, slot_R))
        self._cap_B = torch.cat((self._cap_B, cap_R))
        self.request_B = torch.cat((self.request_B, request_R))
        self.length_B = torch.cat((self.length_B, length_R))
        self.is_over_B = torch.cat((self.is_over_B, length_R.bool()))

    def write(self, tokens_B: Tensor, logp_B: Tensor, is_last_B: Tensor) -> None:
        """Each row's next token, its log-probability, and whether it is the row's last."""
        column = (self._slot_B, self.length_B)
        self._tokens_ST[column] = tokens_B
        self._logp_ST[column] = logp_B
        # A row that has ended does not grow: what is written behind it is overwritten by the next step.
        self.length_B = self.length_B + ~self.is_over_B
        self.is_over_B = self.is_over_B | is_last_B | (self.length_B == self._cap_B)

    def tails(self, count: int) -> list[list[int]]:
        """The last tokens of each row, `count` at most."""
        offsets_C = torch.arange(count, device=self.length_B.device)
        columns_BC = self.length_B[:, None] - count + offsets_C
        tokens_BC = self._tokens_ST[self._slot_B[:, None], columns_BC.clamp(min=0)]

        # A shorter row has columns before its first token, which are left out.
        tails: list[list[int]] = []
        for tokens, length in zip(tokens_BC.tolist(), self.length_B.tolist(), strict=True):
            num_missing = max(0, count - length)
            tails.append(tokens[num_missing:])

        return tails

    def since(self, row: int, start: int) -> tuple[list[int], list[float]]:
        """Tokens and log-probabilities of a row from its token `start` on."""
        slot = int(self._slot_B[row])
        columns = slice(start, int(self.length_B[row]))
        tokens_T = self._tokens_ST[slot, columns]
        logp_T = self._logp_ST[slot, columns]
        return tokens_T.tolist(), logp_T.tolist()

    def end(self, row: int, length: int) -> None:
        """End a row behind its first `length` tokens."""
        self.length_B[row] = length
        self.is_over_B[row] = True

    def read(self) -> list[tuple[int, Tensor, Tensor]]:
        """Number of the request, tokens and log-probabilities of each row that has ended, on the CPU."""
        slot_R = self._slot_B[self.is_over_B]
        lengths = self.length_B[self.is_over_B].tolist()
        requests = self.request_B[self.is_over_B].tolist()
        # One copy for all of them: each copy waits for the device.
        tokens_RT = self._tokens_ST[slot_R].cpu()
        logp_RT = self._logp_ST[slot_R].cpu()
        return [
            (request, tokens_T[:length], logp_T[:length])
            for request, length, tokens_T, logp_T in zip(requests, lengths, tokens_RT, logp_RT, strict=True)
        ]

    def drop(self) -> Tensor:
        """Free the slots of rows that have ended; the last of the running rows take their numbers.

        Returns:
            For each row that is left, which row it was.
        """
        is_over_B = self.is_over_B
        self._free += self._slot_B[is_over_B].tolist()
        num_running = len(is_over_B) - int(is_over_B.sum())

        # Most rows keep their numbers, so that a decoder has few keys and values to move.
        rows_B = torch.arange(num_running, device=is_over_B.device)
        is_vacant_B = is_over_B[:num_running]
        is_moved = ~is_over_B[num_running:]
        rows_B[is_vacant_B] = is_moved.nonzero()[:, 0] + num_running

        self.request_B = self.request_B[rows_B]
        self.length_B = self.length_B[rows_B]
        self.is_over_B = self.is_over_B[rows_B]
        self._slot_B = self._slot_B[rows_B]
        self._cap_B = self._cap_B[rows_B]
        return rows_B
