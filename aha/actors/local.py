"""Actors on this machine. Each process of a run holds a replica of the model and works on its share of the data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from aha.actors.workload import micro_batch_tokens
from aha.engines.engine import OnGroup, Request, sample
from aha.engines.local import LocalEngine
from aha.policy.config import PolicyConfig
from aha.policy.lora import merged, write_adapter
from aha.policy.policy import Policy
from aha.policy.reward_model import RewardModel, score_responses
from aha.prompts.tokenizer import Tokenizer
from aha.training.batch import layout_of, partition_rows, select
from aha.training.checkpoint import restore_optimizers, write_checkpoint
from aha.training.cost import cost_of_training, forward_flops, num_stream_tokens
from aha.training.learner import Learner, Objective, log_probabilities, reference_logp
from aha.training.world import World
from aha.types import Batch, Rollout

__all__ = ["LocalActor", "LocalPolicy", "LocalRewardModel", "score_last", "synchronize"]

Model = TypeVar("Model", bound=Policy | RewardModel)
Item = TypeVar("Item")


def synchronize(device: torch.device) -> None:
    """Wait until everything that was asked of a device is done; on the CPU it always is."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def score_last(model: RewardModel, batch: Batch) -> Tensor:
    """Score of each sequence of a batch, read at its last token, [B]: a `Forward`."""
    scores_B: Tensor = model(layout_of(batch), batch.lengths_B)
    return scores_B


class LocalActor(Generic[Model]):
    """A model on this machine: an `Actor`.

    Attributes:
        model: the model.
        tokenizer: its tokenizer.
        origin: folder of the weights that adapters were added to.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        world: World,
        *,
        learner: Learner[Model] | None = None,
        origin: Path | None = None,
    ) -> None:
        """Take a model.

        Args:
            model: the model.
            tokenizer: its tokenizer.
            world: the processes that share the work.
            learner: updates the model; None for one that is not trained.
            origin: folder of the weights that adapters were added to, where there are any.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.origin = origin

        self._world = world
        self._learner = learner

    @property
    def learner(self) -> Learner[Model]:
        """What updates the model.

        Raises:
            ValueError: the model is not trained.
        """
        if self._learner is None:
            raise ValueError("this model is not trained: it has no learner")

        return self._learner

    @property
    def num_steps(self) -> int:
        """Updates so far, over the whole training; 0 for a model that is not trained."""
        return self._learner.num_steps if self._learner is not None else 0

    @property
    def shape(self) -> PolicyConfig:
        """Sizes of the model."""
        return self.model.config

    @property
    def max_positions(self) -> int:
        """Positions of the model: tokens of the longest sequence."""
        return self.shape.max_position_embeddings

    @property
    def num_parameters(self) -> int:
        """Weights of the model."""
        sizes = [weight.numel() for weight in self.model.parameters()]
        return sum(sizes)

    def share(self, batch: Batch) -> Batch:
        """The sequences of a batch that this process computes: equal prompts together, tokens divided evenly."""
        return select(batch, self._rows_of_share(batch))

    def _rows_of_share(self, batch: Batch) -> list[int]:
        """The rows of a batch that this process computes."""
        # Every process divides the same batch in the same way, so that nothing has to be agreed on.
        partition = partition_rows(batch, self._world.size)
        return partition[self._world.rank]

    def share_items(self, items: Sequence[Item]) -> list[Item]:
        """The items of a list that this process works on: every n-th one."""
        return self._world.share(items)

    def collect(self, items: Sequence[Item]) -> list[Item]:
        """The items of all processes, in the order from which `share_items` took them."""
        return self._world.collect(items)

    def update(self, batch: Batch, loss: Objective, *, name: str, extra_count: float = 0.0) -> dict[str, float]:
        """One update; see `Actor.update`."""
        # What was left out belongs to the whole batch, so one process alone counts it.
        extra_count = extra_count if self._world.is_first else 0.0
        return self.learner.step(batch, loss, name=name, extra_count=extra_count)

    def update_on(self, micro_batches: Sequence[Batch], loss: Objective, *, name: str) -> dict[str, float]:
        """One update on this process's micro-batches, cut by the caller; the metrics include what it cost."""
        metrics = self.learner.step_on(micro_batches, loss, name=name)

        # The cost is that of the whole update, over all processes.
        own_tokens = sum(num_stream_tokens(batch) for batch in micro_batches)
        num_tokens = sum(self.collect([own_tokens]))
        return metrics | self.training_cost(num_tokens)

    def training_cost(self, num_tokens: int) -> dict[str, float]:
        """What an update on this many tokens costs, as metrics."""
        return cost_of_training(self.model, num_tokens)

    def forward_flops(self, num_tokens: int) -> float:
        """Floating-point operations of a forward pass over this many tokens."""
        return forward_flops(self.model, num_tokens)

    def save(
        self,
        folder: Path,
        state: Mapping[str, Any],
        *,
        reference: "LocalPolicy | None" = None,
        with_training: bool,
    ) -> None:
        """Write a checkpoint atomically; see `Actor.save`. Adapters are merged into the weights that are written."""
        has_learner = with_training and self._learner is not None
        reference_model = None
        if reference is not None and with_training:
            reference_model = reference.model

        # As an ordinary model, so that whoever reads it need not know of adapters; their values are in the optimizer.
        with merged(self.model):
            write_checkpoint(
                folder,
                self.model,
                self.tokenizer,
                state=state,
                optimizers=self.learner.optimizers if has_learner else (),
                reference=reference_model,
            )

    def save_adapter(self, folder: Path) -> None:
        """Write the adapters alone, as `peft` does; does nothing for a model without adapters."""
        # Only adapters freeze weights: every other model is trained as a whole.
        has_adapters = not all(weight.requires_grad for weight in self.model.parameters())
        if has_adapters:
            write_adapter(self.model, folder, start=str(self.origin))

    def restore(self, tensors: Mapping[str, Tensor], *, num_steps: int) -> None:
        """Go on with the moments of a checkpoint, after so many updates."""
        # The number of steps decides where the schedule of the learning rate goes on.
        self.learner.num_steps = num_steps
        restore_optimizers(self.learner.optimizers, tensors)

    def synchronize(self) -> None:
        """Wait until everything that was asked of the device is done."""
        synchronize(self._world.device)


class LocalPolicy(LocalActor[Policy]):
    """A policy on this machine: a `PolicyActor`. It is sampled from as it is at the moment, adapters merged."""

    def __init__(
        self,
        model: Policy,
        tokenizer: Tokenizer,
        world: World,
        *,
        num_rows: int,
        learner: Learner[Policy] | None = None,
        origin: Path | None = None,
        temperature: float = 1.0,
    ) -> None:
        """Take a policy.

        Args:
            model: the policy.
            tokenizer: its tokenizer.
            world: the processes that share the work.
            num_rows: responses that are decoded at once.
            learner: updates the policy; None for one that is not trained.
            origin: folder of the weights that adapters were added to, where there are any.
            temperature: of every log-probability.
        """
        super().__init__(model, tokenizer, world, learner=learner, origin=origin)

        self._num_rows = num_rows
        self._temperature = temperature

    def sample(
        self, requests: Sequence[Request], num_samples: int, on_group: OnGroup | None = None
    ) -> list[tuple[Rollout, ...]]:
        """This process's part of the rollouts of each request; see `PolicyActor.sample`."""
        world = self._world
        if num_samples % world.size:
            raise ValueError(f"{num_samples} samples per problem cannot be divided among {world.size} processes")

        # Every process samples a part of each group. A response is drawn from the seed of its index, so that it is the
        # same whichever process samples it.
        num_own_samples = num_samples // world.size
        first_index = world.rank * num_own_samples
        requests = [replace(request, index=first_index) for request in requests]

        # A new engine for each call: what it holds of weights and caches is memory that the learner needs.
        engine = LocalEngine(self.model, self.tokenizer, version=self.num_steps, max_rows=self._num_rows)
        with merged(self.model):
            return sample(engine, requests, num_own_samples, on_group)

    def score(self, batch: Batch) -> Tensor:
        """Log-probabilities of the counted tokens, without a gradient, [B, T], nats, on the CPU; 0 elsewhere."""
        # Without a backward pass a micro-batch may be larger.
        max_tokens = 4 * micro_batch_tokens(self._world.device)
        return reference_logp(self.model, batch, temperature=self._temperature, max_tokens=max_tokens)

    def score_all(self, batch: Batch) -> Tensor:
        """The same of a whole batch, of which each process computes its share; every process gets all of it."""
        own_rows = self._rows_of_share(batch)
        scored = (own_rows, self.score(select(batch, own_rows)))

        # A share is as wide as its own longest sequence, which may be shorter than that of the whole batch.
        logp_BT = torch.zeros(batch.mask_BT.shape)
        for rows, share_BT in self.collect([scored]):
            num_tokens = share_BT.shape[1]
            logp_BT[rows, :num_tokens] = share_BT
        return logp_BT

    @torch.no_grad()
    def learner_logp(self, batch: Batch) -> Tensor:
        """The same as an update computes them; [B, T], on the CPU."""
        # `score` may use the kernels that decode, whose last bits are others.
        return log_probabilities(self.model, batch, temperature=self._temperature).cpu()

    def load(self, policy: "LocalPolicy") -> None:
        """Become equal to another policy."""
        self.model.load_state_dict(policy.model.state_dict())

    def restore_reference(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights that a checkpoint holds of its reference; what it does not hold stays as it is."""
        saved: dict[str, Tensor] = {}
        for name, _ in self.model.named_parameters():
            weight = tensors.get(f"reference.{name}")
            if weight is not None:
                saved[name] = weight

        # Not strict: of a reference with adapters a checkpoint holds the adapters alone.
        self.model.load_state_dict(saved, strict=False)

    def parameters_not_finite(self) -> list[str]:
        """Names of the weights that hold infinities or NaN."""
        names: list[str] = []
        for name, weight in self.model.named_parameters():
            if not torch.isfinite(weight).all():
                names.append(name)
        return names


class LocalRewardModel(LocalActor[RewardModel]):
    """A reward model on this machine."""

    def score_responses(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> list[float]:
        """The score of each response, without a gradient; a prompt that several share is computed once."""
        return score_responses(self.model, prompts, responses).tolist()

    def shift_scores(self, offset: float) -> None:
        """Subtract a number from every score from now on."""
        # The bias is what the model subtracts.
        self.model.bias.add_(offset)
