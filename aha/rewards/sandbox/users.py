"""The users that cells run as: their uids, their processes, and the files that they can reach."""

import contextlib
import os
import re
import socket
import tempfile
from pathlib import Path

__all__ = ["claim_uid", "counts_by_namespace", "is_reachable", "is_root", "num_tasks", "temporary_folder"]

_FIRST_UID = 61_000
_NUM_UIDS = 4_000
_SHARED_FOLDERS = (Path("/tmp"), Path("/var/tmp"), Path("/run"))


def claim_uid() -> tuple[int, socket.socket]:
    """Claims a uid that no other cell of this machine has.

    Two cells of the same uid would kill each other's processes. The claim is an abstract socket, not a file: its name
    is visible to the whole machine, and it is released however its process ends.

    Returns:
        The uid, and the socket that claims it until it is closed.

    Raises:
        RuntimeError: all uids are taken.
    """
    # From the number of this process on, so that processes that start at once rarely try the same uid.
    for step in range(_NUM_UIDS):
        uid = _FIRST_UID + (os.getpid() + step) % _NUM_UIDS
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0aha-cell-{uid}")
        except OSError:
            claim.close()
            continue
        return uid, claim

    raise RuntimeError(f"all {_NUM_UIDS} uids for cells are taken; close sandboxes that are not used")


def counts_by_namespace() -> bool:
    """Whether this kernel counts the processes of a user separately in each user namespace: from Linux 5.14 on."""
    numbers = re.findall(r"\d+", os.uname().release)[:2]
    return tuple(map(int, numbers)) >= (5, 14)


def num_tasks(uid: int) -> int:
    """The number of processes and threads of a user that run now."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end while it is looked at.
        with contextlib.suppress(OSError):
            if process.stat().st_uid == uid:
                count += len(os.listdir(process / "task"))
    return count


def is_root() -> bool:
    """Whether this process runs as root."""
    return os.geteuid() == 0


def is_reachable(path: Path) -> bool:
    """Whether the user of a cell can reach a file: any user may, or this process is not root and keeps its user."""
    if not is_root():
        return True

    # Every folder on the way must let others through.
    return all(folder.stat().st_mode & 0o001 for folder in [path, *path.parents])


def temporary_folder() -> Path:
    """The folder for the folders of cells: that of temporary files, or for root one that other users can reach."""
    default = Path(tempfile.gettempdir())
    for folder in (default, *_SHARED_FOLDERS):
        if folder.is_dir() and is_reachable(folder):
            return folder
    return default
