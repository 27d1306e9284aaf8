"""The key-value cache of the local engine: preallocated, one row for each unfinished response.

The prompts' common beginning (a template, a system prompt) is kept once for all rows. What follows it is laid so that
every row writes the same column at the same step: shorter prompts begin further right, and the columns to their left
are hidden.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from aha.policy.config import PolicyConfig

__all__ = ["Cache"]


class Cache:
    """Keys and values of all layers for the rows that are still being written.

    Attributes:
        column: the column that the next step writes.
    """

    def __init__(self, config: PolicyConfig, *, num_rows: int, num_common: int, num_columns: int, like: Tensor) -> None:
        """Allocate.

        Args:
            config: shape of the policy.
            num_rows: rows (B).
            num_common: tokens of the common beginning.
            num_columns: columns of a row: the longest rest of a prompt plus the longest response.
            like: a tensor whose type and device the cache takes.
        """
        layers, heads, size = config.num_hidden_layers, config.num_key_value_heads, config.head_dim
        self._common = like.new_zeros(2, layers, heads, num_common, size)
        self._own = like.new_empty(2, layers, num_rows, heads, num_columns, size)
        self._bias: Tensor | None = None
        self.column = 0

    def fill(self, keys_LNGK: Tensor, values_LNGK: Tensor, rests: Sequence[tuple[int, int]], repeats: int) -> None:
        """Take over the prompts' keys and values.

        Args:
            keys_LNGK: keys of the prefill's stream, of which the common beginning comes first.
            values_LNGK: the values.
            rests: for each prompt, where the rest of it starts and stops in the stream.
            repeats: rows for each prompt (G).
        """
        num_common = self._common.shape[3]
        self.column = max(stop - start for start, stop in rests)
        bias_BS = keys_LNGK.new_zeros(len(rests) * repeats, self.column)
        for kind, stream in enumerate((keys_LNGK, values_LNGK)):
            self._common[kind] = stream[:, :num_common].transpose(1, 2)
            for prompt, (start, stop) in enumerate(rests):
                place = slice(prompt * repeats, (prompt + 1) * repeats)
                first = self.column - (stop - start)
                self._own[kind, :, place, :, :first] = 0.0
                self._own[kind, :, place, :, first : self.column] = stream[:, start:stop].transpose(1, 2)[:, None]
                bias_BS[place, :first] = float("-inf")
        self._bias = bias_BS if bias_BS.any() else None

    def keep(self, is_open_B: Tensor) -> Tensor:
        """Forget the rows that are not open; the last open ones take the places that become free among the first.

        Args:
            is_open_B: which rows stay.

        Returns:
            For each row that is left, which row it was, [number of open rows].
        """
        count, used = int(is_open_B.sum()), self.column
        free_M = (~is_open_B[:count]).nonzero()[:, 0]
        moved_M = is_open_B[count:].nonzero()[:, 0] + count
        self._own[:, :, free_M, :, :used] = self._own[:, :, moved_M, :, :used]
        rows_B = torch.arange(count, device=is_open_B.device)
        rows_B[free_M] = moved_M
        self._own = self._own[:, :, :count]
        self._bias = self._bias[rows_B] if self._bias is not None else None
        return rows_B

    def attend(self, layer: int, q_BHK: Tensor, k_BGK: Tensor, v_BGK: Tensor) -> Tensor:
        """One step of every row: write this column, then attend to the common beginning and to the row, [B, H, K]."""
        num_rows, num_heads, size = q_BHK.shape
        num_shared = k_BGK.shape[1]
        stop = self.column + 1
        keys, values = self._own[0, layer, :num_rows], self._own[1, layer, :num_rows]
        keys[:, :, self.column], values[:, :, self.column] = k_BGK, v_BGK
        q_BGRK = (q_BHK * size**-0.5).view(num_rows, num_shared, num_heads // num_shared, size)
        scores = torch.matmul(q_BGRK, keys[:, :, :stop].transpose(-1, -2))
        if self._bias is not None:
            scores[..., : self._bias.shape[1]] += self._bias[:, None, None]
        num_common = self._common.shape[3]
        if not num_common:
            return torch.matmul(scores.softmax(-1), values[:, :, :stop]).view(num_rows, num_heads, size)
        q_GBK = q_BGRK.transpose(0, 1).reshape(num_shared, -1, size)
        common = torch.bmm(q_GBK, self._common[0, layer].transpose(-1, -2))
        common = common.view(num_shared, num_rows, -1, num_common).transpose(0, 1)
        weights = torch.cat((common, scores), dim=-1).softmax(-1)
        out = torch.matmul(weights[..., num_common:], values[:, :, :stop])
        first = weights[..., :num_common].transpose(0, 1).reshape(num_shared, -1, num_common)
        first = torch.bmm(first, self._common[1, layer]).view(num_shared, num_rows, -1, size).transpose(0, 1)
        return (out + first).view(num_rows, num_heads, size)
