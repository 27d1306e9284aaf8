"""Where the wall time of an iteration goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["PARTS", "Timeline"]

PARTS = ("sampling", "scoring", "reference", "learning")
"""What is timed of an iteration; the rest of it is waiting for other processes, advantages and writing down."""


class Timeline:
    """Seconds of each part of an iteration, and of all of it.

    A part begins and ends when the model has done what was asked of it.
    """

    def __init__(
        self, synchronize: Callable[[], None] = lambda: None, *, now: Callable[[], float] = time.perf_counter
    ) -> None:
        """Begin.

        Args:
            synchronize: waits until the model has done what was asked of it.
            now: a clock, seconds.
        """
        self._synchronize, self._now = synchronize, now
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._begun = self._moment()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside towards one of `PARTS`; a part may come several times, and not inside another."""
        begun = self._moment()
        try:
            yield
        finally:
            self._seconds[name] += self._moment() - begun

    def metrics(self) -> dict[str, float]:
        """`seconds_PART` of each part, and `seconds` since the beginning."""
        parts = {f"seconds_{name}": seconds for name, seconds in self._seconds.items()}
        return {**parts, "seconds": self._moment() - self._begun}

    def _moment(self) -> float:
        """Now, once the model has done what was asked of it."""
        self._synchronize()
        return self._now()
