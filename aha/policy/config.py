"""The shape of a policy, in the words of a Hugging Face `config.json`."""

from typing import Literal

from pydantic import Field, model_validator

from aha.runs.config import Config

__all__ = ["ModelType", "PolicyConfig"]

ModelType = Literal["qwen2", "qwen3", "llama"]
"""Families of checkpoints that are read and written."""


class PolicyConfig(Config):
    """A decoder-only transformer: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

    Qwen2 has a bias on the query, key and value projections; Qwen3 normalises queries and keys; Llama has neither.
    """

    model_type: ModelType = "qwen3"
    """Family of the checkpoint."""
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
    num_key_value_heads: int = Field(gt=0)
    """Key and value heads, a divisor of the query heads."""
    head_dim: int = Field(gt=0, multiple_of=2)
    """Size of a head (K)."""
    rope_theta: float = Field(default=10000.0, gt=0)
    """Base of the rotary frequencies."""
    rms_norm_eps: float = Field(default=1e-6, gt=0)
    """Added to the mean square before its root."""
    tie_word_embeddings: bool = True
    """Whether the output head is the embedding."""
    max_position_embeddings: int = Field(default=1024, gt=0)
    """Longest sequence, in tokens."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "PolicyConfig":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        return self
