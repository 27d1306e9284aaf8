"""Running a recipe: claim the folder, start the processes, run, and write what came of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from aha.commands.disk import check_disk
from aha.commands.doctor import as_object, examine, refuse
from aha.commands.export import record_starts
from aha.commands.positions import check_positions
from aha.commands.processes import among_peers, check_cards, device_of
from aha.kernels.cpu.compiled import SWITCH, kernels_in_use
from aha.policy.pretrained import read_config
from aha.recipes.assignment import assigned
from aha.recipes.assistant import BUILT_IN, OtherModel
from aha.recipes.base_model import base, open_base, open_training
from aha.recipes.own_data import Device, OwnData
from aha.recipes.r1 import check_prompts, train_r1
from aha.recipes.r1_scales import R1Config
from aha.recipes.r1_zero import r1_zero
from aha.recipes.scales import BaseConfig, R1ZeroConfig
from aha.recipes.students import FAMILIES
from aha.runs.console import Display
from aha.runs.folder import RunFolder
from aha.runs.provenance import now, provenance
from aha.stages.doctor.diagnosis import Diagnosis
from aha.stages.run import Run
from aha.training.checkpoint import read_state
from aha.training.world import World
from aha.types import Checkpoint

__all__ = ["Order", "carry_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run.

    Attributes:
        recipe: its name.
        scale: name of the scale.
        config: the scale with the overrides.
        folder: the run folder.
        seed: run seed.
        device: where it computes: `cpu`, `cuda`, or `auto` for CUDA where there is one and the scale is not `tiny`.
        start: model folder to start from, or its name at the hub; None for the built-in base.
        continue_from: checkpoint whose training goes on, in place of `start`; None begins a new training.
        own: problems and rewards of the user's own.
        students: model folders to distil into; the built-in students are pretrained where there are none.
        assistant: another model that rewrites, judges and compares; the rules of the built-in world where None.
        fresh: throw an earlier run in the folder away.
        force: start whatever the doctor finds.
        keep_rollouts: the rollouts of every how-many-th iteration are written; it may change when a run goes on.
        is_quiet: show no progress.
    """

    recipe: str
    scale: str
    config: R1ZeroConfig | R1Config | BaseConfig
    folder: Path
    seed: int
    device: Device = "cpu"
    start: str | None = None
    continue_from: Path | None = None
    own: OwnData = field(default_factory=OwnData)
    students: tuple[Path, ...] = ()
    assistant: OtherModel | None = None
    fresh: bool = False
    force: bool = False
    keep_rollouts: int = 1
    is_quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunJob:
    """A recipe as the processes of its run share it."""

    order: Order

    @property
    def num_processes(self) -> int:
        """How many share the work."""
        return self.order.config.processes

    @property
    def device_name(self) -> str:
        """Where they compute."""
        return device_of(self.order.device, self.order.scale)

    def prepare(self) -> Callable[[World], object]:
        """The recipe in a process that writes nothing, from the models that are checked here."""
        models = _given(self.order)
        folder = RunFolder(self.order.folder, is_writer=False)
        return lambda world: _run(Run(folder=folder, seed=self.order.seed, world=world), self.order, models)


class _Clock:
    """The seconds that a run has taken so far, kept in `time.json` as it goes, so that a killed run knows them too."""

    def __init__(self, folder: RunFolder) -> None:
        known = folder.read("time.json")
        self._folder, self._before, self._began = folder, known["seconds"] if known else 0.0, time.monotonic()

    def keep(self) -> float:
        """Write the seconds down, and return them."""
        seconds = float(self._before + time.monotonic() - self._began)
        self._folder.write("time.json", {"seconds": seconds})
        return seconds


def carry_out(order: Order) -> Checkpoint:
    """Run a recipe to its end, or from where it was interrupted.

    Args:
        order: what to run.

    Returns:
        The recipe's result.

    Raises:
        ValueError: the order or its folder is not usable; says what to do.
        Interrupted: the user stopped the run, which has saved.
        RuntimeError: the loss is not finite, or another process of the run ended.
    """
    models, device = _given(order), device_of(order.device, order.scale)
    check_cards(device, order.config.processes)
    folder = RunFolder(order.folder)
    disk = _checked_disk(order, models)
    diagnosis = _examined(order, models, folder, device)
    folder.claim(_described(order, models, device), fresh=order.fresh)
    try:
        record_starts(folder, models)
        return _run_claimed(order, folder, models, diagnosis, disk)
    finally:
        # Also of a run that failed, so that the same program can go on with it.
        folder.release()


def _run_claimed(
    order: Order, folder: RunFolder, models: Sequence[Checkpoint], diagnosis: Diagnosis | None, disk: str
) -> Checkpoint:
    """Run a recipe in a folder that is this run's own, and write its result."""
    display, clock = Display(is_quiet=order.is_quiet), _Clock(folder)
    if disk:
        display.say(disk)
    if diagnosis is not None:
        folder.write("doctor.json", as_object(diagnosis))
        for finding in diagnosis.findings:
            display.say(f"doctor: {finding.code}: {finding.what}")

    def report(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        display.report(stage, done, total, figures)
        clock.keep()

    try:
        with among_peers(_RunJob(order=order)) as world:
            run = Run(
                folder=folder,
                seed=order.seed,
                world=world,
                report=report,
                say=display.say,
                keep_rollouts=order.keep_rollouts,
            )
            run.stop_on_signals()
            result = _run(run, order, models)
    finally:
        display.close()
    if folder.read("result.json") is None:
        model, steps = str(result.path.resolve()), _steps(folder.path)
        folder.write("result.json", {"model": model, "seconds": round(clock.keep(), 1), "steps": steps})
    return result


def _described(order: Order, models: Sequence[Checkpoint], device: str) -> dict[str, object]:
    """What `run.json` says of a run: what was asked, and with which versions."""
    # Whether no stop strings were given or an empty list of them, the keys of the stages hold those in use.
    own = replace(order.own, stop=order.own.stop or ())
    return {
        "recipe": order.recipe,
        "scale": order.scale,
        "seed": order.seed,
        "config": {
            **order.config.model_dump(),
            "start": models[0].key if models else None,
            **({"continues": True} if order.continue_from else {}),
            **({"device": device} if device != "cpu" else {}),
            # Each instruction set adds up in an order of its own, so a run goes on with the one that it began with.
            # It is recorded under the switch's name, so that a refusal says what to set.
            SWITCH: kernels_in_use(),
            **({"own": asdict(own)} if own != OwnData(stop=()) else {}),
            **({"students": [model.key for model in models[1:]]} if order.students else {}),
            **({"assistant": order.assistant.model} if order.assistant else {}),
        },
        "provenance": provenance(),
        "started": now(),
    }


def _checked_disk(order: Order, models: Sequence[Checkpoint]) -> str:
    """The estimate of the disk that a run needs, in words; a run that does not fit is refused."""
    return check_disk(
        order.folder,
        order.config,
        [read_config(model.path) for model in models],
        is_forced=order.force,
        keep_rollouts=order.keep_rollouts,
    )


def _examined(order: Order, models: Sequence[Checkpoint], folder: RunFolder, device: str) -> Diagnosis | None:
    """What the doctor says of a run that has not begun; None of one that goes on, or that trains no R1-Zero."""
    if isinstance(order.config, BaseConfig) or (folder.read("run.json") is not None and not order.fresh):
        return None
    if isinstance(order.config, R1Config):
        check_prompts(order.config, seed=order.seed)
        check_positions(order.config, models, seed=order.seed, is_judged=order.assistant is not None)
    zero = order.config.zero if isinstance(order.config, R1Config) else order.config
    if not zero.parts:
        return None
    start = str(order.continue_from) if order.continue_from else order.start
    # The stages of R1 have no stop strings, whatever its base was trained with.
    own = replace(order.own, stop=()) if isinstance(order.config, R1Config) else order.own
    diagnosis = examine(start, own, zero, seed=order.seed, device=device)
    if not order.force:
        refuse(diagnosis)
    return diagnosis


def _given(order: Order) -> list[Checkpoint]:
    """The models that an order starts from: the base, then the students; none for the base's own pretraining."""
    if isinstance(order.config, BaseConfig):
        return []
    if order.students and (not isinstance(order.config, R1Config) or len(order.students) != len(FAMILIES)):
        raise ValueError(f"--students takes {len(FAMILIES)} model folders ({', '.join(FAMILIES)}) and belongs to r1")
    if order.continue_from is not None and order.start is not None:
        raise ValueError("--continue-from brings its own model: leave --model out")
    start = open_base(order.start) if order.continue_from is None else open_training(order.continue_from)
    return [start, *(open_base(str(folder)) for folder in order.students)]


def _run(run: Run, order: Order, models: Sequence[Checkpoint]) -> Checkpoint:
    """The recipe itself."""
    match order.config:
        case BaseConfig():
            return base(run, order.config)
        case R1Config():
            assistant = order.assistant.assistant(run.folder, order.seed) if order.assistant else BUILT_IN
            try:
                return train_r1(run, models[0], order.config, models[1:], assistant)
            finally:
                assistant.close()
        case R1ZeroConfig():
            is_control = order.recipe == "r1_zero_control"
            with assigned(order.own, models[0], order.config, seed=run.seed, is_shuffled=is_control) as assignment:
                for note in assignment.notes:
                    run.say(note)
                continues = order.continue_from is not None
                return r1_zero(run, models[0], order.config, assignment, continues=continues)


def _steps(folder: Path) -> int:
    """Updates of all finished stages."""
    finals = sorted((folder / "stages").glob("*/final"))
    return sum(int(read_state(path)[0]["step"]) for path in finals)
