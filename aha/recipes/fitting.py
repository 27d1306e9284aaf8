"""Numbers that fit a model and a machine, for a run whose user names no scale.

The rules, in their order:

1. A model of up to ten million parameters has the scale `tiny`; a larger one has `gpu` where there is a CUDA device,
   and `small` where there is none.
2. A response gets at most half of the positions that the model has, and a packed sequence all of them.
3. Where training would take more memory than there is, memory is saved step by step until it fits: one process (on a
   CPU); besides, moments in 8 bits; besides, bfloat16 weights (on a GPU); or else adapters of rank 16, with ten times
   the learning rate and with moments in float32 again, which are few.

What cannot fit by any of them is left as it is, and refused by the doctor. The rules look at the size of the memory,
not at how much of it is free, so that the same command on the same machine has the same numbers.

Source of the rate of adapters: Schulman et al., "LoRA Without Regret" (Thinking Machines, 2025), which finds about ten
times the rate of full training to be best for models of any size.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch

from aha.actors.workload import Demand, workload
from aha.policy.config import PolicyConfig
from aha.policy.families import make_policy
from aha.policy.pretrained import read_config
from aha.recipes.base_model import model_folder_of
from aha.recipes.own.own_data import Device
from aha.recipes.scales import Fit
from aha.runs.config import Config
from aha.stages.config import RewardModelConfig, RLConfig, SupervisedConfig
from aha.stages.rl_state import demand
from aha.training.memory import GIB, available_bytes, estimate

__all__ = ["TINY_MODEL", "fit", "fit_in_words", "memory_of_stage"]

AnyConfig = TypeVar("AnyConfig", bound=Config)
Stage = RLConfig | SupervisedConfig

Change = Callable[[Config], Mapping[str, Any]]
"""From a configuration to the fields of it that change."""

TINY_MODEL = 10_000_000
"""Parameters up to which the numbers of scale `tiny` are meant."""

USABLE_SHARE = 0.9
"""Share of the memory that training may take: estimates are not exact, and the system needs some."""

ADAPTER_RANK = 16
ADAPTER_RATE = 10.0
"""What the learning rate of full training is multiplied by for adapters."""


def fit(scales: Mapping[str, AnyConfig], model: str, device: Device = "auto") -> Fit[AnyConfig]:
    """The scale that suits a model on this machine.

    Args:
        scales: the numbers of a recipe by scale.
        model: folder or name of the model.
        device: where the user wants to compute.

    Raises:
        ValueError: the model cannot be read.
        RuntimeError: an extra that reads it is not installed.
    """
    shape = read_config(model_folder_of(model))
    count = _num_parameters(shape)
    has_cuda = device != "cpu" and torch.cuda.is_available()
    size = f"the model has {count / 1e6:,.1f} million parameters"
    if count <= TINY_MODEL:
        return Fit(scale="tiny", config=scales["tiny"], says=f"scale tiny: {size}")

    scale = "gpu" if has_cuda else "small"
    place = "a CUDA device" if has_cuda else "the CPU"
    target = torch.device("cuda" if has_cuda else "cpu")
    fitting = _updated(scales[scale], _within_positions(shape.max_position_embeddings))
    config, savings = _within_memory(fitting, shape, target)
    reasons = [f"scale {scale}: {size}, and it is trained on {place}"]
    if fitting != scales[scale]:
        reasons.append(f"lengths end with its {shape.max_position_embeddings:,} positions")
    reasons += savings
    return Fit(scale=scale, config=config, says="; ".join([*reasons, "--scale takes another one"]))


def fit_in_words(reason: str, config: Config) -> str:
    """Why numbers were chosen, and those that a user would look at first; empty where nothing was chosen.

    Args:
        reason: what a `Fit` says.
        config: the numbers in force, with those that the user gave besides.
    """
    if not reason:
        return ""
    # Of the first stage that trains: a recipe may have ten.
    first_numbers = next(map(_in_words, _stages(config)), "")
    return f"{reason}; {first_numbers}"


def memory_of_stage(stage: Stage, shape: PolicyConfig, device: torch.device, *, num_processes: int) -> int:
    """The memory that training takes on a device, bytes: of all processes on a CPU, of one on a GPU.

    Args:
        stage: numbers of the training.
        shape: of the model.
        device: where it is trained.
        num_processes: processes that share the work; on GPUs each has one of its own.
    """
    if isinstance(stage, RLConfig):
        wanted = demand(stage)
    else:
        wanted = Demand(sequence_tokens=stage.max_tokens, micro_batch_tokens=stage.max_tokens)
    load = workload(shape, wanted, stage.optimizer, device, num_processes=num_processes)
    peak = estimate(shape, stage.optimizer, load, device).peak
    return peak * num_processes if device.type == "cpu" else peak


def _num_parameters(shape: PolicyConfig) -> int:
    # On the meta device a model has shapes and no memory.
    with torch.device("meta"):
        return sum(weight.numel() for weight in make_policy(shape).parameters())


def _within_positions(num_positions: int) -> Change:
    """Lengths that leave room for a prompt."""

    def changed(config: Config) -> Mapping[str, Any]:
        limits = {"max_new_tokens": num_positions // 2, "max_tokens": num_positions}
        values = dict(config)
        return {name: min(values[name], limit) for name, limit in limits.items() if name in values}

    return changed


def _within_memory(config: AnyConfig, shape: PolicyConfig, device: torch.device) -> tuple[AnyConfig, list[str]]:
    """Numbers with the first savings that make them fit, and which; the numbers as they are if all do not suffice."""
    limit = USABLE_SHARE * available_bytes(device)
    if _memory(config, shape, device) <= limit:
        return config, []

    candidate = config
    taken: list[str] = []
    for name, change in _savings(device):
        candidate = _updated(candidate, change)
        taken.append(name)
        needed = _memory(candidate, shape, device)
        if needed <= limit:
            memory = f"so that it takes {needed / GIB:.1f} of {limit / USABLE_SHARE / GIB:.1f} GiB"
            return candidate, [f"{', '.join(taken)}, {memory}"]
    return config, []


def _memory(config: Config, shape: PolicyConfig, device: torch.device) -> int:
    num_processes = next(_processes(config), 1)
    peaks = [memory_of_stage(stage, shape, device, num_processes=num_processes) for stage in _stages(config)]
    return max(peaks, default=0)


def _stages(config: Config) -> Iterator[Stage]:
    """The stages that train, at every depth."""
    if isinstance(config, RLConfig | SupervisedConfig):
        # A stage without iterations is skipped.
        if not isinstance(config, RLConfig) or config.iterations:
            yield config
        return
    for _, value in config:
        if isinstance(value, Config):
            yield from _stages(value)


def _in_words(stage: Stage) -> str:
    """The numbers of a stage that a user would look at first."""
    rate = f"learning rate {stage.optimizer.learning_rate:g}"
    if not isinstance(stage, RLConfig):
        return f"{rate}, updates of {stage.batch_size} x {stage.max_tokens:,} tokens"
    responses = f"{stage.problems_per_iteration} x {stage.group_size} responses of at most {stage.max_new_tokens:,}"
    return f"{rate}, {stage.iterations} iterations of {responses} tokens"


def _processes(config: Config) -> Iterator[int]:
    """How many processes share the work, wherever the recipe has the number."""
    for name, value in config:
        if name == "processes":
            yield value
        elif isinstance(value, Config):
            yield from _processes(value)


def _savings(device: torch.device) -> list[tuple[str, Change]]:
    """Ways to take less memory, in the order in which they are added."""
    if device.type == "cuda":
        first = [("moments in 8 bits", _with_small_moments), ("bfloat16 weights", _with_small_weights)]
    else:
        first = [("one process", _in_one_process), ("moments in 8 bits", _with_small_moments)]
    return [*first, (f"adapters of rank {ADAPTER_RANK} in place of all weights", _with_adapters)]


def _in_one_process(config: Config) -> Mapping[str, Any]:
    return {"processes": 1} if "processes" in type(config).model_fields else {}


def _with_small_moments(config: Config) -> Mapping[str, Any]:
    return _with_optimizer(config, state="8-bit")


def _with_small_weights(config: Config) -> Mapping[str, Any]:
    return _with_optimizer(config, precision="bfloat16")


def _with_adapters(config: Config) -> Mapping[str, Any]:
    # A reward model has a head that learns from nothing, and so no adapters.
    if isinstance(config, RewardModelConfig) or not isinstance(config, RLConfig | SupervisedConfig):
        return {}
    optimizer = config.optimizer
    return _with_optimizer(
        config,
        # The moments of adapters are few.
        state="float32",
        learning_rate=optimizer.learning_rate * ADAPTER_RATE,
        lora=optimizer.lora.model_copy(update={"rank": ADAPTER_RANK}),
    )


def _with_optimizer(config: Config, **changes: object) -> Mapping[str, Any]:
    """The optimizer of a stage that trains, with changes; of any other configuration nothing changes."""
    if not isinstance(config, RLConfig | SupervisedConfig):
        return {}
    return {"optimizer": config.optimizer.model_copy(update=changes)}


def _updated(config: AnyConfig, change: Change) -> AnyConfig:
    """A configuration with a change in every part of it."""
    parts = {name: _updated(value, change) for name, value in config if isinstance(value, Config)}
    return config.model_copy(update={**parts, **change(config)})
