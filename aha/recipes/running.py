"""Running a recipe: claim the folder, start the processes, run, and write what came of it."""

import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from aha.policy.allocation import keep_freed_memory
from aha.policy.compiled import library
from aha.policy.pretrained import read_config
from aha.recipes.assignment import assigned
from aha.recipes.assistant import BUILT_IN, OtherModel
from aha.recipes.base_model import base, open_base
from aha.recipes.disk import check_disk
from aha.recipes.doctor import as_object, examine, refuse
from aha.recipes.own_data import Device, OwnData
from aha.recipes.r1 import train_r1
from aha.recipes.r1_scales import R1Config
from aha.recipes.r1_zero import r1_zero
from aha.recipes.scales import BaseConfig, R1ZeroConfig
from aha.recipes.students import FAMILIES
from aha.runs.console import Display
from aha.runs.folder import RunFolder
from aha.runs.page import write_page
from aha.runs.provenance import now, provenance
from aha.stages.doctor import Diagnosis
from aha.stages.run import Interrupted, Run
from aha.training.checkpoint import read_state
from aha.training.learner import NonFiniteLossError
from aha.training.world import World
from aha.types import Checkpoint

__all__ = ["Order", "carry_out", "device_of"]


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
        own: problems and rewards of the user's own.
        students: model folders to distil into; the built-in students are pretrained where there are none.
        assistant: another model that rewrites, judges and compares; the rules of the built-in world where None.
        fresh: throw an earlier run in the folder away.
        force: start whatever the doctor finds.
        is_quiet: show no progress.
    """

    recipe: str
    scale: str
    config: R1ZeroConfig | R1Config | BaseConfig
    folder: Path
    seed: int
    device: Device = "cpu"
    start: str | None = None
    own: OwnData = field(default_factory=OwnData)
    students: tuple[Path, ...] = ()
    assistant: OtherModel | None = None
    fresh: bool = False
    force: bool = False
    is_quiet: bool = False


def device_of(name: Device, scale: str) -> str:
    """Where a run computes.

    Raises:
        ValueError: CUDA is asked for, and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ValueError("--device cuda: torch finds no CUDA device here; install a CUDA build of torch, or take cpu")
    return "cuda" if name == "cuda" or (name == "auto" and has_cuda and scale != "tiny") else "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peer:
    """Another process of the run, and the line on which it says "" once it is ready, or why it failed."""

    process: SpawnProcess
    line: Connection


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
    folder = RunFolder(order.folder)
    disk = check_disk(order.folder, order.config, [read_config(model.path) for model in models], is_forced=order.force)
    diagnosis = _examined(order, folder, device)
    described = {
        "recipe": order.recipe,
        "scale": order.scale,
        "seed": order.seed,
        "config": {
            **order.config.model_dump(),
            "start": models[0].key if models else None,
            **({"device": device} if device != "cpu" else {}),
            **({"kernels": "none"} if None in map(library, ("decode", "kernels", "attention")) else {}),
            **({"own": asdict(order.own)} if order.own != OwnData() else {}),
            **({"students": [model.key for model in models[1:]]} if order.students else {}),
            **({"assistant": order.assistant.model} if order.assistant else {}),
        },
        "provenance": provenance(),
        "started": now(),
    }
    folder.claim(described, fresh=order.fresh)
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
        with _among_peers(order) as world:
            run = Run(folder=folder, seed=order.seed, world=world, report=report, say=display.say)
            run.stop_on_signals()
            result = _run(run, order, models)
    finally:
        display.close()
    if folder.read("result.json") is None:
        model, steps = str(result.path.resolve()), _steps(folder.path)
        folder.write("result.json", {"model": model, "seconds": round(clock.keep(), 1), "steps": steps})
    write_page(folder.path)
    folder.release()
    return result


def _examined(order: Order, folder: RunFolder, device: str) -> Diagnosis | None:
    """What the doctor says of a run that has not begun; None of one that goes on."""
    if isinstance(order.config, BaseConfig) or (folder.read("run.json") is not None and not order.fresh):
        return None
    zero = order.config.zero if isinstance(order.config, R1Config) else order.config
    diagnosis = examine(order.start, order.own, zero, seed=order.seed, device=device)
    if not order.force:
        refuse(diagnosis)
    return diagnosis


def _given(order: Order) -> list[Checkpoint]:
    """The models that an order starts from: the base, then the students; none for the base's own pretraining."""
    if isinstance(order.config, BaseConfig):
        return []
    if order.students and (not isinstance(order.config, R1Config) or len(order.students) != len(FAMILIES)):
        raise ValueError(f"--students takes {len(FAMILIES)} model folders ({', '.join(FAMILIES)}) and belongs to r1")
    return [open_base(order.start), *(open_base(str(folder)) for folder in order.students)]


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
                return r1_zero(run, models[0], order.config, assignment)


def _steps(folder: Path) -> int:
    """Updates of all finished stages."""
    finals = sorted((folder / "stages").glob("*/final"))
    return sum(int(read_state(path)[0]["step"]) for path in finals)


@contextmanager
def _among_peers(order: Order) -> Iterator[World]:
    """This process among the others of the run, which are started here, and ended here whatever happens."""
    peers: list[_Peer] = []
    with tempfile.TemporaryDirectory(prefix="aha-") as meeting:
        rendezvous = os.path.join(meeting, "rendezvous")
        try:
            _start_peers(peers, order, rendezvous)
            world = _join(0, order, rendezvous)
            yield world
            world.leave()
            for peer in peers:
                peer.process.join(timeout=10)
        except Interrupted as stopped:
            raise Interrupted(f"{stopped} and saved: the same command goes on from there") from None
        except NonFiniteLossError:
            raise
        except RuntimeError as error:
            raise RuntimeError(_failure(peers) or str(error)) from error
        finally:
            for peer in peers:
                peer.process.kill()


def _failure(peers: list[_Peer]) -> str:
    """What the processes that have ended said of it: the others notice only that a connection broke."""
    ended = multiprocessing.connection.wait([peer.process.sentinel for peer in peers], timeout=1) if peers else []
    return next((_said(peer) for peer in peers if peer.process.sentinel in ended), "")


def _said(peer: _Peer) -> str:
    """The next word of another process: "" when it is ready, else why it failed."""
    try:
        return str(peer.line.recv())
    except EOFError:
        peer.process.join()
        return (
            f"another process of the run was ended from outside (exit status {peer.process.exitcode}; was there enough "
            "memory?): the same command goes on from the last checkpoint"
        )


def _join(rank: int, order: Order, rendezvous: str) -> World:
    """Make this process one of the run's."""
    torch.set_num_threads(1)
    keep_freed_memory()
    return World(rank, order.config.processes, rendezvous, device_of(order.device, order.scale))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let signals to stop wait; the processes that are started meanwhile never get them: they are for the first."""
    multiprocessing.resource_tracker.ensure_running()  # now, since it unblocks the signals
    numbers, waiting = (signal.SIGINT, signal.SIGTERM), list[int]()
    handlers = {number: signal.signal(number, lambda number, frame: waiting.append(number)) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught in waiting:
            signal.raise_signal(caught)


def _start_peers(peers: list[_Peer], order: Order, rendezvous: str) -> None:
    """Start the other processes and wait until they are ready; those that run are in the list whatever happens."""
    if order.config.processes == 1:
        return
    with _uninterrupted():
        for rank in range(1, order.config.processes):
            peers.append(_start_peer(order, rank, rendezvous))
    for peer in peers:
        if failure := _said(peer):
            raise RuntimeError(failure)


def _start_peer(order: Order, rank: int, rendezvous: str) -> _Peer:
    """Start another process of the run."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_peer, args=(order, rank, rendezvous, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Peer(process=process, line=ours)


def _peer(order: Order, rank: int, rendezvous: str, line: Connection) -> None:
    """Another process of the run: does its share, writes nothing, and ends with the first."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(
        target=lambda: (multiprocessing.connection.wait([parent.sentinel]), os._exit(1)), daemon=True
    ).start()
    try:
        models = _given(order)
        line.send("")
        world = _join(rank, order, rendezvous)
        run = Run(folder=RunFolder(order.folder, is_writer=False), seed=order.seed, world=world)
        _run(run, order, models)
        run.world.leave()
    except (Interrupted, RuntimeError, ValueError, OSError) as error:
        with suppress(OSError):
            line.send(f"another process of the run failed: {error}")
        os._exit(1)
