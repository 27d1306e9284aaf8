"""The learner: from batches and an objective to one optimizer step."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aha.policy.fast.packed_scoring import packed_score, scores_packed
from aha.policy.policy import Policy
from aha.policy.scoring import score
from aha.training.batch import layout_of, micro_batches, on_device
from aha.training.optimizer import set_learning_rate
from aha.training.world import World
from aha.types import Batch, Loss

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
    """A loss or gradient that is not a number; the policy is as it was before the batch."""


class Learner(Generic[Model]):
    """Updates one policy. The same policy may be sampled from between steps.

    Attributes:
        policy: the policy.
        optimizers: what updates it.
        num_steps: updates so far.
    """

    def __init__(
        self,
        policy: Model,
        optimizers: Sequence[Optimizer],
        *,
        factor: Callable[[int], float],
        grad_clip: float,
        forward: Forward = log_probabilities,
        max_tokens: int = 2560,
        world: World | None = None,
    ) -> None:
        """Take a policy.

        Args:
            policy: the policy to update in place.
            optimizers: over all of its parameters that are trained, each group with a `base_lr`.
            factor: share of the base learning rate at a step.
            grad_clip: largest norm of the gradient.
            forward: makes what the objective sees of the policy and a batch.
            max_tokens: tokens of a micro-batch; bounds memory and changes nothing else.
            world: the processes that add up their gradients.
        """
        self.policy, self.optimizers, self.num_steps = policy, list(optimizers), 0
        self._factor, self._grad_clip, self._forward = factor, grad_clip, forward
        self._max_tokens, self._world = max_tokens, world or World()

    def step(self, batch: Batch, objective: Objective, *, name: str, extra_count: float = 0.0) -> dict[str, float]:
        """One update from this process's part of a batch.

        The gradient is that of sum of totals / sum of counts, over micro-batches and processes alike.

        Args:
            batch: this process's sequences; may be empty if another process has some.
            objective: the loss; the batch's signals are passed to it by name.
            name: what the batch is called in an error.
            extra_count: what counts besides, of sequences without loss and gradient that were left out by this process.

        Returns:
            The objective's metrics, `loss`, `grad_norm` and `learning_rate`.

        Raises:
            NonFiniteLossError: the loss or the gradient is not finite; nothing was updated.
        """
        parts = micro_batches(batch, self._max_tokens)
        return self.step_on(parts, objective, name=name, extra_count=extra_count)

    def step_on(
        self, parts: Sequence[Batch], objective: Objective, *, name: str, extra_count: float = 0.0
    ) -> dict[str, float]:
        """One update from this process's part of a batch, cut into micro-batches by the caller.

        Args:
            parts: the micro-batches, on the CPU; may be empty if another process has some.
            objective: the loss.
            name: what the batch is called in an error.
            extra_count: as in `step`.

        Returns:
            As `step` does.

        Raises:
            NonFiniteLossError: the loss or the gradient is not finite; nothing was updated.
        """
        weights = [weight for weight in self.policy.parameters() if weight.requires_grad]
        for weight in weights:
            _begin_gradient(weight)
        sums: dict[str, Tensor] = {}
        for given in parts:
            output, part = self._forward(self.policy, given), on_device(given, weights[0].device)
            loss = objective(output, mask_BT=part.mask_BT, **part.signals)
            loss.total.backward()  # type: ignore[no-untyped-call]
            _accumulate(sums, loss)
        sums = self._add_up({name: pair.cpu() for name, pair in sums.items()}, extra_count)
        grads = [weight.grad for weight in weights if weight.grad is not None]
        self._world.add_up(grads)
        total, count = sums.pop("loss").tolist()
        if not count:
            raise NonFiniteLossError(f"{name}: no token counts towards the loss; nothing was updated")
        for grad in grads:
            grad /= count
        norm = torch.nn.utils.get_total_norm(grads)
        if not math.isfinite(total) or not math.isfinite(float(norm)):
            raise NonFiniteLossError(
                f"{name}: the loss is {total / count}, the gradient norm {float(norm)}; nothing was updated. "
                "Lower the learning rate, or look at this batch's rollouts"
            )
        torch.nn.utils.clip_grads_with_norm_(weights, self._grad_clip, norm)
        factor = self._factor(self.num_steps)
        set_learning_rate(self.optimizers, factor)
        for optimizer in self.optimizers:
            optimizer.step()
        for weight in weights:
            weight.grad = None
        self.num_steps += 1
        metrics = {key: (value[0] / value[1]).item() if value[1] else 0.0 for key, value in sums.items()}
        rate = self.optimizers[0].param_groups[0]["lr"]
        return metrics | {"loss": total / count, "grad_norm": float(norm), "learning_rate": rate}

    def _add_up(self, sums: dict[str, Tensor], extra_count: float) -> dict[str, Tensor]:
        """Sum (total, count) pairs over the processes; one that had no sequences learns the names from the others."""
        sums["loss"] = sums.get("loss", 0.0) + torch.tensor([0.0, extra_count], dtype=torch.float64)
        names = sorted({name for part in self._world.collect([list(sums)]) for name in part} | {"loss"})
        pairs = [sums.get(name, torch.zeros(2, dtype=torch.float64)) for name in names]
        self._world.add_up(pairs)
        return dict(zip(names, pairs, strict=True))


def _begin_gradient(weight: Tensor) -> None:
    """A gradient of zeros, float32 or better: in bfloat16 later micro-batches would vanish in the sum."""
    precise = torch.promote_types(weight.dtype, torch.float32)
    if precise != weight.dtype:
        weight.grad_dtype = precise
    weight.grad = torch.zeros_like(weight, dtype=precise)


def _accumulate(sums: dict[str, Tensor], loss: Loss) -> None:
    """Add a micro-batch's loss and metrics to the sums, as float64 pairs of total and count, where the loss is.

    Nothing is read here: a GPU goes on while the next micro-batch is laid out.
    """
    figures = {name: (mean.total, mean.count) for name, mean in loss.metrics.items()} | {
        "loss": (loss.total, loss.count)
    }
    for name, (total, count) in figures.items():
        pair = torch.stack((total.detach().double(), count.double()))
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
    scored: list[tuple[Tensor, Tensor]] = []
    rows = Batch(
        tokens_BT=batch.tokens_BT,
        mask_BT=batch.mask_BT,
        lengths_B=batch.lengths_B,
        signals={"row": torch.arange(len(batch.lengths_B))},
    )
    for part in micro_batches(rows, max_tokens):
        scored.append((part.signals["row"], log_probabilities(policy, part, temperature=temperature)))
    result_BT = torch.zeros(batch.mask_BT.shape)
    for row_B, logp_BT in scored:
        result_BT[row_B, : logp_BT.shape[1]] = logp_BT.cpu()
    return result_BT
