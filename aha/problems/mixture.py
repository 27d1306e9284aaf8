"""Mixtures: problems of several sources, each with its share of every iteration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aha.types import Problem

__all__ = ["Mixture"]


class _Source(Protocol):
    """Where problems come from; the stages' `ProblemSource`."""

    @property
    def key(self) -> str: ...

    def __call__(self, start: int, count: int) -> Sequence[Problem]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Problems of two sources, the first ones of one, the rest of the other.

    Attributes:
        first: one source.
        second: the other.
        share: share of the first, in 0..1.
        joins_after: problems of the second source that were asked before the first one joins.
    """

    first: _Source
    second: _Source
    share: float
    joins_after: int = 0

    @property
    def key(self) -> str:
        """What decides the problems."""
        since = f", after {self.joins_after} of the latter" if self.joins_after else ""
        return f"{self.share} of {self.first.key}, the rest of {self.second.key}{since}"

    def __call__(self, start: int, count: int) -> Sequence[Problem]:
        """Problems number `start` to `start + count`, of both sources their share to the nearest whole number."""
        before, after = self._num_first(start), self._num_first(start + count)
        num_first, num_second = after - before, count - (after - before)
        first = self.first(before, num_first) if num_first else []
        second = self.second(start - before, num_second) if num_second else []
        return [*first, *second]

    def _num_first(self, total: int) -> int:
        """How many of the first `total` problems are the first source's."""
        return round(self.share * max(0, total - self.joins_after))
