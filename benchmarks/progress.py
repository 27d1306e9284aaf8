"""How far a training run has come, and in how many CPU seconds: what both sides of time_to_accuracy.py write down.

Runs in either environment: the standard library only.
"""

import json
import resource
import time
from collections.abc import Mapping

__all__ = ["FIGURES", "Progress"]

FIGURES = ("reward", "accuracy", "format", "length", "truncated")
"""What is kept of the responses of each iteration; `docs/metrics.md` defines each."""


class Progress:
    """One run on its way to a validation accuracy: the CPU seconds of its iterations, and its validations between them.

    CPU seconds are those of this process and its threads, user and system, from `begin` to `end` of each iteration.
    """

    def __init__(self, side: str, *, seed: int, target: float, max_iterations: int) -> None:
        """Begin with nothing done.

        Args:
            side: `aha` or `trl`.
            seed: run seed.
            target: pass@1 on the validation problems that ends the run.
            max_iterations: iterations after which it gives up.
        """
        self._described = {"side": side, "seed": seed, "target": target, "max_iterations": max_iterations}
        self._target, self._max_iterations = target, max_iterations
        self._cpu_seconds: list[float] = []
        self._figures: dict[str, list[float]] = {name: [] for name in FIGURES}
        self._validations: list[tuple[int, float]] = []
        self._began = 0.0

    def begin(self) -> None:
        """Start the clock of an iteration."""
        self._began = time.process_time()

    def end(self, figures: Mapping[str, float]) -> None:
        """Stop the clock, and keep the figures of the iteration's responses."""
        self._cpu_seconds.append(time.process_time() - self._began)
        for name in FIGURES:
            self._figures[name].append(round(figures[name], 4))

    def validated(self, accuracy: float) -> None:
        """Keep the pass@1 of the policy as it is now."""
        self._validations.append((self.num_iterations, accuracy))

    @property
    def num_iterations(self) -> int:
        """Iterations done."""
        return len(self._cpu_seconds)

    @property
    def has_reached(self) -> bool:
        """Whether the last validation is at or above the target."""
        return bool(self._validations) and self._validations[-1][1] >= self._target

    @property
    def is_over(self) -> bool:
        """Whether the target is reached, or given up."""
        return self.has_reached or self.num_iterations >= self._max_iterations

    def line(self, **described: object) -> str:
        """One line of JSON: what was reached, when, and how the run went.

        Args:
            described: what else there is to know of the run.
        """
        content = {
            **self._described,
            **described,
            "has_reached": self.has_reached,
            "iterations": self.num_iterations,
            "cpu_seconds": round(sum(self._cpu_seconds), 2),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "validations": [[done, round(accuracy, 6)] for done, accuracy in self._validations],
            "cpu_seconds_by_iteration": [round(seconds, 3) for seconds in self._cpu_seconds],
            **self._figures,
        }
        return json.dumps(content)
