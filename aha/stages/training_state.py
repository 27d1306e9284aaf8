"""The state of a training at a checkpoint, from which an interrupted stage or a new one goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from aha.runs.folder import differences
from aha.training.checkpoint import read_state
from aha.types import Checkpoint

__all__ = ["History", "Resumed", "training_state"]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a training has behind it, over all stages that it went through.

    A stage of reinforcement may go on where another one ended. Its data stream, its draws and the updates after which
    the reference moves are counted from here, while its own iterations begin at 0.

    Attributes:
        iterations: iterations of sampling and updating.
        updates: optimizer updates.
        problems: problems asked.
    """

    iterations: int = 0
    updates: int = 0
    problems: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resumed:
    """Where a training goes on: an interrupted stage, or a new stage that continues another one.

    Attributes:
        folder: the checkpoint.
        iteration: iterations done in the stage that goes on; 0 in a new one.
        step: updates done in the stage that goes on; 0 in a new one.
        tensors: moments and reference by name.
        training: what the checkpoint says of its training; empty for a stage without reinforcement.
    """

    folder: Path
    iteration: int
    step: int
    tensors: dict[str, Tensor]
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def history(self) -> History:
        """What the training has behind it at this checkpoint."""
        return History(**self.training.get("history", {}))


def training_state(start: Checkpoint, optimizer: Mapping[str, Any]) -> Resumed:
    """The state with which a new stage continues the training that made a checkpoint.

    Args:
        start: the checkpoint: the result of a stage of reinforcement, or one of its checkpoints on the way.
        optimizer: the settings that decide the shape of the optimizer's state; they must be those of that training.

    Raises:
        ValueError: the folder holds no training state, or one of other optimizer settings; says what to do.
    """
    state, tensors = read_state(start.path)
    training = state.get("training")
    if training is None:
        raise ValueError(
            f"{start.path} holds a model, but no state of a training by reinforcement to go on with (moments, "
            "reference, counts): start from it with --model"
        )

    # Moments of another type or another shape cannot be loaded, so other settings are refused before compute is spent.
    if changed := differences(training["optimizer"], dict(optimizer)):
        raise ValueError(
            f"a training goes on with the optimizer that it had, but {'; '.join(changed)} since {start.path}: keep the "
            "setting, or start from that folder with --model, without its moments"
        )
    return Resumed(folder=start.path, iteration=0, step=0, tensors=tensors, training=training)
