"""The key-value cache of the plain decoder: preallocated, one slot for each row that is being written.

The prompts' common beginning (a template, a system prompt) is kept once for all rows. Rows may have different lengths:
each writes behind its own last column, and sees nothing behind it.
"""

import torch
from torch import Tensor

from aha.policy.config import CacheSpec

__all__ = ["Cache"]


class Cache:
    """What all layers keep of the open rows, which lie in the first slots; an `aha.policy.policy.Context`."""

    def __init__(self, spec: CacheSpec, *, num_slots: int, num_common: int, num_columns: int, like: Tensor) -> None:
        """Allocate.

        Args:
            spec: what the policy keeps of a token.
            num_slots: most rows at once (S).
            num_common: tokens of the common beginning (C).
            num_columns: columns of a row: the longest rest of a prompt plus the longest response.
            like: a tensor whose type and device the cache takes.
        """
        layers = spec.num_layers
        heads = spec.num_heads

        # Two tensors, of keys and of values. Where a value is the beginning of its key there is one: with multi-head
        # latent attention.
        self._common = [like.new_zeros(layers, heads, num_common, size) for size in spec.stored_sizes]
        self._own = [like.new_zeros(layers, num_slots, heads, num_columns, size) for size in spec.stored_sizes]
        self._num_common = num_common
        self._value_size = spec.value_size
        self._slots = torch.arange(num_slots, device=like.device)
        self._lengths: list[int] = []
        self._new_columns_B = self._slots[:0]
        self._bias_BS: Tensor | None = None

    def set_common(self, keys_LNJK: Tensor, values_LNJM: Tensor) -> None:
        """Take keys and values of the common beginning."""
        # Not strict: values that are a part of the keys are not stored.
        for common, stream in zip(self._common, (keys_LNJK, values_LNJM), strict=False):
            common[:] = stream.transpose(1, 2)

    def common(self, layer: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first `length` tokens of the common beginning, [length, J, K] and [length, J, M]."""
        # The last tensor is that of the values, or that of the keys with which they begin.
        keys = self._common[0][layer]
        values = self._common[-1][layer, ..., : self._value_size]
        return keys[:, :length].transpose(0, 1), values[:, :length].transpose(0, 1)

    def add(self, keys_LNJK: Tensor, values_LNJM: Tensor) -> None:
        """Add a row whose prompt, after the common beginning, has these keys and values."""
        row = len(self._lengths)
        length = keys_LNJK.shape[1]
        for own, stream in zip(self._own, (keys_LNJK, values_LNJM), strict=False):
            own[:, row, :, :length] = stream.transpose(1, 2)
        self._lengths.append(length)

    def keep(self, rows_B: Tensor) -> None:
        """Forget all rows but these; they are counted in this order from now on."""
        rows = rows_B.tolist()
        num_used = max(self._lengths, default=0)

        # Rows lie in the first slots, so a row that moves up is copied. The others stay where they are.
        new_slots = [slot for slot, row in enumerate(rows) if slot != row]
        if new_slots:
            to = torch.tensor(new_slots, device=self._slots.device)
            origin = torch.tensor([rows[slot] for slot in new_slots], device=self._slots.device)
            for own in self._own:
                own[:, to, :, :num_used] = own[:, origin, :, :num_used]
        self._lengths = [self._lengths[row] for row in rows]

    def open_column(self) -> None:
        """Begin a step: each row gets one column more."""
        device = self._slots.device
        lengths_B = torch.tensor(self._lengths, device=device)
        self._new_columns_B = lengths_B
        stop = max(self._lengths) + 1

        # Rows of one length need no bias: they see all of their columns.
        self._bias_BS = None
        if min(self._lengths) + 1 < stop:
            is_hidden_BS = torch.arange(stop, device=device) > lengths_B[:, None]
            self._bias_BS = self._own[0].new_zeros(is_hidden_BS.shape).masked_fill_(is_hidden_BS, float("-inf"))
        self._lengths = [length + 1 for length in self._lengths]

    def attend(self, layer: int, q_BHK: Tensor, k_BJK: Tensor, v_BJM: Tensor, scale: float) -> Tensor:
        """One step of every row: write the new column, attend to the common beginning and to the row, [B, H, M]."""
        num_rows, num_heads, size = q_BHK.shape
        num_shared = k_BJK.shape[1]
        num_common = self._num_common
        stop = max(self._lengths)
        rows_B = self._slots[:num_rows]
        for own, column in zip(self._own, (k_BJK, v_BJM), strict=False):
            own[layer][rows_B, :, self._new_columns_B] = column

        keys = self._own[0][layer, :num_rows, :, :stop]
        values = self._own[-1][layer, :num_rows, :, :stop, : self._value_size]
        q_BJRK = (q_BHK * scale).view(num_rows, num_shared, num_heads // num_shared, size)
        scores = torch.matmul(q_BJRK, keys.transpose(-1, -2))
        if self._bias_BS is not None:
            scores += self._bias_BS[:, None, None]
        if not num_common:
            return torch.matmul(scores.softmax(-1), values).view(num_rows, num_heads, -1)

        # All rows meet the common beginning in one product.
        common_keys = self._common[0][layer]
        common_values = self._common[-1][layer, ..., : self._value_size]
        q_JBK = q_BJRK.transpose(0, 1).reshape(num_shared, -1, size)
        common = torch.bmm(q_JBK, common_keys.transpose(-1, -2))
        common = common.view(num_shared, num_rows, -1, num_common).transpose(0, 1)

        # One softmax over both parts, whose products with the values are then added.
        weights = torch.cat((common, scores), dim=-1).softmax(-1)
        out = torch.matmul(weights[..., num_common:], values)
        first = weights[..., :num_common].transpose(0, 1).reshape(num_shared, -1, num_common)
        first = torch.bmm(first, common_values)
        first = first.view(num_shared, num_rows, -1, self._value_size).transpose(0, 1)
        return (out + first).view(num_rows, num_heads, -1)
