"""Programs that a test started by root runs as an ordinary user."""

import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

__all__ = ["UID", "command_of", "run_as_ordinary_user"]

ROOT = Path(__file__).parents[1]
UID = 65_534

_DROP = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]
_VARIABLES = {
    "PATH": "/usr/bin:/bin",
    "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    "PYTHONDONTWRITEBYTECODE": "1",
    "AHA_SECRET": "1",
}


@cache
def command_of() -> tuple[str, ...]:
    """The beginning of a command line: an interpreter as an ordinary user; empty where there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        command = [*_DROP, python, "-c", "import aha.rewards.sandbox.sandbox"]
        if not subprocess.run(command, env=_VARIABLES, capture_output=True, check=False).returncode:
            return (*_DROP, python)
    return ()


def run_as_ordinary_user(
    arguments: Sequence[str], *, before: Sequence[str] = (), timeout: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Runs an interpreter as an ordinary user.

    Args:
        arguments: those of the interpreter.
        before: words before the whole command line.
        timeout: seconds.
    """
    command = [*before, *command_of(), *arguments]
    return subprocess.run(command, env=_VARIABLES, capture_output=True, text=True, timeout=timeout, check=False)
