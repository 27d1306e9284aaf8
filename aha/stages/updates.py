"""The loop of every stage that learns from given data: one update after the other, saved, resumed and written down."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from aha.actors.local import LocalActor
from aha.stages.run import Run, Saved
from aha.stages.training_state import Resumed

__all__ = ["begin_updates", "make_updates"]


def begin_updates(actor: LocalActor[Any], resumed: Resumed | None) -> int:
    """Give an actor its count and moments back where its stage was interrupted, and return the first update to make."""
    if resumed is None:
        return 0

    # The weights are read where the actor is opened; the optimizer's moments are not part of a model.
    actor.restore(resumed.tensors, num_steps=resumed.step)
    return resumed.iteration


def make_updates(
    run: Run,
    name: str,
    key: str,
    actor: LocalActor[Any],
    update: Callable[[int], Mapping[str, float]],
    *,
    steps: range,
    checkpoint_every: int,
) -> Saved:
    """Make all updates of a stage that are left.

    Args:
        run: the run.
        name: of the stage.
        key: of the stage.
        actor: what is updated.
        update: makes one update and returns its metrics; any of them can be made without those before it.
        steps: the updates to make, from `begin_updates` to the last one of the stage.
        checkpoint_every: updates between checkpoints.

    Returns:
        What the finished stage holds.

    Raises:
        Interrupted: the run was asked to stop; it has saved.
    """
    total = steps.stop

    def saved(num_updates: int) -> Saved:
        return Saved(actor=actor, iteration=num_updates, step=num_updates)

    for step in steps:
        started = time.perf_counter()
        metrics = dict(update(step))
        metrics["seconds"] = time.perf_counter() - started

        run.folder.append("metrics", {"stage": name, "iteration": step, "step": step + 1, **metrics})
        run.report(name, step + 1, total, metrics)

        # A checkpoint after the row: a resumed run drops the rows that are newer than its checkpoint.
        run.checkpoint(name, key, saved, done=step + 1, total=total, every=checkpoint_every, unit="update")
    return saved(total)
