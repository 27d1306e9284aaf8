"""The running batch of the local engine: from the opening of a decoder until all of its requests have ended.

Requests wait in a queue for a fixed number of slots. A row that ends leaves at once and its slot is filled again; each
prompt is computed once for all its responses; every row draws from its own seed.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aha.engines.decoder import Decoder, Prompt, Work
from aha.engines.engine import Decoding, OnTokens, Request, RequestId
from aha.engines.sampling import DecodingGroup, sample_rows
from aha.engines.slots import Slots
from aha.engines.stopping import StopStrings
from aha.policy.policy import Policy
from aha.prompts.tokenizer import Tokenizer
from aha.runs.seeds import uniforms

__all__ = ["FinishedRequest", "NewTokens", "RequestState", "RunningBatch", "SharedPrompt", "remove_request"]

REFILL_SHARE = 8
"""Slots are filled again when at least one in 8 is free, so that several prompts are computed at a time."""


@dataclass(slots=True, kw_only=True, eq=False)
class SharedPrompt:
    """A prompt with the requests that share it.

    Attributes:
        prompt: as the decoder knows it.
        num_waiting: its requests that are not running yet.
    """

    prompt: Prompt
    num_waiting: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class RequestState:
    """A request that waits or runs.

    Attributes:
        request_id: its number at the engine.
        request: what was asked for.
        shared: its prompt.
        on_tokens: called with its new tokens, where there is a listener.
        num_told: tokens with which it has been called so far.
    """

    request_id: RequestId
    request: Request
    shared: SharedPrompt
    on_tokens: OnTokens | None = None
    num_told: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinishedRequest:
    """A request that has ended, with the tokens [T] of its response and their log-probabilities [T]."""

    state: RequestState
    tokens_T: Tensor
    logp_T: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTokens:
    """The tokens of a request since its listener was last called."""

    state: RequestState
    token_ids: list[int]
    logp: list[float]


class RunningBatch:
    """Requests that are decoded together.

    Attributes:
        has_own_threads: as of the decoder.
        waiting: those that have no slot yet, in the order in which they get one.
        new_tokens: what the last step has for listeners.
    """

    def __init__(
        self,
        policy: Policy,
        tokenizer: Tokenizer,
        decoder: Decoder,
        work: Work,
        *,
        waiting: Iterable[RequestState],
    ) -> None:
        """Take a decoder that was made for this work, and the requests that wait for it."""
        device = policy.head_VD.device
        self._tokenizer = tokenizer
        self._decoder = decoder
        self._work = work
        self.has_own_threads = decoder.has_own_threads
        self.waiting = deque(waiting)
        self.new_tokens: list[NewTokens] = []
        self._running: dict[int, RequestState] = {}
        self._rows: list[RequestState] = []
        self._slots = Slots(work.num_slots, work.max_new_tokens, device)
        self._stop_ids = torch.tensor(tokenizer.stop_ids, device=device)
        self._stop_strings: dict[tuple[str, ...], StopStrings] = {}
        self._logits_BV = torch.zeros(0, policy.config.vocab_size, device=device)
        self._decoding_groups: list[DecodingGroup] = []
        self._rows_by_stop: Mapping[tuple[str, ...], Sequence[int]] = {}
        self._listened_to: list[int] = []
        self._has_listeners = False
        self._decodings: set[Decoding] = set()
        self._num_steps = 0

    def __len__(self) -> int:
        """Requests that wait or run."""
        return len(self.waiting) + len(self._running)

    def has_memory_for(self, prompt_tokens: int, max_new_tokens: int) -> bool:
        """Whether a prompt and a response of these lengths are no longer than the decoder can take."""
        return prompt_tokens <= self._work.max_prompt_tokens and max_new_tokens <= self._work.max_new_tokens

    def step(self) -> list[FinishedRequest]:
        """Fill slots, draw a token for each row, let those that end leave, and compute the next logits."""
        self._fill()
        tokens_B, logp_B = sample_rows(self._logits_BV, self._slots.uniforms_B, self._decoding_groups)
        is_last_B = torch.isin(tokens_B, self._stop_ids)
        self._slots.write(tokens_B, logp_B, is_last_B)

        self._num_steps += 1
        self.new_tokens = []
        ended: list[FinishedRequest] = []
        if self._num_steps % self._decoder.look_every == 0:
            # Strings first: listeners must not be told tokens behind the end of a response.
            self._end_at_strings()
            if self._listened_to:
                self.new_tokens = self._collect_new_tokens()
            if self._slots.is_over_B.any():
                ended = self._read()
                tokens_B = tokens_B[self._drop()]

        self._logits_BV = self._decoder.step(tokens_B) if self._rows else self._logits_BV[:0]
        return ended

    def cancel(self, request_id: RequestId) -> bool:
        """End a request without a result; whether it was one of these.

        A slot becomes free with the next look at the rows.
        """
        state = remove_request(self.waiting, request_id)
        if state is not None:
            self._release(state.shared)
            return True
        if request_id not in self._running:
            return False

        row = self._rows.index(self._running.pop(request_id))
        self._slots.end(row, int(self._slots.length_B[row]))
        return True

    def _fill(self) -> None:
        """Give free slots to requests that wait."""
        slots = self._slots
        if not self.waiting or slots.num_free * REFILL_SHARE < self._work.num_slots:
            return

        num_new = min(slots.num_free, len(self.waiting))
        new = [self.waiting.popleft() for _ in range(num_new)]
        request_ids = [state.request_id for state in new]
        draws = [_draws(state.request) for state in new]
        slots.fill(request_ids, draws)

        prompts = [state.shared.prompt for state in new]
        logits_RV = self._decoder.admit(prompts)
        self._logits_BV = torch.cat((self._logits_BV, logits_RV))

        for state in new:
            state.shared.num_waiting -= 1
            self._release(state.shared)
            self._running[state.request_id] = state
            self._decodings.add(state.request.decoding)
            self._has_listeners = self._has_listeners or state.on_tokens is not None
        self._rows += new
        self._partition()

    def _release(self, shared: SharedPrompt) -> None:
        """Tell the decoder of a prompt that none of the waiting requests needs."""
        if not shared.num_waiting:
            self._decoder.release(shared.prompt)

    def _partition(self) -> None:
        """Find out which rows are drawn alike, which have the same stop strings, and which somebody listens to."""
        if self._has_listeners:
            self._listened_to = [row for row, state in enumerate(self._rows) if state.on_tokens is not None]

        # The usual case is quick: rows leave in nearly every step of a large batch.
        if len(self._decodings) == 1:
            (decoding,) = self._decodings
            all_rows = DecodingGroup(rows=None, temperature=decoding.temperature, top_p=decoding.top_p)
            self._decoding_groups = [all_rows]
            self._rows_by_stop = {decoding.stop: range(len(self._rows))}
            return

        # Apart from each other: rows with different strings may still be drawn in one call.
        rows_by_draw: dict[tuple[float, float], list[int]] = {}
        rows_by_stop: dict[tuple[str, ...], list[int]] = {}
        for row, state in enumerate(self._rows):
            decoding = state.request.decoding
            draw = (decoding.temperature, decoding.top_p)
            rows_by_draw.setdefault(draw, []).append(row)
            rows_by_stop.setdefault(decoding.stop, []).append(row)

        self._rows_by_stop = rows_by_stop
        self._decoding_groups = []
        for (temperature, top_p), rows in rows_by_draw.items():
            row_indices = self._stop_ids.new_tensor(rows)
            group = DecodingGroup(rows=row_indices, temperature=temperature, top_p=top_p)
            self._decoding_groups.append(group)

    def _end_at_strings(self) -> None:
        """End the rows whose newest tokens complete a stop string, each with the token that does."""
        num_new = self._decoder.look_every
        for stop, rows in self._rows_by_stop.items():
            if not stop:
                continue
            if stop not in self._stop_strings:
                self._stop_strings[stop] = StopStrings(stop, self._tokenizer)
            stop_strings = self._stop_strings[stop]

            # The last tokens of all rows are decoded at once; only rows that may have ended are decoded as a whole.
            tails = self._slots.tails(num_new + stop_strings.num_tail)
            tails_of_rows = [tails[row] for row in rows]
            for index in stop_strings.may_end(tails_of_rows):
                row = rows[index]
                token_ids, _ = self._slots.since(row, 0)
                length = stop_strings.end_of(token_ids, num_new=num_new)
                if length is not None:
                    self._slots.end(row, length)

    def _collect_new_tokens(self) -> list[NewTokens]:
        """What the listeners have not been told yet."""
        collected: list[NewTokens] = []
        for row in self._listened_to:
            state = self._rows[row]
            # A request that was cancelled still has its row until the next look.
            if state.request_id not in self._running:
                continue

            token_ids, logp = self._slots.since(row, state.num_told)
            state.num_told += len(token_ids)
            collected.append(NewTokens(state=state, token_ids=token_ids, logp=logp))
        return collected

    def _read(self) -> list[FinishedRequest]:
        """The rows that have ended, without those that were cancelled."""
        ended: list[FinishedRequest] = []
        for request_id, tokens_T, logp_T in self._slots.read():
            # A request that was cancelled is not running any more, though its row was.
            state = self._running.pop(request_id, None)
            if state is not None:
                ended.append(FinishedRequest(state=state, tokens_T=tokens_T, logp_T=logp_T))
        return ended

    def _drop(self) -> Tensor:
        """Free the slots of rows that have ended; for each row that is left, which row it was."""
        running_B = self._slots.drop()
        self._decoder.keep(running_B)
        self._rows = [self._rows[row] for row in running_B.tolist()]
        self._partition()
        return running_B


def _draws(request: Request) -> np.ndarray:
    """A uniform draw for each token that a response may have, from the request's own seed.

    All are drawn at once: a response does not depend on when, and beside whom, it is sampled.
    """
    return uniforms(request.decoding.max_new_tokens, *request.seed, request.index)


def remove_request(waiting: deque[RequestState], request_id: RequestId) -> RequestState | None:
    """Take a request out of a queue; None where it is not in there."""
    for state in waiting:
        if state.request_id == request_id:
            waiting.remove(state)
            state.shared.num_waiting -= 1
            return state
    return None
