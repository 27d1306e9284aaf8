"""One process in a cell: how it is started, watched until its deadline, and ended for sure."""

import fcntl
import inspect
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from aha.rewards.sandbox import examiner, harness, plain, unit_tests
from aha.rewards.sandbox.isolation import Cell
from aha.rewards.sandbox.seccomp import system_call_filter

__all__ = ["Ending", "GuestProcess", "Pipes", "watch"]

Ending = Literal["ended", "timeout", "overflow", "memory", "failed"]
"""How a process ended: by itself, killed for time, output or memory, or never having begun."""

_BOOT = """
import json, os, sys, types
with os.fdopen(int(sys.argv[1]), "rb") as stream:
    job = json.loads(stream.read())
for name, source in job.pop("modules"):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
module.main(job)
"""
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.05


class Pipes:
    """The descriptors of one execution; all are closed with it."""

    def __init__(self) -> None:
        """None at first."""
        self._open: set[int] = set()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes what is open."""
        self.keep(())

    def pair(self) -> tuple[int, int]:
        """A new pipe: the end that reads and the end that writes."""
        pair = os.pipe()
        self._open |= set(pair)
        return pair

    def memory(self, data: bytes) -> int:
        """A file in memory that holds data, and that nobody can change any more."""
        descriptor = os.memfd_create("aha", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._open.add(descriptor)
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        return descriptor

    def keep(self, descriptors: Iterable[int]) -> None:
        """Closes all others: a pipe ends only when every copy of the end that writes is closed."""
        for descriptor in self._open - set(descriptors):
            os.close(descriptor)
            self._open.discard(descriptor)


class GuestProcess:
    """The harness at work in a cell."""

    def __init__(
        self, pipes: Pipes, cell: Cell, job: Mapping[str, Any], *, stdin: int | None = None, stdout: int, stderr: int
    ) -> None:
        """Starts it.

        Args:
            pipes: get the descriptors that it needs.
            cell: where it runs.
            job: what the harness shall do; descriptors called `calls` and `replies` are passed on.
            stdin: a descriptor; nothing to read by default.
            stdout: a descriptor, or `subprocess.DEVNULL`.
            stderr: a descriptor.
        """
        self.cell = cell
        self.started, started_end = pipes.pair()
        self._num_kills = cell.num_memory_kills()
        self._has_started = False
        modules = [plain, unit_tests, examiner, harness] if job["role"] == "examine" else [plain, harness]
        sources = [(module.__name__, inspect.getsource(module)) for module in modules]
        job = {"modules": sources, "limits": cell.resources(), "packages": cell.search_path(), **job}
        job |= {"started": started_end, "is_alone": cell.isolation.strength == "full"}
        order = pipes.memory(json.dumps(job).encode())
        program = system_call_filter() if cell.isolation.strength == "full" else b""
        wall = [pipes.memory(program)] if program else []
        self.process = subprocess.Popen(
            cell.command(["-c", _BOOT, str(order)], *wall),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(order, started_end, *wall, *(job[name] for name in ("calls", "replies") if name in job)),
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def has_ended(self) -> bool:
        """It has ended by itself; it is not yet reaped, so that its number still belongs to it."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def end(self) -> int:
        """Kills what still runs and returns the exit code as a shell does, 128 and the number for a signal.

        Bubblewrap takes everything inside with it when it dies, whatever session or group it has gone to.
        """
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # Of an own group of zombies, or of nobody, nothing is left to kill.
            self.process.kill()
        code = self.process.wait(_GRACE_SECONDS)
        os.set_blocking(self.started, False)
        try:
            self._has_started = os.read(self.started, 1) == b"1"
        except BlockingIOError:
            self._has_started = False
        return code if code >= 0 else 128 - code

    def ending(self, seen: Ending) -> Ending:
        """How it really ended; to be asked after `end`.

        Args:
            seen: how it looked from outside.
        """
        if not self._has_started:
            return "failed"
        return "memory" if seen == "ended" and self.cell.num_memory_kills() > self._num_kills else seen


def watch(
    guest: GuestProcess, texts: dict[int, bytes], *, deadline: float, cap: int, until: int | None = None
) -> Ending:
    """Reads what a guest writes, no longer and no more than allowed.

    Args:
        guest: who is watched.
        texts: what was read from each descriptor; filled here.
        deadline: on the monotonic clock, seconds.
        cap: bytes of one descriptor.
        until: a descriptor whose end is the end; else that of the process.

    Returns:
        `ended`, `timeout` or `overflow`.
    """
    with selectors.DefaultSelector() as selector:
        for descriptor in texts:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            has_ended = guest.has_ended()
            ready = [key.fd for key, _ in selector.select(0 if has_ended else min(left, _POLL_SECONDS))]
            ending = _read(selector, ready, texts, cap, until)
            if ending or (has_ended and not ready):
                return ending or "ended"
            if not selector.get_map() and not has_ended:
                time.sleep(0.001)
    return "timeout"


def _read(
    selector: selectors.BaseSelector, ready: Iterable[int], texts: dict[int, bytes], cap: int, until: int | None
) -> Ending | None:
    """Reads what is ready, and says how the process ended where that shows."""
    for descriptor in ready:
        data = os.read(descriptor, 65536)
        texts[descriptor] += data
        if not data:
            selector.unregister(descriptor)
        if not data and descriptor == until:
            return "ended"
        if len(texts[descriptor]) > cap:
            return "overflow"
    return None
