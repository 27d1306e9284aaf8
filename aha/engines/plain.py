"""Decoding with torch: any device, any type, adapters too. What the compiled decoder is tested against."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from aha.engines.cache import Cache
from aha.engines.decoder import Prompt, Work, last_tokens, new_prompts
from aha.policy.policy import Policy
from aha.policy.scoring import logits_of

__all__ = ["PlainDecoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PromptCache:
    """Keys and values of a prompt behind the common beginning, and the logits of a response's first token."""

    keys_LNJK: Tensor
    values_LNJM: Tensor
    logits_V: Tensor


class PlainDecoder:
    """A `Decoder` over the policy's own forward pass."""

    has_own_threads = False
    look_every = 1

    def __init__(self, policy: Policy, work: Work) -> None:
        """Compute the prompts' common beginning, and allocate the cache."""
        self._policy = policy
        self._num_common = len(work.common)
        self._cache = Cache(
            policy.cache_spec(),
            num_slots=work.num_slots,
            num_common=self._num_common,
            num_columns=work.max_prompt_tokens - self._num_common + work.max_new_tokens,
            like=policy.head_VD,
        )
        if self._num_common:
            _, keys_LNJK, values_LNJM = self._prefill([work.common], first=0)
            self._cache.set_common(keys_LNJK, values_LNJM)
        self._prompts: dict[int, _PromptCache] = {}
        self._positions_B = torch.zeros(0, dtype=torch.int64, device=policy.head_VD.device)

    def admit(self, prompts: Sequence[Prompt]) -> Tensor:
        """Add a row for each of these prompts; their logits, [len(prompts), V]."""
        self._compute(new_prompts(prompts, self._prompts))
        logits: list[Tensor] = []
        for prompt in prompts:
            computed = self._prompts[prompt.number]
            self._cache.add(computed.keys_LNJK, computed.values_LNJM)
            logits.append(computed.logits_V)

        # A row goes on behind its prompt.
        lengths = [len(prompt.tokens) for prompt in prompts]
        new_positions_B = self._positions_B.new_tensor(lengths)
        self._positions_B = torch.cat((self._positions_B, new_positions_B))
        return torch.stack(logits)

    def release(self, prompt: Prompt) -> None:
        """Forget a prompt of which no further row will be added: each row has a copy of its keys and values."""
        self._prompts.pop(prompt.number, None)

    def keep(self, rows_B: Tensor) -> None:
        """Go on with these rows only."""
        self._cache.keep(rows_B)
        self._positions_B = self._positions_B[rows_B]

    def step(self, tokens_B: Tensor) -> Tensor:
        """Take each row's next token; the logits of the one after it, [B, V]."""
        self._cache.open_column()
        hidden_BD = self._policy(tokens_B, self._positions_B, self._cache)
        self._positions_B = self._positions_B + 1
        return logits_of(hidden_BD, self._policy.head_VD)

    def _compute(self, prompts: Sequence[Prompt]) -> None:
        """Prefill these prompts, all in one pass."""
        if not prompts:
            return

        rests = [prompt.tokens[self._num_common :] for prompt in prompts]
        hidden_ND, keys_LNJK, values_LNJM = self._prefill(rests, first=self._num_common)
        last_PD = hidden_ND[last_tokens(rests)]
        logits_PV = logits_of(last_PD, self._policy.head_VD)

        lengths = [len(rest) for rest in rests]
        keys = torch.split(keys_LNJK, lengths, dim=1)
        values = torch.split(values_LNJM, lengths, dim=1)
        for prompt, k, v, logits_V in zip(prompts, keys, values, logits_PV, strict=True):
            self._prompts[prompt.number] = _PromptCache(keys_LNJK=k, values_LNJM=v, logits_V=logits_V)

    def _prefill(self, parts: Sequence[Tensor], first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states, keys and values of token sequences that each follow the first `first` common ones."""
        device = self._policy.head_VD.device
        lengths = [len(part) for part in parts]
        tokens_N = torch.cat(list(parts)).to(device)
        positions = [torch.arange(first, first + length) for length in lengths]
        positions_N = torch.cat(positions).to(device)

        prompts = _Prompts(self._cache, lengths, first)
        hidden_ND = self._policy(tokens_N, positions_N, prompts)
        return hidden_ND, torch.stack(prompts.keys), torch.stack(prompts.values)


class _Prompts:
    """A `Context` of prompts that lie end to end and each follow the common beginning.

    Attributes:
        keys: the prompts' keys, layer by layer, [N, J, K] each.
        values: their values, [N, J, M] each.
    """

    def __init__(self, cache: Cache, lengths: Sequence[int], num_before: int) -> None:
        """Take the cache with the common beginning, each prompt's tokens, and how many common ones they follow."""
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._cache = cache
        self._lengths = list(lengths)
        self._num_before = num_before

    def attend(self, layer: int, q_NHK: Tensor, k_NJK: Tensor, v_NJM: Tensor, scale: float) -> Tensor:
        """Causal attention inside each prompt and to what is before it, [N, H, M]."""
        self.keys.append(k_NJK)
        self.values.append(v_NJM)
        keys_CJK, values_CJM = self._cache.common(layer, self._num_before)

        # One prompt after another: torch's attention takes sequences of different lengths only when they are padded.
        queries = torch.split(q_NHK, self._lengths)
        keys = torch.split(k_NJK, self._lengths)
        values = torch.split(v_NJM, self._lengths)
        outs: list[Tensor] = []
        for q_THK, k_TJK, v_TJM in zip(queries, keys, values, strict=True):
            k_SJK = torch.cat((keys_CJK, k_TJK))
            v_SJM = torch.cat((values_CJM, v_TJM))
            out_THM = _attend_causally(q_THK, k_SJK, v_SJM, scale)
            outs.append(out_THM)

        return torch.cat(outs)


def _attend_causally(q_NHK: Tensor, k_SJK: Tensor, v_SJM: Tensor, scale: float) -> Tensor:
    """Attention of the last N of S tokens to all that come before them and to themselves, [N, H, M]."""
    # The diagonal is shifted: query n is the token behind the first S - N keys and n more.
    num_queries = len(q_NHK)
    num_keys = len(k_SJK)
    is_seen_NS = q_NHK.new_ones(num_queries, num_keys, dtype=torch.bool)
    is_seen_NS = is_seen_NS.tril(num_keys - num_queries)

    # Each key-value head serves several query heads, which torch wants repeated.
    repeat = q_NHK.shape[1] // k_SJK.shape[1]
    q_HNK = q_NHK.transpose(0, 1)
    k_HSK = k_SJK.transpose(0, 1).repeat_interleave(repeat, 0)
    v_HSM = v_SJM.transpose(0, 1).repeat_interleave(repeat, 0)
    out_HNM = F.scaled_dot_product_attention(q_HNK, k_HSK, v_HSM, attn_mask=is_seen_NS, scale=scale)
    return out_HNM.transpose(0, 1)
