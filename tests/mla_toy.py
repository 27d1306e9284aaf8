"""A family of policies that the package does not know: latent attention as DeepSeek-V2 has it, on the scale of a toy.

A layer keeps one vector of each token for all heads: a latent, and behind it a key that turns with the position. A
head's key is made of the latent by `k_up` and has the turned part behind it, its value is made of the latent by `v_up`.
There are two ways to the same numbers:

- expanded: keys and values of all heads are made, and are what is attended to; a value is smaller than a key;
- absorbed: the query is taken through `k_up` instead, so that it meets the latent itself, and what a head reads of the
  latents goes through `v_up` afterwards. One key-value head; its value is the beginning of its key.

Source: DeepSeek-V2, arXiv:2405.04434, section 2.1. Ours: queries have no latent of their own.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from aha.kernels.ops import rotate
from aha.policy.blocks import Backbone, RMSNorm, project
from aha.policy.config import CacheSpec, PolicyConfig
from aha.policy.policy import Context, Policy
from aha.policy.rope import turns


class LatentConfig(PolicyConfig):
    """The shape of a policy with latent attention."""

    model_type: str = "latent"
    latent_size: int = Field(gt=0)
    """Numbers of the latent (R)."""
    plain_size: int = Field(gt=0)
    """Numbers of a head's key that do not turn."""
    rotary_size: int = Field(gt=0, multiple_of=2)
    """Numbers of a head's key that turn, the same for all heads."""
    value_size: int = Field(gt=0)
    """Numbers of a head's value."""
    absorbs: bool = True
    """Which of the two ways is taken."""

    def cache_spec(self) -> CacheSpec:
        """One latent with its turned key, or keys and values of all heads."""
        if self.absorbs:
            return CacheSpec(
                num_layers=self.num_hidden_layers,
                num_heads=1,
                key_size=self.latent_size + self.rotary_size,
                value_size=self.latent_size,
                value_is_prefix=True,
            )
        return CacheSpec(
            num_layers=self.num_hidden_layers,
            num_heads=self.num_attention_heads,
            key_size=self.plain_size + self.rotary_size,
            value_size=self.value_size,
        )


class LatentAttention(nn.Module):
    """Attention over latents."""

    def __init__(self, config: LatentConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.scale = (config.plain_size + config.rotary_size) ** -0.5
        width, heads = config.hidden_size, config.num_attention_heads
        self.q_proj = nn.Linear(width, heads * (config.plain_size + config.rotary_size), bias=False)
        self.latent_proj = nn.Linear(width, config.latent_size + config.rotary_size, bias=False)
        self.latent_norm = RMSNorm(config.latent_size, eps=config.rms_norm_eps)
        self.k_up = nn.Linear(config.latent_size, heads * config.plain_size, bias=False)
        self.v_up = nn.Linear(config.latent_size, heads * config.value_size, bias=False)
        self.o_proj = nn.Linear(heads * config.value_size, width, bias=False)

    def forward(self, hidden_ND: Tensor, cos_NP: Tensor, sin_NP: Tensor, context: Context) -> Tensor:
        """[N, D] -> [N, D]."""
        config = self.config
        q, latent = project(hidden_ND, self.q_proj, self.latent_proj)
        q_NHK = torch.unflatten(q, -1, (config.num_attention_heads, -1))
        plain_NHK, turning_NHP = q_NHK.split([config.plain_size, config.rotary_size], -1)
        turned_NHP = rotate(turning_NHP, cos_NP, sin_NP)
        latent_NR, key_NP = latent.split([config.latent_size, config.rotary_size], -1)
        latent_NR = self.latent_norm(latent_NR)
        key_N1P = rotate(key_NP[:, None], cos_NP, sin_NP)

        mix = self._absorbed if config.absorbs else self._expanded
        values_NHM = mix(plain_NHK, turned_NHP, latent_NR, key_N1P, context)
        (out_ND,) = project(values_NHM.flatten(-2), self.o_proj)
        return out_ND

    def _absorbed(
        self, plain_NHK: Tensor, turned_NHP: Tensor, latent_NR: Tensor, key_N1P: Tensor, context: Context
    ) -> Tensor:
        heads = (self.config.num_attention_heads, -1)
        k_up_HKR = torch.unflatten(self.k_up.weight, 0, heads)
        v_up_HMR = torch.unflatten(self.v_up.weight, 0, heads)
        queries = torch.cat((torch.einsum("nhk,hkr->nhr", plain_NHK, k_up_HKR), turned_NHP), -1)
        keys = torch.cat((latent_NR[:, None], key_N1P), -1)
        read_NHR = context.attend(self.layer, queries, keys, keys[..., : self.config.latent_size], self.scale)
        return torch.einsum("nhr,hmr->nhm", read_NHR, v_up_HMR)

    def _expanded(
        self, plain_NHK: Tensor, turned_NHP: Tensor, latent_NR: Tensor, key_N1P: Tensor, context: Context
    ) -> Tensor:
        heads = (self.config.num_attention_heads, -1)
        plain_keys, values = project(latent_NR, self.k_up, self.v_up)
        plain_keys_NHK, values_NHM = torch.unflatten(plain_keys, -1, heads), torch.unflatten(values, -1, heads)
        keys = torch.cat((plain_keys_NHK, key_N1P.expand(-1, self.config.num_attention_heads, -1)), -1)
        return context.attend(self.layer, torch.cat((plain_NHK, turned_NHP), -1), keys, values_NHM, self.scale)


class LatentPolicy(Policy):
    """The policy."""

    config: LatentConfig

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config, (LatentAttention(config, layer) for layer in range(config.num_hidden_layers)))
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks."""
        return self.model.layers

    def forward(self, tokens_N: Tensor, positions_N: Tensor, context: Context) -> Tensor:
        """Hidden states after the last norm, [N, D]."""
        dtype = self.model.embed_tokens.weight.dtype
        cos_NP, sin_NP = turns(self.config, self.config.rotary_size, positions_N, dtype)
        out: Tensor = self.model(tokens_N, cos_NP, sin_NP, context)
        return out


def latent_config(**changes: object) -> LatentConfig:
    """A configuration with two layers, four heads, and all sizes different."""
    fields = {
        "vocab_size": 11,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "latent_size": 16,
        "plain_size": 8,
        "rotary_size": 6,
        "value_size": 10,
        "rope_theta": 100.0,
        "max_position_embeddings": 256,
    }
    return LatentConfig.model_validate(fields | changes)
