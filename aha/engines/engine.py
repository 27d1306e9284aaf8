"""What a sampler is: the boundary between the stages and whatever decodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aha.policy.policy import Policy
from aha.types import Problem, Rollout

__all__ = ["Decoding", "Engine", "OnGroup", "Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How responses are sampled.

    Attributes:
        max_new_tokens: length cap of a response.
        temperature: >= 0; 0 takes the most likely token.
        top_p: nucleus, in (0, 1]; below 1 only for evaluation, since the policy that is trained is the untruncated one.
        stop: texts that end a response besides the model's own end tokens; the response keeps them.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value out of its range.
        """
        if "" in self.stop:
            raise ValueError("a stop string is empty: every response would end with its first token")
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"illegal decoding {self}: max_new_tokens >= 1, temperature >= 0 and 0 < top_p <= 1 are needed"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One problem to answer: its prompt, and the seed path that all its draws hang on.

    Attributes:
        problem: the problem.
        prompt: the rendered prompt.
        seed: names from which each response's draws derive, with its index within the group added.
        first_index: index of the first response; a group may be sampled in parts.
    """

    problem: Problem
    prompt: str
    seed: tuple[int | str, ...]
    first_index: int = 0


OnGroup = Callable[[int, tuple[Rollout, ...]], None]
"""(number of the request, its rollouts in order): told that all responses of a request have ended."""


class Engine(Protocol):
    """Samples responses and takes new weights."""

    def sample(
        self, requests: Sequence[Request], num_samples: int, decoding: Decoding, on_group: OnGroup | None = None
    ) -> list[tuple[Rollout, ...]]:
        """The rollouts of each request, `num_samples` each, in order; `on_group` is told of each group as it ends."""
        ...

    def load(self, policy: Policy, version: int) -> None:
        """Sample from this policy from now on."""
        ...
