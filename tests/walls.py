"""What a program in a cell looks like from inside and from outside, with all walls or with some taken away."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.rewards.sandbox.guest_process import GuestProcess, Pipes
from aha.rewards.sandbox.isolation import Cell, Isolation, Limits

__all__ = ["NUM_ARGUMENTS", "BreachedCell", "Facts", "Occurrence", "observe", "occurrences"]

Facts = dict[str, Any]
"""What was observed, by name."""

NUM_ARGUMENTS = {
    "--bind": 2,
    "--cap-drop": 1,
    "--chdir": 1,
    "--dev": 1,
    "--hostname": 1,
    "--remount-ro": 1,
    "--ro-bind": 2,
    "--ro-bind-try": 2,
    "--seccomp": 1,
    "--setenv": 2,
    "--symlink": 2,
}
"""How many arguments follow an option of bubblewrap; those not named here have none."""

# The guest tells what it sees and then waits, so that it can be looked at from outside meanwhile.
_GUEST = """
import ctypes, json, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
death_signal = ctypes.c_int()
libc.prctl(2, ctypes.byref(death_signal), 0, 0, 0)
child = os.fork()
if not child:
    # 0x10000000 asks for a new user namespace.
    os._exit(ctypes.get_errno() if libc.unshare(0x10000000) else 0)
facts = {
    "death_signal": death_signal.value,
    "directory": os.getcwd(),
    "environment": dict(os.environ),
    "flags": [name for name in ("no_user_site", "no_site", "dont_write_bytecode") if getattr(sys.flags, name)],
    "has_own_session": os.getsid(0) != 0,
    "host_name": os.uname().nodename,
    "limits": {name: resource.getrlimit(value) for name, value in vars(resource).items() if name[:7] == "RLIMIT_"},
    "root": {name: os.path.islink("/" + name) for name in os.listdir("/")},
    "user_namespace_error": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]),
}
print(json.dumps(facts), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One option on the command line of a cell, where it begins and where it ends."""

    option: str
    start: int
    stop: int


@dataclass
class BreachedCell(Cell):
    """A cell whose command line is changed before it is started."""

    change: Callable[[list[str]], list[str]] = list

    def command(self, arguments: list[str], filter_descriptor: int | None = None) -> list[str]:
        """The changed command line."""
        return self.change(Cell.command(self, arguments, filter_descriptor))


def occurrences(command: list[str], after: str, before: str) -> list[Occurrence]:
    """The options between two words of a command line."""
    start = command.index(after) + 1
    stop = command.index(before, start)
    found = []
    while start < stop:
        option = command[start]
        end = start + 1 + NUM_ARGUMENTS.get(option, 0)
        found.append(Occurrence(option, start, end))
        start = end
    return found


def observe(
    isolation: Isolation,
    limits: Limits,
    change: Callable[[list[str]], list[str]] = list,
    resources: dict[str, int] | None = None,
) -> Facts:
    """Starts a guest in a cell and looks at it.

    Args:
        isolation: how the cell is closed.
        limits: those of the cell.
        change: makes another command line of that of the cell.
        resources: limits of each process in place of those of the cell.

    Returns:
        What was seen; nothing where the guest did not start, which only a changed command line may cause.

    Raises:
        RuntimeError: the guest did not start in an unchanged cell; says what it wrote to standard error.
    """
    cell = BreachedCell(isolation, limits, change=change)
    job: dict[str, Any] = {"role": "script", "program": _GUEST}
    if resources is not None:
        job["limits"] = resources

    with contextlib.closing(cell), Pipes() as pipes:
        stdin, stdout, stderr = pipes.pair(), pipes.pair(), pipes.pair()
        inmate = GuestProcess(pipes, cell, job, stdin=stdin[0], stdout=stdout[1], stderr=stderr[1])
        pipes.close_all_but([stdin[1], stdout[0], stderr[0], inmate.started])
        try:
            with os.fdopen(stdout[0], closefd=False) as stream:
                line = stream.readline()
            if line:
                return {**json.loads(line), **_from_outside(inmate, cell)}
        finally:
            # The guest ends at the end of its input, even where nothing would end it with bubblewrap.
            pipes.close_all_but([stdout[0], stderr[0], inmate.started])
            code = inmate.end()
        if change is list:
            errors = os.read(stderr[0], 10_000).decode(errors="replace")
            raise RuntimeError(f"the guest did not start; it ended with {code} and wrote: {errors}")
        return {}


def _from_outside(inmate: GuestProcess, cell: Cell) -> Facts:
    """What this process sees of the guest, the last of the line of processes that the cell began."""
    pid = [inmate.process.pid, *_descendants(inmate.process.pid)][-1]
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    own = {path.name: path.readlink() for path in Path("/proc/self/ns").iterdir()}
    spaces = {path.name: path.readlink() for path in Path(f"/proc/{pid}/ns").iterdir()}
    return {
        "capabilities": {status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "control_groups": Path(f"/proc/{pid}/cgroup").read_text(),
        "descriptors": sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd")),
        "expected_directory": str(cell.folder / "empty"),
        "expected_groups": [group.name for group in cell.groups],
        "expected_uid": str(cell.uid),
        "gids": set(status["Gid"].split()),
        "groups": status["Groups"].split(),
        "host_mounts": [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(cell.folder) in line
        ],
        "mounts": {words[4]: words[5].split(",") for words in mounts},
        "num_filters": int(status["Seccomp_filters"]),
        "privileges": status["NoNewPrivs"].strip(),
        "seccomp_mode": status["Seccomp"].strip(),
        "session_outside": os.getsid(inmate.process.pid) == inmate.process.pid,
        "shared_namespaces": {name for name in spaces if spaces[name] == own[name]},
        "uids": set(status["Uid"].split()),
    }


def _descendants(pid: int) -> Iterator[int]:
    """Children, their children and so on; a line of single children in a cell."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name of the program stands in parentheses and may hold spaces.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    waiting = [pid]
    while waiting:
        children = [child for child, parent in parents.items() if parent == waiting[-1]]
        waiting = children[-1:]
        yield from waiting
