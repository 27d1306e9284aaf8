"""Disk that a run needs, estimated before it starts.

| part | bytes |
|---|---|
| checkpoint of a stage in progress | weights, reference and moments, as `aha.training.memory` counts them |
| result of reinforcement | at most the same, so that another stage can go on with the training |
| result of fine-tuning, or a reward model | weights |
| rollouts | `BYTES_PER_TOKEN` for each sampled token, at most: as if every response reached its length cap |

Text of harvests, evaluations and logs is small beside the models and is left out. So are the built-in students.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aha.policy.config import PolicyConfig
from aha.recipes.recipe import TrainedStage
from aha.stages.config import RLConfig, SupervisedConfig
from aha.stages.run import KEPT
from aha.training.memory import GIB, Workload, estimate

__all__ = ["DiskEstimate", "check_disk", "checkpoint_bytes", "disk_estimate"]

BYTES_PER_TOKEN = 8
"""Of a rollout file for each sampled token: id, log-probability and text, compressed.

Measured: 3 to 6 in the built-in world, 7.5 for a model with a vocabulary of 49 thousand.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskEstimate:
    """What a run writes, in bytes.

    Attributes:
        checkpoints: models, references and moments, at the moment when they take most.
        rollouts: of training iterations, at most.
    """

    checkpoints: int
    rollouts: int


def check_disk(
    folder: Path,
    stages: Sequence[TrainedStage],
    shapes: Sequence[PolicyConfig],
    *,
    is_forced: bool = False,
    keep_rollouts: int = 1,
) -> str:
    """Refuse a run whose checkpoints do not fit on the disk.

    Args:
        folder: the run folder; what an earlier start has written there is not needed again.
        stages: those that write a model, in their order.
        shapes: of the models that the run starts from; one that it makes itself is too small to count.
        is_forced: start all the same.
        keep_rollouts: the rollouts of every how-many-th iteration are written.

    Returns:
        The estimate in one line, with a warning where all of it might not fit; empty for a finished run, and for one
        without stages to count.

    Raises:
        ValueError: the checkpoints alone do not fit; says how much is needed, how much is free, and what to do.
    """
    is_finished = (folder / "result.json").exists()
    if is_finished or not stages:
        return ""

    # What an earlier start has written is on the disk already.
    total = disk_estimate(stages, shapes, keep_rollouts=keep_rollouts)
    checkpoints = max(0, total.checkpoints - _written_bytes(folder / "stages"))
    rollouts = max(0, total.rollouts - _written_bytes(folder / "rollouts"))

    # The folder itself may not exist yet: the nearest one above it is on the same disk.
    absolute = folder.absolute()
    disk = next(path for path in (absolute, *absolute.parents) if path.exists())
    free = shutil.disk_usage(disk).free

    if checkpoints > free and not is_forced:
        raise ValueError(
            f"the checkpoints of this run take about {checkpoints / GIB:.2f} GiB, and {disk} has {free / GIB:.2f} GiB "
            "free: free some space, or name a folder on another disk with --run; --force starts it all the same"
        )

    line = (
        f"disk: checkpoints about {checkpoints / GIB:.2f} GiB, rollouts at most {rollouts / GIB:.2f}, "
        f"{free / GIB:.2f} free"
    )
    # The estimate of the rollouts is an upper bound, so it warns and does not refuse.
    if checkpoints + rollouts > free:
        return f"{line}, which may not be enough: --keep-rollouts writes fewer of them"
    return line


def disk_estimate(
    stages: Sequence[TrainedStage], shapes: Sequence[PolicyConfig], *, keep_rollouts: int = 1
) -> DiskEstimate:
    """What a run writes.

    Args:
        stages: those that write a model, in their order.
        shapes: of the models that the run starts from; one that it makes itself is too small to count.
        keep_rollouts: the rollouts of every how-many-th iteration are written.
    """
    # Results of finished stages stay; the checkpoints of the stage in progress come on top of them.
    results = 0
    peak = 0
    for stage in stages:
        if stage.model >= len(shapes):
            continue

        shape = shapes[stage.model]
        checkpoint = checkpoint_bytes(shape, stage.config)

        # A new checkpoint is written whole before the oldest one goes.
        peak = max(peak, results + (KEPT + 1) * checkpoint)
        if isinstance(stage.config, RLConfig):
            # Another stage may go on with its training, so the moments stay with the result.
            results += checkpoint
        else:
            results += _weight_bytes(shape, stage.config)

    loops = [stage.config for stage in stages if isinstance(stage.config, RLConfig)]
    tokens = sum(_sampled_tokens(loop, keep_rollouts) for loop in loops)
    return DiskEstimate(checkpoints=max(peak, results), rollouts=BYTES_PER_TOKEN * tokens)


def checkpoint_bytes(shape: PolicyConfig, stage: RLConfig | SupervisedConfig) -> int:
    """Size of a checkpoint of a stage in progress: weights, moments and, with a KL term, the reference."""
    has_reference = isinstance(stage, RLConfig) and "reference" in stage.algorithm.roles
    parts = estimate(shape, stage.optimizer, _one_token(has_reference=has_reference))
    return parts.weights + parts.reference + parts.optimizer + parts.host_optimizer


def _weight_bytes(shape: PolicyConfig, stage: SupervisedConfig) -> int:
    return estimate(shape, stage.optimizer, _one_token(has_reference=False)).weights


def _one_token(*, has_reference: bool) -> Workload:
    """The smallest workload: what is held does not depend on it."""
    return Workload(micro_batch_tokens=1, sequence_tokens=1, has_reference=has_reference)


def _sampled_tokens(stage: RLConfig, keep_rollouts: int) -> int:
    """Tokens of the iterations whose rollouts are written, as if every response reached its length cap."""
    # Rounded up: the first iteration is always written.
    iterations = -(-stage.iterations // keep_rollouts)
    return iterations * stage.problems_per_iteration * stage.group_size * stage.max_new_tokens


def _written_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
