"""The display of a run on standard error: a progress bar for each stage, and a line for each evaluation.

If standard error is no terminal (a log file, a batch system), lines replace the bar.
"""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Display"]

SECONDS_BETWEEN_LINES = 5.0
"""Without a terminal, an iteration prints a line only if the last line is this old, so that logs stay short."""

_SHOWN = ("accuracy", "length", "reward", "loss", "tokens_per_second")


class Display:
    """Progress of a run for a person; says nothing when quiet."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        """Open the display."""
        # Standard output is for results, which another program may read.
        self._console = Console(stderr=True, quiet=is_quiet, highlight=False)
        self._has_bar = self._console.is_terminal
        self._last_line = -SECONDS_BETWEEN_LINES

        self._progress = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
        )
        self._stage = ""
        if self._has_bar:
            self._progress.start()

    def report(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Moves the bar of a stage, or prints a line where there is no terminal.

        Args:
            stage: name of the stage.
            done: number of iterations done.
            total: number of all iterations; the last one always prints a line.
            figures: metrics of the iteration.
        """
        shown = dict(figures)
        if figures.get("seconds"):
            # A stage that samples nothing learns from tokens that it was given.
            num_tokens = figures["tokens"] or figures.get("trained_tokens", 0.0)
            shown["tokens_per_second"] = num_tokens / figures["seconds"]

        text = "  ".join(f"{name} {shown[name]:.3g}" for name in _SHOWN if name in shown)
        is_new = stage != self._stage
        self._stage = stage

        if not self._has_bar:
            self._print_line(f"{stage} {done}/{total}  {text}", is_due=is_new or done == total)
            return

        if is_new:
            # A resumed stage begins in the middle: the time left is estimated from what is done here alone.
            self._task = self._progress.add_task(stage, total=total, completed=done - 1, figures=text)

        self._progress.update(self._task, completed=done, figures=text)

    def _print_line(self, text: str, *, is_due: bool) -> None:
        """Print a line of progress if it is due, or if the last one is old enough."""
        now = time.monotonic()
        if is_due or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self.say(text.rstrip())

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        # Brackets in the text are no markup, and a line that is too long breaks where the terminal wants.
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        # A running bar hides the cursor.
        if self._has_bar:
            self._progress.stop()
