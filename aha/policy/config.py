"""The shape of a policy, in the words of a Hugging Face `config.json`, and what it stores of a token."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from aha.runs.config import Config

__all__ = ["CacheSpec", "DenseConfig", "HFConfig", "ModelType", "PolicyConfig", "PositionConfig", "RopeConfig"]

ModelType = Literal["qwen2", "qwen3", "llama", "mistral"]
"""Kinds of checkpoints of the dense family: those that are read and written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """What a policy stores of each token to attend to it later.

    Attributes:
        num_layers: layers (L).
        num_heads: key-value heads (J) of a layer.
        key_size: numbers of a key (K).
        value_size: numbers of a value (M).
        value_is_prefix: whether a value is the first M numbers of its key, so that keys alone are stored.
    """

    num_layers: int
    num_heads: int
    key_size: int
    value_size: int
    value_is_prefix: bool = False

    def __post_init__(self) -> None:
        """Check that a value is no longer than its key, where it is part of it."""
        if self.value_is_prefix and self.value_size > self.key_size:
            raise ValueError(f"a value of {self.value_size} numbers is no prefix of a key of {self.key_size}")

    @property
    def stored_sizes(self) -> tuple[int, ...]:
        """Numbers of each vector that is stored for a head: key and value, or the key alone."""
        return (self.key_size,) if self.value_is_prefix else (self.key_size, self.value_size)

    @property
    def numbers_per_token(self) -> int:
        """Numbers that are stored for a token, in all layers."""
        return self.num_layers * self.num_heads * sum(self.stored_sizes)


class RopeConfig(Config):
    """How Llama 3.1 and later stretch their rotary frequencies to longer sequences; see `aha.policy.rope`."""

    factor: float = Field(ge=1)
    """By how much low frequencies are divided."""
    low_freq_factor: float = Field(default=1.0, gt=0)
    """Frequencies with fewer turns than this over the original length are low."""
    high_freq_factor: float = Field(default=4.0, gt=0)
    """Frequencies with more turns than this over the original length stay as they are."""
    original_max_position_embeddings: int = Field(gt=0)
    """Longest sequence before stretching, in tokens."""

    @model_validator(mode="after")
    def _low_is_below_high(self) -> "RopeConfig":
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor {self.low_freq_factor} must be below high_freq_factor {self.high_freq_factor}"
            )
        return self


class PositionConfig(Config):
    """Where a policy's tokens stand."""

    rope_theta: float = Field(default=10000.0, gt=0)
    """Base of the rotary frequencies."""
    rope_scaling: RopeConfig | None = None
    """How they are stretched; None leaves them as they are."""
    max_position_embeddings: int = Field(default=1024, gt=0)
    """Longest sequence, in tokens."""


class PolicyConfig(PositionConfig):
    """What the shapes of all families have in common: blocks of attention and feed-forward layers behind norms."""

    model_type: str
    """Kind of the checkpoint."""
    vocab_size: int = Field(gt=0)
    """Rows of the embedding."""
    hidden_size: int = Field(gt=0)
    """Width (D)."""
    intermediate_size: int = Field(gt=0)
    """Width of the feed-forward layer."""
    num_hidden_layers: int = Field(gt=0)
    """Blocks."""
    num_attention_heads: int = Field(gt=0)
    """Query heads (H)."""
    rms_norm_eps: float = Field(default=1e-6, gt=0)
    """Added to the mean square before its root."""
    tie_word_embeddings: bool = True
    """Whether the output head is the embedding."""

    @abstractmethod
    def cache_spec(self) -> CacheSpec:
        """What a policy of this shape stores of each token."""


class DenseConfig(PolicyConfig):
    """A decoder-only transformer: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

    Qwen2 has a bias on the query, key and value projections; Qwen3 normalises queries and keys; Llama and Mistral have
    neither.
    """

    model_type: ModelType = "qwen3"
    """Kind of the checkpoint."""
    num_key_value_heads: int = Field(gt=0)
    """Key and value heads (J), a divisor of the query heads."""
    head_dim: int = Field(gt=0, multiple_of=2)
    """Size of a head (K)."""
    attention_bias: bool = False
    """Whether all four projections of the attention have a bias; Llama and Qwen3 only."""

    def cache_spec(self) -> CacheSpec:
        """Keys and values of every layer."""
        return CacheSpec(
            num_layers=self.num_hidden_layers,
            num_heads=self.num_key_value_heads,
            key_size=self.head_dim,
            value_size=self.head_dim,
        )

    @model_validator(mode="after")
    def _parts_fit(self) -> "DenseConfig":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.attention_bias and self.model_type not in ("llama", "qwen3"):
            raise ValueError(f"attention_bias is a setting of llama and qwen3; {self.model_type} has none")
        return self


class HFConfig(PolicyConfig):
    """A model that `transformers` computes; its rotary settings and norms are those of the config.json."""

    num_key_value_heads: int = Field(gt=0)
    """Key and value heads (J), a divisor of the query heads."""
    key_size: int = Field(gt=0)
    """Numbers of a head's key (K)."""
    value_size: int = Field(gt=0)
    """Numbers of a head's value (M)."""
    described: dict[str, Any]
    """The content of the config.json that it comes from."""

    def cache_spec(self) -> CacheSpec:
        """Keys and values of every layer."""
        return CacheSpec(
            num_layers=self.num_hidden_layers,
            num_heads=self.num_key_value_heads,
            key_size=self.key_size,
            value_size=self.value_size,
        )
