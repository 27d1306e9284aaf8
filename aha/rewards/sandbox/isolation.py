"""How model-written code is shut in: namespaces and an empty file system where possible, limits and a foreign uid else.

Full isolation is bubblewrap's: every namespace (user, mount, pid, network, ipc, uts, cgroup), no capability, no new
privilege, no further user namespaces, a filter of system calls, and a file system that holds `/usr`, the interpreter
and a few devices, all read-only, without `/proc`, `/etc`, `/home` and `/tmp`. When the process was started by root it
becomes an unprivileged uid before, another for each process that runs at the same time, because the limit of processes
counts by uid on older kernels. Where control groups can be made (`aha.rewards.sandbox.control_groups`), memory and
processes are bounded for all of a cell together. Without them the memory bound holds for each process, so that all
together may take `memory_bytes` times `num_processes`.

The weak fallback is a uid of its own (only when started by root), limits on resources, a clean environment and an
empty folder. `Isolation.missing` says what it does not isolate.
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
from aha.rewards.sandbox.users import claim_uid, counts_by_namespace, num_tasks

__all__ = ["Cell", "Isolation", "Limits", "probe"]

_PACKAGES = "/packages"
_SYSTEM_PYTHON = Path("/usr/bin/python3")
_SHARED_FOLDERS = (Path("/tmp"), Path("/var/tmp"), Path("/run"))
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
    """Bounds of one execution.

    Attributes:
        seconds: wall-clock time until everything is killed, and processor time of each process.
        memory_bytes: address space of each process; of a whole cell where control groups can be written.
        num_processes: processes and threads at the same time.
        output_bytes: output that is read before everything is killed.
    """

    seconds: float = 10.0
    memory_bytes: int = 512 * 2**20
    num_processes: int = 32
    output_bytes: int = 2**20

    def __post_init__(self) -> None:
        """Refuse limits under which no interpreter starts."""
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
        """The limits of each process by their names in `resource`."""
        seconds = int(self.seconds) + 2
        return {
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_CPU": seconds,
            "RLIMIT_NPROC": self.num_processes,
            "RLIMIT_FSIZE": 2**20,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_MSGQUEUE": 0,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What this machine can isolate.

    Attributes:
        strength: `full` (bubblewrap) or `weak`.
        interpreter: the Python that runs inside.
        is_private: the interpreter lies where only root may read, and is mounted elsewhere for the sandbox.
        program: path of bubblewrap, where the isolation is full.
        can_forbid_namespaces: bubblewrap can forbid new user namespaces inside, as from 0.8 on.
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
        """What is installed here fits the interpreter inside, and may be read there."""
        return self.interpreter == _own_python()

    @property
    def missing(self) -> tuple[str, ...]:
        """What is not isolated, in words; nothing where the isolation is full."""
        if self.strength == "full":
            return ()
        return _WEAK if _is_root() else _WEAK + _WEAK_AS_USER


def _is_root() -> bool:
    return os.geteuid() == 0


def _own_python() -> Path:
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def _is_open(path: Path) -> bool:
    """Any user may reach the file, or this process is no root and will stay who it is."""
    return not _is_root() or all(step.stat().st_mode & 0o001 for step in [path, *path.parents])


def probe(bubblewrap: str = "bwrap") -> Isolation:
    """Finds out, by trying, how well this machine can isolate a program.

    Args:
        bubblewrap: the name or path of bubblewrap.

    Returns:
        The strongest isolation that works, with the own interpreter if possible.

    Raises:
        RuntimeError: not even the fallback starts an interpreter.
    """
    pythons = [python for python in dict.fromkeys([_own_python(), _SYSTEM_PYTHON]) if python.is_file()]
    program, faults = shutil.which(bubblewrap), []
    if program is None:
        faults.append(f"{bubblewrap} is not installed")
    for python in pythons if program else []:
        can_forbid = "--disable-userns" in _output([program or "", "--help"])
        found = Isolation(
            strength="full",
            interpreter=python,
            is_private=not _is_open(python),
            program=program or "",
            can_forbid_namespaces=can_forbid,
        )
        fault = _fault(found)
        if not fault:
            return found
        faults.append(f"{bubblewrap} with {python}: {fault}")
    reason = "; ".join(faults)
    for python in filter(_is_open, pythons):
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
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    return ended.stdout + ended.stderr


def _fault(isolation: Isolation) -> str:
    """What goes wrong when an interpreter is started; empty where it works."""
    cell = Cell(isolation, Limits())
    try:
        found = _output(cell.command(["-c", "import json, sys; print('ready', *sys.version_info[:2])"]))
    except subprocess.TimeoutExpired:
        return "it hangs"
    except OSError as error:
        return str(error)
    finally:
        cell.close()
    return "" if found.startswith("ready 3") else found.strip()[-300:] or "it ends without a word"


@dataclass
class Cell:
    """A place for one execution at a time: its uid, its control groups, its mount point.

    Attributes:
        isolation: how it is closed.
        limits: what may be used inside.
        packages: what may be imported inside besides the standard library.
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
        self.uid, self._claim = claim_uid() if _is_root() else (os.geteuid(), None)
        if _is_root():
            # A run that was killed may have left processes of this uid, which could reach into the cell.
            self._kill_all()

        self.folder = Path(tempfile.mkdtemp(prefix="aha-cell-", dir=_temporary_folder()))
        for name in ("python", "empty", *_mount_points(self.packages).values()):
            (self.folder / name).mkdir()
        if _is_root():
            self.folder.chmod(0o755)
            os.chown(self.folder / "empty", self.uid, self.uid)

        # A cell holds two interpreters at once where it repeats a program: the one that reports, and the program.
        self.groups = make_groups(2 * self.limits.memory_bytes, 2 * self.limits.num_processes + 16)

    @property
    def is_bounded(self) -> bool:
        """Memory and processes are bounded for the whole cell, not for each process alone."""
        return are_bounds(self.groups)

    def command(self, arguments: list[str], filter_descriptor: int | None = None) -> list[str]:
        """The command line that starts the interpreter inside.

        Args:
            arguments: those of the interpreter.
            filter_descriptor: where bubblewrap reads the filter of system calls; None for none.
        """
        isolation = self.isolation
        inner = self._bubblewrap(filter_descriptor) if isolation.strength == "full" else [str(isolation.interpreter)]
        command = [*inner, "-s", "-S", "-B", *arguments]
        if isolation.strength == "weak":
            command = ["/usr/bin/env", "-i", *_environment(self.packages), *command]
        if _is_root():
            drop = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--no-new-privs"]
            command = [*drop, *command]

        steps = [f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}" for group in self.groups]
        mounts = self._mounts()
        steps += [
            f"mount --bind {shlex.quote(str(place))} {shlex.quote(str(mount))}" for place, mount in mounts.items()
        ]
        if isolation.strength == "weak":
            steps.append(f"cd {shlex.quote(str(self.folder / 'empty'))}")
        if steps:
            command = ["/bin/sh", "-c", " && ".join([*steps, 'exec "$@"']), "sh", *command]
        return ["unshare", "--mount", "--propagation", "private", *command] if mounts else command

    def resources(self) -> dict[str, int]:
        """The limits of each process inside, by their names in `resource`."""
        limits = self.limits.resources()
        if not _is_root() and not (self.isolation.strength == "full" and counts_by_namespace()):
            # The kernel counts all processes of the user, and would let nobody inside start one.
            limits["RLIMIT_NPROC"] += num_tasks(self.uid)
        return limits

    def search_path(self) -> list[str]:
        """Folders in which packages are found inside, besides the standard library."""
        if self.isolation.strength == "full":
            return [_PACKAGES] if self.packages.entries else []
        return [str(folder) for folder in self.packages.folders]

    def _mounts(self) -> dict[Path, Path]:
        """Folders that only root may read, each with where it is mounted for the user of the cell."""
        if self.isolation.strength == "weak":
            return {}
        mounts = {Path(sys.base_prefix): self.folder / "python"} if self.isolation.is_private else {}
        points = _mount_points(self.packages)
        return mounts | {place: self.folder / name for place, name in points.items() if not _is_open(place)}

    def _bubblewrap(self, filter_descriptor: int | None) -> list[str]:
        """Bubblewrap's command line, up to the interpreter."""
        isolation = self.isolation
        python, prefix = isolation.interpreter, Path(sys.base_prefix)
        system = [argument for name in ("/lib", "/lib32", "/lib64", "/bin") for argument in _system_folder(Path(name))]
        if not python.is_relative_to("/usr"):
            source = self.folder / "python" if isolation.is_private else prefix
            system += ["--ro-bind", str(source), "/python"]
            python = Path("/python") / python.relative_to(prefix)
        mounts = self._mounts()
        for entry in self.packages.entries:
            source = mounts.get(entry.parent, entry.parent) / entry.name
            system += ["--ro-bind", str(source), f"{_PACKAGES}/{entry.name}"]
        variables = [f"LD_LIBRARY_PATH={python.parent.parent}/lib", *_environment(self.packages)]
        return [
            *(isolation.program, "--unshare-all", "--unshare-user"),
            *(["--disable-userns"] if isolation.can_forbid_namespaces else []),
            *("--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "sandbox"),
            *("--ro-bind", "/usr", "/usr", *system, "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
            *("--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"),
            *(["--seccomp", str(filter_descriptor)] if filter_descriptor is not None else []),
            *(part for variable in variables for part in ("--setenv", *variable.split("=", 1))),
            str(python),
        ]

    def sweep(self) -> None:
        """Kills what an execution left behind; bubblewrap leaves nothing, the fallback might."""
        if self.isolation.strength == "weak" and _is_root():
            self._kill_all()
        if self.isolation.strength == "weak":
            for path in (self.folder / "empty").iterdir():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _kill_all(self) -> None:
        """Kills every process of its uid, which is no other cell's."""
        drop = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        subprocess.run([*drop, "/bin/sh", "-c", "kill -9 -1"], capture_output=True, timeout=30, check=False)

    def num_memory_kills(self) -> int:
        """How often the control group has had to kill for memory so far; 0 where there is none."""
        return num_memory_kills(self.groups)

    def close(self) -> None:
        """Removes its folder and its control groups, and gives its uid back."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for group in self.groups:
            remove_group(group)
        if self._claim:
            self._claim.close()


def _temporary_folder() -> Path:
    """Where the folder of a cell lies: for temporary files, and for root where other users get at it, too."""
    own = Path(tempfile.gettempdir())
    return next((folder for folder in (own, *_SHARED_FOLDERS) if folder.is_dir() and _is_open(folder)), own)


def _mount_points(packages: Packages) -> dict[Path, str]:
    """The folders of packages, each with the name of the folder of the cell where it may have to be mounted."""
    return {folder: f"packages-{index}" for index, folder in enumerate(packages.folders)}


def _environment(packages: Packages) -> list[str]:
    variables = ["PATH=/usr/bin:/bin", "HOME=/", "LC_ALL=C.UTF-8", "PYTHONUTF8=1", "PYTHONHASHSEED=0"]
    # Libraries of linear algebra begin with a thread for each core and memory for each thread, beyond the limits.
    threads = ["OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1"]
    return variables + (threads if packages.entries else [])


def _system_folder(path: Path) -> list[str]:
    """How a folder beside `/usr` gets into the sandbox: as the link that it is, or read-only."""
    if path.is_symlink():
        return ["--symlink", os.readlink(path), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.is_dir() else []
