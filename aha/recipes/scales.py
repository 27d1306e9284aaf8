"""The scales of R1-Zero and of the base model.

`tiny` is for the built-in model on a laptop, `small` for a pretrained model of 0.1 to 0.5 billion parameters on CPU
cores, `gpu` for one of 0.5 to 1.5 billion on one GPU, and `paper` has the paper's values.

Source of `paper`: DeepSeek-R1, arXiv:2501.12948v2, sections 2.1 and D.1; the field documentation in
`aha.stages.config` cites each. The values of `tiny` and `small` were chosen by the runs that LOG.md records.
"""

from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from pydantic import Field, model_validator

from aha.algorithms.algorithm import Algorithm
from aha.algorithms.catalogue import with_settings_of
from aha.runs.config import Config
from aha.stages.config import EvaluationConfig, PretrainConfig, RLConfig
from aha.training.config import OptimizerConfig

__all__ = ["BASE_SCALES", "R1_ZERO_SCALES", "BaseConfig", "Fit", "R1ZeroConfig", "check_continuation", "with_algorithm"]

AnyConfig = TypeVar("AnyConfig", bound=Config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit(Generic[AnyConfig]):
    """The numbers that a run begins with, before the user's own options.

    Attributes:
        scale: name of the scale.
        config: its numbers, with those changes that make them fit the model and the machine.
        says: why they were chosen, for people; empty where the user named the scale.
    """

    # Recipes name their scales themselves, so that no type lists them; the command line refuses others.
    scale: Any
    config: AnyConfig
    says: str = ""


def with_algorithm(scale: AnyConfig, kind: type[Algorithm]) -> AnyConfig:
    """A scale whose stages of reinforcement learn by another algorithm, with the settings that both have."""
    changes: dict[str, Config] = {}
    for name, value in scale:
        # R1's numbers hold those of R1-Zero and of the students, so stages are looked for at every depth.
        if isinstance(value, RLConfig):
            algorithm = with_settings_of(kind, value.algorithm)
            changes[name] = value.model_copy(update={"algorithm": algorithm})
        elif isinstance(value, Config):
            changes[name] = with_algorithm(value, kind)
    return scale.model_copy(update=changes)


def check_continuation(first: str, before: RLConfig, second: str, after: RLConfig) -> None:
    """Make sure that a stage can go on with the state of the optimizer of the stage before it.

    Raises:
        ValueError: their optimizers keep their state in different ways; names both options.
    """
    # A stage without iterations hands on no state, and takes none.
    if not before.iterations or not after.iterations:
        return

    settings_before = _settings_of_state(before.optimizer)
    settings_after = _settings_of_state(after.optimizer)
    for setting, value in settings_before.items():
        if settings_after[setting] != value:
            raise ValueError(
                f"--{second} goes on with the training of --{first}, so --{second}.optimizer.{setting} must be "
                f"{value}, not {settings_after[setting]}"
            )


def _settings_of_state(optimizer: OptimizerConfig) -> dict[str, object]:
    """What decides how an optimizer keeps its state, by option."""
    adapters = {f"lora.{name}": value for name, value in optimizer.lora}
    return {"state": optimizer.state, "precision": optimizer.precision, **adapters}


class R1ZeroConfig(Config):
    """R1-Zero: reinforcement learning whose length cap rises midway."""

    zero: RLConfig = RLConfig(iterations=512)
    """Up to the switch: 512 iterations of 16 updates are the paper's 8.2k steps. Source: R1 v2 2.1."""
    longer: RLConfig = RLConfig(iterations=138, max_new_tokens=65536)
    """From the switch on, with the higher cap: the same training goes on, 10.4k steps in all. Source: R1 v2 2.1."""
    validation: EvaluationConfig = EvaluationConfig(num_samples=16)
    """How training is watched (16 samples a question. Source: R1 v2 Fig 1)."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How base and result are compared."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that share the work. The bits of a result belong to their number."""

    @property
    def all_parts(self) -> dict[str, RLConfig]:
        """The parts of the training by name, in their order."""
        return {"zero": self.zero, "longer": self.longer}

    @property
    def parts(self) -> dict[str, RLConfig]:
        """The parts of the training that run: those with an iteration at least."""
        return {name: part for name, part in self.all_parts.items() if part.iterations}

    def without_training(self) -> Self:
        """The same without any training: only the numbers of the evaluation count."""
        idle = {name: part.model_copy(update={"iterations": 0}) for name, part in self.all_parts.items()}
        return self.model_copy(update=idle)

    @model_validator(mode="after")
    def _is_one_training(self) -> Self:
        """The second part goes on with the optimizer's state of the first."""
        check_continuation("zero", self.zero, "longer", self.longer)
        return self

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        """Every process takes an equal part of every group."""
        counts = {f"{name}.group-size": part.group_size for name, part in self.parts.items()}
        counts |= {
            "validation.num-samples": self.validation.num_samples,
            "evaluation.num-samples": self.evaluation.num_samples,
        }

        for name, count in counts.items():
            if count % self.processes:
                raise ValueError(f"--{name}: {count} cannot be shared out evenly by --processes {self.processes}")
        return self


class BaseConfig(Config):
    """The built-in base model."""

    pretrain: PretrainConfig = PretrainConfig()
    """Pretraining from the corpus."""
    processes: int = Field(default=2, ge=1, le=64)
    """Processes that share the work. The bits of a result belong to their number."""


_TINY_OPTIMIZER = OptimizerConfig(learning_rate=3e-4, warmup_steps=6, final_share=0.6)
_TINY_RL = RLConfig(
    iterations=60,
    problems_per_iteration=12,
    num_minibatches=2,
    max_new_tokens=128,
    reference_every=60,
    evaluate_every=5,
    optimizer=_TINY_OPTIMIZER,
)

_SMALL_RL = RLConfig(
    iterations=24,
    problems_per_iteration=16,
    group_size=8,
    num_minibatches=2,
    max_new_tokens=256,
    reference_every=48,
    evaluate_every=8,
    optimizer=OptimizerConfig(learning_rate=2e-5, warmup_steps=2),
)
_SMALL_EVALUATION = EvaluationConfig(num_problems=100, num_samples=8, max_new_tokens=256)

_GPU_OPTIMIZER = OptimizerConfig(learning_rate=1e-6, precision="bfloat16")
# A round of 64 problems has 1,024 responses, of which each update takes a quarter.
_GPU_RL = RLConfig(
    iterations=160,
    problems_per_iteration=64,
    num_minibatches=4,
    max_new_tokens=2048,
    reference_every=100,
    optimizer=_GPU_OPTIMIZER.model_copy(update={"warmup_steps": 10}),
)

R1_ZERO_SCALES: dict[str, R1ZeroConfig] = {
    "tiny": R1ZeroConfig(
        zero=_TINY_RL,
        longer=_TINY_RL.model_copy(
            update={
                "iterations": 30,
                "max_new_tokens": 192,
                "optimizer": OptimizerConfig(learning_rate=2e-4, final_share=0.1),
            }
        ),
        validation=EvaluationConfig(num_problems=40, num_samples=16, max_new_tokens=192),
        evaluation=EvaluationConfig(num_problems=200, num_samples=16, max_new_tokens=192),
        processes=2,
    ),
    "small": R1ZeroConfig(
        zero=_SMALL_RL,
        # The cap does not rise: a response of a small model that is longer than this one is mostly a repetition.
        longer=_SMALL_RL.model_copy(update={"iterations": 0}),
        validation=_SMALL_EVALUATION.model_copy(update={"num_problems": 24, "num_samples": 4}),
        evaluation=_SMALL_EVALUATION,
        processes=2,
    ),
    "gpu": R1ZeroConfig(
        zero=_GPU_RL,
        # The second part goes on with the moments of the first, and so without a warm-up.
        longer=_GPU_RL.model_copy(update={"iterations": 40, "max_new_tokens": 4096, "optimizer": _GPU_OPTIMIZER}),
        validation=EvaluationConfig(num_problems=40, num_samples=16, max_new_tokens=4096, precision="bfloat16"),
        evaluation=EvaluationConfig(num_problems=200, num_samples=16, max_new_tokens=4096, precision="bfloat16"),
    ),
    # The defaults of all configurations are the paper's.
    "paper": R1ZeroConfig(),
}
"""R1-Zero by scale. `gpu` is for a model of 0.5 to 1.5 billion parameters; no whole run of it has been made yet."""

BASE_SCALES: dict[str, BaseConfig] = {"tiny": BaseConfig()}
"""The base model by scale: it exists for `tiny` alone, the others start from a pretrained checkpoint."""
