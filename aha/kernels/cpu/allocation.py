"""Memory that this process does not give back to the system: to ask for it again costs a part of every step."""

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

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
"""Names of glibc's settings, as `mallopt` takes them (malloc.h)."""

_MAX_THRESHOLD = 1 << 25
"""Tensors above this, bytes, have pages of their own, which go back to the system; glibc itself would go no higher."""


@dataclass(slots=True, eq=False)
class _Region:
    """Pages, and a weak reference to the array that lies in them.

    The array lives as long as a tensor that shares its memory, so that a dead reference means that the pages are free.
    """

    pages: mmap.mmap
    user: Callable[[], np.ndarray | None] = lambda: None


_regions: list[_Region] = []
_lock = Lock()


def keep_freed_memory() -> None:
    """Make the C library reuse freed memory, so that the tensors of the next micro-batch cause no page faults.

    For a process that trains, which needs the same memory in every step. Only glibc has such a setting; with another C
    library nothing happens.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            set_option = ctypes.CDLL(None).mallopt
            set_option(_TRIM_THRESHOLD, -1)
            set_option(_MMAP_THRESHOLD, _MAX_THRESHOLD)


def huge_memory(num_floats: int) -> Tensor:
    """Memory for float32 numbers, of any content, in huge pages where the system has them.

    The system hands out huge pages several times as fast as small ones, and finds their addresses faster. A page is
    resident as a whole as soon as a part of it is written. Memory that no tensor uses any more is used again, up to
    `KEPT_BYTES` of it.

    Args:
        num_floats: size of the memory.

    Returns:
        [num_floats], float32.
    """
    if sys.platform != "linux" or not num_floats:
        return torch.empty(num_floats)

    size = 4 * num_floats
    with _lock:
        # The smallest region that is large enough, so that large ones stay free for large tensors.
        free = [region for region in _regions if region.user() is None]
        large_enough = [region for region in free if len(region.pages) >= size]
        region = min(large_enough, key=lambda region: len(region.pages), default=None)
        if region is None:
            region = _Region(_new_pages(size))

            # Where the limit would be passed, free regions, all of them too small, make room for the new one.
            if _kept_bytes() + size > KEPT_BYTES:
                _regions[:] = [other for other in _regions if other not in free]
            if _kept_bytes() + size <= KEPT_BYTES:
                _regions.append(region)

        array = np.frombuffer(region.pages, dtype=np.float32, count=num_floats)
        region.user = weakref.ref(array)
    return torch.from_numpy(array)


def _kept_bytes() -> int:
    """Memory that stays with this process."""
    return sum(len(region.pages) for region in _regions)


def _new_pages(size: int) -> mmap.mmap:
    """Pages of this process's own."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a system without huge pages
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
