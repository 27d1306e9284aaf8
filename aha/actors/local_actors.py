"""Opening actors on this machine: from a model folder, as a stage wants to use it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from aha.actors.local import LocalPolicy, LocalRewardModel, score_last
from aha.actors.trainable import DTYPES, memory_notice, read_reference, read_trainable
from aha.actors.workload import PROMPT_TOKENS, Demand, workload
from aha.policy.config import PolicyConfig
from aha.policy.families import make_policy
from aha.policy.policy import Policy
from aha.policy.reward_model import Reads, from_policy
from aha.policy.transformer import initialise
from aha.prompts.templates import Template
from aha.prompts.tokenizer import Tokenizer
from aha.rewards.learned import LearnedReward
from aha.training.checkpoint import read_model, read_scorer
from aha.training.config import OptimizerConfig, Precision
from aha.training.learner import Forward, Learner, log_probabilities
from aha.training.memory import decoded_rows
from aha.training.optimizer import adamw, learning_rate_factor, muon_and_adamw
from aha.training.world import World
from aha.types import Checkpoint

__all__ = ["LocalActors", "TrainingPlan"]

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How a model is going to be trained.

    Attributes:
        name: of the stage, where people are told what it needs.
        optimizer: how gradients become updates.
        num_steps: updates of the stage; the schedule of the learning rate is as long.
        first_step: updates before this stage, which the schedule leaves out.
        demand: what is computed at once.
        seed: of new adapters, of a new head, or of new weights.
        temperature: of every log-probability of a policy.
    """

    name: str
    optimizer: OptimizerConfig
    num_steps: int
    first_step: int = 0
    demand: Demand
    seed: int
    temperature: float = 1.0

    def learning_rate_factor(self, step: int) -> float:
        """Share of the base learning rate at an update, counted over the whole training."""
        # The schedule is the stage's, and a stage may go on where another one has ended.
        step_of_stage = step - self.first_step
        return learning_rate_factor(step_of_stage, self.num_steps, self.optimizer)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalActors:
    """Opens the actors of a run on this machine.

    Attributes:
        world: the processes that share the work.
        say: told what a stage needs, where it is much.
    """

    world: World = field(default_factory=World)
    say: Callable[[str], None] = field(default=lambda text: None)

    def policy(
        self, folder: Path, *, max_new_tokens: int, precision: Precision = "float32", temperature: float = 1.0
    ) -> LocalPolicy:
        """A policy to sample from.

        Args:
            folder: the model folder.
            max_new_tokens: length of the longest response.
            precision: type of the weights that compute.
            temperature: of every log-probability that is computed for given tokens.

        Raises:
            ValueError: the folder is not usable; says why.
        """
        model, tokenizer = read_model(folder, device=self.world.device, dtype=DTYPES[precision])

        # The prompts are not known yet, so that a length is assumed for them.
        num_tokens = PROMPT_TOKENS + max_new_tokens
        num_rows = self._num_rows(model, num_tokens)
        return LocalPolicy(model, tokenizer, self.world, num_rows=num_rows, temperature=temperature)

    def trained_policy(self, start: Path, saved: Path | None, plan: TrainingPlan) -> LocalPolicy:
        """A policy to train, as it starts or as it was saved.

        Args:
            start: the model folder that the stage starts from.
            saved: the checkpoint where it goes on; None at its start.
            plan: how it is trained.

        Raises:
            ValueError: a folder is not usable; says why.
        """
        device = self.world.device
        demand = plan.demand

        # A sequence that is longer than a micro-batch is one by itself.
        micro_batch = demand.micro_batch_on(device)
        max_tokens = max(micro_batch, demand.sequence_tokens)
        model, tokenizer = read_trainable(
            start,
            saved,
            plan.optimizer,
            device=device,
            seed=plan.seed,
            max_tokens=max_tokens,
            num_processes=self.world.size,
        )

        # Before the stage begins, so that nobody has to find out by running out of memory.
        self._announce(model.config, plan)

        forward = partial(log_probabilities, temperature=plan.temperature)
        learner = self._learner(model, adamw(model, plan.optimizer), plan, forward)
        return LocalPolicy(
            model,
            tokenizer,
            self.world,
            num_rows=self._num_rows(model, demand.sequence_tokens),
            learner=learner,
            origin=start,
            temperature=plan.temperature,
        )

    def reference(self, start: Path, policy: LocalPolicy, plan: TrainingPlan) -> LocalPolicy:
        """The reference of a policy: its start, which is not trained.

        Args:
            start: the model folder that the stage starts from.
            policy: from `trained_policy`. Where it has adapters, the frozen weights are shared with it.
            plan: how the policy is trained.
        """
        model = read_reference(start, policy.model, plan.optimizer, device=self.world.device)

        # Without a learner: nothing updates it but `load`.
        return LocalPolicy(
            model,
            policy.tokenizer,
            self.world,
            num_rows=self._num_rows(model, plan.demand.sequence_tokens),
            temperature=plan.temperature,
        )

    def new_policy(
        self, shape: PolicyConfig, tokenizer: Tokenizer, saved: Path | None, plan: TrainingPlan
    ) -> LocalPolicy:
        """A policy to train from random weights, with Muon for its matrices.

        Args:
            shape: of the policy.
            tokenizer: its tokenizer.
            saved: the checkpoint where its training goes on; None at its start.
            plan: how it is trained.
        """
        if saved is not None:
            model, tokenizer = read_model(saved)
        else:
            generator = torch.Generator().manual_seed(plan.seed % 2**63)
            model = make_policy(shape)
            initialise(model, generator)

        learner = self._learner(model, muon_and_adamw(model, plan.optimizer), plan, log_probabilities)
        num_rows = self._num_rows(model, plan.demand.sequence_tokens)
        return LocalPolicy(model, tokenizer, self.world, num_rows=num_rows, learner=learner)

    def reward_model(self, start: Path, saved: Path | None, plan: TrainingPlan, *, reads: Reads) -> LocalRewardModel:
        """A reward model to train.

        Args:
            start: folder of the policy that it starts from.
            saved: the checkpoint where its training goes on; None at its start.
            plan: how it is trained.
            reads: what of a response it reads.
        """
        device = self.world.device
        dtype = DTYPES[plan.optimizer.precision]
        if saved is not None:
            model, tokenizer = read_scorer(saved, device=device, dtype=dtype)
        else:
            policy, tokenizer = read_model(start, device=device, dtype=dtype)

            # It draws the head; the other weights are the policy's.
            generator = torch.Generator().manual_seed(plan.seed % 2**63)
            model = from_policy(policy, generator, reads=reads)

        learner = self._learner(model, adamw(model, plan.optimizer), plan, score_last)
        return LocalRewardModel(model, tokenizer, self.world, learner=learner)

    def learned_reward(
        self, checkpoint: Checkpoint, *, name: str, template: Template, precision: Precision = "float32"
    ) -> LearnedReward:
        """The reward function of a trained reward model.

        Args:
            checkpoint: the reward model.
            name: name of its part of the reward: `helpfulness` or `harmlessness`.
            template: the prompt around a question, as in its preferences.
            precision: type of the weights that compute; scores are float32 in any case.

        Raises:
            ValueError: the checkpoint is damaged, or no reward model.
        """
        model, tokenizer = read_scorer(checkpoint.path, device=self.world.device, dtype=DTYPES[precision])
        return LearnedReward(
            name=name, model=model, tokenizer=tokenizer, key=checkpoint.key, reads=model.reads, template=template
        )

    def _learner(
        self, model: Model, optimizers: list[Optimizer], plan: TrainingPlan, forward: Forward
    ) -> Learner[Model]:
        """What updates a model."""
        return Learner(
            model,
            optimizers,
            factor=plan.learning_rate_factor,
            grad_clip=plan.optimizer.grad_clip,
            forward=forward,
            max_tokens=plan.demand.micro_batch_on(self.world.device),
            world=self.world,
        )

    def _num_rows(self, model: Policy, num_tokens: int) -> int:
        """Responses that are decoded at once."""
        # The cache has the type of the weights.
        size = model.head_VD.element_size()
        return decoded_rows(model.config, num_tokens, size=size, device=self.world.device)

    def _announce(self, shape: PolicyConfig, plan: TrainingPlan) -> None:
        """Say what a stage needs of memory, where it is much."""
        device = self.world.device
        load = workload(shape, plan.demand, plan.optimizer, device, num_processes=self.world.size)
        notice = memory_notice(shape, plan.optimizer, load, device)
        if notice:
            self.say(f"{plan.name}: {notice}")
