"""What the layers computed while sampling: an update on the same weights need not compute it again.

The engine's kernels leave the figures of each token in a place of a memory of fixed size. Sequences are found by their
tokens, since with the weights these decide all that a layer computes. `aha.policy.replay` goes back from there.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from aha.policy.allocation import huge_memory
from aha.policy.fused import take_rows
from aha.policy.packed import fits, kept_fields
from aha.policy.transformer import Transformer

__all__ = ["Activations"]


class Activations:
    """A memory of activations, which is empty until `begin`.

    Attributes:
        num_free: tokens for which there is room.
        wanted: responses of the next call of the engine of which something is kept, by number; None for all.
    """

    def __init__(self, max_bytes: int) -> None:
        """Make an empty one that will take so much memory at most."""
        self._max_bytes, self._memory_PLF = max_bytes, torch.empty(0, 0, 0)
        self._policy: Transformer | None = None
        self._versions: list[int] = []
        self._fields: dict[str, slice] = {}
        self._shape = 0, 0
        self._free_P, self.num_free = torch.empty(0, dtype=torch.int64), 0
        self._known: dict[bytes, Tensor] = {}
        self.wanted: Collection[int] | None = None

    def begin(self, policy: Transformer, wanted: Collection[int] | None = None) -> None:
        """Forget all; keep what is sampled from this policy from now on, as long as its weights stay as they are.

        Nothing is kept of a policy that the kernels cannot compute, or of which a part is not trained.

        Args:
            policy: the policy.
            wanted: the attribute.
        """
        self.clear()
        self.wanted = wanted
        if not fits(policy) or not all(weight.requires_grad for weight in policy.parameters()):
            return
        self._policy, self._versions = policy, _versions(policy)
        self._fields = kept_fields(policy.config)
        self._shape = policy.config.num_hidden_layers, self._fields["all"].stop
        self.num_free = self._max_bytes // (4 * math.prod(self._shape))
        self._free_P = torch.arange(self.num_free).flip(0)

    def clear(self) -> None:
        """Forget all, and keep nothing from now on."""
        self._policy, self.num_free = None, 0
        self._known.clear()

    def are_of(self, policy: nn.Module) -> bool:
        """Whether what is here, or will be, is this policy's with the weights that it has now."""
        return self._policy is policy and self._versions == _versions(policy)

    def take(self, count: int) -> Tensor:
        """So many places, which must be free; [count], int64."""
        shape = (len(self._free_P), *self._shape)
        if self._memory_PLF.shape != shape:  # memory is asked for when it is needed
            self._memory_PLF = huge_memory(math.prod(shape)).view(shape)
        self.num_free -= count
        return self._free_P[self.num_free : self.num_free + count].clone()

    def give_back(self, places_P: Tensor) -> None:
        """Free these places."""
        self._free_P[self.num_free : self.num_free + len(places_P)] = places_P
        self.num_free += len(places_P)

    def addresses(self, places_P: Tensor) -> Tensor:
        """Where these places are in memory, as the kernels take it; [P], int64."""
        return self._memory_PLF.data_ptr() + self._memory_PLF.stride(0) * 4 * places_P

    def put(self, tokens_T: Tensor, places_T: Tensor) -> bool:
        """Say where the activations of a sequence are; False where it is known already."""
        return self._known.setdefault(_named(tokens_T), places_T) is places_T

    def find(self, policy: nn.Module, tokens_BT: Tensor, lengths_B: Tensor) -> list[Tensor | None]:
        """Places of the tokens of each sequence, [T] each, but for its last one, which nothing follows on."""
        if not self._known or not self.are_of(policy):
            return [None] * len(tokens_BT)
        rows = zip(tokens_BT, lengths_B.tolist(), strict=True)
        return [self._known.get(_named(tokens_T[: length - 1])) for tokens_T, length in rows]

    def forget(self, tokens_T: Tensor) -> None:
        """Forget a sequence."""
        self._known.pop(_named(tokens_T[:-1]), None)

    def gathered(self, places_N: Tensor, layer: int, field: str) -> Tensor:
        """One part of what a layer computed for the tokens in these places, [N, ...]; see `kept_fields`."""
        return take_rows(self._memory_PLF[:, layer, self._fields[field]], places_N)


def _named(tokens_T: Tensor) -> bytes:
    """What a sequence is found by."""
    return tokens_T.numpy().tobytes()


def _versions(policy: nn.Module) -> list[int]:
    """Numbers that change when a weight is written."""
    return [weight._version for weight in policy.parameters()]
