"""Reinforcement learning: the loop of GRPO's Algorithm 1.

Each iteration samples a group of responses for each problem, scores them, turns rewards into advantages over the
whole rollout, splits it at random into mini-batches, and makes one update with each.

Source: DeepSeekMath, arXiv:2402.03300, Algorithm 1; DeepSeek-R1, arXiv:2501.12948v2, 2.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor

from aha.advantages.group import group_advantages
from aha.engines.engine import Decoding
from aha.objectives.grpo import grpo_loss
from aha.policy.lora import merged
from aha.problems.datasets.sets import digest
from aha.prompts.templates import Template, r1_zero
from aha.rewards.table import RewardTable, identities
from aha.runs.seeds import generator
from aha.stages.config import EvaluationConfig, RLConfig
from aha.stages.evaluate import figures, headline, sampling_of, solving
from aha.stages.groups import Sampling, Truth, nothing_known, record, rollout_metrics, sample_groups
from aha.stages.minibatches import (
    batch_of,
    cost,
    mini_batches,
    needs_no_pass,
    update,
    with_settings,
)
from aha.stages.rl_state import RLState, begin, optimizer_shape
from aha.stages.run import Interrupted, Run, stage_key, training_state
from aha.stages.timeline import PARTS, Timeline
from aha.training.batch import select
from aha.training.learner import Objective
from aha.training.trainable import adapters_beside
from aha.types import Checkpoint, Problem

__all__ = [
    "GRPO",
    "METRICS",
    "OPTIONAL_METRICS",
    "Advantage",
    "Method",
    "ProblemSource",
    "Task",
    "Validation",
    "rl",
]

METRICS = (
    "reward",
    "accuracy",
    "format",
    "length",
    "truncated",
    "reflection",
    "mixing",
    "zero_spread",
    "entropy",
    "kl",
    "ratio",
    "clip_fraction",
    "loss",
    "grad_norm",
    "learning_rate",
    "logp_gap",
    "tokens",
    "trained_tokens",
    "flops",
    *(f"seconds_{part}" for part in PARTS),
    "seconds",
)
"""What is logged for every iteration; `docs/metrics.md` defines each, and says which are missing without a KL term."""

OPTIONAL_METRICS = (
    "language",
    "helpfulness",
    "harmlessness",
    "reward_NAME",
    "true_general",
    "true_helpfulness",
    "true_harmlessness",
    "unparsable",
    "timeout",
    "crash",
    "unsupported",
)
"""Logged where a reward of that name, its true counterpart, or the verdict of a verifier is known for some of the
prompts. `reward_NAME` stands for the part NAME of a reward function that is none of the built-in ones."""


class ProblemSource(Protocol):
    """An endless stream of problems, any part of which can be had at once."""

    @property
    def key(self) -> str:
        """What decides the problems: part of the stage's key."""
        ...

    def __call__(self, start: int, count: int) -> Sequence[Problem]:
        """The next `count` problems, after `start` of them were asked."""
        ...


Advantage = Callable[[Tensor], Tensor]
"""From rewards [P, G] to advantages [P, G]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Held-out problems on which a stage is watched, and how they are sampled."""

    problems: Sequence[Problem]
    config: EvaluationConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a policy is trained to do.

    Attributes:
        problems: the stream of training problems.
        reward: reward functions and weights by domain.
        validation: what the stage is watched on.
        template: the prompt around a question.
        truth: what learned rewards are compared with, by name; logged, never trained on.
        stop: texts that end a response, in training and in validation.
    """

    problems: ProblemSource
    reward: RewardTable
    validation: Validation
    template: Template = r1_zero
    truth: Truth = nothing_known
    stop: tuple[str, ...] = ()

    @property
    def key(self) -> dict[str, object]:
        """What decides the task: part of the stage's key."""
        watched = [digest(self.validation.problems), self.validation.config.model_dump()]
        return {
            "problems": self.problems.key,
            "rewards": identities(self.reward),
            "validation": watched,
            "template": self.template(""),
            **({"stop": list(self.stop)} if self.stop else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How rewards become gradients.

    Attributes:
        objective: the loss; takes `clip_eps` and `kl_coef`. Without KL, advantages of zero give it no gradient.
        advantage: from rewards to advantages, over the whole rollout.
    """

    objective: Objective
    advantage: Advantage


GRPO = Method(objective=grpo_loss, advantage=group_advantages)
"""GRPO as DeepSeekMath has it; R1's printed form has `grpo_sequence_loss` as its objective."""


def rl(
    run: Run,
    name: str,
    *,
    policy: Checkpoint,
    task: Task,
    config: RLConfig,
    method: Method = GRPO,
    continues: bool = False,
) -> Checkpoint:
    """Train a policy by reinforcement.

    Args:
        run: the run.
        name: of this stage.
        policy: where it starts; also the first reference.
        task: problems, rewards and prompts.
        config: the hyper-parameters; with 0 iterations the policy is handed on as it is.
        method: objective and advantage.
        continues: go on with the training that made the policy: with its moments and its reference, at its place in the
            data stream. Only the schedule of the learning rate begins again. Otherwise this is a new training.

    Returns:
        The trained policy.

    Raises:
        Interrupted: the run was asked to stop; it has saved.
        NonFiniteLossError: training broke down; the last checkpoint is good.
        ValueError: the policy's folder holds no training to go on with, or one of other optimizer settings.
    """
    if not config.iterations:
        run.skip(name)
        return policy

    functions = [method.objective.__qualname__, method.advantage.__qualname__]
    key = stage_key(
        name,
        policy=policy.key,
        task=task.key,
        method=functions,
        config=_deciding(config),
        seed=run.seed,
        processes=run.world.size,
        **({"continues": True} if continues else {}),
    )
    if done := run.finished(name, key):
        return done

    # A stage that was interrupted goes on from its own checkpoint, which knows what it continued.
    resumed = run.resume(name, key)
    if resumed is None and continues:
        resumed = training_state(policy, optimizer_shape(config.optimizer))
    state = begin(run, name, config, policy, resumed, task.template, task.stop)
    if state.first_iteration == 0:
        _watch(run, name, -1, task, state)

    for iteration in range(state.first_iteration, config.iterations):
        metrics = _iterate(run, name, iteration, task, method, state)
        run.report(name, iteration + 1, config.iterations, metrics)
        if (iteration + 1) % config.evaluate_every == 0:
            _watch(run, name, iteration, task, state)

        is_last, should_stop = iteration + 1 == config.iterations, run.should_stop()
        if should_stop or (not is_last and (iteration + 1) % config.checkpoint_every == 0):
            with merged(state.learner.policy):
                run.save(name, key, state.saved(iteration + 1))
        if should_stop:
            raise Interrupted(f"stopped after iteration {iteration + 1} of {config.iterations} of stage {name!r}")

    with adapters_beside(run.folder.path / "stages" / name, state.origin, state.learner.policy, run.folder.is_writer):
        return run.finish(name, key, state.saved(config.iterations), parents=(policy.key,))


def _deciding(config: RLConfig) -> dict[str, object]:
    """The settings that decide a result: how often it is saved or watched does not."""
    return config.model_dump(exclude={"checkpoint_every", "evaluate_every"})


def _iterate(run: Run, name: str, iteration: int, task: Task, method: Method, state: RLState) -> dict[str, float]:
    """One iteration: sample, score, update, write down."""
    config = state.config
    timeline = Timeline(run.world.device)
    decoding = Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature, stop=task.stop)
    history = state.history(iteration)
    seed = run.seed, name, history.iterations
    with merged(state.learner.policy):
        groups = sample_groups(
            state.engine,
            task.problems(history.problems, config.problems_per_iteration),
            Sampling(num_samples=config.group_size, decoding=decoding, seed=seed),
            reward=task.reward,
            template=task.template,
            world=run.world,
            timeline=timeline,
        )

    # Advantages are computed over the whole rollout, before it is split into mini-batches (DeepSeekMath, Algorithm 1).
    advantages_PG = method.advantage(torch.tensor([[reward.total for reward in group.rewards] for group in groups]))
    batch, learner = batch_of(groups, advantages_PG), state.learner
    is_left_out_B = needs_no_pass(advantages_PG, config)
    metrics = rollout_metrics(groups, advantages_PG, task.truth)
    metrics |= update(
        learner,
        state.reference,
        mini_batches(batch, config.num_minibatches, generator(*seed, "mini-batches"), run.world, is_left_out_B),
        with_settings(method.objective, config),
        config,
        name=f"stage {name!r}, iteration {iteration}",
        timeline=timeline,
    )
    state.engine.load(learner.policy, learner.num_steps)
    learned = select(batch, (~is_left_out_B).nonzero()[:, 0])
    metrics |= cost(learner.policy, groups, learned, has_reference=state.reference is not None) | timeline.metrics()
    row = {"stage": name, "iteration": iteration, "step": state.step, **metrics}
    run.folder.append("metrics", row)
    if iteration % run.keep_rollouts == 0:
        run.folder.write_rollouts(f"{name}-{iteration:06d}", record(groups, advantages_PG.tolist()))
    return metrics


def _watch(run: Run, name: str, iteration: int, task: Task, state: RLState) -> None:
    """Evaluate on the validation split, and log it."""
    validation = task.validation
    with merged(state.learner.policy):
        groups = sample_groups(
            state.engine,
            validation.problems,
            sampling_of(validation.config, (run.seed, name, iteration, "validation"), task.stop),
            reward=task.reward,
            template=task.template,
            world=run.world,
        )
    here = Checkpoint(path=run.folder.path, stage=name, step=state.step, key="")
    report = figures(groups, policy=here, config=validation.config, seed=run.seed, measure=solving)
    where = {"name": "validation", "stage": name, "iteration": iteration, "step": here.step}
    run.folder.append("evaluations", {**where, "report": asdict(report)})
    run.say(f"{name} {iteration + 1}: {headline(report)}")
