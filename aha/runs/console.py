"""What a run shows: a progress bar for each stage, and a line for each evaluation, all on standard error."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Display"]

_SHOWN = ("accuracy", "length", "reward", "loss", "tokens_per_second")


class Display:
    """Progress of a run for a person; says nothing when quiet."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        """Open the display."""
        self._console = Console(stderr=True, quiet=is_quiet, highlight=False)
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
        self._progress.start()

    def report(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Move the bar of a stage."""
        shown = dict(figures)
        if figures.get("seconds"):
            shown["tokens_per_second"] = figures["tokens"] / figures["seconds"]
        text = "  ".join(f"{name} {shown[name]:.3g}" for name in _SHOWN if name in shown)
        if stage != self._stage:
            self._stage = stage
            self._task = self._progress.add_task(stage, total=total, completed=done - 1, figures=text)
        self._progress.update(self._task, completed=done, figures=text)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()
