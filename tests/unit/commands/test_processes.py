"""Where each process of a command computes, how the others are started, and what is said when one of them fails."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Never

import pytest
import torch

from aha.commands import processes
from aha.commands.processes import among_peers, check_cards, device_of, device_of_rank
from aha.recipes.own.own_data import Device
from aha.stages.run import Interrupted
from aha.training.learner import NonFiniteLossError
from aha.training.world import World

# Where they compute


@pytest.mark.parametrize(
    ("name", "scale", "has_cuda", "device"),
    [
        ("cpu", "gpu", True, "cpu"),
        ("cuda", "gpu", True, "cuda"),
        ("cuda", "tiny", True, "cuda"),
        ("auto", "gpu", True, "cuda"),
        ("auto", "paper", True, "cuda"),
        ("auto", "tiny", True, "cpu"),
        ("auto", "gpu", False, "cpu"),
        ("cpu", "tiny", False, "cpu"),
    ],
)
def test_a_command_computes_on_cuda_where_it_is_told_or_worth_it(
    name: Device, scale: str, has_cuda: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert device_of(name, scale) == device


def test_cuda_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for scale in ("tiny", "gpu"):
        with pytest.raises(ValueError, match=r"^--device cuda: torch finds no CUDA device here"):
            device_of("cuda", scale)


@pytest.mark.parametrize(
    ("rank", "name", "num_processes", "num_cards", "device"),
    [
        (0, "cpu", 1, 0, "cpu"),
        (3, "cpu", 4, 2, "cpu"),
        (0, "cuda", 1, 8, "cuda"),
        (0, "cuda", 1, 0, "cuda"),
        (0, "cuda", 2, 2, "cuda:0"),
        (1, "cuda", 2, 8, "cuda:1"),
    ],
)
def test_each_process_has_a_card_of_its_own(
    rank: int, name: str, num_processes: int, num_cards: int, device: str
) -> None:
    assert device_of_rank(rank, name=name, num_processes=num_processes, num_cards=num_cards) == device


@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize(("num_cards", "advised"), [(2, 2), (1, 1), (0, 1)])
def test_fewer_cards_than_processes_are_refused_in_every_process(rank: int, num_cards: int, advised: int) -> None:
    line = (
        f"4 processes needs a card for each, and torch finds {num_cards}: set the number of processes to {advised}, or"
    )
    with pytest.raises(ValueError, match=line):
        device_of_rank(rank, name="cuda", num_processes=4, num_cards=num_cards)


def test_cards_are_counted_where_the_processes_compute_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    check_cards("cuda", 3)
    check_cards("cpu", 4)
    with pytest.raises(ValueError, match="4 processes needs a card for each, and torch finds 3"):
        check_cards("cuda", 4)


@dataclass(frozen=True)
class Work:
    """A job that does nothing unless it is told to."""

    num_processes: int = 1
    device_name: str = "cpu"
    share: Callable[[World], object] | None = None

    def prepare(self) -> Callable[[World], object]:
        """What a process does as its share; it may fail before."""
        if self.share is None:
            raise ValueError("the model cannot be read")
        return self.share


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The cards that were chosen and the worlds that were joined, in order; three cards are taken to be there."""
    found: list[Any] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    monkeypatch.setattr(processes, "World", lambda *given: found.append(given) or SimpleNamespace(leave=lambda: None))
    return found


@pytest.mark.parametrize(
    ("rank", "num_processes", "name", "device"),
    [
        (0, 1, "cpu", "cpu"),
        (1, 2, "cpu", "cpu"),
        (0, 1, "cuda", "cuda"),
        (0, 2, "cuda", "cuda:0"),
        (2, 3, "cuda", "cuda:2"),
    ],
)
def test_a_process_joins_the_others_on_its_own_card(
    rank: int, num_processes: int, name: str, device: str, joined: list[Any]
) -> None:
    processes._join(rank, Work(num_processes, name), "meeting")
    there = torch.device(device)
    assert joined == [*([there] if ":" in device else []), (rank, num_processes, "meeting", there)]


# One process alone


def test_a_process_alone_is_the_first_of_one() -> None:
    with among_peers(Work()) as world:
        assert (world.rank, world.size, world.device, world.is_first) == (0, 1, torch.device("cpu"), True)


class Wide(Work):
    """A job of more processes than any machine has cards; none may be started, so none of it can be done."""

    def prepare(self) -> Never:
        raise AssertionError


def test_a_job_with_too_few_cards_starts_nothing() -> None:
    with (
        pytest.raises(ValueError, match="10000 processes needs a card for each"),
        among_peers(Wide(num_processes=10_000, device_name="cuda")),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            Interrupted("stopped after iteration 3"),
            Interrupted,
            "iteration 3 and saved: the same command",
        ),
        (NonFiniteLossError("the loss is nan"), NonFiniteLossError, "^the loss is nan$"),
        (RuntimeError("the connection broke"), RuntimeError, "^the connection broke$"),
        (ValueError("no such model"), ValueError, "^no such model$"),
    ],
)
def test_what_ends_a_job_is_told(error: Exception, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as raised, among_peers(Work()):
        raise error
    assert type(raised.value) is kind


# Several processes


class Started:
    """Stands in for another process: one that has ended with a status, or one that is still there."""

    def __init__(self, status: int | None) -> None:
        """Start it, as far as others can see."""
        self.sentinel, self._end = os.pipe()
        self.exitcode = status
        self.num_kills = 0
        if status is not None:
            os.close(self._end)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""

    def kill(self) -> None:
        """End it."""
        self.num_kills += 1


def peer(status: int | None = None, *messages: str) -> processes._Peer:
    """Another process, and what it has said."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    for message in messages:
        theirs.send(message)
    theirs.close()
    process: Any = Started(status)
    return processes._Peer(process=process, line=ours)


def test_of_several_processes_the_one_that_has_ended_says_why() -> None:
    assert processes._failure([]) == ""
    assert (
        processes._failure([peer(None, "is busy"), peer(1, "no memory left"), peer(None, "busy")]) == "no memory left"
    )
    killed = processes._failure([peer(-9)])
    assert killed.startswith("another process of the run was ended from outside (exit status -9; was there enough mem")
    assert killed.endswith("the same command goes on from the last checkpoint")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ranks of the processes that are started, and the processes; each says that it is ready."""
    found: list[Any] = []

    def start(job: object, rank: int, rendezvous: str) -> processes._Peer:
        found.append((rank, rendezvous, peer(None, "")))
        return found[-1][2]

    monkeypatch.setattr(processes, "_start_peer", start)
    return found


def test_the_others_are_started_before_the_first_one_joins(started: list[Any], joined: list[Any]) -> None:
    with among_peers(Work(num_processes=3)):
        assert [rank for rank, _, _ in started] == [1, 2]
        ((_, num_processes, meeting, _),) = joined
        assert num_processes == 3
        assert {rendezvous for _, rendezvous, _ in started} == {meeting}
        assert os.path.isdir(os.path.dirname(meeting))
    assert not os.path.exists(os.path.dirname(meeting))
    assert [one.process.num_kills for _, _, one in started] == [1, 1]


def test_a_process_alone_starts_no_other(started: list[Any], joined: list[Any]) -> None:
    with among_peers(Work()):
        assert (started, len(joined)) == ([], 1)


def test_a_process_that_cannot_begin_ends_them_all_and_its_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = {1: peer(None, ""), 2: peer(1, "the model cannot be read")}
    monkeypatch.setattr(processes, "_start_peer", lambda job, rank, rendezvous: peers[rank])
    with pytest.raises(RuntimeError, match=r"^the model cannot be read$"), among_peers(Work(num_processes=3)):
        raise AssertionError("the first process goes on")
    assert [one.process.num_kills for one in peers.values()] == [1, 1]


def test_what_broke_the_first_process_is_told_by_the_one_that_ended(
    joined: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = peer(1, "", "another process of the run failed: no memory")
    monkeypatch.setattr(processes, "_start_peer", lambda job, rank, rendezvous: other)
    with pytest.raises(RuntimeError, match=r"^another process of the run failed: no memory$"), among_peers(Work(2)):
        raise RuntimeError("the connection broke")


@contextmanager
def caught(number: int) -> Iterator[list[int]]:
    """The signals of a kind that this process gets."""
    got: list[int] = []
    before = signal.signal(number, lambda number, frame: got.append(number))
    try:
        yield got
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_stop_waits_until_the_others_are_started(number: int) -> None:
    with caught(number) as got:
        with processes._uninterrupted():
            assert number in signal.pthread_sigmask(signal.SIG_BLOCK, [])
            os.kill(os.getpid(), number)
            assert got == []
        assert got == [number]
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


class EndedError(Exception):
    """Ends a process that is another one's in truth."""


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """The line between two processes, both of which are this one: it is not to end itself."""

    def end(status: int) -> Never:
        raise EndedError(f"status {status}")

    monkeypatch.setattr(processes, "_end_with_parent", lambda: None)
    monkeypatch.setattr(processes.os, "_exit", end)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    yield ours, theirs
    ours.close()


def test_another_process_says_that_it_is_ready_and_does_its_share(line: tuple[Any, Any], joined: list[Any]) -> None:
    ours, theirs = line
    shares: list[object] = []
    processes._peer(Work(num_processes=2, share=shares.append), 1, "meeting", theirs)
    assert ours.recv() == ""
    assert (len(shares), joined) == (1, [(1, 2, "meeting", torch.device("cpu"))])
    assert not ours.poll()


def test_another_process_that_fails_says_why_and_ends(line: tuple[Any, Any], joined: list[Any]) -> None:
    ours, theirs = line

    def fail(world: World) -> Never:
        raise RuntimeError("no memory")

    with pytest.raises(EndedError, match="status 1"):
        processes._peer(Work(num_processes=2, share=fail), 1, "meeting", theirs)
    assert [ours.recv(), ours.recv()] == ["", "another process of the run failed: no memory"]

    with pytest.raises(EndedError, match="status 1"):
        processes._peer(Work(num_processes=2), 1, "meeting", theirs)
    assert ours.recv() == "another process of the run failed: the model cannot be read"
    assert len(joined) == 1
