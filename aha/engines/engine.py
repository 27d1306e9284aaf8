"""What a sampler is: the boundary between the stages and whatever decodes.

An engine takes requests, computes them together step by step, and returns what has ended. `sample` is the loop over it
that asks for whole groups and waits for all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NewType, Protocol

from aha.policy.policy import Policy
from aha.types import Rollout

__all__ = ["Decoding", "Engine", "OnGroup", "OnTokens", "Request", "RequestId", "sample"]


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
    """One response to be sampled.

    The response is a function of the weights, the prompt, the draws that hang on `seed` and `index`, and `decoding`.

    Attributes:
        id: what is answered, such as the id of a problem; the requests of a group share it.
        prompt: the rendered prompt.
        seed: names from which the draws of the response derive, with `index` added.
        index: index of the response within its group.
        decoding: how it is sampled; requests that run together may differ in it.
    """

    id: str
    prompt: str
    seed: tuple[int | str, ...]
    decoding: Decoding
    index: int = 0


RequestId = NewType("RequestId", int)
"""Number under which an engine knows a request: they count up from 0 in the order of submission."""

OnTokens = Callable[[RequestId, list[int], list[float]], None]
"""(request, token ids, their log-probabilities): told of the new tokens of a request, of each once and in order.

What it raises comes out of `step`; the rollouts of that step are lost then, and the other requests go on.
"""

OnGroup = Callable[[int, tuple[Rollout, ...]], None]
"""(number of the request, its rollouts in order): told that all responses of a request have ended."""


class Engine(Protocol):
    """Samples the responses that are asked for, many at a time."""

    def submit(self, request: Request, on_tokens: OnTokens | None = None) -> RequestId:
        """Queue a request.

        Requests with one prompt and seed that are submitted one after the other share the prefill of the prompt.

        Args:
            request: the request.
            on_tokens: told the tokens of its response as they come, for streaming; at the end of a step.

        Raises:
            ValueError: it cannot be sampled.
        """
        ...

    def step(self) -> list[Rollout]:
        """Compute one token more for every running request; the rollouts of those that have ended with it.

        An engine may look only every few steps which requests have ended. With nothing submitted it does nothing.
        """
        ...

    def cancel(self, request_id: RequestId) -> None:
        """End a request without a rollout; one that has ended is left as it is.

        Raises:
            ValueError: there has never been such a request.
        """
        ...

    def load(self, policy: Policy, version: int) -> None:
        """Sample from this policy from now on.

        Raises:
            ValueError: requests are waiting or running: a response comes from one set of weights.
        """
        ...


def sample(
    engine: Engine, requests: Sequence[Request], num_samples: int, on_group: OnGroup | None = None
) -> list[tuple[Rollout, ...]]:
    """Ask for a group of responses to each request, and wait for all.

    Args:
        engine: an engine to which nothing else is submitted meanwhile.
        requests: one for each group; its responses are numbered from the request's `index` on.
        num_samples: responses for each (G).
        on_group: called with a request's number and its rollouts as soon as all of them have ended.

    Returns:
        The rollouts of each request, in order.

    Raises:
        ValueError: no samples are asked for, a request cannot be sampled, or the engine had other requests running.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be at least 1")

    unfinished: dict[RequestId, tuple[int, int]] = {}
    try:
        for number, request in enumerate(requests):
            for member in range(num_samples):
                request_id = engine.submit(replace(request, index=request.index + member))
                unfinished[request_id] = (number, member)

        groups: list[dict[int, Rollout]] = [{} for _ in requests]
        for number, member, rollout in _finish(engine, unfinished):
            groups[number][member] = rollout
            if on_group is not None and len(groups[number]) == num_samples:
                on_group(number, _in_order(groups[number]))
    finally:
        # Whatever went wrong, the engine is free again, and its memory too.
        for request_id in unfinished:
            engine.cancel(request_id)
    return [_in_order(group) for group in groups]


def _finish(engine: Engine, unfinished: dict[RequestId, tuple[int, int]]) -> Iterator[tuple[int, int, Rollout]]:
    """Step until nothing is unfinished: number of the group, index in it, and rollout of each request as it ends.

    Raises:
        ValueError: a rollout is of none of these requests.
    """
    while unfinished:
        for rollout in engine.step():
            if rollout.request_id is None or rollout.request_id not in unfinished:
                raise ValueError(
                    f"the engine returned a rollout of request {rollout.request_id} ({rollout.problem_id!r}), which "
                    "was submitted before: step until everything has ended, or cancel it, before groups are sampled"
                )
            number, member = unfinished.pop(RequestId(rollout.request_id))
            yield number, member, rollout


def _in_order(group: dict[int, Rollout]) -> tuple[Rollout, ...]:
    """The rollouts of a group, in the order in which they were asked for."""
    return tuple(group[member] for member in sorted(group))
