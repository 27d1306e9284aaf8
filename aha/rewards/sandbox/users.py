"""The users that cells run as, and what the kernel counts of them."""

import contextlib
import os
import re
import socket
from pathlib import Path

__all__ = ["claim_uid", "counts_by_namespace", "num_tasks"]

_FIRST_UID = 61_000
_NUM_UIDS = 4_000


def claim_uid() -> tuple[int, socket.socket]:
    """A uid that no other cell of this machine has, and the socket that claims it.

    Wherever folders for temporary files are, two cells of one uid would kill each other's processes. The name of a
    socket is known to the whole machine, and given back where its process ends in whatever way.

    Raises:
        RuntimeError: all are taken.
    """
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
    """This kernel counts the processes of a user in each user namespace apart, as from 5.14 on."""
    numbers = re.findall(r"\d+", os.uname().release)[:2]
    return tuple(map(int, numbers)) >= (5, 14)


def num_tasks(uid: int) -> int:
    """How many processes and threads of a user run now."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        # It may have ended meanwhile.
        with contextlib.suppress(OSError):
            count += len(os.listdir(process / "task")) if process.stat().st_uid == uid else 0
    return count
