"""A small run that nothing disturbed, for the runs that are killed, stopped and starved of space."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import SMALL, FinishedRun, run

MountDisk = Callable[[str], Path]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The small run from beginning to end in one go."""
    folder = tmp_path_factory.mktemp("undisturbed") / "r1_zero"
    command = ["run", "r1_zero", "--run", str(folder), *SMALL, "--json"]
    ended = run(*command)
    assert ended.status == 0, ended.err
    return FinishedRun(folder=folder, command=command, ended=ended)


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[MountDisk]:
    """Mounts a file system in memory with the given options, or changes the options of the one that is mounted."""
    disk = tmp_path / "disk"

    def mount(options: str) -> Path:
        remount = ["remount"] if os.path.ismount(disk) else []
        disk.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", ",".join([*remount, options]), "tmpfs", str(disk)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"mounting a file system in memory needs root and Linux: {error}")
        return disk

    yield mount
    if os.path.ismount(disk):
        subprocess.run(["umount", str(disk)], check=True)
