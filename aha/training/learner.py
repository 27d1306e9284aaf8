"""The learner: from batches and an objective to one optimizer step."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aha.policy.fast.packed_scoring import packed_score, scores_packed
from aha.policy.policy import Policy
from aha.policy.scoring import score
from aha.training.batch import cut_micro_batches, layout_of, on_device
from aha.training.optimizer import set_learning_rate
from aha.training.world import World
from aha.types import Batch, Loss, Mean

__all__ = ["Forward", "Learner", "NonFiniteLossError", "Objective", "log_probabilities", "reference_logp"]

Model = TypeVar("Model", bound=nn.Module)

Objective = Callable[..., Loss]
"""(output, *, mask_BT, **signals) -> Loss: minimised. The output is what a `Forward` makes of the batch."""

Forward = Callable[[Any, Batch], Tensor]
"""From a model and a batch to what the objective sees: log-probabilities [B, T] of a policy, scores [B] of a reward
model."""


def log_probabilities(policy: Policy, batch: Batch, *, temperature: float = 1.0) -> Tensor:
    """Log-probabilities of a batch's counted tokens, [B, T], nats, 0 where the mask is False: a `Forward`.

    `backward` adds the output head's gradient to its `.grad`, where it has one, without a second tensor of its size.

    Args:
        policy: the policy.
        batch: the sequences.
        temperature: of the distribution that sampled.
    """
    # The last token of a sequence predicts nothing: no layer computes it.
    layout = layout_of(batch, with_last=False)
    return score(policy, layout, batch.tokens_BT, batch.mask_BT, temperature=temperature, adds_up=True)


class NonFiniteLossError(RuntimeError):
    """A loss or gradient that is not a number; the model is as it was before the batch."""


class Learner(Generic[Model]):
    """Updates one model: a policy or a reward model. A policy may be sampled from between steps.

    Attributes:
        model: the model.
        optimizers: what updates it.
        num_steps: updates so far.
    """

    def __init__(
        self,
        model: Model,
        optimizers: Sequence[Optimizer],
        *,
        factor: Callable[[int], float],
        grad_clip: float,
        forward: Forward = log_probabilities,
        max_tokens: int = 2560,
        world: World | None = None,
    ) -> None:
        """Take a model.

        Args:
            model: the model to update in place.
            optimizers: over all of its parameters that are trained, each group with a `base_lr`.
            factor: share of the base learning rate at a step.
            grad_clip: largest norm of the gradient.
            forward: makes what the objective sees of the model and a batch.
            max_tokens: tokens of a micro-batch; bounds memory and changes nothing else.
            world: the processes that add up their gradients.
        """
        self.model = model
        self.optimizers = list(optimizers)
        self.num_steps = 0
        self._factor = factor
        self._grad_clip = grad_clip
        self._forward = forward
        self._max_tokens = max_tokens
        self._world = world or World()

    def step(self, batch: Batch, objective: Objective, *, name: str, extra_count: float = 0.0) -> dict[str, float]:
        """One update from this process's share of a batch.

        The gradient is that of sum of totals / sum of counts, over micro-batches and processes alike.

        Args:
            batch: this process's sequences; may be empty if another process has some.
            objective: the loss; the batch's signals are passed to it by name.
            name: what the batch is called in an error.
            extra_count: added to the loss's count, for sequences without loss and gradient that this process left out.

        Returns:
            The objective's metrics, `loss`, `grad_norm` and `learning_rate`.

        Raises:
            NonFiniteLossError: the loss or the gradient is not finite; nothing was updated.
        """
        micro_batches = cut_micro_batches(batch, self._max_tokens)
        return self.step_on(micro_batches, objective, name=name, extra_count=extra_count)

    def step_on(
        self, micro_batches: Sequence[Batch], objective: Objective, *, name: str, extra_count: float = 0.0
    ) -> dict[str, float]:
        """One update from this process's share of a batch, cut into micro-batches by the caller.

        Args:
            micro_batches: on the CPU; may be empty if another process has some.
            objective: the loss.
            name: what the batch is called in an error.
            extra_count: as in `step`.

        Returns:
            As `step` does.

        Raises:
            NonFiniteLossError: the loss or the gradient is not finite; nothing was updated.
        """
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        for weight in weights:
            _begin_gradient(weight)

        sums = self._backward(micro_batches, objective, weights[0].device)
        sums = self._add_up(sums, extra_count)
        grads = [weight.grad for weight in weights if weight.grad is not None]
        self._world.add_up(grads)

        # The division comes last: a mean of the means of micro-batches would weigh their tokens differently.
        total, count = sums.pop("loss").tolist()
        if not count:
            raise NonFiniteLossError(f"{name}: no token counts towards the loss; nothing was updated")
        for grad in grads:
            grad /= count

        # Checked before any weight is touched: an update with NaN could not be taken back.
        norm = torch.nn.utils.get_total_norm(grads)
        if not math.isfinite(total) or not math.isfinite(float(norm)):
            raise NonFiniteLossError(
                f"{name}: the loss is {total / count}, the gradient norm {float(norm)}; nothing was updated. "
                "Lower the learning rate, or look at this batch's rollouts"
            )

        torch.nn.utils.clip_grads_with_norm_(weights, self._grad_clip, norm)
        set_learning_rate(self.optimizers, self._factor(self.num_steps))
        for optimizer in self.optimizers:
            optimizer.step()
        self.num_steps += 1

        # Sampling comes next and needs the memory.
        for weight in weights:
            weight.grad = None

        rate = self.optimizers[0].param_groups[0]["lr"]
        return _means(sums) | {"loss": total / count, "grad_norm": float(norm), "learning_rate": rate}

    def _backward(
        self, micro_batches: Sequence[Batch], objective: Objective, device: torch.device
    ) -> dict[str, Tensor]:
        """Add the gradients of the micro-batches to the weights'.

        Returns:
            The loss and the metrics, each a float64 pair of total and count, on the CPU.
        """
        sums: dict[str, Tensor] = {}
        for micro_batch in micro_batches:
            # The forward pass takes the batch on the CPU, where layouts are computed without waiting for a GPU.
            output = self._forward(self.model, micro_batch)
            batch_there = on_device(micro_batch, device)
            loss = objective(output, mask_BT=batch_there.mask_BT, **batch_there.signals)

            # The total is differentiated, not the mean: the count is known once all processes have added theirs.
            loss.total.backward()  # type: ignore[no-untyped-call]
            _accumulate(sums, loss)
        return {name: pair.cpu() for name, pair in sums.items()}

    def _add_up(self, sums: dict[str, Tensor], extra_count: float) -> dict[str, Tensor]:
        """Sum (total, count) pairs over the processes; one that had no sequences learns the names from the others."""
        nothing = torch.zeros(2, dtype=torch.float64)
        extra = torch.tensor([0.0, extra_count], dtype=torch.float64)
        sums["loss"] = sums.get("loss", nothing) + extra

        # All processes add up the same names in the same order, or totals of different metrics would be mixed.
        names_by_process = self._world.collect([list(sums)])
        names = sorted(set(chain.from_iterable(names_by_process)))

        # Sums are made in place: each missing pair needs zeros of its own.
        pairs = [sums.get(name, nothing.clone()) for name in names]
        self._world.add_up(pairs)
        return dict(zip(names, pairs, strict=True))


def _means(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Each total over its count; 0 where nothing counted."""
    means: dict[str, float] = {}
    for name, (total, count) in sums.items():
        means[name] = (total / count).item() if count else 0.0
    return means


def _begin_gradient(weight: Tensor) -> None:
    """A gradient of zeros, float32 or better: in bfloat16 later micro-batches would vanish in the sum.

    Since it is there from the start, backward functions can also add to it in place, without a second tensor of its
    size.
    """
    precise = torch.promote_types(weight.dtype, torch.float32)
    if precise != weight.dtype:
        # torch refuses a gradient of another type than the weight's unless it is announced.
        weight.grad_dtype = precise
    weight.grad = torch.zeros_like(weight, dtype=precise)


def _accumulate(sums: dict[str, Tensor], loss: Loss) -> None:
    """Add a micro-batch's loss and metrics to the sums, as float64 pairs of total and count, where the loss is."""
    means: dict[str, Mean | Loss] = {**loss.metrics, "loss": loss}

    # No number is read here, which would wait for a GPU: it computes while the next micro-batch is laid out.
    for name, mean in means.items():
        total = mean.total.detach().double()
        count = mean.count.double()
        pair = torch.stack((total, count))
        sums[name] = sums[name] + pair if name in sums else pair


@torch.no_grad()
def reference_logp(policy: Policy, batch: Batch, *, temperature: float, max_tokens: int = 4096) -> Tensor:
    """Log-probabilities of a batch's counted tokens under a policy that is not trained.

    Args:
        policy: the reference, on any device.
        batch: the sequences, on the CPU.
        temperature: of the distribution that sampled.
        max_tokens: tokens of a micro-batch.

    Returns:
        [B, T], float32, nats, on the CPU; 0 where the mask is False.
    """
    if scores_packed(policy) and len(batch.lengths_B):
        return packed_score(policy, batch.tokens_BT, batch.mask_BT, batch.lengths_B, temperature=temperature)

    # Micro-batches are in an order of their own: each sequence takes its row with it.
    row_B = torch.arange(len(batch.lengths_B))
    numbered = replace(batch, signals={"row": row_B})
    micro_batches = cut_micro_batches(numbered, max_tokens)

    # All are computed before the first is read, so that a GPU never waits between two.
    logp_of_each = [log_probabilities(policy, micro_batch, temperature=temperature) for micro_batch in micro_batches]

    result_BT = torch.zeros(batch.mask_BT.shape)
    for micro_batch, logp_BT in zip(micro_batches, logp_of_each, strict=True):
        # A micro-batch is trimmed to its own longest sequence.
        rows = micro_batch.signals["row"]
        width = logp_BT.shape[1]
        result_BT[rows, :width] = logp_BT.cpu()
    return result_BT
