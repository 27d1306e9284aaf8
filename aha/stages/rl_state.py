"""What a stage of reinforcement holds while it lasts: fresh, as an interruption left it, or continued from another one.

A checkpoint has all of it, so that any of the three begins with the same bits.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aha.engines.local import LocalEngine
from aha.policy.transformer import Transformer
from aha.prompts.templates import Template
from aha.prompts.tokenizer import Tokenizer
from aha.runs.seeds import derive_seed
from aha.stages.config import RLConfig
from aha.stages.minibatches import num_updates
from aha.stages.run import History, Resumed, Run, Saved
from aha.stages.workload import PROMPT_TOKENS, micro_batch_tokens, workload
from aha.training.checkpoint import restore_optimizers
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner, log_probabilities
from aha.training.memory import decoded_rows
from aha.training.optimizer import adamw, learning_rate_factor
from aha.training.trainable import memory_notice, read_reference, read_trainable
from aha.types import Checkpoint

__all__ = ["RLState", "begin", "optimizer_shape"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RLState:
    """Everything that lives as long as the stage.

    Attributes:
        learner: updates the policy; counts the updates of the whole training.
        engine: samples from the policy.
        reference: the policy that the KL term compares with, None without that term.
        tokenizer: of the policy.
        first_iteration: where the stage begins, or goes on after an interruption.
        before: what the training had behind it when this stage began.
        origin: folder of the weights that adapters were added to.
        config: the hyper-parameters of the stage.
    """

    learner: Learner[Transformer]
    engine: LocalEngine
    reference: Transformer | None
    tokenizer: Tokenizer
    first_iteration: int
    before: History
    origin: Path
    config: RLConfig

    @property
    def step(self) -> int:
        """Updates of this stage so far."""
        return self.learner.num_steps - self.before.updates

    def history(self, iteration: int) -> History:
        """What the training has behind it when an iteration of this stage begins."""
        return History(
            iterations=self.before.iterations + iteration,
            updates=self.learner.num_steps,
            problems=self.before.problems + iteration * self.config.problems_per_iteration,
        )

    def saved(self, iteration: int) -> Saved:
        """What a checkpoint after this many iterations holds."""
        training: dict[str, Any] = {
            "history": asdict(self.history(iteration)),
            "optimizer": optimizer_shape(self.config.optimizer),
        }
        if self.config.optimizer.lora.rank:
            training["origin"] = str(self.origin.absolute())
        return Saved(
            policy=self.learner.policy,
            tokenizer=self.tokenizer,
            optimizers=self.learner.optimizers,
            reference=self.reference,
            iteration=iteration,
            step=self.step,
            training=training,
        )


def begin(
    run: Run,
    name: str,
    config: RLConfig,
    start: Checkpoint,
    resumed: Resumed | None,
    template: Template,
    stop: Sequence[str],
) -> RLState:
    """Policy, reference, learner and engine: as at the start, or as a checkpoint has them.

    Args:
        run: the run.
        name: of the stage.
        config: the hyper-parameters.
        start: where the stage starts.
        resumed: the checkpoint at which it goes on, None for a new training.
        template: the prompt of the training, which every checkpoint of it names.
        stop: texts that end a response of the training; every checkpoint names them too.
    """
    device, longest = run.world.device, config.max_new_tokens + PROMPT_TOKENS
    origin = _origin(start, config, resumed)
    policy, tokenizer = read_trainable(
        origin,
        resumed.folder if resumed else None,
        config.optimizer,
        device=device,
        seed=derive_seed(run.seed, name, "adapters"),
        max_tokens=max(micro_batch_tokens(device), longest),
    )
    tokenizer = tokenizer.trained_with(template, stop)
    reference = read_reference(start.path, policy, config.optimizer, device=device) if config.kl_coef else None

    load = workload(policy.config, config, device, num_processes=run.world.size)
    if told := memory_notice(policy.config, config.optimizer, load, device):
        run.say(f"{name}: {told}")

    before, first_iteration = _before(config, resumed), resumed.iteration if resumed else 0
    total_steps = config.iterations * num_updates(config)
    learner = Learner(
        policy,
        adamw(policy, config.optimizer),
        factor=lambda step: learning_rate_factor(step - before.updates, total_steps, config.optimizer),
        grad_clip=config.optimizer.grad_clip,
        forward=partial(log_probabilities, temperature=config.temperature),
        max_tokens=micro_batch_tokens(device),
        world=run.world,
    )
    if resumed:
        learner.num_steps = resumed.history.updates
        restore_optimizers(learner.optimizers, resumed.tensors)
    if resumed and reference is not None:
        # A training without a KL term has saved no reference: then it is the policy at the start of this stage.
        saved = {name: resumed.tensors.get(f"reference.{name}") for name, _ in reference.named_parameters()}
        reference.load_state_dict({name: weight for name, weight in saved.items() if weight is not None}, strict=False)

    num_rows = decoded_rows(policy.config, longest, size=policy.head_VD.element_size(), device=device)
    engine = LocalEngine(policy, tokenizer, max_rows=num_rows)
    engine.load(policy, learner.num_steps)
    return RLState(
        learner=learner,
        engine=engine,
        reference=reference,
        tokenizer=tokenizer,
        first_iteration=first_iteration,
        before=before,
        origin=origin,
        config=config,
    )


def _before(config: RLConfig, resumed: Resumed | None) -> History:
    """What the training had behind it when the stage began: the checkpoint's history less what the stage has done."""
    if resumed is None:
        return History()
    now = resumed.history
    return History(
        iterations=now.iterations - resumed.iteration,
        updates=now.updates - resumed.step,
        problems=now.problems - resumed.iteration * config.problems_per_iteration,
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
