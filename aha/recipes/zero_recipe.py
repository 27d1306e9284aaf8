"""The records of R1-Zero and of its negative control."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aha.recipes.own.own_data import OwnData, as_record
from aha.recipes.recipe import DoctorRequest, Recipe, RunRequest, TrainedStage
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig
from aha.runs.pipeline import Node

if TYPE_CHECKING:
    from aha.stages.run import Run
    from aha.types import Checkpoint

__all__ = ["R1_ZERO", "R1_ZERO_CONTROL", "ZeroOptions"]

FIGURE = (
    Node(name="start", title="Base", kind="model", by="given, or the built-in one"),
    Node(name="end", title="R1-Zero", kind="model", by="RL, rules", stages=("zero", "longer"), parents=("start",)),
)


@dataclass(frozen=True, kw_only=True)
class ZeroOptions:
    """What R1-Zero takes besides numbers."""

    own: OwnData = field(default_factory=OwnData)
    """Problems and rewards of the user's own."""
    continue_from: Path | None = None
    """Checkpoint of an earlier run (RUN/stages/NAME/final) whose training goes on with this run's numbers: with its
    moments and reference, after the problems that it has asked."""


ZeroRequest = RunRequest[R1ZeroConfig, ZeroOptions]


def _open_models(request: ZeroRequest) -> "list[Checkpoint]":
    """The base, or the checkpoint whose training goes on."""
    from aha.recipes.base_model import open_base, open_training

    continue_from = request.options.continue_from
    if continue_from is None:
        return [open_base(request.model)]
    if request.model is not None:
        raise ValueError("--continue-from brings its own model: leave --model out")
    return [open_training(continue_from)]


def _doctor(request: ZeroRequest) -> DoctorRequest | None:
    """The whole run, unless it trains nothing."""
    if not request.config.parts:
        return None

    continue_from = request.options.continue_from
    # The doctor samples from the policy alone, which a checkpoint of a training holds like any model.
    model = request.model if continue_from is None else str(continue_from)
    return DoctorRequest(model=model, own=request.options.own, config=request.config)


def _trained_stages(config: R1ZeroConfig) -> Sequence[TrainedStage]:
    """Both parts of the training, as far as they run."""
    return [TrainedStage(model=0, config=part) for part in config.parts.values()]


def _inputs(request: ZeroRequest, models: "Sequence[Checkpoint]") -> dict[str, object]:
    """Whether a training goes on, and the user's own problems and rewards."""
    inputs: dict[str, object] = {}
    if request.options.continue_from is not None:
        inputs["continues"] = True

    # Whether no stop strings were given or an empty list of them, the keys of the stages hold those in use.
    user_data = replace(request.options.own, stop=request.options.own.stop or ())
    # A run on the built-in world has no such entry.
    if user_data != OwnData(stop=()):
        inputs["own"] = as_record(user_data)
    return inputs


def _run(run: "Run", request: ZeroRequest, models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Train on the user's own problems, or on those of the built-in world."""
    return _train(run, request, models, is_shuffled=False)


def _run_control(run: "Run", request: ZeroRequest, models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Train on shuffled answers."""
    return _train(run, request, models, is_shuffled=True)


def _train(run: "Run", request: ZeroRequest, models: "Sequence[Checkpoint]", *, is_shuffled: bool) -> "Checkpoint":
    from aha.recipes.own.assignment import assigned
    from aha.recipes.r1_zero import r1_zero

    base = models[0]
    options = request.options
    continues = options.continue_from is not None
    # The verifiers end with the block: sandboxes are processes of their own.
    with assigned(options.own, base, request.config, seed=run.seed, is_shuffled=is_shuffled) as assignment:
        for note in assignment.notes:
            run.say(note)
        return r1_zero(run, base, request.config, assignment, continues=continues)


R1_ZERO = Recipe(
    name="r1_zero",
    about="R1-Zero: pure reinforcement learning on a base model, rule-based rewards",
    config=R1ZeroConfig,
    scales=R1_ZERO_SCALES,
    options=ZeroOptions,
    run=_run,
    figure=FIGURE,
    open_models=_open_models,
    doctor=_doctor,
    trained_stages=_trained_stages,
    inputs=_inputs,
)
"""R1-Zero."""

# The same record, so that the control differs in nothing but the answers.
R1_ZERO_CONTROL = replace(
    R1_ZERO,
    name="r1_zero_control",
    about="its negative control: the same on shuffled answers",
    run=_run_control,
)
"""R1-Zero on shuffled answers: whatever it learns, it is not to solve problems."""
