"""Where the wall time of an iteration goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["PARTS", "Timeline"]

PARTS = ("sampling", "scoring", "reference", "learning")
"""What is timed of an iteration: `scoring` is judging the responses, `reference` its log-probabilities, `learning` the
updates. The rest of it is waiting for other processes, advantages and writing down."""


class Timeline:
    """Seconds of each part of an iteration, and of all of it.

    The clock is read only when the model has done all that it was asked for.
    """

    def __init__(
        self, synchronize: Callable[[], None] = lambda: None, *, now: Callable[[], float] = time.perf_counter
    ) -> None:
        """Begin.

        Args:
            synchronize: waits until the model has done what was asked of it.
            now: a clock, seconds.
        """
        self._synchronize = synchronize
        self._now = now
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._start = self._synchronized_time()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside towards one of `PARTS`; a part may come several times, and not inside another."""
        start = self._synchronized_time()
        try:
            yield
        finally:
            self._seconds[name] += self._synchronized_time() - start

    def metrics(self) -> dict[str, float]:
        """`seconds_PART` of each part, and `seconds` since the beginning."""
        parts = {f"seconds_{name}": seconds for name, seconds in self._seconds.items()}
        return {**parts, "seconds": self._synchronized_time() - self._start}

    def _synchronized_time(self) -> float:
        """The time once the model has done what was asked of it."""
        # A GPU computes on after a call has returned: without this a part would be charged for the one before it.
        self._synchronize()
        return self._now()
