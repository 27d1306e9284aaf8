"""The loop of every stage that learns from given data: one update after the other, saved, resumed and written down."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aha.actors.local import LocalActor
from aha.stages.run import Resumed, Run, Saved

__all__ = ["Progress", "begin_updates", "make_updates"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Progress:
    """A stage of updates, as it begins or goes on.

    Attributes:
        actor: what is updated.
        first: the first update to make.
        total: updates of the whole stage.
        checkpoint_every: updates between checkpoints.
    """

    actor: LocalActor[Any]
    first: int
    total: int
    checkpoint_every: int

    def saved(self, step: int) -> Saved:
        """What a checkpoint after this many updates holds."""
        return Saved(actor=self.actor, iteration=step, step=step)


def begin_updates(actor: LocalActor[Any], resumed: Resumed | None, *, total: int, checkpoint_every: int) -> Progress:
    """A stage of updates at its start, or where it was interrupted: the actor gets its count and moments back."""
    if resumed:
        actor.restore(resumed.tensors, num_steps=resumed.step)
    return Progress(
        actor=actor,
        first=resumed.iteration if resumed else 0,
        total=total,
        checkpoint_every=checkpoint_every,
    )


def make_updates(
    run: Run, name: str, key: str, progress: Progress, update: Callable[[int], Mapping[str, float]]
) -> Saved:
    """Make all updates of a stage.

    Args:
        run: the run.
        name: of the stage.
        key: of the stage.
        progress: where it stands.
        update: makes one update and returns its metrics; any of them can be made without those before it.

    Returns:
        What the finished stage holds.

    Raises:
        Interrupted: the run was asked to stop; it has saved.
    """
    for step in range(progress.first, progress.total):
        started = time.perf_counter()
        metrics = {**update(step), "seconds": time.perf_counter() - started}

        run.folder.append("metrics", {"stage": name, "iteration": step, "step": step + 1, **metrics})
        run.report(name, step + 1, progress.total, metrics)

        # A checkpoint after the row: a resumed run drops the rows that are newer than its checkpoint.
        run.pause(
            name,
            key,
            progress.saved,
            done=step + 1,
            total=progress.total,
            every=progress.checkpoint_every,
            unit="update",
        )
    return progress.saved(progress.total)
