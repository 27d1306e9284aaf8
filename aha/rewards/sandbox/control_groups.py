"""Control groups of the kernel: bounds on the memory and the processes of a whole cell.

Resource limits hold for each process by itself: N processes of a cell may take N times the memory. A control group
bounds their sum. Groups are made where the kernel lets this user make them:

- version 2: below the nearest ancestor of this process's group that delegates the controllers `memory` and `pids`. An
  ordinary user has one where systemd has delegated a subtree, which is below `user@.service`. If the group of this
  process itself was delegated but does not delegate further, its processes are moved to a leaf first, since a group
  with processes cannot;
- version 1: below the group of this process, separately for `memory` and for `pids`.

Source: Linux, admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1; systemd, Control Group APIs and Delegation.
"""

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

__all__ = ["REMEDY", "are_bounds", "make_groups", "num_memory_kills", "remove_group"]

REMEDY = "systemd-run --user --scope -p Delegate=yes COMMAND"
"""The command by which an ordinary user starts COMMAND in a delegated control group."""

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_CONTROLLERS = ("memory", "pids")
_LEAF = "aha-main"
_MAX_ROUNDS = 10


def make_groups(memory_bytes: int, num_processes: int, *, root: Path = _ROOT, own: Path = _OWN) -> list[Path]:
    """Makes empty control groups that together bound memory and processes, as far as this user may.

    Args:
        memory_bytes: largest memory of all processes together, swap included.
        num_processes: largest number of processes and threads at the same time.
        root: where control groups are mounted.
        own: the file that names the groups of this process.

    Returns:
        The folders of the groups, for `remove_group`: one of version 2, or up to two of version 1; an empty list where
        no group can be made, configured and entered.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []

    groups = []
    for _, controllers, path in lines:
        relative = path.lstrip("/")

        # A path that leads out of the namespace of control groups is not mounted here.
        if ".." in Path(relative).parts:
            continue

        # The line of version 2 names no controllers.
        if not controllers:
            groups += _version_2(root, root / relative, memory_bytes, num_processes)

        if "memory" in controllers.split(","):
            required = {"memory.limit_in_bytes": memory_bytes}
            groups += _new_group(root / "memory" / relative, required, {"memory.memsw.limit_in_bytes": memory_bytes})

        if "pids" in controllers.split(","):
            groups += _new_group(root / "pids" / relative, {"pids.max": num_processes}, {})

    return groups


def are_bounds(groups: list[Path]) -> bool:
    """Whether groups bound both memory and processes."""
    names = {path.name for group in groups for path in group.iterdir()}
    return "pids.max" in names and not names.isdisjoint({"memory.max", "memory.limit_in_bytes"})


def num_memory_kills(groups: list[Path]) -> int:
    """How many processes of the groups the kernel has killed for lack of memory."""
    return sum(_num_kills(group / name) for group in groups for name in ("memory.events", "memory.oom_control"))


def remove_group(group: Path) -> None:
    """Removes a control group; gives up after two seconds."""
    # A group cannot be removed while its last processes are dying.
    for _ in range(200):
        try:
            return group.rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.01)
    return None


def _version_2(root: Path, own: Path, memory_bytes: int, num_processes: int) -> list[Path]:
    """A new group below the nearest ancestor that delegates both controllers; empty where there is none."""
    required = {"memory.max": memory_bytes, "pids.max": num_processes}
    optional = {"memory.swap.max": 0}

    # A group with processes of its own cannot delegate, so an ancestor is tried before this group is emptied.
    ancestors = [folder for folder in own.parents if folder.is_relative_to(root)]
    for parent in [own, *ancestors]:
        if _has_controllers(parent / "cgroup.subtree_control"):
            groups = _new_group(parent, required, optional)
            if groups:
                return groups

    if _is_delegated(own, root) and _has_controllers(own / "cgroup.controllers") and _delegate_controllers(own):
        return _new_group(own, required, optional)

    return []


def _new_group(parent: Path, required: dict[str, int], optional: dict[str, int]) -> list[Path]:
    """A new group below another, with its settings; empty where it cannot be made, configured or entered.

    Args:
        parent: the group above.
        required: values by the names of their files.
        optional: the same for files that may be missing: not every kernel counts swap.
    """
    if not (parent / "cgroup.procs").is_file():
        return []

    try:
        group = Path(tempfile.mkdtemp(prefix="aha-cell-", dir=parent))
    except OSError:
        return []

    try:
        for name, value in required.items():
            (group / name).write_text(str(value))
        for name, value in optional.items():
            if (group / name).exists():
                (group / name).write_text(str(value))
    except OSError:
        remove_group(group)
        return []

    # A user who may make a group may not always move a process there: that takes a right on the common ancestor too.
    enter = ["/bin/sh", "-c", 'echo $$ > "$1"', "sh", str(group / "cgroup.procs")]
    if subprocess.run(enter, capture_output=True, timeout=30, check=False).returncode:
        remove_group(group)
        return []

    return [group]


def _delegate_controllers(own: Path) -> bool:
    """Moves the processes of a group to a leaf, and delegates its controllers; returns whether that succeeds."""
    leaf = own / _LEAF
    try:
        leaf.mkdir(exist_ok=True)
        # Processes may start in between, hence several rounds.
        for _ in range(_MAX_ROUNDS):
            for process in _words(own / "cgroup.procs"):
                _move(process, leaf)
        (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _CONTROLLERS))
    except OSError:
        return False

    return True


def _move(process: str, group: Path) -> None:
    """Moves a process to a group if it still runs."""
    with contextlib.suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(process)


def _is_delegated(group: Path, root: Path) -> bool:
    """Whether this user may manage the subtree of a group: systemd, a container or an owner has delegated it."""
    # The root of a container has a type; the root of the machine, which nobody delegates, has none.
    if group == root and (group / "cgroup.type").is_file():
        return True

    # A file system may have no extended attributes.
    with contextlib.suppress(OSError):
        if os.getxattr(group, "user.delegate") == b"1":
            return True
    return os.geteuid() != 0 and group.stat().st_uid == os.geteuid()


def _has_controllers(path: Path) -> bool:
    return set(_CONTROLLERS) <= set(_words(path))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _num_kills(path: Path) -> int:
    """The value of `oom_kill` in a file of a control group."""
    # A file of version 1 or 2, whichever there is; the last word of a file that is cut has no value behind it.
    words = _words(path)
    return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words[:-1] else 0
