"""C kernels of the policy, built by the system's compiler when they are first needed.

The source lies beside this module; what is built is kept in the user's cache folder under a name that holds a digest of
source, compiler options and processor, so that nothing stale is ever loaded. The environment variable `AHA_KERNELS`
chooses the instruction set; without it the kernels use the best that the processor has. Where there is no compiler, or
with `AHA_KERNELS=off`, there is no kernel, and torch computes instead.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aha.kernels.cpu.instructions import InstructionSet, choose_set, cpu_features

__all__ = [
    "SWITCH",
    "built_for",
    "functions",
    "has_gpu_kernels",
    "instruction_set",
    "is_on",
    "kernels_in_use",
    "library",
]

SWITCH = "AHA_KERNELS"
"""Environment variable: the name of an instruction set that the processor has, or `off`."""

_SOURCES = ("attention", "decode", "kernels", "sampling")
_OPTIONS = ("-O3", "-std=gnu11", "-shared", "-fPIC")
_HEADER = "vectors.h"
_MAX_BUILD_SECONDS = 120


def instruction_set() -> InstructionSet | None:
    """The instruction set that kernels are built for; None where they are switched off.

    Raises:
        ValueError: the switch names none that this processor has.
    """
    name = os.environ.get(SWITCH)
    if name == "off":
        return None
    return choose_set(name, cpu_features(), asked_by=SWITCH)


def is_on() -> bool:
    """Whether kernels may be used.

    Raises:
        ValueError: as `instruction_set`.
    """
    return instruction_set() is not None


@cache
def built_for(*names: str) -> InstructionSet | None:
    """The instruction set that libraries of this folder are built for.

    Args:
        names: of the libraries, as `library` takes them.

    Returns:
        The set; None where kernels are switched off, or one of the libraries cannot be built.

    Raises:
        ValueError: as `instruction_set`.
    """
    are_built = all(library(name) is not None for name in names)
    return instruction_set() if are_built else None


def kernels_in_use() -> str:
    """The value of the switch that gives the same bits as this process: `off` where a library cannot be built.

    Raises:
        ValueError: as `instruction_set`.
    """
    chosen = built_for(*_SOURCES)
    return "off" if chosen is None else chosen.name


@cache
def has_gpu_kernels() -> bool:
    """Whether the kernels for GPUs can be built: `aha.kernels.cuda.extra` and those after it can be imported."""
    return is_on() and find_spec("triton") is not None


@cache
def library(name: str) -> ctypes.CDLL | None:
    """The functions of a source file of this folder.

    Args:
        name: of the file, without `.c`.

    Returns:
        The loaded library; None where there is no compiler that can build it, or kernels are switched off.

    Raises:
        ValueError: as `instruction_set`.
    """
    chosen = instruction_set()
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if chosen is None or compiler is None:
        return None

    command = (compiler, *_OPTIONS, *chosen.options, f"-DLANES={chosen.lanes}")
    source = Path(__file__).with_name(f"{name}.c")
    header = source.with_name(_HEADER)

    # Everything that decides what is built, so that a library is never used for anything else.
    texts = (source.read_text(encoding="utf-8"), header.read_text(encoding="utf-8"))
    identity = "\n".join((*texts, *command, platform.platform(), _processor()))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:24]
    file = f"{name}-{chosen.name}-{digest}.so"

    folder = _cache_folder()
    if folder is not None:
        return _load(command, source, folder / file)

    # A library that is loaded stays usable when its file is gone.
    with tempfile.TemporaryDirectory(prefix="aha-") as temporary:
        return _load(command, source, Path(temporary) / file)


def functions(name: str, signatures: Mapping[str, str]) -> dict[str, Callable[..., Any]] | None:
    """Functions of a source file of this folder, which take numbers and addresses.

    Args:
        name: of the file, without `.c`.
        signatures: a letter for each argument of a function and, behind a colon, for what it returns: `i` for int64,
            `f` for float, `p` for an address.

    Returns:
        The functions by name; None where there is no library.
    """
    loaded = library(name)
    if loaded is None:
        return None

    types: dict[str, Any] = {"i": ctypes.c_int64, "f": ctypes.c_float, "p": ctypes.c_void_p}
    by_name: dict[str, Callable[..., Any]] = {}
    for function_name, signature in signatures.items():
        arguments, _, result = signature.partition(":")
        function = loaded[function_name]
        function.argtypes = [types[letter] for letter in arguments]
        function.restype = types[result] if result else None
        by_name[function_name] = function
    return by_name


def _processor() -> str:
    """The processor that kernels are built for: a cache folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    # Once each, although the file has these lines for every core.
    described = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    return "\n".join(sorted(described))


def _cache_folder() -> Path | None:
    """A folder that only this user can write, since what lies there is executed; None where there is none."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aha"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError:
        return None
    belongs_to_user = state.st_uid == os.getuid()
    others_can_write = bool(state.st_mode & 0o022)
    if not belongs_to_user or others_can_write or not os.access(folder, os.W_OK):
        return None
    return folder


def _load(command: Sequence[str], source: Path, path: Path) -> ctypes.CDLL | None:
    """The library of a path, which is built first where it is missing; None where that fails."""
    if not path.exists() and not _build(command, source, path):
        return None
    return ctypes.CDLL(str(path))


def _build(command: Sequence[str], source: Path, path: Path) -> bool:
    """Build a library, whole or not at all; whether that went well."""
    # Built aside and renamed: another process may build the same, and must never load half a file.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        arguments = [*command, str(source), "-o", str(built), "-lm"]
        try:
            result = subprocess.run(arguments, capture_output=True, timeout=_MAX_BUILD_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        if result.returncode:
            return False

        built.replace(path)
    return True
