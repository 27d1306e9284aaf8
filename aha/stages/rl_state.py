"""What a stage of reinforcement holds while it lasts: fresh, as an interruption left it, or continued from another one.

A checkpoint has all of it, so that any of the three begins with the same bits.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aha.actors.actor import Role
from aha.actors.local import LocalPolicy
from aha.actors.local_actors import TrainingPlan
from aha.actors.workload import PROMPT_TOKENS, Demand
from aha.runs.seeds import derive_seed
from aha.stages.config import RLConfig
from aha.stages.minibatches import num_updates
from aha.stages.run import Run, Saved
from aha.stages.task import Task
from aha.stages.training_state import History, Resumed, training_state
from aha.training.config import OptimizerConfig
from aha.types import Checkpoint

__all__ = ["RLState", "begin", "demand", "optimizer_shape"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RLState:
    """Everything that lives as long as the stage.

    Attributes:
        actors: the policy, which samples, learns and counts the updates of the whole training, and the others that the
            algorithm needs.
        first_iteration: where the stage begins, or goes on after an interruption.
        before: what the training had behind it when this stage began.
        origin: folder of the weights that adapters were added to.
        config: the hyper-parameters of the stage.
    """

    actors: Mapping[Role, LocalPolicy]
    first_iteration: int
    before: History
    origin: Path
    config: RLConfig

    @property
    def policy(self) -> LocalPolicy:
        """What is trained."""
        return self.actors["policy"]

    @property
    def step(self) -> int:
        """Updates of this stage so far."""
        return self.policy.num_steps - self.before.updates

    def history(self, iteration: int) -> History:
        """What the training has behind it when an iteration of this stage begins."""
        return History(
            iterations=self.before.iterations + iteration,
            updates=self.policy.num_steps,
            problems=self.before.problems + iteration * self.config.problems_per_iteration,
        )

    def saved(self, iteration: int) -> Saved:
        """What a checkpoint after this many iterations holds."""
        training: dict[str, Any] = {
            "history": asdict(self.history(iteration)),
            "optimizer": optimizer_shape(self.config.optimizer),
        }

        # A checkpoint has adapters merged into its weights: to take them apart again one needs the weights without.
        if self.config.optimizer.lora.rank:
            training["origin"] = str(self.origin.absolute())

        return Saved(
            actor=self.policy,
            reference=self.actors.get("reference"),
            iteration=iteration,
            step=self.step,
            training=training,
        )


def begin(
    run: Run, name: str, key: str, *, policy: Checkpoint, task: Task, config: RLConfig, continues: bool
) -> RLState:
    """The actors as at the start of a stage, or as a checkpoint has them.

    Args:
        run: the run.
        name: of the stage.
        key: of the stage.
        policy: where the stage starts.
        task: its template and stop strings are written into every checkpoint.
        config: the algorithm and the hyper-parameters.
        continues: go on with the training that made the policy.

    Raises:
        ValueError: the policy's folder holds no training to go on with, or one of other optimizer settings.
    """
    # A stage that was interrupted goes on from its own checkpoint, which knows what it continued.
    resumed = run.resume(name, key)
    if resumed is None and continues:
        resumed = training_state(policy, optimizer_shape(config.optimizer))

    origin = _origin(policy, config, resumed)
    before = _before(config, resumed)
    plan = TrainingPlan(
        name=name,
        optimizer=config.optimizer,
        num_steps=config.iterations * num_updates(config),
        first_step=before.updates,
        demand=demand(config),
        seed=derive_seed(run.seed, name, "adapters"),
        temperature=config.temperature,
    )
    trained = run.actors.trained_policy(origin, resumed.folder if resumed else None, plan)

    # Its checkpoints name the template that it learns, not the one that it started with.
    trained.tokenizer = trained.tokenizer.trained_with(task.template, task.stop)

    # Without a KL term the algorithm has no role for a reference, and none is read or held (docs/decisions/0027).
    actors: dict[Role, LocalPolicy] = {"policy": trained}
    if "reference" in config.algorithm.roles:
        actors["reference"] = run.actors.reference(policy.path, trained, plan)

    if resumed:
        trained.restore(resumed.tensors, num_steps=resumed.history.updates)
    if resumed and "reference" in actors:
        # A training without a KL term has saved no reference: then it is the policy at the start of this stage.
        actors["reference"].restore_reference(resumed.tensors)

    return RLState(
        actors=actors,
        first_iteration=resumed.iteration if resumed else 0,
        before=before,
        origin=origin,
        config=config,
    )


def demand(config: RLConfig) -> Demand:
    """What a stage asks of its policy."""
    return Demand(
        sequence_tokens=config.max_new_tokens + PROMPT_TOKENS,
        num_responses=config.problems_per_iteration * config.group_size,
        group_size=config.group_size,
        has_reference="reference" in config.algorithm.roles,
    )


def _before(config: RLConfig, resumed: Resumed | None) -> History:
    """What the training had behind it when the stage began: the checkpoint's history less what the stage has done."""
    if resumed is None:
        return History()

    checkpoint = resumed.history
    return History(
        iterations=checkpoint.iterations - resumed.iteration,
        updates=checkpoint.updates - resumed.step,
        problems=checkpoint.problems - resumed.iteration * config.problems_per_iteration,
    )


def _origin(start: Checkpoint, config: RLConfig, resumed: Resumed | None) -> Path:
    """Folder of the weights that a training with adapters adds them to: that of its very first stage.

    Raises:
        ValueError: the folder is gone, so that the adapters cannot be told from the weights.
    """
    if resumed is None or not config.optimizer.lora.rank:
        return start.path

    origin = Path(resumed.training["origin"])
    if not origin.is_dir():
        raise ValueError(f"the adapters in {resumed.folder} belong to the model in {origin}, which is gone: restore it")
    return origin


def optimizer_shape(optimizer: OptimizerConfig) -> dict[str, object]:
    """The settings that decide what an optimizer's state looks like."""
    return optimizer.model_dump(mode="json", include={"state", "precision", "lora"})
