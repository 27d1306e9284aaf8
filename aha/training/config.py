"""Configuration of the optimizer."""

from pydantic import Field

from aha.runs.config import Config

__all__ = ["OptimizerConfig"]


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
