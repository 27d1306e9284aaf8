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

    def __call__(self, iteration: int, count: int) -> Sequence[Problem]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Problems of two sources, the first ones of one, the rest of the other.

    Attributes:
        first: one source.
        second: the other.
        share: share of the first, in 0..1.
    """

    first: _Source
    second: _Source
    share: float

    @property
    def key(self) -> str:
        """What decides the problems."""
        return f"{self.share} of {self.first.key}, the rest of {self.second.key}"

    def __call__(self, iteration: int, count: int) -> Sequence[Problem]:
        """The problems of an iteration, of both sources their share to the nearest whole number."""
        num_first = round(self.share * count)
        first = self.first(iteration, num_first) if num_first else []
        second = self.second(iteration, count - num_first) if num_first < count else []
        return [*first, *second]
