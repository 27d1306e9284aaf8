"""The isolation of model-written code: namespaces and an empty file system, or a weak fallback of limits and a uid.

Full isolation uses bubblewrap: all namespaces (user, mount, pid, network, ipc, uts, cgroup), no capabilities, no new
privileges, no further user namespaces, a filter of system calls, and a file system with `/usr`, the interpreter and a
few devices, all read-only, without `/proc`, `/etc`, `/home` and `/tmp`. A process started by root first becomes an
unprivileged uid, a different one for each cell, because older kernels count processes by uid. Where control groups can
be made (`aha.rewards.sandbox.control_groups`), they bound memory and processes of the whole cell. Without them the
memory limit holds for each process, so that all together may take `memory_bytes` times `num_processes`.

The weak fallback is a uid of its own (only when started by root), resource limits, a clean environment and an empty
folder. `Isolation.missing` lists what it does not isolate.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aha.rewards.sandbox.control_groups import are_bounds, make_groups, num_memory_kills, remove_group
from aha.rewards.sandbox.packages import NO_PACKAGES, Packages
from aha.rewards.sandbox.users import (
    claim_uid,
    counts_by_namespace,
    is_reachable,
    is_root,
    num_tasks,
    temporary_folder,
)

__all__ = ["Cell", "Isolation", "Limits", "probe"]

_PACKAGES = "/packages"
_SYSTEM_PYTHON = Path("/usr/bin/python3")
_WEAK = (
    "the network",
    "reading files that any user may read",
    "writing where any user may write, such as /tmp",
    "seeing other processes",
)
_WEAK_AS_USER = (
    "leaving processes behind",
    "your own files, processes and keys",
    "the tests, which code may tamper with",
    "processes beyond it",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one execution.

    Attributes:
        seconds: wall-clock time after which everything is killed, and processor time of each process.
        memory_bytes: address space of each process; memory of a whole cell where control groups can be made.
        num_processes: largest number of processes and threads at the same time.
        output_bytes: output after which everything is killed.
    """

    seconds: float = 10.0
    memory_bytes: int = 512 * 2**20
    num_processes: int = 32
    output_bytes: int = 2**20

    def __post_init__(self) -> None:
        """Refuses limits under which no interpreter starts."""
        if not 0 < self.seconds <= 3600:
            raise ValueError(f"seconds is {self.seconds}; allowed are times above 0 and up to 3600")
        if self.memory_bytes < 64 * 2**20:
            raise ValueError(f"memory_bytes is {self.memory_bytes}; an interpreter needs at least {64 * 2**20}")
        if self.num_processes < 2 or self.output_bytes < 1:
            raise ValueError(
                f"num_processes is {self.num_processes} and output_bytes {self.output_bytes}; "
                "allowed are at least 2 processes and 1 byte"
            )

    def resources(self) -> dict[str, int]:
        """The limits of each process, by their names in `resource`."""
        return {
            "RLIMIT_AS": self.memory_bytes,
            # The wall clock ends most programs first; this limit ends what has escaped from it.
            "RLIMIT_CPU": int(self.seconds) + 2,
            "RLIMIT_NPROC": self.num_processes,
            "RLIMIT_FSIZE": 2**20,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_MSGQUEUE": 0,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """The isolation that this machine supports.

    Attributes:
        strength: `full` (bubblewrap) or `weak`.
        interpreter: the Python that runs inside.
        is_private: whether only root may read the interpreter, so that it is mounted elsewhere for the sandbox.
        program: path of bubblewrap, where the isolation is full.
        can_forbid_namespaces: whether bubblewrap can forbid new user namespaces inside: from 0.8 on.
        reason: why it is no stronger; empty where it is full.
    """

    strength: Literal["full", "weak"]
    interpreter: Path
    is_private: bool = False
    program: str = ""
    can_forbid_namespaces: bool = True
    reason: str = ""

    @property
    def can_share_packages(self) -> bool:
        """Whether the packages installed here fit the interpreter inside, and may be read there."""
        return self.interpreter == _current_python()

    @property
    def missing(self) -> tuple[str, ...]:
        """What is not isolated, in words; empty where the isolation is full."""
        if self.strength == "full":
            return ()
        return _WEAK if is_root() else _WEAK + _WEAK_AS_USER


def _current_python() -> Path:
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def probe(bubblewrap: str = "bwrap") -> Isolation:
    """Tries out how well this machine can isolate a program.

    Args:
        bubblewrap: the name or path of bubblewrap.

    Returns:
        The strongest isolation that works, with the current interpreter if possible.

    Raises:
        RuntimeError: not even the fallback starts an interpreter.
    """
    pythons = [python for python in dict.fromkeys([_current_python(), _SYSTEM_PYTHON]) if python.is_file()]
    program = shutil.which(bubblewrap)
    faults = []

    if program is None:
        faults.append(f"{bubblewrap} is not installed")

    for python in pythons if program else []:
        full = Isolation(
            strength="full",
            interpreter=python,
            is_private=not is_reachable(python),
            program=program or "",
            can_forbid_namespaces="--disable-userns" in _output([program or "", "--help"]),
        )
        fault = _fault(full)
        if not fault:
            return full
        faults.append(f"{bubblewrap} with {python}: {fault}")

    # The fallback mounts nothing, so that the interpreter must be readable where it lies.
    reason = "; ".join(faults)
    for python in filter(is_reachable, pythons):
        weak = Isolation(strength="weak", interpreter=python, reason=reason)
        fault = _fault(weak)
        if not fault:
            return weak
        faults.append(f"without bubblewrap, {python}: {fault}")

    raise RuntimeError(
        f"no program can be isolated here: {'; '.join(faults) or 'no interpreter that any user may read'}; "
        "install bubblewrap and an interpreter below /usr"
    )


def _output(command: list[str]) -> str:
    """What a command writes to standard output and standard error."""
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    return finished.stdout + finished.stderr


def _fault(isolation: Isolation) -> str:
    """Why an interpreter cannot be started in isolation; empty where it can."""
    cell = Cell(isolation, Limits())
    try:
        output = _output(cell.command(["-c", "import json, sys; print('ready', *sys.version_info[:2])"]))
    except subprocess.TimeoutExpired:
        return "it hangs"
    except OSError as error:
        return str(error)
    finally:
        cell.close()

    # The output of an interpreter, not an exit code: bubblewrap and shells have codes of their own.
    if output.startswith("ready 3"):
        return ""
    return output.strip()[-300:] or "it ends without a word"


@dataclass
class Cell:
    """The environment of one execution at a time: a uid, control groups, a folder of mount points.

    Attributes:
        isolation: how it is isolated.
        limits: the limits of an execution.
        packages: the packages that may be imported besides the standard library.
    """

    isolation: Isolation
    limits: Limits
    packages: Packages = NO_PACKAGES
    uid: int = field(init=False)
    folder: Path = field(init=False)
    groups: list[Path] = field(init=False)
    _claim: socket.socket | None = field(init=False)

    def __post_init__(self) -> None:
        """Claims its uid and makes its folder and its control groups."""
        if is_root():
            self.uid, self._claim = claim_uid()
            # A run that was killed may have left processes of this uid, which could reach into the cell.
            self._kill_all()
        else:
            self.uid = os.geteuid()
            self._claim = None

        self.folder = Path(tempfile.mkdtemp(prefix="aha-cell-", dir=temporary_folder()))
        for name in ("python", "empty", *self.packages.mount_points().values()):
            (self.folder / name).mkdir()

        # Root makes folders that it alone may enter; the interpreter inside runs as the uid of the cell.
        if is_root():
            self.folder.chmod(0o755)
            os.chown(self.folder / "empty", self.uid, self.uid)

        # A cell holds two interpreters at once where it repeats a program: the one that reports, and the program.
        self.groups = make_groups(2 * self.limits.memory_bytes, 2 * self.limits.num_processes + 16)

    @property
    def is_bounded(self) -> bool:
        """Whether memory and processes are bounded for the whole cell, not only for each process."""
        return are_bounds(self.groups)

    def command(self, arguments: list[str], filter_descriptor: int | None = None) -> list[str]:
        """The command line that starts the interpreter inside.

        Args:
            arguments: the arguments of the interpreter.
            filter_descriptor: descriptor from which bubblewrap reads the filter of system calls; None for no filter.
        """
        is_weak = self.isolation.strength == "weak"
        inner = [str(self.isolation.interpreter)] if is_weak else self._bubblewrap(filter_descriptor)

        # Without the packages of the user and of the site, and without writing compiled files.
        command = [*inner, "-s", "-S", "-B", *arguments]

        if is_weak:
            command = ["/usr/bin/env", "-i", *_environment(self.packages), *command]

        if is_root():
            drop = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--no-new-privs"]
            command = [*drop, *command]

        # A shell enters the groups and mounts the folders while it is still root; only then the uid is dropped.
        mounts = self._mounts()
        steps = [f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}" for group in self.groups]
        for source, target in mounts.items():
            steps.append(f"mount --bind {shlex.quote(str(source))} {shlex.quote(str(target))}")
        if is_weak:
            steps.append(f"cd {shlex.quote(str(self.folder / 'empty'))}")

        if steps:
            script = " && ".join([*steps, 'exec "$@"'])
            command = ["/bin/sh", "-c", script, "sh", *command]

        # The mounts are visible to this process and its children alone.
        return ["unshare", "--mount", "--propagation", "private", *command] if mounts else command

    def resources(self) -> dict[str, int]:
        """The limits of each process inside, by their names in `resource`."""
        limits = self.limits.resources()
        has_own_count = is_root() or (self.isolation.strength == "full" and counts_by_namespace())
        if not has_own_count:
            # The kernel counts all processes of this user, also those outside of the cell.
            limits["RLIMIT_NPROC"] += num_tasks(self.uid)
        return limits

    def search_path(self) -> list[str]:
        """The folders inside that hold packages, besides the standard library."""
        if self.isolation.strength == "full":
            return [_PACKAGES] if self.packages.entries else []
        return [str(folder) for folder in self.packages.folders]

    def _mounts(self) -> dict[Path, Path]:
        """Folders that only root may read, each with its mount point that the user of the cell may read."""
        if self.isolation.strength == "weak":
            return {}

        mounts = {}
        if self.isolation.is_private:
            mounts[Path(sys.base_prefix)] = self.folder / "python"
        for folder, name in self.packages.mount_points().items():
            if not is_reachable(folder):
                mounts[folder] = self.folder / name
        return mounts

    def _bubblewrap(self, filter_descriptor: int | None) -> list[str]:
        """The command line of bubblewrap, up to the interpreter."""
        isolation = self.isolation
        python = isolation.interpreter
        prefix = Path(sys.base_prefix)

        # Links to `/usr` on most systems, folders of their own on others.
        system = []
        for name in ("/lib", "/lib32", "/lib64", "/bin"):
            system += _system_folder(Path(name))

        if not python.is_relative_to("/usr"):
            source = self.folder / "python" if isolation.is_private else prefix
            system += ["--ro-bind", str(source), "/python"]
            python = Path("/python") / python.relative_to(prefix)

        mounts = self._mounts()
        for entry in self.packages.entries:
            source = mounts.get(entry.parent, entry.parent) / entry.name
            system += ["--ro-bind", str(source), f"{_PACKAGES}/{entry.name}"]

        variables = []
        for variable in (f"LD_LIBRARY_PATH={python.parent.parent}/lib", *_environment(self.packages)):
            name, _, value = variable.partition("=")
            variables += ["--setenv", name, value]

        return [
            *(isolation.program, "--unshare-all", "--unshare-user"),
            *(["--disable-userns"] if isolation.can_forbid_namespaces else []),
            *("--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "sandbox"),
            *("--ro-bind", "/usr", "/usr", *system, "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
            *("--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"),
            *(["--seccomp", str(filter_descriptor)] if filter_descriptor is not None else []),
            *variables,
            str(python),
        ]

    def sweep(self) -> None:
        """Kills the processes and removes the files that an execution left behind."""
        # Bubblewrap leaves nothing.
        if self.isolation.strength == "full":
            return

        if is_root():
            self._kill_all()
        for path in (self.folder / "empty").iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()

    def _kill_all(self) -> None:
        """Kills every process of its uid, which no other cell has."""
        # As that user, -1 means all of its processes; as root it would mean all of the machine's.
        drop = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        subprocess.run([*drop, "/bin/sh", "-c", "kill -9 -1"], capture_output=True, timeout=30, check=False)

    def num_memory_kills(self) -> int:
        """How many processes the kernel has killed for lack of memory in its control groups."""
        return num_memory_kills(self.groups)

    def close(self) -> None:
        """Removes its folder and its control groups, and releases its uid."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for group in self.groups:
            remove_group(group)
        if self._claim:
            self._claim.close()


def _environment(packages: Packages) -> list[str]:
    variables = ["PATH=/usr/bin:/bin", "HOME=/", "LC_ALL=C.UTF-8", "PYTHONUTF8=1", "PYTHONHASHSEED=0"]
    if packages.entries:
        # Libraries of linear algebra start a thread for each core, with memory for each thread, beyond the limits.
        variables += ["OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1"]
    return variables


def _system_folder(path: Path) -> list[str]:
    """Bubblewrap's arguments for a folder beside `/usr`: a link stays a link, a folder is mounted read-only."""
    if path.is_symlink():
        return ["--symlink", os.readlink(path), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.is_dir() else []
