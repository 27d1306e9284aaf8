"""The local engine: batched decoding in this process, with the learner's own parameters.

Each prompt is computed once for all its responses; a finished row leaves the batch at once; every row draws from its
own seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aha.policy.layout import pack
from aha.policy.transformer import Transformer
from aha.prompts.tokenizer import Tokenizer
from aha.rollouts.cache import Cache
from aha.rollouts.engine import Decoding, Request
from aha.rollouts.sampling import sample_tokens
from aha.runs.seeds import uniforms
from aha.types import Rollout

__all__ = ["LocalEngine"]


@dataclass(slots=True, kw_only=True)
class _Rows:
    """What has been sampled so far, [B] rows in the order of the requests."""

    tokens_BT: Tensor
    logp_BT: Tensor
    lengths_B: Tensor
    has_ended_B: Tensor
    uniforms_BT: Tensor = field(repr=False)


class LocalEngine:
    """An `Engine` in this process. The policy's parameters are shared with the learner, never copied."""

    def __init__(self, policy: Transformer, tokenizer: Tokenizer, *, max_rows: int = 512) -> None:
        """Take a policy.

        Args:
            policy: the policy to sample from.
            tokenizer: its tokenizer.
            max_rows: responses decoded at once, but never fewer than those of one problem.
        """
        self._policy, self._tokenizer, self._max_rows = policy, tokenizer, max_rows
        self._version = 0

    def load(self, policy: Transformer, version: int) -> None:
        """Sample from this policy from now on; its parameters are not copied."""
        self._policy, self._version = policy, version

    def sample(self, requests: Sequence[Request], num_samples: int, decoding: Decoding) -> list[tuple[Rollout, ...]]:
        """The rollouts of each request, in order.

        Args:
            requests: the prompts.
            num_samples: responses for each (G).
            decoding: length, temperature and nucleus.

        Raises:
            ValueError: no samples are asked for, a prompt has no tokens, or prompt and response are longer than the
                policy's positions.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
        prompts = [self._tokenizer.encode_prompt(request.prompt) for request in requests]
        limit = self._policy.config.max_position_embeddings
        for request, prompt in zip(requests, prompts, strict=True):
            if not prompt.numel() or prompt.numel() + decoding.max_new_tokens > limit:
                raise ValueError(
                    f"the prompt of problem {request.problem.id!r} has {prompt.numel()} tokens; "
                    f"with {decoding.max_new_tokens} new ones "
                    f"it must have 1 to {limit} (max_position_embeddings)"
                )
        per_wave = max(1, self._max_rows // num_samples)
        result: list[tuple[Rollout, ...]] = []
        for start in range(0, len(requests), per_wave):
            wave = slice(start, start + per_wave)
            rows = self._decode(requests[wave], prompts[wave], num_samples, decoding)
            result.extend(self._groups(requests[wave], prompts[wave], num_samples, rows))
        return result

    @torch.inference_mode()
    def _decode(
        self, requests: Sequence[Request], prompts: Sequence[Tensor], num_samples: int, decoding: Decoding
    ) -> _Rows:
        """Sample all responses of one wave."""
        policy, device = self._policy, self._policy.head_VD.device
        num_rows, cap = len(requests) * num_samples, decoding.max_new_tokens
        draws = [
            uniforms(cap, *request.seed, request.first_index + index)
            for request in requests
            for index in range(num_samples)
        ]
        rows = _Rows(
            tokens_BT=torch.zeros(num_rows, cap, dtype=torch.int64, device=device),
            logp_BT=torch.zeros(num_rows, cap, device=device),
            lengths_B=torch.full((num_rows,), cap, device=device),
            has_ended_B=torch.zeros(num_rows, dtype=torch.bool, device=device),
            uniforms_BT=torch.stack([torch.from_numpy(draw) for draw in draws]).to(device),
        )
        cache, hidden_BD = self._prefill(prompts, num_samples, cap)
        positions_B = torch.tensor([len(prompt) for prompt in prompts], device=device).repeat_interleave(num_samples)
        alive_B = torch.arange(num_rows, device=device)
        stops = torch.tensor(self._tokenizer.stop_ids, device=device)
        for step in range(cap):
            tokens_B = self._draw(hidden_BD @ policy.head_VD.T, rows, alive_B, step, decoding)
            ended_B = torch.isin(tokens_B, stops)
            if ended_B.any():
                rows.lengths_B[alive_B[ended_B]] = step + 1
                rows.has_ended_B[alive_B[ended_B]] = True
                kept_B = cache.keep(~ended_B)
                alive_B, tokens_B = alive_B[kept_B], tokens_B[kept_B]
            if not len(alive_B) or step + 1 == cap:
                break
            hidden_BD = policy(tokens_B, positions_B[alive_B] + step, cache.attend)
            cache.column += 1
        return rows

    def _draw(self, logits_BV: Tensor, rows: _Rows, alive_B: Tensor, step: int, decoding: Decoding) -> Tensor:
        """Sample and write down the next token of the rows that are still in the batch, [len(alive_B)]."""
        tokens_B, logp_B = sample_tokens(
            logits_BV, rows.uniforms_BT[alive_B, step], temperature=decoding.temperature, top_p=decoding.top_p
        )
        rows.tokens_BT[alive_B, step], rows.logp_BT[alive_B, step] = tokens_B, logp_B
        return tokens_B

    def _prefill(self, prompts: Sequence[Tensor], num_samples: int, cap: int) -> tuple[Cache, Tensor]:
        """Compute every prompt once: the cache, and the hidden states that predict the first tokens, [B, D]."""
        policy = self._policy
        lengths_P = torch.tensor([len(prompt) for prompt in prompts])
        tokens_PT = torch.zeros(len(prompts), int(lengths_P.max()), dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            tokens_PT[row, : len(prompt)] = prompt
        shortest = int(lengths_P.min())
        differs_T = (tokens_PT[:, : shortest - 1] != tokens_PT[:1, : shortest - 1]).any(0).nonzero()
        num_common = int(differs_T[0, 0]) if len(differs_T) else shortest - 1
        layout = pack(tokens_PT.to(policy.head_VD.device), lengths_P, [num_common] * len(prompts))
        keys: list[Tensor] = []
        values: list[Tensor] = []

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys.append(k)
            values.append(v)
            return layout.attend(layer, q, k, v)

        hidden_ND = policy(layout.tokens_N, layout.positions_N, attend)
        last_P = layout.where_BT[torch.arange(len(prompts)), lengths_P - 1]
        starts_P = layout.where_BT[:, num_common].tolist()
        rests = [(start, stop + 1) for start, stop in zip(starts_P, last_P.tolist(), strict=True)]
        cache = Cache(
            policy.config,
            num_rows=len(prompts) * num_samples,
            num_common=num_common,
            num_columns=max(stop - start for start, stop in rests) + cap,
            like=hidden_ND,
        )
        cache.fill(torch.stack(keys), torch.stack(values), rests, num_samples)
        return cache, hidden_ND[last_P].repeat_interleave(num_samples, 0)

    def _groups(
        self, requests: Sequence[Request], prompts: Sequence[Tensor], num_samples: int, rows: _Rows
    ) -> list[tuple[Rollout, ...]]:
        """Cut the rows into rollouts."""
        tokens_BT, logp_BT = rows.tokens_BT.cpu(), rows.logp_BT.cpu()
        groups, lengths, has_ended = [], rows.lengths_B.tolist(), rows.has_ended_B.tolist()
        for place, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            group = []
            for row in range(place * num_samples, (place + 1) * num_samples):
                tokens = tokens_BT[row, : lengths[row]].clone()
                group.append(
                    Rollout(
                        problem_id=request.problem.id,
                        prompt_tokens=prompt,
                        tokens=tokens,
                        logp=logp_BT[row, : lengths[row]].clone(),
                        text=self._tokenizer.decode(tokens[:-1] if has_ended[row] else tokens),
                        finish="stop" if has_ended[row] else "length",
                        policy_version=self._version,
                    )
                )
            groups.append(tuple(group))
        return groups
