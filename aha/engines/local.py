"""The local engine: continuous batching in this process, with the learner's own parameters.

Responses wait in a queue for a fixed number of slots. A row that ends leaves at once and its slot is filled again; each
prompt is computed once for all its responses; every row draws from its own seed.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import numpy as np
import torch
from torch import Tensor

from aha.engines.compiled import CompiledDecoder
from aha.engines.decoder import Decoder, DecoderFactory, Work
from aha.engines.engine import Decoding, OnGroup, Request
from aha.engines.graphed import GraphedDecoder
from aha.engines.plain import PlainDecoder
from aha.engines.sampling import sample_tokens
from aha.engines.slots import Slots
from aha.engines.stopping import StopStrings
from aha.policy.fast.paths import can_be_graphed, can_be_packed
from aha.policy.policy import Policy
from aha.prompts.templates import opening_of
from aha.prompts.tokenizer import Tokenizer
from aha.runs.seeds import uniforms
from aha.types import Rollout

__all__ = ["LocalEngine", "fastest_decoder", "torch_threads"]

REFILL_SHARE = 8
"""Slots are filled again when one in so many is free, so that prompts are computed several at a time."""


def fastest_decoder(policy: Policy, work: Work) -> Decoder:
    """What computes the policy fastest, a `DecoderFactory`: C on the CPU, graphs on a GPU, torch for what is left."""
    if can_be_graphed(policy):
        return GraphedDecoder(policy, work)
    return CompiledDecoder(policy, work) if can_be_packed(policy) else PlainDecoder(policy, work)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class LocalEngine:
    """An `Engine` in this process."""

    def __init__(
        self,
        policy: Policy,
        tokenizer: Tokenizer,
        *,
        max_rows: int = 512,
        decoder: DecoderFactory = fastest_decoder,
    ) -> None:
        """Take a policy.

        Args:
            policy: the policy to sample from, as it is whenever `sample` is called.
            tokenizer: its tokenizer.
            max_rows: responses decoded at once (slots).
            decoder: what computes logits.
        """
        self._policy, self._tokenizer, self._max_rows, self._decoder = policy, tokenizer, max_rows, decoder
        self._version = 0

    def load(self, policy: Policy, version: int) -> None:
        """Sample from this policy from now on."""
        self._policy, self._version = policy, version

    def sample(
        self, requests: Sequence[Request], num_samples: int, decoding: Decoding, on_group: OnGroup | None = None
    ) -> list[tuple[Rollout, ...]]:
        """The rollouts of each request, in order.

        Args:
            requests: the prompts.
            num_samples: responses for each (G).
            decoding: length, temperature and nucleus.
            on_group: called with a request's number and its rollouts as soon as all of them have ended.

        Raises:
            ValueError: no samples are asked for, a prompt has no tokens, or prompt and response are longer than the
                policy's positions.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
        prompts = [self._tokenizer.encode_prompt(request.prompt) for request in requests]
        self._check(requests, prompts, decoding)
        work = Work(
            prompts=prompts,
            num_samples=num_samples,
            max_new_tokens=decoding.max_new_tokens,
            num_slots=min(self._max_rows, len(prompts) * num_samples),
        )

        def draws(order: int) -> np.ndarray:
            request, index = requests[order // num_samples], order % num_samples
            return uniforms(decoding.max_new_tokens, *request.seed, request.first_index + index)

        rollouts: dict[int, Rollout] = {}
        num_left = [num_samples] * len(requests)

        def group(number: int) -> tuple[Rollout, ...]:
            return tuple(rollouts[number * num_samples + index] for index in range(num_samples))

        for order, tokens_T, logp_T in self._decode(work, draws, decoding) if requests else ():
            number = order // num_samples
            rollouts[order] = self._rollout(requests[number], prompts[number], tokens_T, logp_T, decoding.stop)
            num_left[number] -= 1
            if on_group is not None and not num_left[number]:
                on_group(number, group(number))
        return [group(number) for number in range(len(requests))]

    def _check(self, requests: Sequence[Request], prompts: Sequence[Tensor], decoding: Decoding) -> None:
        """Refuse prompts that leave no room.

        Raises:
            ValueError: there is one.
        """
        limit = self._policy.config.max_position_embeddings
        for request, prompt in zip(requests, prompts, strict=True):
            if not prompt.numel() or prompt.numel() + decoding.max_new_tokens > limit:
                raise ValueError(
                    f"the prompt of problem {request.problem.id!r} has {prompt.numel()} tokens; "
                    f"with {decoding.max_new_tokens} new ones "
                    f"it must have 1 to {limit} (max_position_embeddings)"
                )

    @torch.inference_mode()
    def _decode(
        self, work: Work, draws: Callable[[int], np.ndarray], decoding: Decoding
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Number, tokens and log-probabilities of each response, as they end."""
        decoder = self._decoder(self._policy, work)
        with torch_threads(1 if decoder.has_own_threads else torch.get_num_threads()):
            yield from self._steps(decoder, work, draws, decoding)

    def _steps(
        self, decoder: Decoder, work: Work, draws: Callable[[int], np.ndarray], decoding: Decoding
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Fill slots, draw a token for each row, let those that end leave, compute the next logits; until all ended."""
        device = self._policy.head_VD.device
        slots = Slots(work.num_slots, work.max_new_tokens, device)
        waiting = deque(range(len(work.prompts) * work.num_samples))
        stops = torch.tensor(self._tokenizer.stop_ids, device=device)
        stop_strings = StopStrings(decoding.stop, self._tokenizer)
        logits_BV = torch.zeros(0, self._policy.config.vocab_size, device=device)
        steps = count(1)
        while waiting or len(slots):
            if waiting and slots.num_free * REFILL_SHARE >= work.num_slots:
                new = [waiting.popleft() for _ in range(min(slots.num_free, len(waiting)))]
                slots.fill(new, [draws(order) for order in new])
                logits_BV = torch.cat((logits_BV, decoder.admit([order // work.num_samples for order in new])))
            tokens_B, logp_B = self._draw(logits_BV, slots, decoding)
            slots.write(tokens_B, logp_B, torch.isin(tokens_B, stops))
            is_looked_at = next(steps) % decoder.look_every == 0
            if is_looked_at and stop_strings:
                _end_at_strings(slots, stop_strings, num_new=decoder.look_every)
            if is_looked_at and slots.is_over_B.any():
                yield from slots.read()
                kept_B = slots.drop()
                decoder.keep(kept_B)
                tokens_B = tokens_B[kept_B]
            logits_BV = decoder.step(tokens_B) if len(slots) else logits_BV[:0]

    def _draw(self, logits_BV: Tensor, slots: Slots, decoding: Decoding) -> tuple[Tensor, Tensor]:
        """Each row's next token and its log-probability, [B]."""
        return sample_tokens(logits_BV, slots.uniforms_B, temperature=decoding.temperature, top_p=decoding.top_p)

    def _rollout(
        self, request: Request, prompt: Tensor, tokens_T: Tensor, logp_T: Tensor, stop: Sequence[str]
    ) -> Rollout:
        """One response, told from the token or the text that may end it."""
        has_end_token = int(tokens_T[-1]) in self._tokenizer.stop_ids
        text = self._tokenizer.decode(tokens_T[:-1] if has_end_token else tokens_T)
        has_ended = has_end_token or StopStrings(stop, self._tokenizer).are_in(text)
        return Rollout(
            problem_id=request.problem.id,
            prompt_tokens=prompt,
            tokens=tokens_T.clone(),
            logp=logp_T.clone(),
            # What the prompt has written of the response, such as an opened <think>, is read with it.
            text=opening_of(request.prompt) + text,
            finish="stop" if has_ended else "length",
            policy_version=self._version,
        )


def _end_at_strings(slots: Slots, stop_strings: StopStrings, *, num_new: int) -> None:
    """End the rows whose newest tokens complete a stop string, each with the token that does."""
    for row in stop_strings.may_end(slots.tails(num_new + stop_strings.num_tail)):
        length = stop_strings.end_of(slots.tokens(row), num_new=num_new)
        if length is not None:
            slots.end(row, length)
