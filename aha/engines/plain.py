"""Decoding with torch: any device, any type, adapters too. What the compiled decoder is tested against."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from aha.engines.cache import Cache
from aha.engines.decoder import Work, common_length
from aha.policy.scoring import logits_of
from aha.policy.transformer import Transformer

__all__ = ["PlainDecoder"]


@dataclass(slots=True, kw_only=True)
class _Prompt:
    """A prompt that has been computed, without the common beginning.

    Attributes:
        keys_LNGK: its keys.
        values_LNGK: its values.
        logits_V: of the first token of a response.
        num_left: rows that have not been admitted yet.
    """

    keys_LNGK: Tensor
    values_LNGK: Tensor
    logits_V: Tensor
    num_left: int


class PlainDecoder:
    """A `Decoder` over the policy's own forward pass."""

    has_own_threads = False
    look_every = 1

    def __init__(self, policy: Transformer, work: Work) -> None:
        """Compute the prompts' common beginning, and allocate the cache."""
        self._policy, self._work = policy, work
        self._num_common = common_length(work.prompts)
        longest = max(len(prompt) for prompt in work.prompts) - self._num_common + work.max_new_tokens
        self._cache = Cache(
            policy.config,
            num_slots=work.num_slots,
            num_common=self._num_common,
            num_columns=longest,
            like=policy.head_VD,
        )
        if self._num_common:
            streams = self._prefill([work.prompts[0][: self._num_common]], first=0)[1:]
            for kind, stream_LNGK in enumerate(streams):
                self._cache.common_LGCK[kind] = stream_LNGK.transpose(1, 2)
        self._prompts: dict[int, _Prompt] = {}
        self._positions_B = torch.zeros(0, dtype=torch.int64, device=policy.head_VD.device)

    def admit(self, prompts: Sequence[int]) -> Tensor:
        """Add a row for each of these prompts; their logits, [len(prompts), V]."""
        self._compute(sorted(set(prompts) - set(self._prompts)))
        logits = []
        for number in prompts:
            known = self._prompts[number]
            self._cache.add(known.keys_LNGK, known.values_LNGK)
            logits.append(known.logits_V)
            known.num_left -= 1
            if not known.num_left:
                del self._prompts[number]
        lengths = [len(self._work.prompts[number]) for number in prompts]
        self._positions_B = torch.cat((self._positions_B, self._positions_B.new_tensor(lengths)))
        return torch.stack(logits)

    def keep(self, rows_B: Tensor) -> None:
        """Go on with these rows only."""
        self._cache.keep(rows_B)
        self._positions_B = self._positions_B[rows_B]

    def step(self, tokens_B: Tensor) -> Tensor:
        """Take each row's next token; the logits of the one after it, [B, V]."""
        self._cache.open_column()
        hidden_BD = self._policy(tokens_B, self._positions_B, self._cache.attend)
        self._positions_B = self._positions_B + 1
        return logits_of(hidden_BD, self._policy.head_VD)

    def _compute(self, numbers: Sequence[int]) -> None:
        """Prefill these prompts, all in one pass."""
        if not numbers:
            return
        rests = [self._work.prompts[number][self._num_common :] for number in numbers]
        hidden_ND, keys_LNGK, values_LNGK = self._prefill(rests, first=self._num_common)
        stops = torch.tensor([len(rest) for rest in rests]).cumsum(0).tolist()
        logits_PV = logits_of(hidden_ND[[stop - 1 for stop in stops]], self._policy.head_VD)
        for number, rest, stop, logits_V in zip(numbers, rests, stops, logits_PV, strict=True):
            span = slice(stop - len(rest), stop)
            self._prompts[number] = _Prompt(
                keys_LNGK=keys_LNGK[:, span],
                values_LNGK=values_LNGK[:, span],
                logits_V=logits_V,
                num_left=self._work.num_samples,
            )

    def _prefill(self, parts: Sequence[Tensor], first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states, keys and values of token sequences that each follow the first `first` common ones."""
        device, keys, values = self._policy.head_VD.device, [], []
        lengths = [len(part) for part in parts]

        def attend(layer: int, q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor) -> Tensor:
            keys.append(k_NGK)
            values.append(v_NGK)
            before = self._cache.common_LGCK[:, layer, :, :first].transpose(1, 2)
            each = (torch.split(x, lengths) for x in (q_NHK, k_NGK, v_NGK))
            return torch.cat([_causal(q, before[0], k, before[1], v) for q, k, v in zip(*each, strict=True)])

        positions = torch.cat([torch.arange(first, first + length) for length in lengths])
        hidden_ND = self._policy(torch.cat(list(parts)).to(device), positions.to(device), attend)
        return hidden_ND, torch.stack(keys), torch.stack(values)


def _causal(q_NHK: Tensor, k_CGK: Tensor, k_NGK: Tensor, v_CGK: Tensor, v_NGK: Tensor) -> Tensor:
    """Attention of N tokens to C tokens before them and to each other, [N, H, K]."""
    num_queries, num_before = len(q_NHK), len(k_CGK)
    is_seen = torch.ones(num_queries, num_before + num_queries, dtype=torch.bool, device=q_NHK.device).tril(num_before)
    repeat = q_NHK.shape[1] // k_NGK.shape[1]
    k, v = (torch.cat(pair).transpose(0, 1).repeat_interleave(repeat, 0) for pair in ((k_CGK, k_NGK), (v_CGK, v_NGK)))
    return F.scaled_dot_product_attention(q_NHK.transpose(0, 1), k, v, attn_mask=is_seen).transpose(0, 1)
