"""The key-value cache of the plain decoder: preallocated, one slot for each row that is being written.

The prompts' common beginning (a template, a system prompt) is kept once for all rows. Rows may have different lengths:
each writes behind its own last column, and sees nothing behind it.
"""

from collections.abc import Sequence

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
        sizes = spec.stored_sizes
        self._common = [like.new_zeros(layers, heads, num_common, size) for size in sizes]
        self._own = [like.new_zeros(layers, num_slots, heads, num_columns, size) for size in sizes]
        self._num_common = num_common
        self._value_size = spec.value_size
        self._slots = torch.arange(num_slots, device=like.device)
        self._lengths: list[int] = []
        self._new_columns_B = self._slots[:0]
        self._bias_BS: Tensor | None = None

    def set_common(self, keys_LNJK: Tensor, values_LNJM: Tensor) -> None:
        """Take keys and values of the common beginning."""
        # Not strict: values that are a part of the keys are not stored.
        for stored, stream in zip(self._common, (keys_LNJK, values_LNJM), strict=False):
            stored[:] = stream.transpose(1, 2)

    def common(self, layer: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first `length` tokens of the common beginning, [length, J, K] and [length, J, M]."""
        keys_JCK, values_JCM = self._of_layer(self._common, layer)
        keys_CJK = keys_JCK.transpose(0, 1)
        values_CJM = values_JCM.transpose(0, 1)
        return keys_CJK[:length], values_CJM[:length]

    def add(self, keys_LNJK: Tensor, values_LNJM: Tensor) -> None:
        """Add a row whose prompt, after the common beginning, has these keys and values."""
        row = len(self._lengths)
        length = keys_LNJK.shape[1]
        for stored, stream in zip(self._own, (keys_LNJK, values_LNJM), strict=False):
            stored[:, row, :, :length] = stream.transpose(1, 2)
        self._lengths.append(length)

    def keep(self, rows_B: Tensor) -> None:
        """Forget all rows but these; they are counted in this order from now on."""
        rows = rows_B.tolist()
        num_used = max(self._lengths, default=0)

        # Rows lie in the first slots, so a row that moves up is copied. The others stay where they are.
        moves = [(slot, row) for slot, row in enumerate(rows) if slot != row]
        if moves:
            target_M, source_M = torch.tensor(moves, device=self._slots.device).T
            for stored in self._own:
                # The right side is a copy, so a slot may be both read and written.
                stored[:, target_M, :, :num_used] = stored[:, source_M, :, :num_used]

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
            columns_S = torch.arange(stop, device=device)
            is_hidden_BS = columns_S > lengths_B[:, None]
            bias_BS = self._own[0].new_zeros(is_hidden_BS.shape)
            self._bias_BS = bias_BS.masked_fill_(is_hidden_BS, float("-inf"))

        self._lengths = [length + 1 for length in self._lengths]

    def attend(self, layer: int, q_BHK: Tensor, k_BJK: Tensor, v_BJM: Tensor, scale: float) -> Tensor:
        """One step of every row: write the new column, attend to the common beginning and to the row, [B, H, M]."""
        num_rows, num_heads, size = q_BHK.shape
        num_shared = k_BJK.shape[1]
        num_common = self._num_common
        rows_B = self._slots[:num_rows]
        for stored, column in zip(self._own, (k_BJK, v_BJM), strict=False):
            stored[layer][rows_B, :, self._new_columns_B] = column

        # Query heads that share a key-value head (R) are rows of one product with its keys: nothing is repeated.
        repeat = num_heads // num_shared
        q_BJRK = (q_BHK * scale).view(num_rows, num_shared, repeat, size)

        stop = max(self._lengths)
        keys, values = self._of_layer(self._own, layer)
        k_BJSK = keys[:num_rows, :, :stop]
        v_BJSM = values[:num_rows, :, :stop]
        scores_BJRS = torch.matmul(q_BJRK, k_BJSK.mT)
        if self._bias_BS is not None:
            scores_BJRS += self._bias_BS[:, None, None]
        if not num_common:
            out_BJRM = torch.matmul(scores_BJRS.softmax(-1), v_BJSM)
            return out_BJRM.view(num_rows, num_heads, -1)

        # All rows meet the common beginning in one product for each key-value head: N stands for B and R together.
        k_JCK, v_JCM = self._of_layer(self._common, layer)
        q_JNK = q_BJRK.transpose(0, 1).reshape(num_shared, -1, size)
        scores_JNC = torch.bmm(q_JNK, k_JCK.mT)
        scores_JBRC = scores_JNC.view(num_shared, num_rows, repeat, num_common)

        # One softmax over both parts, whose products with the values are then added.
        scores = torch.cat((scores_JBRC.transpose(0, 1), scores_BJRS), dim=-1)
        weights = scores.softmax(-1)
        weights_BJRC, weights_BJRS = torch.split(weights, [num_common, stop], dim=-1)
        out_BJRM = torch.matmul(weights_BJRS, v_BJSM)

        weights_JNC = weights_BJRC.transpose(0, 1).reshape(num_shared, -1, num_common)
        common_JNM = torch.bmm(weights_JNC, v_JCM)
        common_JBRM = common_JNM.view(num_shared, num_rows, repeat, -1)
        out_BJRM = out_BJRM + common_JBRM.transpose(0, 1)
        return out_BJRM.view(num_rows, num_heads, -1)

    def _of_layer(self, stored: Sequence[Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer."""
        # The last tensor is that of the values, or that of the keys with which they begin.
        keys = stored[0][layer]
        values = stored[-1][layer, ..., : self._value_size]
        return keys, values
