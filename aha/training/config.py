"""Configuration of the optimizer, and of what it trains."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from aha.runs.config import Config

__all__ = ["FOR_POLICIES", "ExportDtype", "LoRAConfig", "OptimizerConfig", "Precision", "Projection", "State"]

State = Literal["float32", "8-bit", "host"]
"""How the moments are held."""

Precision = Literal["float32", "bfloat16"]
"""Type of the weights that compute."""

ExportDtype = Literal["auto", "float32", "bfloat16", "float16"]
"""Type of the weights of a model that is written to be served; `auto` is the one that its training began with."""

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""A projection of a layer, by its name in a checkpoint."""

FOR_POLICIES = "for reinforcement learning and fine-tuning"
"""What settings that other stages refuse are there for."""


class LoRAConfig(Config):
    """Low-rank adapters (arXiv:2106.09685) in place of training all weights."""

    rank: int = Field(default=0, ge=0)
    """Rank of the adapters (r); 0 trains all weights, as the papers do."""
    alpha: float = Field(default=32.0, gt=0)
    """Adapters are scaled by alpha / r. Source: arXiv:2106.09685, 4.1, has a constant; 32 is a common one."""
    targets: tuple[Projection, ...] = Field(default=get_args(Projection), min_length=1)
    """Projections that get an adapter: all of a layer, as QLoRA found best (arXiv:2305.14314, 4)."""


class OptimizerConfig(Config):
    """How gradients become updates."""

    learning_rate: float = Field(default=3e-6, gt=0)
    """Base learning rate. Source: R1 v2 2.1 (R1-Zero)."""
    warmup_steps: int = Field(default=0, ge=0)
    """Updates of linear warm-up. The papers do not report one for RL."""
    final_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the base learning rate that a cosine reaches as the last update ends; 1 is constant."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient. Source: V3 4.2."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment. Source: V3 4.2."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the second moment. Source: V3 4.2."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay. The papers do not report one for RL."""
    state: State = "float32"
    """The moments: float32 beside the weights; 8-bit, a quarter of that; or float32 in the memory of the host."""
    precision: Precision = "float32"
    """Type of the weights that compute, the reference's too; with bfloat16 the optimizer keeps them in float32."""
    lora: LoRAConfig = LoRAConfig()
    """Adapters, where not all weights are trained."""

    @model_validator(mode="after")
    def _adapters_have_whole_moments(self) -> Self:
        if self.lora.rank and self.state == "8-bit":
            raise ValueError(
                "state '8-bit' is for training all weights: the moments of adapters are few; use state 'float32'"
            )
        return self
