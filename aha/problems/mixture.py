"""Mixtures: problems of several sources, each with its share of every iteration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aha.types import Problem

__all__ = ["Mixture"]


class _Source(Protocol):
    """A source of problems, as `ProblemSource` of the stages."""

    @property
    def key(self) -> str: ...

    def __call__(self, start: int, count: int) -> Sequence[Problem]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Problems of two sources, each with its share of every part of the stream.

    Attributes:
        first: the first source.
        second: the second source.
        share: share of the first source, 0 to 1.
        joins_after: number of problems, all of the second source, before the first one joins.
    """

    first: _Source
    second: _Source
    share: float
    joins_after: int = 0

    @property
    def key(self) -> str:
        """Text that is equal for equal mixtures."""
        text = f"{self.share} of {self.first.key}, the rest of {self.second.key}"
        if self.joins_after:
            text += f", after {self.joins_after} of the latter"
        return text

    def __call__(self, start: int, count: int) -> Sequence[Problem]:
        """Problems number `start` to `start + count`; both sources have their share, rounded."""
        # Counts are rounded from the start of the stream on: rounded for each part, their errors would add up.
        num_first_before = self._num_first(start)
        num_first = self._num_first(start + count) - num_first_before
        num_second = count - num_first

        first = self.first(num_first_before, num_first) if num_first else []
        second = self.second(start - num_first_before, num_second) if num_second else []
        return [*first, *second]

    def _num_first(self, total: int) -> int:
        """How many of the first `total` problems come from the first source."""
        num_shared = max(0, total - self.joins_after)
        return round(self.share * num_shared)
