"""The slots of the local engine: which response is being written where, and what has been written."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["Slots"]


class Slots:
    """Responses that are being written; as rows they are counted from 0 without gaps, in the decoder's order.

    Attributes:
        order_B: number of each row's response in the order in which responses were asked for.
        length_B: tokens that each row has so far.
    """

    def __init__(self, num_slots: int, max_new_tokens: int, device: torch.device) -> None:
        """Make empty slots.

        Args:
            num_slots: rows at once (S).
            max_new_tokens: length cap of a response (T).
            device: where tokens are drawn.
        """
        self.order_B = torch.zeros(0, dtype=torch.int64, device=device)
        self.length_B, self._slot_B = self.order_B, self.order_B
        self._free = list(range(num_slots))[::-1]
        self._tokens_ST = torch.zeros(num_slots, max_new_tokens, dtype=torch.int64, device=device)
        self._logp_ST = torch.zeros(num_slots, max_new_tokens, device=device)
        self._uniforms_ST = torch.zeros(num_slots, max_new_tokens, dtype=torch.float64, device=device)

    def __len__(self) -> int:
        return len(self.order_B)

    @property
    def num_free(self) -> int:
        """Slots without a row."""
        return len(self._free)

    @property
    def uniforms_B(self) -> Tensor:
        """Each row's draw for its next token, in [0, 1), float64."""
        return self._uniforms_ST[self._slot_B, self.length_B]

    @property
    def is_full_B(self) -> Tensor:
        """Whether each row has as many tokens as it may have."""
        return self.length_B == self._tokens_ST.shape[1]

    def fill(self, orders: Sequence[int], uniforms: Sequence[np.ndarray]) -> None:
        """Add rows behind the others: the number of each response, and the draws of all its tokens."""
        slots = self.order_B.new_tensor([self._free.pop() for _ in orders])
        self._uniforms_ST[slots] = torch.from_numpy(np.stack(uniforms)).to(slots.device)
        self._slot_B = torch.cat((self._slot_B, slots))
        self.order_B = torch.cat((self.order_B, slots.new_tensor(orders)))
        self.length_B = torch.cat((self.length_B, torch.zeros_like(slots)))

    def write(self, tokens_B: Tensor, logp_B: Tensor) -> None:
        """Each row's next token with its log-probability."""
        self._tokens_ST[self._slot_B, self.length_B] = tokens_B
        self._logp_ST[self._slot_B, self.length_B] = logp_B
        self.length_B = self.length_B + 1

    def read(self, row: int) -> tuple[int, Tensor, Tensor]:
        """A row's number, tokens and log-probabilities, on the CPU."""
        slot, length = int(self._slot_B[row]), int(self.length_B[row])
        tokens_T, logp_T = self._tokens_ST[slot, :length], self._logp_ST[slot, :length]
        return int(self.order_B[row]), tokens_T.clone().cpu(), logp_T.clone().cpu()

    def drop(self, is_over_B: Tensor) -> Tensor:
        """Free the slots of some rows; the last of the others take the places that become free among the first.

        Returns:
            For each row that is left, which row it was.
        """
        self._free += self._slot_B[is_over_B].tolist()
        count = len(is_over_B) - int(is_over_B.sum())
        kept_B = torch.arange(count, device=is_over_B.device)
        kept_B[is_over_B[:count]] = (~is_over_B[count:]).nonzero()[:, 0] + count
        self.order_B, self.length_B = self.order_B[kept_B], self.length_B[kept_B]
        self._slot_B = self._slot_B[kept_B]
        return kept_B
