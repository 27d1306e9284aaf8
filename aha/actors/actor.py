"""What an actor is: a model wherever it lives, with what samples from it and what updates it.

Policy, reference and reward models are actors. A stage asks its actors and knows nothing of devices, processes,
decoders, adapters or micro-batches.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from torch import Tensor

from aha.engines.engine import OnGroup, Request
from aha.prompts.tokenizer import Tokenizer
from aha.training.learner import Objective
from aha.types import Batch, Rollout

__all__ = ["Actor", "PolicyActor", "Role"]

Role = Literal["policy", "reference"]
"""What an actor does in an algorithm."""

Item = TypeVar("Item")


class Actor(Protocol):
    """A model that is trained."""

    tokenizer: Tokenizer

    @property
    def num_steps(self) -> int:
        """Updates so far, over the whole training."""
        ...

    def share(self, batch: Batch) -> Batch:
        """The sequences of a batch that this process computes, reordered so that equal prompts are neighbours.

        That holds where a single process computes all of them, too. The share may be empty.
        """
        ...

    def share_items(self, items: Sequence[Item]) -> list[Item]:
        """The items of a list that this process works on: every n-th one."""
        ...

    def collect(self, items: Sequence[Item]) -> list[Item]:
        """The items of all processes, in the order from which `share_items` took them."""
        ...

    def update(self, batch: Batch, loss: Objective, *, name: str, extra_count: float = 0.0) -> dict[str, float]:
        """One update.

        The gradient is that of the sum of totals over the sum of counts, over all processes.

        Args:
            batch: this process's sequences, from `share`, with their signals.
            loss: minimised; takes the model's output, `mask_BT` and the signals by name.
            name: what the update is called in an error.
            extra_count: added to the sum of counts, for sequences of the whole batch that were left out because they
                have neither loss nor gradient.

        Returns:
            The metrics of the loss, `loss`, `grad_norm` and `learning_rate`.

        Raises:
            NonFiniteLossError: the loss or the gradient is not finite; nothing was updated.
        """
        ...

    def update_on(self, micro_batches: Sequence[Batch], loss: Objective, *, name: str) -> dict[str, float]:
        """One update on this process's micro-batches, cut by the caller; the metrics include what it cost."""
        ...

    def training_cost(self, num_tokens: int) -> dict[str, float]:
        """What an update on this many tokens costs, as metrics."""
        ...

    def save(self, folder: Path, state: Mapping[str, Any], *, reference: Any = None, with_training: bool) -> None:
        """Write a checkpoint atomically.

        Args:
            folder: its final name.
            state: figures that a stage needs to go on (JSON).
            reference: an actor of the same kind, whose weights are written too; None where there is none.
            with_training: whether moments and reference are written.
        """
        ...

    def save_adapter(self, folder: Path) -> None:
        """Write the adapters alone, as `peft` does; does nothing for a model without adapters."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], *, num_steps: int) -> None:
        """Go on with the moments of a checkpoint, after so many updates."""
        ...


class PolicyActor(Actor, Protocol):
    """A policy, trained or not."""

    def sample(
        self, requests: Sequence[Request], num_samples: int, on_group: OnGroup | None = None
    ) -> list[tuple[Rollout, ...]]:
        """This process's part of the rollouts of each request.

        Args:
            requests: one for each prompt.
            num_samples: responses for each prompt, over all processes.
            on_group: called with a request's number and this process's rollouts as soon as all of them have ended.

        Raises:
            ValueError: the responses cannot be divided among the processes, or a prompt leaves no room for them.
        """
        ...

    def score(self, batch: Batch) -> Tensor:
        """Log-probabilities of the counted tokens, without a gradient, [B, T], nats, on the CPU; 0 elsewhere."""
        ...

    def score_all(self, batch: Batch) -> Tensor:
        """The same of a whole batch, of which each process computes its share; every process gets all of it."""
        ...

    def load(self, policy: Any) -> None:
        """Become equal to another actor of the same kind."""
        ...

    def forward_flops(self, num_tokens: int) -> float:
        """Floating-point operations of a forward pass over this many tokens."""
        ...

    def synchronize(self) -> None:
        """Wait until everything that was asked of the device is done."""
        ...
