"""A process in a cell: it is started, watched until its deadline, and killed."""

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

from aha.rewards.sandbox import children, examiner, failures, harness, plain, unit_tests
from aha.rewards.sandbox.isolation import Cell
from aha.rewards.sandbox.seccomp import system_call_filter

__all__ = ["Ending", "GuestProcess", "Pipes", "watch"]

Ending = Literal["ended", "timeout", "overflow", "memory", "failed"]
"""How a process ended: by itself, killed for time, output or memory, or without having started."""

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
    """The descriptors of one execution, as a context manager that closes them all."""

    def __init__(self) -> None:
        """Starts without descriptors."""
        self._open: set[int] = set()

    def __enter__(self) -> Self:
        """The pipes themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes all open descriptors."""
        self.close_all_but(())

    def pair(self) -> tuple[int, int]:
        """Opens a pipe; returns its reading and its writing end."""
        pair = os.pipe()
        self._open |= set(pair)
        return pair

    def memory(self, data: bytes) -> int:
        """Opens a file in memory that holds data and is sealed: the process that gets it cannot change it."""
        descriptor = os.memfd_create("aha", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._open.add(descriptor)
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        return descriptor

    def close_all_but(self, descriptors: Iterable[int]) -> None:
        """Closes all other descriptors: a reader sees the end of a pipe only if every writing end is closed."""
        for descriptor in self._open - set(descriptors):
            os.close(descriptor)
            self._open.discard(descriptor)


class GuestProcess:
    """A process that runs the harness in a cell."""

    def __init__(
        self, pipes: Pipes, cell: Cell, job: Mapping[str, Any], *, stdin: int | None = None, stdout: int, stderr: int
    ) -> None:
        """Starts the process.

        Args:
            pipes: own the descriptors that it needs.
            cell: the cell in which it runs.
            job: the job of the harness; the descriptors of its fields `calls` and `replies` are passed on.
            stdin: a descriptor; nothing to read by default.
            stdout: a descriptor, or `subprocess.DEVNULL`.
            stderr: a descriptor.
        """
        self.cell = cell
        self.started, started_end = pipes.pair()
        self._num_kills = cell.num_memory_kills()
        self._has_started = False

        # The modules of the harness are sent as text: no file of this package is visible inside. A module comes after
        # those that it imports.
        tests = [unit_tests, failures, examiner] if job["role"] == "examine" else []
        modules = [plain, children, *tests, harness]
        is_full = cell.isolation.strength == "full"
        message = {
            "modules": [(module.__name__, inspect.getsource(module)) for module in modules],
            "limits": cell.resources(),
            "packages": cell.search_path(),
            **job,
            "started": started_end,
            "is_alone": is_full,
        }
        job_descriptor = pipes.memory(json.dumps(message).encode())

        filter_bytes = system_call_filter() if is_full else b""
        filters = [pipes.memory(filter_bytes)] if filter_bytes else []

        channels = [job[name] for name in ("calls", "replies") if name in job]
        self.process = subprocess.Popen(
            cell.command(["-c", _BOOT, str(job_descriptor)], *filters),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(job_descriptor, started_end, *filters, *channels),
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def has_ended(self) -> bool:
        """Whether the process has ended by itself."""
        # Without reaping it, so that no other process can get its number before `end` kills its group.
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def end(self) -> int:
        """Kills all that still runs, and returns the exit code as a shell does: 128 and the number for a signal.

        When bubblewrap dies, everything inside dies with it, in whatever session or group.
        """
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # The group is empty, or all its processes are zombies.
            self.process.kill()

        code = self.process.wait(_GRACE_SECONDS)

        # The harness writes one byte when it starts.
        os.set_blocking(self.started, False)
        try:
            self._has_started = os.read(self.started, 1) == b"1"
        except BlockingIOError:
            self._has_started = False

        return code if code >= 0 else 128 - code

    def ending(self, seen: Ending) -> Ending:
        """How the process ended, as far as the cell knows more than `watch`; call it after `end`.

        Args:
            seen: the result of `watch`.
        """
        if not self._has_started:
            return "failed"
        if seen == "ended" and self.cell.num_memory_kills() > self._num_kills:
            return "memory"
        return seen


def watch(
    guest: GuestProcess, buffers: dict[int, bytes], *, deadline: float, max_bytes: int, until: int | None = None
) -> Ending:
    """Reads the output of a guest until it ends, its time is over or it has written too much.

    Args:
        guest: the process.
        buffers: the bytes read from each descriptor; filled here.
        deadline: on the monotonic clock, seconds.
        max_bytes: largest number of bytes of one descriptor.
        until: a descriptor whose end counts as the end of the guest; by default the process itself must end.

    Returns:
        `ended`, `timeout` or `overflow`.
    """
    with selectors.DefaultSelector() as selector:
        for descriptor in buffers:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)

        while (remaining := deadline - time.monotonic()) > 0:
            # Whether it has ended is asked before reading, so that its last output is still read.
            has_ended = guest.has_ended()
            wait_seconds = 0 if has_ended else min(remaining, _POLL_SECONDS)
            ready = [key.fd for key, _ in selector.select(wait_seconds)]

            ending = _read(selector, ready, buffers, max_bytes, until)
            if ending:
                return ending
            if has_ended and not ready:
                return "ended"
            if not selector.get_map() and not has_ended:
                time.sleep(0.001)

    return "timeout"


def _read(
    selector: selectors.BaseSelector, ready: Iterable[int], buffers: dict[int, bytes], max_bytes: int, until: int | None
) -> Ending | None:
    """Reads the ready descriptors; returns how the process ended, None where it goes on."""
    for descriptor in ready:
        data = os.read(descriptor, 65536)
        buffers[descriptor] += data
        if not data:
            selector.unregister(descriptor)
        if not data and descriptor == until:
            return "ended"
        if len(buffers[descriptor]) > max_bytes:
            return "overflow"

    return None
