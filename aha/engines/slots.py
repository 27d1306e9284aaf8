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
        self.request_B = torch.zeros(0, dtype=torch.int64, device=device)
        self.length_B = self.request_B
        self.is_over_B = self.request_B.bool()
        self._slot_B = self.request_B
        self._cap_B = self.request_B
        self._free = list(range(num_slots))[::-1]

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
        slots = self.request_B.new_tensor([self._free.pop() for _ in requests])
        caps = [len(draws_T) for draws_T in uniforms]
        uniforms_RT = np.zeros((len(caps), max(caps)))
        for row, draws_T in enumerate(uniforms):
            uniforms_RT[row, : caps[row]] = draws_T

        self._uniforms_ST[slots, : max(caps)] = torch.from_numpy(uniforms_RT).to(slots.device)
        self._slot_B = torch.cat((self._slot_B, slots))
        self._cap_B = torch.cat((self._cap_B, slots.new_tensor(caps)))
        self.request_B = torch.cat((self.request_B, slots.new_tensor(requests)))
        self.length_B = torch.cat((self.length_B, torch.zeros_like(slots)))
        self.is_over_B = torch.cat((self.is_over_B, torch.zeros_like(slots, dtype=torch.bool)))

    def write(self, tokens_B: Tensor, logp_B: Tensor, is_last_B: Tensor) -> None:
        """Each row's next token, its log-probability, and whether it is the row's last."""
        self._tokens_ST[self._slot_B, self.length_B] = tokens_B
        self._logp_ST[self._slot_B, self.length_B] = logp_B
        self.length_B = self.length_B + ~self.is_over_B
        self.is_over_B = self.is_over_B | is_last_B | (self.length_B == self._cap_B)

    def tails(self, count: int) -> list[list[int]]:
        """The last tokens of each row, `count` at most."""
        columns_BC = self.length_B[:, None] - count + torch.arange(count, device=self.length_B.device)
        tokens_BC = self._tokens_ST[self._slot_B[:, None], columns_BC.clamp(min=0)].tolist()
        lengths = self.length_B.tolist()
        return [tokens[max(0, count - length) :] for tokens, length in zip(tokens_BC, lengths, strict=True)]

    def tokens(self, row: int) -> list[int]:
        """All tokens of a row."""
        return [int(token) for token in self._tokens_ST[self._slot_B[row], : int(self.length_B[row])].tolist()]

    def since(self, row: int, start: int) -> tuple[list[int], list[float]]:
        """Tokens and log-probabilities of a row from its token `start` on."""
        slot = int(self._slot_B[row])
        columns = slice(start, int(self.length_B[row]))
        return self._tokens_ST[slot, columns].tolist(), self._logp_ST[slot, columns].tolist()

    def end(self, row: int, length: int) -> None:
        """End a row behind its first `length` tokens."""
        self.length_B[row] = length
        self.is_over_B[row] = True

    def read(self) -> list[tuple[int, Tensor, Tensor]]:
        """Number of the request, tokens and log-probabilities of each row that has ended, on the CPU."""
        slot_R = self._slot_B[self.is_over_B]
        lengths = self.length_B[self.is_over_B].tolist()
        requests = self.request_B[self.is_over_B].tolist()
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
        rows_B[is_over_B[:num_running]] = (~is_over_B[num_running:]).nonzero()[:, 0] + num_running

        self.request_B = self.request_B[rows_B]
        self.length_B = self.length_B[rows_B]
        self.is_over_B = self.is_over_B[rows_B]
        self._slot_B = self._slot_B[rows_B]
        self._cap_B = self._cap_B[rows_B]
        return rows_B
