"""Memory that this process keeps: to give it back to the system and ask for it again costs a part of every step."""

import ctypes
import mmap
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

__all__ = ["huge_memory", "keep_freed_memory"]

KEPT_BYTES = 1 << 27
"""Huge memory that stays with this process while nobody uses it, at most."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of glibc's settings, as `mallopt` takes them (malloc.h)."""

LARGEST_KEPT = 1 << 25
"""Tensors above this, bytes, have pages of their own, which go back to the system; the most that glibc would choose."""


@dataclass(slots=True, eq=False)
class _Place:
    """Pages, and the array that lies in them, which lives as long as a tensor that shares its memory."""

    pages: mmap.mmap
    user: Callable[[], np.ndarray | None] = lambda: None


_places: list[_Place] = []
_lock = Lock()


def keep_freed_memory() -> None:
    """Let this process keep what it frees: the tensors of the next micro-batch take it, without a page fault.

    For a process that trains, whose needs come again with every step. Where the C library has no such setting (only
    glibc has), nothing happens.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            set_option = ctypes.CDLL(None).mallopt
            set_option(_TRIM_THRESHOLD, -1)
            set_option(_MMAP_THRESHOLD, LARGEST_KEPT)


def huge_memory(num_floats: int) -> Tensor:
    """Memory for so many floats, of any content, in huge pages where the system has them.

    It comes several times as fast as in small ones, and its addresses are found faster. A page is resident as a whole
    as soon as a part of it is written. What no tensor uses any more is taken again, up to `KEPT_BYTES` of it.

    Args:
        num_floats: how many.

    Returns:
        [num_floats], float32.
    """
    if sys.platform != "linux" or not num_floats:
        return torch.empty(num_floats)
    size = 4 * num_floats
    with _lock:
        free = [place for place in _places if place.user() is None]
        place = min((one for one in free if len(one.pages) >= size), key=lambda one: len(one.pages), default=None)
        if place is None:
            place = _Place(_new_pages(size))
            if _kept_bytes() + size > KEPT_BYTES:
                _places[:] = [one for one in _places if one not in free]
            if _kept_bytes() + size <= KEPT_BYTES:
                _places.append(place)
        array = np.frombuffer(place.pages, dtype=np.float32, count=num_floats)
        place.user = weakref.ref(array)
    return torch.from_numpy(array)


def _kept_bytes() -> int:
    """Memory that stays with this process."""
    return sum(len(place.pages) for place in _places)


def _new_pages(size: int) -> mmap.mmap:
    """Pages of this process's own."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a system without huge pages
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
