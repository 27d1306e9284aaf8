import platform
import subprocess
import sys

import pytest
import torch

from aha.kernels.cpu import allocation
from aha.kernels.cpu.allocation import KEPT_BYTES, huge_memory

MIB = 1 << 18
"""Floats of a MiB."""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has huge pages")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_regions", [])


@pytest.mark.parametrize("count", [0, 1, 1 << 20])
def test_huge_memory_is_memory(count: int) -> None:
    memory = huge_memory(count)
    assert (memory.shape, memory.dtype) == ((count,), torch.float32)
    view = memory[count // 2 :]
    del memory
    assert float(view.fill_(1.0).sum()) == count - count // 2


@on_linux
def test_what_nobody_uses_is_taken_again() -> None:
    memory = huge_memory(MIB)
    address = memory.data_ptr()
    del memory
    assert huge_memory(MIB // 2).data_ptr() == address
    assert allocation._kept_bytes() == 4 * MIB


def test_what_a_view_uses_is_not_taken_again() -> None:
    views = [huge_memory(MIB)[place:].fill_(place) for place in range(8)]
    later = huge_memory(MIB).fill_(-1.0)
    assert [float(view.mean()) for view in views] == list(range(8))
    assert float(later.sum()) == -MIB


@on_linux
def test_the_smallest_place_that_is_large_enough_is_taken() -> None:
    large, small = huge_memory(8 * MIB), huge_memory(2 * MIB)
    address = small.data_ptr()
    del large, small
    assert huge_memory(MIB).data_ptr() == address


@on_linux
def test_no_more_is_kept_than_the_limit() -> None:
    half = KEPT_BYTES // 8  # floats of half of the limit
    used = [huge_memory(half), huge_memory(half), huge_memory(half)]
    assert allocation._kept_bytes() == KEPT_BYTES  # the third is nobody's but its tensor's
    del used
    huge_memory(half + 1)  # does not fit beside the others, which go
    assert allocation._kept_bytes() == 4 * (half + 1)
    huge_memory(KEPT_BYTES // 4 + 1)
    assert allocation._kept_bytes() == 0


FAULTS = """
import resource, sys, torch
from aha.kernels.cpu.allocation import keep_freed_memory
if sys.argv[1] == "keep": keep_freed_memory()
for step in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(4 << 18) for _ in range(30)]
    del tensors
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.full
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_process_that_keeps_its_memory_has_no_page_faults_later() -> None:
    pages = 30 * (4 << 20) // 4096

    def faults(word: str) -> list[int]:
        command = [sys.executable, "-c", FAULTS, word]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return [int(line) for line in done.stdout.split()]

    first, second, *later = faults("keep")
    assert first > pages // 2
    assert second < pages // 2
    assert max(later) < pages // 20
    assert faults("not")[1] > pages // 2, "the system keeps it anyway: the setting can go"
