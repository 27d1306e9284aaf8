"""Running a recipe: claim the folder, start the processes, run, and write what came of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.commands.disk import check_disk
from aha.commands.doctor import as_object, examine, refuse
from aha.commands.export import record_starts
from aha.commands.processes import among_peers, check_cards, device_of
from aha.kernels.cpu.compiled import SWITCH, kernels_in_use
from aha.policy.families import slowness
from aha.policy.pretrained import read_config
from aha.recipes.catalogue import recipe_named
from aha.recipes.fitting import fit_in_words
from aha.recipes.recipe import Recipe, RunRequest
from aha.runs.console import Display
from aha.runs.folder import RunFolder
from aha.runs.pipeline import write_pipeline
from aha.runs.provenance import now, provenance
from aha.stages.doctor.diagnosis import Diagnosis
from aha.stages.run import Run
from aha.training.checkpoint import read_state
from aha.training.world import World
from aha.types import Checkpoint

__all__ = ["carry_out"]


Request = RunRequest[Any, Any]
"""What a user asked for, of any recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunJob:
    """A recipe as the processes of its run share it."""

    request: Request

    @property
    def num_processes(self) -> int:
        """How many share the work."""
        return int(self.request.config.processes)

    @property
    def device_name(self) -> str:
        """Where they compute."""
        return device_of(self.request.device, self.request.scale)

    def prepare(self) -> Callable[[World], object]:
        """The recipe in a process that writes nothing, from the models that are checked here."""
        request = self.request
        recipe = recipe_named(request.recipe)
        models = recipe.open_models(request)
        folder = RunFolder(request.folder, is_writer=False)
        return lambda world: recipe.run(Run(folder=folder, seed=request.seed, world=world), request, models)


class _Clock:
    """The seconds that a run has taken so far, kept in `time.json` as it goes, so that a killed run knows them too."""

    def __init__(self, folder: RunFolder) -> None:
        recorded = folder.read("time.json")
        self._folder = folder
        self._seconds_before = recorded["seconds"] if recorded else 0.0
        self._start = time.monotonic()

    def record(self) -> float:
        """Write the seconds down, and return them."""
        seconds = float(self._seconds_before + time.monotonic() - self._start)
        self._folder.write("time.json", {"seconds": seconds})
        return seconds


def carry_out(request: Request) -> Checkpoint:
    """Run a recipe to its end, or from where it was interrupted.

    Args:
        request: what to run.

    Returns:
        The recipe's result.

    Raises:
        ValueError: the request or its folder is not usable; says what to do.
        Interrupted: the user stopped the run, which has saved.
        RuntimeError: the loss is not finite, or another process of the run ended.
    """
    recipe = recipe_named(request.recipe)
    models = recipe.open_models(request)
    device = device_of(request.device, request.scale)
    check_cards(device, request.config.processes)

    folder = RunFolder(request.folder)

    # Everything that could refuse the run comes before the folder is claimed.
    disk = _check_disk(recipe, request, models)
    diagnosis = _examine(recipe, request, models, folder, device)

    folder.claim(_description(recipe, request, models, device), fresh=request.fresh)

    try:
        record_starts(folder, models)
        write_pipeline(folder, recipe.drawn(request), recipe.left_out(request))
        return _run_claimed(recipe, request, folder, models, diagnosis, disk)
    finally:
        # Also of a run that failed, so that the same program can go on with it.
        folder.release()


def _run_claimed(
    recipe: Recipe[Any, Any],
    request: Request,
    folder: RunFolder,
    models: Sequence[Checkpoint],
    diagnosis: Diagnosis | None,
    disk: str,
) -> Checkpoint:
    """Run a recipe in a folder that is this run's own, and write its result."""
    display = Display(is_quiet=request.is_quiet)
    clock = _Clock(folder)
    for notice in (fit_in_words(request.fit, request.config), disk):
        if notice:
            display.say(notice)

    notices = {slowness(read_config(model.path)) for model in models}
    for notice in sorted(notices - {""}):
        display.say(notice)

    if diagnosis is not None:
        folder.write("doctor.json", as_object(diagnosis))
        for finding in diagnosis.findings:
            # Said already.
            if finding.what not in notices:
                display.say(f"doctor: {finding.code}: {finding.what}")

    def report(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        display.report(stage, done, total, figures)
        # With every step, since a run that is killed writes nothing more.
        clock.record()

    try:
        with among_peers(_RunJob(request=request)) as world:
            run = Run(
                folder=folder,
                seed=request.seed,
                world=world,
                report=report,
                say=display.say,
                keep_rollouts=request.keep_rollouts,
            )

            run.stop_on_signals()

            result = recipe.run(run, request, models)
    finally:
        display.close()

    # A finished run that is started again repeats no stage, and its record stays as it is.
    if folder.read("result.json") is None:
        outcome = {
            "model": str(result.path.resolve()),
            "seconds": round(clock.record(), 1),
            "steps": _num_steps(folder.path),
        }
        folder.write("result.json", outcome)
    return result


def _description(
    recipe: Recipe[Any, Any], request: Request, models: Sequence[Checkpoint], device: str
) -> dict[str, object]:
    """What `run.json` says of a run: what was asked, and with which versions."""
    return {
        "recipe": request.recipe,
        "scale": request.scale,
        "seed": request.seed,
        "config": {
            **request.config.model_dump(),
            # What stands under `config` must be the same when the run goes on.
            "start": models[0].key if models else None,
            # Absent on the CPU, as in runs that were begun before there was a choice.
            **({"device": device} if device != "cpu" else {}),
            # Each instruction set adds up in an order of its own, so a run goes on with the one that it began with.
            # It is recorded under the switch's name, so that a refusal says what to set.
            SWITCH: kernels_in_use(),
            **recipe.inputs(request, models),
        },
        "provenance": provenance(),
        "started": now(),
    }


def _check_disk(recipe: Recipe[Any, Any], request: Request, models: Sequence[Checkpoint]) -> str:
    """The estimate of the disk that a run needs, in words; a run that does not fit is refused."""
    return check_disk(
        request.folder,
        recipe.trained_stages(request.config),
        [read_config(model.path) for model in models],
        is_forced=request.force,
        keep_rollouts=request.keep_rollouts,
    )


def _examine(
    recipe: Recipe[Any, Any], request: Request, models: Sequence[Checkpoint], folder: RunFolder, device: str
) -> Diagnosis | None:
    """What the doctor says of a run; None of one that goes on, or of which there is nothing to examine."""
    # What the doctor refuses was refused when the run began.
    has_begun = folder.read("run.json") is not None and not request.fresh
    if has_begun:
        return None

    recipe.check(request, models)
    examined = recipe.doctor(request)
    if examined is None:
        return None

    diagnosis = examine(examined.model, examined.own, examined.config, seed=request.seed, device=device)
    if not request.force:
        refuse(diagnosis)
    return diagnosis


def _num_steps(folder: Path) -> int:
    """Updates of all finished stages."""
    finals = sorted((folder / "stages").glob("*/final"))
    states = [read_state(path)[0] for path in finals]
    return sum(int(state["step"]) for state in states)
