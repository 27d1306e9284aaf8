"""The provenance of a result: versions, revision, machine, command. It is recorded before the first step of a run."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import aha

__all__ = ["now", "provenance", "revision"]

_LIBRARIES = ("torch", "numpy", "safetensors", "tokenizers", "pydantic")
_OPTIONAL = ("transformers",)
"""Recorded where it is installed: it computes models of other architectures."""


def now() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def revision() -> str:
    """Git revision of the code, with `+changes` where files differ from it; `unknown` outside a checkout."""
    # Of the package, not of the folder where the command was given.
    folder = Path(aha.__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    # No git, no checkout, or a file system that does not answer: a run does not fail for want of a revision.
    except (OSError, subprocess.SubprocessError):
        return "unknown"

    suffix = "+changes" if changes.stdout.strip() else ""
    return head.stdout.strip() + suffix


def provenance() -> dict[str, object]:
    """Versions, revision, machine and command."""
    versions = dict.fromkeys(_LIBRARIES, "unknown")
    for name in (*_LIBRARIES, *_OPTIONAL):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)

    return {
        "aha": aha.__version__,
        "revision": revision(),
        "python": platform.python_version(),
        "libraries": versions,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "command": ["aha", *sys.argv[1:]],
    }
