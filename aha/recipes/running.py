"""Running a recipe: claim the folder, start the processes, run, and write what came of it."""

import multiprocessing
import multiprocessing.connection
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aha.recipes.base_model import base, open_base
from aha.recipes.r1_zero import r1_zero, r1_zero_control
from aha.recipes.scales import BaseConfig, R1ZeroConfig
from aha.runs.console import Display
from aha.runs.folder import RunFolder
from aha.runs.page import write_page
from aha.runs.provenance import now, provenance
from aha.stages.run import Interrupted, Run
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
        start: model folder to start from; None for the built-in base.
        fresh: throw an earlier run in the folder away.
        is_quiet: show no progress.
    """

    recipe: str
    scale: str
    config: R1ZeroConfig | BaseConfig
    folder: Path
    seed: int
    start: Path | None = None
    fresh: bool = False
    is_quiet: bool = False


def carry_out(order: Order) -> Checkpoint:
    """Run a recipe to its end, or from where it was interrupted.

    Args:
        order: what to run.

    Returns:
        The recipe's result.

    Raises:
        ValueError: the order or its folder is not usable; says what to do.
        Interrupted: the user stopped the run, which has saved.
    """
    start = open_base(order.start) if isinstance(order.config, R1ZeroConfig) else None
    folder = RunFolder(order.folder)
    described = {
        "recipe": order.recipe,
        "scale": order.scale,
        "seed": order.seed,
        "config": {**order.config.model_dump(), "start": start.key if start else None},
        "provenance": provenance(),
        "started": now(),
    }
    folder.claim(described, fresh=order.fresh)
    display = Display(is_quiet=order.is_quiet)
    with tempfile.TemporaryDirectory(prefix="aha-") as meeting:
        rendezvous = os.path.join(meeting, "rendezvous")
        peers = [_start_peer(order, rank, rendezvous) for rank in range(1, order.config.processes)]
        try:
            run = Run(
                folder=folder,
                seed=order.seed,
                world=_join(0, order, rendezvous),
                report=display.report,
                say=display.say,
            )
            run.stop_on_signals()
            result = _run(run, order, start)
            run.world.leave()
        finally:
            display.close()
            _end_peers(peers)
    return result


def _run(run: Run, order: Order, start: Checkpoint | None) -> Checkpoint:
    """The recipe itself, and the record of its time and result."""
    before, began = run.folder.read("time.json") or {"seconds": 0.0}, time.monotonic()
    try:
        if isinstance(order.config, BaseConfig):
            result = base(run, order.config)
        else:
            assert start is not None
            recipes: dict[str, Callable[[Run, Checkpoint, R1ZeroConfig], Checkpoint]] = {
                "r1_zero": r1_zero,
                "r1_zero_control": r1_zero_control,
            }
            result = recipes[order.recipe](run, start, order.config)
    finally:
        seconds = before["seconds"] + time.monotonic() - began
        run.folder.write("time.json", {"seconds": seconds})
    if run.folder.is_writer and run.folder.read("result.json") is None:
        steps = sum(_steps(run.folder.path, stage) for stage in ("zero", "longer", "base"))
        run.folder.write(
            "result.json", {"model": str(result.path.resolve()), "seconds": round(seconds, 1), "steps": steps}
        )
    if run.folder.is_writer:
        write_page(run.folder.path)
    return result


def _steps(folder: Path, stage: str) -> int:
    """Updates that a finished stage made."""
    state = RunFolder(folder / "stages" / stage / "final", is_writer=False).read("trainer.json")
    return int(state["step"]) if state else 0


def _join(rank: int, order: Order, rendezvous: str) -> World:
    """Make this process one of the run's."""
    torch.set_num_threads(1)
    return World(rank, order.config.processes, rendezvous)


def _start_peer(order: Order, rank: int, rendezvous: str) -> Any:
    """Start another process of the run."""
    peer = multiprocessing.get_context("spawn").Process(target=_peer, args=(order, rank, rendezvous), daemon=True)
    peer.start()
    return peer


def _peer(order: Order, rank: int, rendezvous: str) -> None:
    """Another process of the run: does its share, writes nothing, and ends with the first."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(
        target=lambda: (multiprocessing.connection.wait([parent.sentinel]), os._exit(1)), daemon=True
    ).start()
    start = open_base(order.start) if isinstance(order.config, R1ZeroConfig) else None
    run = Run(folder=RunFolder(order.folder, is_writer=False), seed=order.seed, world=_join(rank, order, rendezvous))
    try:
        _run(run, order, start)
        run.world.leave()
    except (Interrupted, RuntimeError, ValueError, OSError):
        os._exit(1)


def _end_peers(peers: list[Any]) -> None:
    """Wait a little for the other processes, then end them."""
    for peer in peers:
        peer.join(timeout=10)
        if peer.is_alive():
            peer.kill()
