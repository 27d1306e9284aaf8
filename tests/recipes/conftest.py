"""The command without a process of its own, and a disk that can be full.

A process that trains takes five seconds of CPU before it does anything. What is tested of a command is tested in a
process of its own where signals, streams or the end of that process are part of it.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Call, Ended, handlers_restored

from aha.cli import main

MountDisk = Callable[[str], Path]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """The command, called in this process: anything but an exit status would be a traceback."""

    def give(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        status = ended.value.code
        assert isinstance(status, int)
        return Ended(status, captured.out, captured.err)

    with handlers_restored():
        yield give


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
