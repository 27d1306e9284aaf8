"""The loop of every stage that learns from given data: one update after the other, saved, resumed and written down."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aha.policy.lora import merged
from aha.prompts.tokenizer import Tokenizer
from aha.stages.run import Interrupted, Resumed, Run, Saved
from aha.training.checkpoint import restore_optimizers
from aha.training.learner import Learner

__all__ = ["Progress", "begin_updates", "make_updates"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Progress:
    """A stage of updates, as it begins or goes on.

    Attributes:
        learner: what is updated.
        tokenizer: tokenizer of its policy.
        first: the first update to make.
        total: updates of the whole stage.
        checkpoint_every: updates between checkpoints.
    """

    learner: Learner[Any]
    tokenizer: Tokenizer
    first: int
    total: int
    checkpoint_every: int

    def saved(self, step: int) -> Saved:
        """What a checkpoint after this many updates holds."""
        return Saved(
            policy=self.learner.policy,
            tokenizer=self.tokenizer,
            optimizers=self.learner.optimizers,
            reference=None,
            iteration=step,
            step=step,
        )


def begin_updates(
    learner: Learner[Any], tokenizer: Tokenizer, resumed: Resumed | None, *, total: int, checkpoint_every: int
) -> Progress:
    """A stage of updates at its start, or where it was interrupted: the learner gets its count and moments back."""
    if resumed:
        learner.num_steps = resumed.step
        restore_optimizers(learner.optimizers, resumed.tensors)
    return Progress(
        learner=learner,
        tokenizer=tokenizer,
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
        should_stop, is_last = run.should_stop(), step + 1 == progress.total
        if should_stop or (not is_last and (step + 1) % progress.checkpoint_every == 0):
            with merged(progress.learner.policy):
                run.save(name, key, progress.saved(step + 1))
        if should_stop:
            raise Interrupted(f"stopped after update {step + 1} of {progress.total} of stage {name!r}")
    return progress.saved(progress.total)
