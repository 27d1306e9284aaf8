"""Policies of any other architecture, by the forward pass and the sampler of `transformers` (extra `hf`).

Slower than our own families: prompts are not shared, padding is computed, and all logits exist at once. What is
trained is the same: log-probabilities under the tempered and untruncated policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aha.policy.weights import Dtype

__all__ = ["ExternalPolicy", "Generation", "read_external", "write_external"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How an external policy samples.

    Attributes:
        max_new_tokens: length cap of a response.
        temperature: >= 0; 0 takes the most likely token.
        top_p: nucleus, in (0, 1].
        stop_ids: tokens that end a response.
        pad_id: what follows the end of a response in a batch.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    stop_ids: Sequence[int]
    pad_id: int


class ExternalPolicy(nn.Module):
    """A causal language model of `transformers`.

    Attributes:
        model: the model.
        max_tokens: longest sequence, None where its configuration does not say.
    """

    def __init__(self, model: Any, settings: Any) -> None:
        """Take a model.

        Args:
            model: a causal language model of `transformers`.
            settings: an empty `GenerationConfig` of `transformers`; the model's own, which may truncate or penalise,
                would make what is sampled another policy than what is trained.
        """
        super().__init__()
        self.model = model
        self.model.generation_config = settings
        shape = self.model.config.to_dict()
        lengths = [shape[name] for name in ("max_position_embeddings", "n_positions") if shape.get(name)]
        self.max_tokens: int | None = lengths[0] if lengths else None

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Logits of every next token, [B, T, V].

        Args:
            tokens_BT: sequences, padded on the right.
            lengths_B: tokens of each.
        """
        is_real_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device) < lengths_B[:, None]
        logits_BTV: Tensor = self.model(input_ids=tokens_BT, attention_mask=is_real_BT.long(), use_cache=False).logits
        return logits_BTV

    def score(self, tokens_BT: Tensor, lengths_B: Tensor, mask_BT: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Log-probability of each masked token given the ones before it, as `aha.policy.scoring.score` gives it.

        Args:
            tokens_BT: sequences, padded on the right.
            lengths_B: tokens of each.
            mask_BT: True at the tokens to score; the first token of a sequence cannot be scored.
            temperature: of the distribution that sampled, > 0.

        Returns:
            [B, T], float32, nats; 0 where the mask is False.

        Raises:
            ValueError: the mask asks for a first token.
        """
        if mask_BT[:, 0].any():
            raise ValueError("the first token of a sequence has no log-probability: nothing predicts it")
        logits_MV = self(tokens_BT, lengths_B)[:, :-1][mask_BT[:, 1:]].float() / temperature
        logp_M = torch.log_softmax(logits_MV, dim=-1).gather(-1, tokens_BT[mask_BT][:, None])[:, 0]
        return logp_M.new_zeros(mask_BT.shape).masked_scatter(mask_BT, logp_M)

    @torch.no_grad()
    def sample(self, prompt_T: Tensor, num_samples: int, how: Generation, *, seed: int) -> list[tuple[Tensor, Tensor]]:
        """Responses to one prompt, each with its log-probabilities.

        Args:
            prompt_T: the prompt, at least one token.
            num_samples: responses (G).
            how: length, temperature and nucleus.
            seed: of all draws of this call.

        Returns:
            Tokens [T] as sampled, the stop token included where there is one, and their log-probabilities [T],
            float32, nats: of the tempered, untruncated policy (of the untempered one where the temperature is 0).
        """
        device = next(self.parameters()).device
        prompt_1T = prompt_T[None].to(device)
        drawing = {"temperature": how.temperature, "top_p": how.top_p, "top_k": 0} if how.temperature > 0 else {}
        rows_1T = prompt_1T.repeat(num_samples, 1)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            rows_BT = self.model.generate(
                input_ids=rows_1T,
                attention_mask=torch.ones_like(rows_1T),
                do_sample=how.temperature > 0,
                max_new_tokens=how.max_new_tokens,
                eos_token_id=list(how.stop_ids),
                pad_token_id=how.pad_id,
                **drawing,
            )
        lengths_B = len(prompt_T) + _lengths(rows_BT[:, len(prompt_T) :], how.stop_ids)
        places_T = torch.arange(rows_BT.shape[1], device=device)
        mask_BT = (places_T >= len(prompt_T)) & (places_T < lengths_B[:, None])
        logp_BT = self.score(rows_BT, lengths_B, mask_BT, temperature=how.temperature or 1.0)
        return [(rows_BT[row][mask_BT[row]].cpu(), logp_BT[row][mask_BT[row]].cpu()) for row in range(num_samples)]


def _lengths(responses_BT: Tensor, stop_ids: Sequence[int]) -> Tensor:
    """Tokens of each response, the first stop token included, [B]."""
    is_stop_BT = torch.isin(responses_BT, torch.tensor(list(stop_ids), device=responses_BT.device))
    first_B = is_stop_BT.int().argmax(-1) + 1
    return torch.where(is_stop_BT.any(-1), first_B, responses_BT.shape[1])


def read_external(folder: Path, *, device: torch.device | str = "cpu", dtype: Dtype = torch.float32) -> ExternalPolicy:
    """Read a policy of any architecture from a model folder.

    Args:
        folder: a Hugging Face model folder; code that it holds is never run.
        device: where the parameters go.
        dtype: their type; `auto` takes the checkpoint's.

    Raises:
        ValueError: `transformers` is not installed, or cannot read the folder.
    """
    try:
        import transformers
    except ImportError:
        raise ValueError(
            f"{folder} is no Qwen2, Qwen3, Llama or Mistral checkpoint, and other architectures need the extra hf: "
            "pip install 'aha[hf]'"
        ) from None
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"transformers cannot read the model in {folder} ({reason[:300]})") from None
    policy = ExternalPolicy(model, transformers.GenerationConfig())  # type: ignore[no-untyped-call]  # theirs
    return policy.to(device)


def write_external(policy: ExternalPolicy, folder: Path, *, stop_ids: Sequence[int], pad_id: int) -> None:
    """Write a policy into an existing folder, for `transformers` to read.

    Args:
        policy: the policy.
        folder: where.
        stop_ids: tokens that end a response.
        pad_id: token for padding.
    """
    settings = policy.model.generation_config
    before = (settings.eos_token_id, settings.pad_token_id)
    settings.eos_token_id, settings.pad_token_id = list(stop_ids), pad_id
    try:
        policy.model.save_pretrained(folder, max_shard_size="5GB")
    finally:
        settings.eos_token_id, settings.pad_token_id = before
