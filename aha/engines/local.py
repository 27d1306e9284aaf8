"""The local engine: continuous batching in this process, with the learner's own parameters.

What is submitted waits until a batch is opened for it (`aha.engines.batch`): with the first step after an idle time.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from aha.engines.batch import FinishedRequest, RequestState, RunningBatch, SharedPrompt, remove_request
from aha.engines.compiled import CompiledDecoder
from aha.engines.decoder import Capacity, Decoder, DecoderFactory, Prompt, Work, unique_prompts, work_for
from aha.engines.engine import OnTokens, Request, RequestId
from aha.engines.graphed import GraphedDecoder
from aha.engines.plain import PlainDecoder
from aha.engines.stopping import StopStrings
from aha.policy.fast.paths import can_be_graphed, can_be_packed
from aha.policy.policy import Policy
from aha.prompts.templates import opening_of
from aha.prompts.tokenizer import Tokenizer
from aha.types import Rollout

__all__ = ["LocalEngine", "fastest_decoder", "torch_threads"]


def fastest_decoder(policy: Policy, work: Work) -> Decoder:
    """What computes the policy fastest, a `DecoderFactory`: C on the CPU, graphs on a GPU, torch for what is left."""
    if can_be_graphed(policy):
        return GraphedDecoder(policy, work)
    if can_be_packed(policy):
        return CompiledDecoder(policy, work)
    return PlainDecoder(policy, work)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """A context in which torch computes with `count` threads."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return

    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class LocalEngine:
    """An `Engine` in this process.

    A batch has memory for the requests that wait when it is opened. Requests that are submitted while it runs join it
    where the engine has a `capacity` and they are within that; others wait until it has ended.

    The policy's weights must not change, not even in place, while requests run.
    """

    def __init__(
        self,
        policy: Policy,
        tokenizer: Tokenizer,
        *,
        version: int = 0,
        max_rows: int = 512,
        capacity: Capacity | None = None,
        decoder: DecoderFactory = fastest_decoder,
    ) -> None:
        """Take a policy.

        Args:
            policy: the policy to sample from, as it is when a batch is opened.
            tokenizer: its tokenizer.
            version: updates that the policy has seen.
            max_rows: responses decoded at once (slots).
            capacity: what a batch has memory for besides what waits when it is opened, in all `max_rows` slots; None
                for no more than that, which needs the least memory.
            decoder: what computes logits.
        """
        self._policy = policy
        self._tokenizer = tokenizer
        self._max_rows = max_rows
        self._capacity = capacity
        self._decoder = decoder
        self._version = version
        self._num_requests = 0
        self._waiting: deque[RequestState] = deque()
        self._batch: RunningBatch | None = None
        self._last_prompt: tuple[str, Tensor] | None = None

    def load(self, policy: Policy, version: int) -> None:
        """Sample from this policy from now on, as `Engine.load` says."""
        unfinished = len(self._waiting)
        if self._batch is not None:
            unfinished += len(self._batch)
        if unfinished:
            raise ValueError(
                f"weights of version {version} cannot be loaded while {unfinished} requests are waiting or running: "
                "step until they have ended, or cancel them"
            )
        self._policy = policy
        self._version = version

    def submit(self, request: Request, on_tokens: OnTokens | None = None) -> RequestId:
        """Queue a request.

        Args:
            request: the request.
            on_tokens: told the tokens of its response as they come.

        Raises:
            ValueError: its prompt has no tokens, or prompt and response are longer than the policy's positions.
        """
        tokens = self._encode(request.prompt)
        num_tokens = len(tokens)
        max_new_tokens = request.decoding.max_new_tokens
        limit = self._policy.config.max_position_embeddings
        if not num_tokens or num_tokens + max_new_tokens > limit:
            raise ValueError(
                f"the prompt of request {request.id!r} has {num_tokens} tokens; with {max_new_tokens} new ones "
                f"it must have 1 to {limit} (max_position_embeddings)"
            )

        request_id = RequestId(self._num_requests)
        self._num_requests += 1
        waiting = self._queue_for(num_tokens, max_new_tokens)

        # Only neighbours in a queue share a prompt: then no more prompts are open than rows.
        if waiting and _are_one_group(waiting[-1].request, request):
            shared = waiting[-1].shared
        else:
            shared = SharedPrompt(prompt=Prompt(number=request_id, tokens=tokens))
        shared.num_waiting += 1
        waiting.append(RequestState(request_id=request_id, request=request, shared=shared, on_tokens=on_tokens))
        return request_id

    def step(self) -> list[Rollout]:
        """Compute one token more for every running request; the rollouts of those that have ended with it.

        Where something fails halfway, such as for want of memory, the requests of the batch are gone.
        """
        with torch.inference_mode():
            batch = self._open_batch() if self._batch is None else self._batch
            if batch is None:
                return []

            # If this step fails halfway, the rows are in no known state: the batch is given up.
            self._batch = None
            num_threads = 1 if batch.has_own_threads else torch.get_num_threads()
            with torch_threads(num_threads):
                ended = batch.step()
            self._batch = batch if len(batch) else None

        # Listeners are called last: what they raise leaves an engine that can go on.
        rollouts = [self._rollout(request) for request in ended]
        for new in batch.new_tokens:
            if new.state.on_tokens is not None:
                new.state.on_tokens(new.state.request_id, new.token_ids, new.logp)
        return rollouts

    def cancel(self, request_id: RequestId) -> None:
        """End a request without a rollout, as `Engine.cancel` says."""
        if not 0 <= request_id < self._num_requests:
            raise ValueError(f"there is no request {request_id}; {self._num_requests} have been submitted so far")
        if remove_request(self._waiting, request_id) is not None or self._batch is None:
            return

        with torch.inference_mode():
            self._batch.cancel(request_id)
        if not len(self._batch):
            self._batch = None

    def _encode(self, prompt: str) -> Tensor:
        """Token ids of a prompt. Those of the last one are kept: the requests of a group come one after the other."""
        if self._last_prompt is None or self._last_prompt[0] != prompt:
            self._last_prompt = prompt, self._tokenizer.encode_prompt(prompt)
        return self._last_prompt[1]

    def _queue_for(self, prompt_tokens: int, max_new_tokens: int) -> deque[RequestState]:
        """Where a request of these lengths waits: for a slot of the running batch, or else for the next batch."""
        batch = self._batch
        # Nobody overtakes: behind a request that waits for the next batch all others wait for it too.
        if batch is None or self._capacity is None or self._waiting:
            return self._waiting
        return batch.waiting if batch.has_memory_for(prompt_tokens, max_new_tokens) else self._waiting

    def _open_batch(self) -> RunningBatch | None:
        """A batch of all requests that wait; None where there are none."""
        if not self._waiting:
            return None
        # Without a capacity nobody can join, so that slots beyond those that wait would stay empty.
        num_slots = self._max_rows
        if self._capacity is None:
            num_slots = min(self._max_rows, len(self._waiting))

        prompts = unique_prompts([state.shared.prompt for state in self._waiting])
        work = work_for(
            [prompt.tokens for prompt in prompts],
            num_slots=num_slots,
            max_new_tokens=max(state.request.decoding.max_new_tokens for state in self._waiting),
            capacity=self._capacity,
        )
        decoder = self._decoder(self._policy, work)
        batch = RunningBatch(self._policy, self._tokenizer, decoder, work, waiting=self._waiting)
        self._waiting = deque()
        return batch

    def _rollout(self, ended: FinishedRequest) -> Rollout:
        """The rollout of a request that has ended, without the text of its end token."""
        request = ended.state.request
        tokens_T = ended.tokens_T
        has_end_token = int(tokens_T[-1]) in self._tokenizer.stop_ids
        text = self._tokenizer.decode(tokens_T[:-1] if has_end_token else tokens_T)
        has_ended = has_end_token or StopStrings(request.decoding.stop, self._tokenizer).are_in(text)
        return Rollout(
            problem_id=request.id,
            prompt_tokens=ended.state.shared.prompt.tokens,
            # Copies: these are views of one tensor for all rows of a step, which a rollout would keep in memory.
            tokens=tokens_T.clone(),
            logp=ended.logp_T.clone(),
            # What the prompt has written of the response, such as an opened <think>, is read with it.
            text=opening_of(request.prompt) + text,
            finish="stop" if has_ended else "length",
            policy_version=self._version,
            request_id=ended.state.request_id,
        )


def _are_one_group(first: Request, second: Request) -> bool:
    """Whether two requests differ at most in their index and their decoding."""
    return first.prompt == second.prompt and first.seed == second.seed
