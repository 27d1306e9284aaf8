"""Configuration of the stages. Defaults are the paper's; where the paper is silent, the field says so."""

from typing import Self

from pydantic import Field, model_validator

from aha.algorithms.catalogue import AnyAlgorithm
from aha.algorithms.grpo import GRPO
from aha.runs.config import Config
from aha.training.config import FOR_POLICIES, OptimizerConfig, Precision

__all__ = [
    "STAGE_KINDS",
    "EvaluationConfig",
    "PretrainConfig",
    "RLConfig",
    "RejectionConfig",
    "RewardModelConfig",
    "SupervisedConfig",
]


class RLConfig(Config):
    """Reinforcement learning."""

    iterations: int = Field(default=650, ge=0)
    """Iterations of sampling and updating; 0 skips the stage. Source: R1 v2 2.1 (10,400 updates, 16 in each)."""
    problems_per_iteration: int = Field(default=512, ge=1)
    """Problems of an iteration (P). Source: R1 v2 2.1 (32 in each of 16 updates)."""
    group_size: int = Field(default=16, ge=2)
    """Rollouts per problem (G). Source: R1 v2 2.1."""
    num_minibatches: int = Field(default=16, ge=1)
    """Updates of an iteration, each on a random part of it of at least two responses. Source: R1 v2 2.1."""
    max_new_tokens: int = Field(default=32768, ge=1)
    """Length cap of a response, tokens. Source: R1 v2 2.1 (65,536 from step 8,200 on: a second stage)."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampling and of every log-probability. Source: R1 v2 2.1."""
    algorithm: AnyAlgorithm = GRPO()
    """How rewards become gradients."""
    reference_every: int = Field(default=400, ge=1)
    """Updates after which the reference becomes the policy. Source: R1 v2 2.1."""
    evaluate_every: int = Field(default=10, ge=1)
    """Iterations between evaluations on the validation split."""
    checkpoint_every: int = Field(default=10, ge=1)
    """Iterations between checkpoints; decides what a killed run repeats, never a result."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How gradients become updates."""

    def deciding_settings(self) -> dict[str, object]:
        """The settings that decide a result: how often it is saved or watched does not."""
        return self.model_dump(exclude={"checkpoint_every", "evaluate_every"})


class SupervisedConfig(Config):
    """Learning from given data: fine-tuning on demonstrations, reward models on preferences."""

    epochs: int = Field(default=2, ge=1)
    """Passes over the data. Source: R1 v2 B.4.2 (2 for fine-tuning), 3.1 (1 for reward models)."""
    batch_size: int = Field(default=64, ge=1)
    """Packed sequences of an update; prompts, for a reward model. Source: R1 v2 B.4.2 (64), 3.1 (256)."""
    max_tokens: int = Field(default=32768, ge=16)
    """Length of a packed sequence, tokens. Source: R1 v2 B.4.2 (32,768), 3.1 (8,192)."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Updates between checkpoints; decides what a killed run repeats, never a result."""
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=5e-6, final_share=0.1)
    """How gradients become updates. Source: R1 v2 B.4.2 (5e-6, a cosine to a tenth), 3.1 (6e-6)."""


class RewardModelConfig(SupervisedConfig):
    """Training of a reward model, which has a head that learns from nothing, and so no adapters."""

    @model_validator(mode="after")
    def _trains_all_weights(self) -> Self:
        if rank := self.optimizer.lora.rank:
            raise ValueError(f"--optimizer.lora.rank: {rank} is {FOR_POLICIES}; reward models take 0")
        return self


class RejectionConfig(Config):
    """Sampling from a policy of which only a part is kept."""

    num_problems: int = Field(default=150_000, ge=1)
    """Prompts. The paper gives only what was kept, about 600k samples (R1 v2 B.3.3)."""
    num_samples: int = Field(default=16, ge=1)
    """Responses for each prompt. R1 v1 2.3.3: several; the number is not reported."""
    num_kept: int = Field(default=4, ge=1)
    """Most responses kept of one prompt, the first ones in the order of sampling. Not reported."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampling. Source: R1 v2 B.3.2 (1.0, for the cold start)."""
    max_new_tokens: int = Field(default=32768, ge=1)
    """Length cap of a response, tokens. Source: R1 v2 B.4.2 (the context of the fine-tuning that follows)."""
    shard_size: int = Field(default=256, ge=1)
    """Prompts that are sampled and written at once; decides what a killed run repeats, never a result."""
    precision: Precision = "float32"
    """Type of the weights that sample. The papers do not report one."""


class EvaluationConfig(Config):
    """Sampling of responses to held-out problems, and judging them."""

    num_problems: int = Field(default=30, ge=1)
    """Problems of the split (AIME 2024 has 30)."""
    num_samples: int = Field(default=64, ge=1)
    """Responses per problem (k of pass@1 and cons@k). Source: R1 v2 D.1."""
    temperature: float = Field(default=0.6, ge=0)
    """Source: R1 v1 3."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus. Source: R1 v1 3."""
    max_new_tokens: int = Field(default=32768, ge=1)
    """Length cap of a response, tokens. Source: R1 v1 3."""
    precision: Precision = "float32"
    """Type of the weights that compute. The papers do not report one."""


class PretrainConfig(Config):
    """Pretraining of the built-in base model."""

    drill_tokens: int = Field(default=2_000_000, ge=0)
    """Tokens of the first phase, mostly drills."""
    problem_tokens: int = Field(default=5_400_000, ge=0)
    """Tokens of the second phase, mostly problems."""
    batch_tokens: int = Field(default=4096, ge=64)
    """Tokens of one update."""
    hidden_size: int = Field(default=128, ge=16, multiple_of=16)
    """Width of the model (D)."""
    num_layers: int = Field(default=3, ge=1)
    """Layers of the model."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Updates between checkpoints; decides what a killed run repeats, never a result."""
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=4e-3, warmup_steps=20, final_share=0.05, weight_decay=0.01
    )
    """How gradients become updates."""

    @model_validator(mode="after")
    def _trains_all_weights_in_float32(self) -> Self:
        """Muon, one of its two optimizers, has neither small moments nor adapters."""
        optimizer = self.optimizer
        plain = OptimizerConfig()
        restricted = (
            ("state", optimizer.state, plain.state),
            ("precision", optimizer.precision, plain.precision),
            ("lora.rank", optimizer.lora.rank, 0),
        )

        for setting, value, allowed in restricted:
            if value != allowed:
                raise ValueError(f"--optimizer.{setting}: {value} is {FOR_POLICIES}; pretraining takes {allowed}")
        return self


STAGE_KINDS: dict[str, type[Config]] = {
    "rl": RLConfig,
    "sft": SupervisedConfig,
    "rejection": RejectionConfig,
    "eval": EvaluationConfig,
}
"""Kinds of stages of which a recipe can have several, by the word that stands before an option of all of them."""
