"""The scales of the whole R1 recipe.

Source of `paper`: DeepSeek-R1, arXiv:2501.12948v2, sections 3 and B.4, and v1, 2.3 and 2.4. What the papers leave
open, and what is taken for it: the steps of the first stage of reinforcement learning (those of R1-Zero), the number
of cold-start samples ("thousands": 4,000 problems), samples drawn for rejection (16 a problem), the settings of the
cold start (those of B.4.2), the completions that a reward model compares (2). The values of `tiny` were chosen by the
runs that LOG.md records; those of `gpu` scale the paper's down to a model of 0.5 to 1.5 billion parameters, and those
of `small` to one of 0.1 to 0.5 billion on CPU cores.
"""

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from aha.algorithms.grpo import GRPO
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig, check_continuation
from aha.runs.config import Config
from aha.stages.config import PretrainConfig, RejectionConfig, RewardModelConfig, RLConfig, SupervisedConfig
from aha.training.config import OptimizerConfig

__all__ = ["R1_SCALES", "R1Config", "RewardsConfig", "StudentsConfig"]

_SFT = OptimizerConfig(learning_rate=5e-6, final_share=0.1)

# The paper: a lower clip cuts the gradients of many tokens, a higher one makes training unstable.
_WIDE_CLIP = GRPO(clip_eps=10.0)
"""GRPO as both stages of reinforcement have it. Source: R1 v2 3.2.1."""


class RewardsConfig(Config):
    """The two reward models."""

    helpful: RejectionConfig = RejectionConfig(num_problems=66_000, num_samples=2, num_kept=2)
    """Prompts whose responses are compared. Source: R1 v2 3.1 (66,000 pairs)."""
    safety: RejectionConfig = RejectionConfig(num_problems=106_000, num_samples=2, num_kept=2)
    """Prompts whose responses are labelled safe or unsafe. Source: R1 v2 3.1 (106,000 prompts)."""
    training: RewardModelConfig = RewardModelConfig(
        epochs=1, batch_size=256, max_tokens=8192, optimizer=OptimizerConfig(learning_rate=6e-6, final_share=0.1)
    )
    """How both are trained. Source: R1 v2 3.1 (6e-6, 256, one epoch, 8,192 tokens).

    The schedule is not reported; InstructGPT's is taken (arXiv:2203.02155, C.2: a cosine to a tenth).
    """


class StudentsConfig(Config):
    """Distillation into two students, and what it is compared with."""

    pretrain: PretrainConfig = PretrainConfig(problem_tokens=2_000_000, hidden_size=64, num_layers=2)
    """The built-in students' own pretraining; students that are given as folders skip it."""
    qwen2: SupervisedConfig = SupervisedConfig(optimizer=OptimizerConfig(learning_rate=1e-4, final_share=0.1))
    """Fine-tuning of the Qwen student. Source: R1 v2 Table 6 (1e-4 for 1.5B; 8e-5, 7e-5, 6e-5 for 7B, 14B, 32B)."""
    llama: SupervisedConfig = SupervisedConfig(optimizer=OptimizerConfig(learning_rate=5e-5, final_share=0.1))
    """Fine-tuning of the Llama student. Source: R1 v2 Table 6 (5e-5 for 8B; 2e-5 for 70B)."""
    direct: RLConfig = RLConfig(optimizer=OptimizerConfig(learning_rate=2e-6))
    """Reinforcement learning of the student itself. Source: R1 v2 B.4.1.

    It names two runs, which report the same figures: R1-Zero-Qwen-32B (2e-6, no steps given), whose rate is taken, and
    Qwen2.5-32B-Zero (1e-6, more than 10,000 steps), whose steps are.
    """
    further: RLConfig = RLConfig(optimizer=OptimizerConfig(learning_rate=2e-6))
    """Reinforcement learning of the distilled student, which the paper leaves to others (v1 2.4)."""


class R1Config(Config):
    """The whole recipe, in the order of the paper's Figure 2."""

    zero: R1ZeroConfig = R1ZeroConfig()
    """R1-Zero, and how all models are watched and evaluated, and by how many processes."""
    cold: RejectionConfig = RejectionConfig(num_problems=4000, num_kept=1)
    """Cold start: samples of R1-Zero. Source: R1 v2 B.3.2 (temperature 1; thousands of prompts)."""
    dev1: SupervisedConfig = SupervisedConfig(optimizer=_SFT)
    """Fine-tuning of the base on the cold start. Not reported; those of R1 v2 B.4.2."""
    dev2: RLConfig = RLConfig(algorithm=_WIDE_CLIP)
    """First stage of reinforcement learning. Source: R1 v2 3.2.1 (clip 10); its steps are not reported."""
    kept: RejectionConfig = RejectionConfig()
    """Rejection sampling from Dev2. Source: R1 v1 2.3.3 (about 600k samples kept; v2 Table 5: 626,933)."""
    num_general: int = Field(default=177_812, ge=1)
    """Demonstrations for general prompts. Source: R1 v2 Table 5 (177,812; v1: about 200k)."""
    dev3: SupervisedConfig = SupervisedConfig(optimizer=_SFT)
    """Fine-tuning of the base on both. Source: R1 v2 B.4.2 (2 epochs, 5e-6, a cosine to a tenth, 64, 32,768)."""
    rewards: RewardsConfig = RewardsConfig()
    """The reward models. Source: R1 v2 3.1."""
    reasoning: RLConfig = RLConfig(iterations=81, algorithm=_WIDE_CLIP, temperature=0.7)
    """Second stage, the part on reasoning data: 1,296 of the 1,300 steps. Source: R1 v2 3.2.2 (1,700, the last 400)."""
    scenarios: RLConfig = RLConfig(iterations=25, algorithm=_WIDE_CLIP, temperature=0.7)
    """Its last 400 steps: general data and reward models join, the training goes on. Source: R1 v2 3.2.2."""
    students: StudentsConfig = StudentsConfig()
    """Distillation. Source: R1 v1 2.4, v2 B.4.3."""

    @property
    def processes(self) -> int:
        """Processes that share the work."""
        return self.zero.processes

    @model_validator(mode="after")
    def _second_stage_is_one_training(self) -> Self:
        """Its last part goes on with the optimizer's state of the part on reasoning data."""
        check_continuation("reasoning", self.reasoning, "scenarios", self.scenarios)
        return self

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        """Every process takes an equal part of every group."""
        for name, count in self._groups():
            if count % self.processes:
                raise ValueError(f"--{name}: {count} cannot be shared out evenly by --zero.processes {self.processes}")
        return self

    def _groups(self) -> Iterator[tuple[str, int]]:
        """Sizes of all groups, by option."""
        rejections = {
            "cold": self.cold,
            "kept": self.kept,
            "rewards.helpful": self.rewards.helpful,
            "rewards.safety": self.rewards.safety,
        }
        for name, rejection in rejections.items():
            yield f"{name}.num-samples", rejection.num_samples

        loops = {
            "dev2": self.dev2,
            "reasoning": self.reasoning,
            "scenarios": self.scenarios,
            "students.direct": self.students.direct,
            "students.further": self.students.further,
        }
        for name, loop in loops.items():
            # A stage that does not run may have any group.
            if loop.iterations:
                yield f"{name}.group-size", loop.group_size


def _rl(iterations: int, learning_rate: float, *, final_share: float = 0.2, **changes: object) -> RLConfig:
    """Reinforcement learning at `tiny`: that of R1-Zero's second part, but for what is said."""
    optimizer = OptimizerConfig(learning_rate=learning_rate, warmup_steps=4, final_share=final_share)
    settings = {"iterations": iterations, "optimizer": optimizer, "algorithm": _WIDE_CLIP, **changes}
    return R1_ZERO_SCALES["tiny"].longer.model_copy(update=settings)


def _sft(learning_rate: float, *, batch_size: int = 2, epochs: int = 2) -> SupervisedConfig:
    """Fine-tuning at `tiny`."""
    optimizer = OptimizerConfig(learning_rate=learning_rate, warmup_steps=10, final_share=0.1)
    return SupervisedConfig(epochs=epochs, batch_size=batch_size, max_tokens=512, optimizer=optimizer)


def _reward_model(settings: SupervisedConfig) -> RewardModelConfig:
    """The training of a reward model with the settings of fine-tuning."""
    # `dict` of a model holds its parts as they are; `model_dump` would turn them into dicts.
    return RewardModelConfig(**dict(settings))


def _sampling(num_problems: int, num_samples: int, num_kept: int) -> RejectionConfig:
    """Sampling at `tiny`."""
    return RejectionConfig(
        num_problems=num_problems, num_samples=num_samples, num_kept=num_kept, max_new_tokens=192, shard_size=64
    )


def _small_rl(iterations: int, **changes: object) -> RLConfig:
    """Reinforcement learning at `small`: that of R1-Zero, but for what is said."""
    settings = {"iterations": iterations, "algorithm": _WIDE_CLIP, **changes}
    return R1_ZERO_SCALES["small"].zero.model_copy(update=settings)


def _small_sft(*, epochs: int = 2) -> SupervisedConfig:
    """Fine-tuning at `small`."""
    optimizer = OptimizerConfig(learning_rate=1e-4, warmup_steps=5, final_share=0.1)
    return SupervisedConfig(epochs=epochs, batch_size=2, max_tokens=512, optimizer=optimizer)


def _small_sampling(num_problems: int, num_samples: int, num_kept: int) -> RejectionConfig:
    """Sampling at `small`."""
    return RejectionConfig(
        num_problems=num_problems, num_samples=num_samples, num_kept=num_kept, max_new_tokens=256, shard_size=32
    )


def _gpu_rl(iterations: int, **changes: object) -> RLConfig:
    """Reinforcement learning at `gpu`: that of R1-Zero's second part, but for what is said."""
    settings = {"iterations": iterations, "algorithm": _WIDE_CLIP, **changes}
    return R1_ZERO_SCALES["gpu"].longer.model_copy(update=settings)


def _gpu_sft(learning_rate: float) -> SupervisedConfig:
    """Fine-tuning at `gpu`."""
    optimizer = OptimizerConfig(learning_rate=learning_rate, warmup_steps=10, final_share=0.1, precision="bfloat16")
    return SupervisedConfig(batch_size=16, max_tokens=8192, optimizer=optimizer)


def _gpu_sampling(num_problems: int, num_samples: int, num_kept: int) -> RejectionConfig:
    """Sampling at `gpu`."""
    return RejectionConfig(
        num_problems=num_problems,
        num_samples=num_samples,
        num_kept=num_kept,
        max_new_tokens=4096,
        precision="bfloat16",
    )


R1_SCALES: dict[str, R1Config] = {
    "tiny": R1Config(
        zero=R1_ZERO_SCALES["tiny"],
        cold=_sampling(1500, 4, 2),
        dev1=_sft(1e-3),
        dev2=_rl(40, 2e-4),
        kept=_sampling(1500, 4, 4),
        # With 2,500 Dev3 knew .45 of the test prompts, with 6,000 .78 (LOG.md).
        num_general=6000,
        dev3=_sft(1e-3),
        rewards=RewardsConfig(
            helpful=_sampling(900, 8, 8),
            safety=_sampling(120, 8, 8),
            training=_reward_model(_sft(5e-4, batch_size=4, epochs=1)),
        ),
        reasoning=_rl(39, 2e-4, temperature=0.7),
        scenarios=_rl(12, 2e-4, temperature=0.7, problems_per_iteration=24),
        students=StudentsConfig(
            pretrain=PretrainConfig(drill_tokens=1_200_000, problem_tokens=4_000_000, hidden_size=96, num_layers=2),
            qwen2=_sft(2e-3),
            llama=_sft(2e-3),
            # The wide clip is reported of R1's own stages; students are clipped as R1-Zero is.
            direct=_rl(32, 3e-4, algorithm=GRPO()),
            further=_rl(96, 3e-4, final_share=0.05, algorithm=GRPO(), problems_per_iteration=24),
        ),
    ),
    "small": R1Config(
        zero=R1_ZERO_SCALES["small"],
        cold=_small_sampling(100, 4, 1),
        dev1=_small_sft(),
        dev2=_small_rl(16),
        kept=_small_sampling(100, 4, 2),
        num_general=200,
        dev3=_small_sft(),
        rewards=RewardsConfig(
            helpful=_small_sampling(50, 4, 4),
            safety=_small_sampling(50, 4, 4),
            training=_reward_model(_small_sft(epochs=1)),
        ),
        reasoning=_small_rl(12, temperature=0.7),
        scenarios=_small_rl(8, temperature=0.7),
        students=StudentsConfig(
            qwen2=_small_sft(),
            llama=_small_sft(),
            direct=_small_rl(16, algorithm=GRPO()),
            further=_small_rl(16, algorithm=GRPO()),
        ),
    ),
    "gpu": R1Config(
        zero=R1_ZERO_SCALES["gpu"],
        cold=_gpu_sampling(2000, 4, 1),
        dev1=_gpu_sft(1e-5),
        dev2=_gpu_rl(80),
        kept=_gpu_sampling(10_000, 8, 4),
        num_general=10_000,
        dev3=_gpu_sft(1e-5),
        rewards=RewardsConfig(
            helpful=_gpu_sampling(900, 4, 4),
            safety=_gpu_sampling(120, 8, 8),
            training=_reward_model(_gpu_sft(6e-6).model_copy(update={"epochs": 1})),
        ),
        reasoning=_gpu_rl(65, temperature=0.7),
        scenarios=_gpu_rl(20, temperature=0.7),
        students=StudentsConfig(
            qwen2=_gpu_sft(1e-4),
            llama=_gpu_sft(5e-5),
            # As at `tiny`.
            direct=_gpu_rl(80, algorithm=GRPO()),
            further=_gpu_rl(40, algorithm=GRPO()),
        ),
    ),
    # The defaults are the paper's.
    "paper": R1Config(),
}
"""The whole recipe by scale; at `gpu` it has not been run yet, nor at `paper`."""
