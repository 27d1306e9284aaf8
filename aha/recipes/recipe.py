"""What a recipe is: one record, which the command line, the launch of a run, the doctor and the report read.

A record is imported by `aha --help`, so that this module and those of the records do not import torch. Whatever a
record does, it imports inside its functions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from aha.recipes.own.own_data import Device, OwnData
from aha.recipes.scales import R1ZeroConfig
from aha.runs.pipeline import Node
from aha.stages.config import RLConfig, SupervisedConfig

if TYPE_CHECKING:
    # Both import torch.
    from aha.stages.run import Run
    from aha.types import Checkpoint

__all__ = ["DoctorRequest", "Recipe", "RecipeConfig", "RunRequest", "TrainedStage", "no_model", "open_model"]


class RecipeConfig(Protocol):
    """The numbers of a recipe: a configuration that says how many processes share the work."""

    @property
    def processes(self) -> int:
        """Processes that share the work."""
        ...

    def model_dump(self) -> dict[str, Any]:
        """The numbers as a nested dict."""
        ...


ConfigT = TypeVar("ConfigT", bound=RecipeConfig)
OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest(Generic[ConfigT, OptionsT]):
    """What a user asked for: made once, from the parsed command, and sent to every process of the run.

    Attributes:
        recipe: name of the recipe.
        scale: name of the scale.
        config: the numbers of the scale, with those that the user changed.
        options: what the recipe takes besides numbers; None where it takes nothing else.
        folder: the run folder.
        seed: run seed.
        device: where it computes: `cpu`, `cuda`, or `auto` for CUDA where there is one and the scale is not `tiny`.
        model: model folder to start from, or its name at the hub; None for the built-in base.
        fresh: throw an earlier run in the folder away.
        force: start whatever the doctor finds.
        keep_rollouts: the rollouts of every how-many-th iteration are written; it may change when a run goes on.
        is_quiet: show no progress.
        fit: which scale was chosen and why, where the user named none.
    """

    recipe: str
    scale: str
    config: ConfigT
    options: OptionsT
    folder: Path
    seed: int
    device: Device = "cpu"
    model: str | None = None
    fresh: bool = False
    force: bool = False
    keep_rollouts: int = 1
    is_quiet: bool = False
    fit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedStage:
    """A stage that trains a model, for the estimate of the disk.

    Attributes:
        model: index of the model that it trains, among those that the run starts from. A model that the run itself
            makes has none of them, and its index is past the end.
        config: the numbers of the stage.
    """

    model: int
    config: RLConfig | SupervisedConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorRequest:
    """What the doctor examines before a run: R1-Zero's training, or the part of the run that is one.

    Attributes:
        model: folder or name of the model; None for the built-in base.
        own: problems and rewards of the user's own.
        config: the numbers.
    """

    model: str | None
    own: OwnData
    config: R1ZeroConfig


def open_model(request: RunRequest[Any, Any]) -> "list[Checkpoint]":
    """The model that a request names, or the built-in base.

    Raises:
        ValueError: the folder is not that of a model.
    """
    from aha.recipes.base_model import open_base

    return [open_base(request.model)]


def no_model(request: RunRequest[Any, Any]) -> "list[Checkpoint]":
    """The models of a recipe that makes its first one itself.

    Raises:
        ValueError: the request names a model all the same.
    """
    if request.model is not None:
        raise ValueError(f"{request.recipe} starts from no model: leave --model out")
    return []


def _check_nothing(request: RunRequest[Any, Any], models: "Sequence[Checkpoint]") -> None:
    """A recipe without checks of its own."""


def _no_doctor(request: RunRequest[Any, Any]) -> DoctorRequest | None:
    """A recipe that the doctor does not examine."""
    return None


def _no_stages(config: Any) -> Sequence[TrainedStage]:
    """A recipe whose models are too small to ask for their disk."""
    return ()


def _nothing_left_out(request: RunRequest[Any, Any]) -> Sequence[str]:
    """A recipe that always runs whole."""
    return ()


def _no_inputs(request: RunRequest[Any, Any], models: "Sequence[Checkpoint]") -> dict[str, object]:
    """A recipe whose inputs are its numbers and its first model."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Generic[ConfigT, OptionsT]):
    """A recipe, as everyone else may know it.

    Attributes:
        name: its name on the command line.
        about: what it is, in a line.
        config: class of its numbers.
        scales: its numbers by name of the scale; the first one is meant where none is named.
        options: class of what it takes besides numbers, a dataclass with a default for every field; None for nothing.
        run: runs it on the models that `open_models` gave, and returns its result. Every process of the run calls it.
        figure: its models and data, and the stages that make them.
        figure_of: the figure of a request, which the report draws, where it is not all of `figure`.
        left_out: what a request leaves out of `figure`, and why, in sentences.
        learns_by_reinforcement: whether an algorithm of reinforcement can be chosen.
        open_models: opens the models that it starts from, and refuses options that do not go together.
        check: refuses what would end the run at a later stage, before anything is computed.
        doctor: what the doctor examines before the run; None where there is nothing to examine.
        trained_stages: stages that write a model, in their order, for the estimate of the disk.
        inputs: what `run.json` says of the options: the run is refused where they change when it goes on.
    """

    name: str
    about: str
    config: type[ConfigT]
    scales: Mapping[str, ConfigT]
    options: type[OptionsT] | None
    # The annotations with names of `TYPE_CHECKING` are strings.
    run: "Callable[[Run, RunRequest[ConfigT, OptionsT], Sequence[Checkpoint]], Checkpoint]"
    figure: tuple[Node, ...]
    figure_of: "Callable[[RunRequest[ConfigT, OptionsT]], tuple[Node, ...]] | None" = None
    left_out: "Callable[[RunRequest[ConfigT, OptionsT]], Sequence[str]]" = _nothing_left_out
    learns_by_reinforcement: bool = True
    open_models: "Callable[[RunRequest[ConfigT, OptionsT]], list[Checkpoint]]" = open_model
    check: "Callable[[RunRequest[ConfigT, OptionsT], Sequence[Checkpoint]], None]" = _check_nothing
    doctor: Callable[[RunRequest[ConfigT, OptionsT]], DoctorRequest | None] = _no_doctor
    trained_stages: Callable[[ConfigT], Sequence[TrainedStage]] = _no_stages
    inputs: "Callable[[RunRequest[ConfigT, OptionsT], Sequence[Checkpoint]], dict[str, object]]" = _no_inputs

    def drawn(self, request: "RunRequest[ConfigT, OptionsT]") -> tuple[Node, ...]:
        """The figure of a request."""
        return self.figure if self.figure_of is None else self.figure_of(request)

    @property
    def starts_from_model(self) -> bool:
        """Whether a model can be named to start from."""
        # One fact in one field: a recipe with `no_model` refuses --model, and so its help does not offer it.
        return self.open_models is not no_model
