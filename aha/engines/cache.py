"""The key-value cache of the plain decoder: preallocated, one slot for each row that is being written.

The prompts' common beginning (a template, a system prompt) is kept once for all rows. Rows may have different lengths:
each writes behind its own last column, and sees nothing behind it.
"""

import torch
from torch import Tensor

from aha.policy.config import PolicyConfig

__all__ = ["Cache"]


class Cache:
    """Keys and values of all layers for the open rows, which lie in the first slots."""

    def __init__(
        self, config: PolicyConfig, *, num_slots: int, num_common: int, num_columns: int, like: Tensor
    ) -> None:
        """Allocate.

        Args:
            config: shape of the policy.
            num_slots: most rows at once.
            num_common: tokens of the common beginning.
            num_columns: columns of a row: the longest rest of a prompt plus the longest response.
            like: a tensor whose type and device the cache takes.
        """
        layers, heads, size = config.num_hidden_layers, config.num_key_value_heads, config.head_dim
        self.common_LGCK = like.new_zeros(2, layers, heads, num_common, size)
        self._own = like.new_zeros(2, layers, num_slots, heads, num_columns, size)
        self._slots = torch.arange(num_slots, device=like.device)
        self._lengths: list[int] = []
        self._places_B = self._slots[:0]
        self._bias_BS: Tensor | None = None

    def add(self, keys_LNGK: Tensor, values_LNGK: Tensor) -> None:
        """Add a row whose prompt, after the common beginning, has these keys and values."""
        row, length = len(self._lengths), keys_LNGK.shape[1]
        for kind, stream in enumerate((keys_LNGK, values_LNGK)):
            self._own[kind, :, row, :, :length] = stream.transpose(1, 2)
        self._lengths.append(length)

    def keep(self, rows_B: Tensor) -> None:
        """Forget all rows but these; they are counted in this order from now on."""
        rows, used = rows_B.tolist(), max(self._lengths, default=0)
        moved = [(place, row) for place, row in enumerate(rows) if place != row]
        if moved:
            to, where = (torch.tensor(column, device=self._slots.device) for column in zip(*moved, strict=True))
            self._own[:, :, to, :, :used] = self._own[:, :, where, :, :used]
        self._lengths = [self._lengths[row] for row in rows]

    def open_column(self) -> None:
        """Begin a step: each row gets one column more."""
        device = self._slots.device
        lengths_B = torch.tensor(self._lengths, device=device)
        self._places_B, stop = lengths_B, max(self._lengths) + 1
        self._bias_BS = None
        if min(self._lengths) + 1 < stop:
            is_hidden_BS = torch.arange(stop, device=device) > lengths_B[:, None]
            self._bias_BS = self._own.new_zeros(is_hidden_BS.shape).masked_fill_(is_hidden_BS, float("-inf"))
        self._lengths = [length + 1 for length in self._lengths]

    def attend(self, layer: int, q_BHK: Tensor, k_BGK: Tensor, v_BGK: Tensor) -> Tensor:
        """One step of every row: write the new column, attend to the common beginning and to the row, [B, H, K]."""
        num_rows, num_heads, size = q_BHK.shape
        num_shared, num_common, stop = k_BGK.shape[1], self.common_LGCK.shape[3], max(self._lengths)
        keys, values = self._own[0, layer], self._own[1, layer]
        rows_B = self._slots[:num_rows]
        keys[rows_B, :, self._places_B], values[rows_B, :, self._places_B] = k_BGK, v_BGK
        q_BGRK = (q_BHK * size**-0.5).view(num_rows, num_shared, num_heads // num_shared, size)
        scores = torch.matmul(q_BGRK, keys[:num_rows, :, :stop].transpose(-1, -2))
        if self._bias_BS is not None:
            scores += self._bias_BS[:, None, None]
        if not num_common:
            return torch.matmul(scores.softmax(-1), values[:num_rows, :, :stop]).view(num_rows, num_heads, size)
        q_GBK = q_BGRK.transpose(0, 1).reshape(num_shared, -1, size)
        common = torch.bmm(q_GBK, self.common_LGCK[0, layer].transpose(-1, -2))
        common = common.view(num_shared, num_rows, -1, num_common).transpose(0, 1)
        weights = torch.cat((common, scores), dim=-1).softmax(-1)
        out = torch.matmul(weights[..., num_common:], values[:num_rows, :, :stop])
        first = weights[..., :num_common].transpose(0, 1).reshape(num_shared, -1, num_common)
        first = torch.bmm(first, self.common_LGCK[1, layer]).view(num_shared, num_rows, -1, size).transpose(0, 1)
        return (out + first).view(num_rows, num_heads, size)
