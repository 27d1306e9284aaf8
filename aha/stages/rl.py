"""Reinforcement learning: the loop of GRPO's Algorithm 1.

Each iteration samples a group of responses for each problem, scores them, turns rewards into advantages over the
whole rollout, splits it at random into mini-batches, and makes one update with each.

Source: DeepSeekMath, arXiv:2402.03300, Algorithm 1; DeepSeek-R1, arXiv:2501.12948v2, 2.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from aha.advantages.group import group_advantages
from aha.objectives.grpo import grpo_loss
from aha.policy.activations import Activations
from aha.policy.lora import merged
from aha.policy.transformer import Transformer
from aha.problems.sets import digest
from aha.prompts.templates import Template, r1_zero
from aha.prompts.tokenizer import Tokenizer
from aha.rewards.table import RewardTable, identities
from aha.rollouts.engine import Decoding
from aha.rollouts.local import LocalEngine
from aha.runs.seeds import derive_seed, generator
from aha.stages.config import EvaluationConfig, RLConfig
from aha.stages.evaluate import figures, headline, sampling_of, solving
from aha.stages.groups import Sampling, Truth, nothing_known, record, rollout_metrics, sample_groups
from aha.stages.minibatches import batch_of, cost, filled_in, first_responses, mini_batches, needs_no_pass, update
from aha.stages.run import Interrupted, Resumed, Run, Saved, stage_key
from aha.stages.timeline import PARTS, Timeline
from aha.stages.workload import ACTIVATION_BYTES, PROMPT_TOKENS, micro_batch_tokens, workload
from aha.training.batch import select
from aha.training.checkpoint import restore_optimizers
from aha.training.learner import Learner, Objective, log_probabilities
from aha.training.memory import decoded_rows
from aha.training.optimizer import adamw, learning_rate_factor
from aha.training.trainable import adapters_beside, announced, read_reference, read_trainable
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
    "workload",
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
    "true_general",
    "true_helpfulness",
    "true_harmlessness",
    "unparsable",
    "timeout",
    "crash",
)
"""Logged where a reward of that name, its true counterpart, or the verdict of a verifier is known for some of the
prompts."""


class ProblemSource(Protocol):
    """Where the problems of an iteration come from."""

    @property
    def key(self) -> str:
        """What decides the problems: part of the stage's key."""
        ...

    def __call__(self, iteration: int, count: int) -> Sequence[Problem]:
        """The problems of an iteration, `count` of them."""
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
        problems: the training problems of each iteration.
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _State:
    """Everything that lives as long as the stage."""

    learner: Learner[Transformer]
    engine: LocalEngine
    reference: Transformer | None
    tokenizer: Tokenizer
    first_iteration: int

    def saved(self, iteration: int) -> Saved:
        """What a checkpoint after this many iterations holds."""
        return Saved(
            policy=self.learner.policy,
            tokenizer=self.tokenizer,
            optimizers=self.learner.optimizers,
            reference=self.reference,
            iteration=iteration,
            step=self.learner.num_steps,
        )


def rl(run: Run, name: str, *, policy: Checkpoint, task: Task, config: RLConfig, method: Method = GRPO) -> Checkpoint:
    """Train a policy by reinforcement.

    Args:
        run: the run.
        name: of this stage.
        policy: where it starts; also the first reference.
        task: problems, rewards and prompts.
        config: the hyper-parameters.
        method: objective and advantage.

    Returns:
        The trained policy.

    Raises:
        Interrupted: the run was asked to stop; it has saved.
        NonFiniteLossError: training broke down; the last checkpoint is good.
    """
    functions = [method.objective.__qualname__, method.advantage.__qualname__]
    key = stage_key(
        name,
        policy=policy.key,
        task=task.key,
        method=functions,
        config=_deciding(config),
        seed=run.seed,
        processes=run.world.size,
    )
    if done := run.finished(name, key):
        return done
    state = _begin(run, name, config, policy, run.resume(name, key))
    if state.first_iteration == 0:
        _watch(run, name, -1, task, state)
    for iteration in range(state.first_iteration, config.iterations):
        metrics = _iterate(run, name, iteration, config, task, method, state)
        run.report(name, iteration + 1, config.iterations, metrics)
        if (iteration + 1) % config.evaluate_every == 0:
            _watch(run, name, iteration, task, state)
        is_last, should_stop = iteration + 1 == config.iterations, run.should_stop()
        if should_stop or (not is_last and (iteration + 1) % config.checkpoint_every == 0):
            with merged(state.learner.policy):
                run.save(name, key, state.saved(iteration + 1))
        if should_stop:
            raise Interrupted(f"stopped after iteration {iteration + 1} of {config.iterations} of stage {name!r}")
    with adapters_beside(run.folder.path / "stages" / name, policy.path, state.learner.policy, run.folder.is_writer):
        return run.finish(name, key, state.saved(config.iterations), parents=(policy.key,))


def _deciding(config: RLConfig) -> dict[str, object]:
    """The settings that decide a result: how often it is saved or watched does not."""
    return config.model_dump(exclude={"checkpoint_every", "evaluate_every"})


def _iterate(
    run: Run, name: str, iteration: int, config: RLConfig, task: Task, method: Method, state: _State
) -> dict[str, float]:
    """One iteration: sample, score, update, write down."""
    timeline = Timeline(run.world.device)
    decoding = Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature, stop=task.stop)
    named = run.seed, name, iteration, "mini-batches"
    state.learner.activations.begin(state.learner.policy, first_responses(config, generator(*named), run.world))
    with merged(state.learner.policy):
        groups = sample_groups(
            state.engine,
            task.problems(iteration, config.problems_per_iteration),
            Sampling(num_samples=config.group_size, decoding=decoding, seed=(run.seed, name, iteration)),
            reward=task.reward,
            template=task.template,
            world=run.world,
            timeline=timeline,
        )
    advantages_PG = method.advantage(torch.tensor([[reward.total for reward in group.rewards] for group in groups]))
    batch, learner = batch_of(groups, advantages_PG), state.learner
    is_left_out_B = needs_no_pass(advantages_PG, config)
    metrics = rollout_metrics(groups, advantages_PG, task.truth)
    metrics |= update(
        learner,
        state.reference,
        mini_batches(batch, config.num_minibatches, generator(*named), run.world, is_left_out_B, learner.owners),
        filled_in(method.objective, config),
        config,
        name=f"stage {name!r}, iteration {iteration}",
        timeline=timeline,
    )
    state.engine.load(learner.policy, learner.num_steps)
    learned = select(batch, (~is_left_out_B).nonzero()[:, 0])
    metrics |= cost(learner.policy, groups, learned, has_reference=state.reference is not None) | timeline.metrics()
    row = {"stage": name, "iteration": iteration, "step": learner.num_steps, **metrics}
    run.folder.append("metrics", row)
    run.folder.write_rollouts(f"{name}-{iteration:06d}", record(groups, advantages_PG.tolist()))
    return metrics


def _begin(run: Run, name: str, config: RLConfig, start: Checkpoint, resumed: Resumed | None) -> _State:
    """Policy, reference, learner and engine, as at the start or as they were saved."""
    device, longest = run.world.device, config.max_new_tokens + PROMPT_TOKENS
    policy, tokenizer = read_trainable(
        start.path,
        resumed.folder if resumed else None,
        config.optimizer,
        device=device,
        seed=derive_seed(run.seed, name, "adapters"),
        max_tokens=max(micro_batch_tokens(device), longest),
    )
    reference = read_reference(start.path, policy, config.optimizer, device=device) if config.kl_coef else None
    load = workload(policy.config, config, device, num_processes=run.world.size)
    if told := announced(policy.config, config.optimizer, load, device):
        run.say(f"{name}: {told}")
    total_steps, activations = config.iterations * config.num_minibatches, Activations(ACTIVATION_BYTES)
    learner = Learner(
        policy,
        adamw(policy, config.optimizer),
        factor=lambda step: learning_rate_factor(step, total_steps, config.optimizer),
        grad_clip=config.optimizer.grad_clip,
        forward=partial(log_probabilities, temperature=config.temperature, activations=activations),
        max_tokens=micro_batch_tokens(device),
        world=run.world,
    )
    learner.activations = activations
    if resumed:
        learner.num_steps = resumed.step
        restore_optimizers(learner.optimizers, resumed.tensors)
    if resumed and reference is not None:
        kept = {name: resumed.tensors.get(f"reference.{name}") for name, _ in reference.named_parameters()}
        reference.load_state_dict({name: weight for name, weight in kept.items() if weight is not None}, strict=False)
    num_rows = decoded_rows(policy.config, longest, size=policy.head_VD.element_size(), device=device)
    engine = LocalEngine(policy, tokenizer, max_rows=num_rows, activations=activations)
    engine.load(policy, learner.num_steps)
    return _State(
        learner=learner,
        engine=engine,
        reference=reference,
        tokenizer=tokenizer,
        first_iteration=resumed.iteration if resumed else 0,
    )


def _watch(run: Run, name: str, iteration: int, task: Task, state: _State) -> None:
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
    here = Checkpoint(path=run.folder.path, stage=name, step=state.learner.num_steps, key="")
    report = figures(groups, policy=here, config=validation.config, seed=run.seed, measure=solving)
    where = {"name": "validation", "stage": name, "iteration": iteration, "step": here.step}
    run.folder.append("evaluations", {**where, "report": asdict(report)})
    run.say(f"{name} {iteration + 1}: {headline(report)}")
