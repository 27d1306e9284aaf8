"""The processes of a command: the first one starts the others, and all of them share the work.

A job runs in every process. The first process writes and reports; the others do their share and end with the first,
whatever happens to it.
"""

import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Protocol

import torch

from aha.kernels.cpu.allocation import keep_freed_memory
from aha.recipes.own.own_data import Device
from aha.stages.run import Interrupted
from aha.training.learner import NonFiniteLossError
from aha.training.world import World

__all__ = ["Job", "among_peers", "check_cards", "device_of", "device_of_rank"]


class Job(Protocol):
    """Work that several processes share. It is sent to each of them, so it holds names and numbers only."""

    @property
    def num_processes(self) -> int:
        """How many processes share the work."""
        ...

    @property
    def device_name(self) -> str:
        """Where they compute: `cpu` or `cuda`."""
        ...

    def prepare(self) -> Callable[[World], object]:
        """What a process that is not the first does as its share.

        Whatever would keep the process from it is found out here, before the processes meet.

        Raises:
            ValueError: a model cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peer:
    """Another process, and the line on which it says "" once it is ready, or why it failed."""

    process: SpawnProcess
    line: Connection


class _NotReadyError(RuntimeError):
    """Another process failed before the processes met, and has said why."""


def device_of(name: Device, scale: str) -> str:
    """Where a command computes.

    Args:
        name: `cpu`, `cuda`, or `auto` for CUDA where there is one and the scale is not `tiny`.
        scale: name of the scale.

    Raises:
        ValueError: CUDA is asked for, and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ValueError("--device cuda: torch finds no CUDA device here; install a CUDA build of torch, or take cpu")

    # The models of scale `tiny` are too small for a GPU.
    takes_cuda = name == "auto" and has_cuda and scale != "tiny"
    return "cuda" if name == "cuda" or takes_cuda else "cpu"


def device_of_rank(rank: int, *, name: str, num_processes: int, num_cards: int) -> str:
    """Where one process of a command computes: on CUDA each has a card of its own.

    Args:
        rank: number of the process.
        name: `cpu` or `cuda`.
        num_processes: how many processes share the work.
        num_cards: how many CUDA devices torch finds.

    Raises:
        ValueError: there are fewer cards than processes.
    """
    if name != "cuda" or num_processes == 1:
        return name

    if num_cards < num_processes:
        raise ValueError(
            f"--device cuda with {num_processes} processes needs a card for each, and torch finds {num_cards}: "
            f"set the number of processes to {max(1, num_cards)}, or take --device cpu"
        )
    return f"cuda:{rank}"


def check_cards(name: str, num_processes: int) -> None:
    """Make sure that each process of a command has a card of its own, where they compute on CUDA.

    Raises:
        ValueError: there are fewer cards than processes.
    """
    num_cards = torch.cuda.device_count() if name == "cuda" else 0

    device_of_rank(0, name=name, num_processes=num_processes, num_cards=num_cards)


@contextmanager
def among_peers(job: Job) -> Iterator[World]:
    """This process among the others of a job, which are started here, and ended here whatever happens.

    Raises:
        ValueError: there are fewer CUDA devices than processes; nothing was started.
        Interrupted: the user stopped the run, which has saved.
        RuntimeError: another process ended, or failed.
    """
    check_cards(job.device_name, job.num_processes)

    peers: list[_Peer] = []
    world: World | None = None
    with tempfile.TemporaryDirectory(prefix="aha-") as meeting:
        rendezvous = os.path.join(meeting, "rendezvous")
        try:
            # The others are up before this process joins, since joining waits for all of them.
            _start_peers(peers, job, rendezvous)
            world = _join(0, job, rendezvous)

            yield world
            world.leave()

            # A process that has done its share ends at once; one that hangs is killed below.
            for peer in peers:
                peer.process.join(timeout=10)

        except Interrupted as stopped:
            raise Interrupted(f"{stopped} and saved: the same command goes on from there") from None
        except (NonFiniteLossError, _NotReadyError):
            raise

        except RuntimeError as error:
            raise RuntimeError(_failure(peers) or str(error)) from error

        finally:
            for peer in peers:
                peer.process.kill()
            # After a failure too, so that the same program can start another job. The others are gone by then: while
            # they live, an exchange that was interrupted would still be waited for.
            if world is not None:
                world.leave()


def _failure(peers: list[_Peer]) -> str:
    """What the processes that have ended said of it: the others notice only that a connection broke."""
    if not peers:
        return ""
    # A process that broke the connection may take a moment to end.
    ended = multiprocessing.connection.wait([peer.process.sentinel for peer in peers], timeout=1)
    return next((_next_message(peer) for peer in peers if peer.process.sentinel in ended), "")


def _next_message(peer: _Peer) -> str:
    """The next message of another process: "" when it is ready, else why it failed."""
    try:
        return str(peer.line.recv())
    except EOFError:
        peer.process.join()
        return (
            f"another process of the run was ended from outside (exit status {peer.process.exitcode}; was there enough "
            "memory?): the same command goes on from the last checkpoint"
        )


def _join(rank: int, job: Job, rendezvous: str) -> World:
    """Make this process one of the run's."""
    # The processes share the cores, so each computes on one thread.
    torch.set_num_threads(1)
    keep_freed_memory()

    device = _device(rank, job)
    if device.type == "cuda" and device.index is not None:
        # Kernels of our own are launched on the current card.
        torch.cuda.set_device(device)
    return World(rank, job.num_processes, rendezvous, device)


def _device(rank: int, job: Job) -> torch.device:
    """Where a process of the job computes."""
    num_cards = torch.cuda.device_count() if job.device_name == "cuda" else 0
    return torch.device(
        device_of_rank(rank, name=job.device_name, num_processes=job.num_processes, num_cards=num_cards)
    )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let signals to stop wait; the processes that are started meanwhile never get them: they are for the first."""
    # The tracker unblocks the signals when it starts, so it has to run before they are blocked.
    multiprocessing.resource_tracker.ensure_running()
    numbers = (signal.SIGINT, signal.SIGTERM)
    waiting: list[int] = []
    handlers = {number: signal.signal(number, lambda number, frame: waiting.append(number)) for number in numbers}
    # The mask is inherited by the processes that are started meanwhile; the handlers are not.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught in waiting:
            signal.raise_signal(caught)


def _start_peers(peers: list[_Peer], job: Job, rendezvous: str) -> None:
    """Start the other processes and wait until they are ready; those that run are in the list whatever happens."""
    if job.num_processes == 1:
        return

    with _uninterrupted():
        for rank in range(1, job.num_processes):
            peers.append(_start_peer(job, rank, rendezvous))

    for peer in peers:
        if failure := _next_message(peer):
            raise _NotReadyError(failure)


def _start_peer(job: Job, rank: int, rendezvous: str) -> _Peer:
    """Start another process of the run."""
    # A fork would copy the threads' locks and the CUDA context of this process, which does not work.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_peer, args=(job, rank, rendezvous, theirs), daemon=True)
    process.start()
    # With a copy of this end open here, the end of the process would not be noticed.
    theirs.close()
    return _Peer(process=process, line=ours)


def _peer(job: Job, rank: int, rendezvous: str, line: Connection) -> None:
    """Another process of the run: does its share, writes nothing, and ends with the first."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        share = job.prepare()
        # The models can be read: the first process may wait for this one to join.
        line.send("")

        world = _join(rank, job, rendezvous)
        share(world)
        world.leave()
    except (Interrupted, RuntimeError, ValueError, OSError) as error:
        with suppress(OSError):
            line.send(f"another process of the run failed: {error}")
        # Without the usual end of a process, which would wait for an exchange with processes that are gone.
        os._exit(1)


def _end_with_parent() -> None:
    """Wait for the first process to end, and end this one at once: it could wait for the first for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
