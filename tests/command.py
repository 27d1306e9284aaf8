"""The `aha` command as its users meet it: started, killed, given again; and what a run leaves, ready to be compared."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SMALL = [
    f"--{name}={value}"
    for name, value in {
        **{f"{stage}.problems-per-iteration": 4 for stage in ("zero", "longer")},
        **{f"{stage}.group-size": 4 for stage in ("zero", "longer")},
        **{f"{stage}.reference-every": 3 for stage in ("zero", "longer")},
        **{f"{stage}.checkpoint-every": 1 for stage in ("zero", "longer")},
        "zero.iterations": 4,
        "zero.evaluate-every": 2,
        "zero.max-new-tokens": 48,
        "longer.iterations": 2,
        "longer.evaluate-every": 1,
        "longer.max-new-tokens": 64,
        "validation.num-problems": 4,
        "validation.num-samples": 4,
        "validation.max-new-tokens": 64,
        "evaluation.num-problems": 8,
        "evaluation.num-samples": 16,
        "evaluation.max-new-tokens": 64,
        "processes": 2,
    }.items()
]
"""Options that make a run of a few seconds: two stages, four evaluations, a checkpoint after every iteration."""
_LOOPS = ("zero.zero", "zero.longer", "dev2", "reasoning", "scenarios", "students.direct", "students.further")
_LESSONS = ("dev1", "dev3", "rewards.training", "students.qwen2", "students.llama")
_HARVESTS = ("cold", "kept", "rewards.helpful", "rewards.safety")
SMALL_R1 = [
    f"--{name}={value}"
    for name, value in {
        **{f"{stage}.iterations": 2 for stage in _LOOPS},
        **{f"{stage}.problems-per-iteration": 4 for stage in _LOOPS},
        **{f"{stage}.group-size": 4 for stage in _LOOPS},
        **{f"{stage}.num-minibatches": 2 for stage in _LOOPS},
        **{f"{stage}.reference-every": 3 for stage in _LOOPS},
        **{f"{stage}.max-new-tokens": 48 for stage in _LOOPS},
        **{f"{stage}.evaluate-every": 2 for stage in _LOOPS},
        **{f"{stage}.checkpoint-every": 1 for stage in _LOOPS},
        **{f"{stage}.epochs": 1 for stage in _LESSONS},
        **{f"{stage}.batch-size": 4 for stage in _LESSONS},
        **{f"{stage}.optimizer.learning-rate": 0.004 for stage in _LESSONS},
        **{f"{stage}.max-tokens": 128 for stage in _LESSONS},
        **{f"{stage}.checkpoint-every": 3 for stage in _LESSONS},
        **{f"{stage}.num-problems": 48 for stage in _HARVESTS},
        **{f"{stage}.num-samples": 4 for stage in _HARVESTS},
        **{f"{stage}.max-new-tokens": 64 for stage in _HARVESTS},
        **{f"{stage}.shard-size": 16 for stage in _HARVESTS},
        "rewards.helpful.num-problems": 120,
        "rewards.helpful.num-samples": 16,
        "rewards.helpful.num-kept": 16,
        "num-general": 300,
        "students.pretrain.drill-tokens": 512,
        "students.pretrain.problem-tokens": 512,
        "students.pretrain.batch-tokens": 128,
        "students.pretrain.hidden-size": 32,
        "students.pretrain.num-layers": 1,
        "students.pretrain.checkpoint-every": 2,
        **{f"zero.{look}.num-problems": 3 for look in ("validation", "evaluation")},
        **{f"zero.{look}.max-new-tokens": 32 for look in ("validation", "evaluation")},
        "zero.validation.num-samples": 4,
        "zero.evaluation.num-samples": 16,
        "zero.processes": 2,
    }.items()
]
"""Options that make a run of the whole R1 recipe in half a minute; every stage has several checkpoints or shards."""
TIMEOUT_SECONDS = 300
POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


Call = Callable[..., Ended]
"""The command without a process of its own."""


@dataclass(frozen=True)
class FinishedRun:
    """A run folder, the command that made it, and how the command ended."""

    folder: Path
    command: list[str]
    ended: Ended


def executable() -> str:
    """`aha` of this environment, or of the checkout's own."""
    beside = Path(sys.executable).with_name("aha")
    return str(beside if beside.exists() else ROOT / ".venv" / "bin" / "aha")


def _heed_ctrl_c() -> None:
    """Let SIGINT reach a command also where the tests run in the background of a shell, which ignores it there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(*arguments: str, within: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """The command under way, in a process group of its own; whatever is left of it at the end is killed.

    Args:
        arguments: the command.
        within: another command that starts it, such as `timeout 10`.
    """
    process = subprocess.Popen(
        [*within, executable(), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=_heed_ctrl_c,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process: subprocess.Popen[str], seconds: float | None = TIMEOUT_SECONDS) -> Ended:
    """How the command ends; it has to, within this time."""
    out, err = process.communicate(timeout=seconds)
    return Ended(process.returncode, out, err)


def run(*arguments: str, seconds: float | None = TIMEOUT_SECONDS) -> Ended:
    """Give the command and wait for its end."""
    with started(*arguments) as process:
        return ended(process, seconds)


@contextmanager
def handlers_restored() -> Iterator[None]:
    """A run answers signals until its process ends, which is the process of the tests where `main` is called."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def one_object(ended: Ended) -> dict[str, Any]:
    """The one JSON object that a command printed, as a strict reader sees it."""
    assert ended.status == 0, ended.err
    assert ended.out.count("\n") == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(ended.out, parse_constant=refuse)
    assert isinstance(found, dict)
    return found


def assert_fails(ended: Ended, *texts: object) -> None:
    """The command has failed with one line that says all of these."""
    assert (ended.status, ended.out) == (1, ""), ended
    assert ended.err.startswith("aha: ")
    assert ended.err.count("\n") == 1, ended.err
    for text in texts:
        assert str(text) in ended.err


def living(group: int) -> list[int]:
    """Processes of a process group that run; one that only waits to be forgotten by its parent does not."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,stat=,pgid="], capture_output=True, text=True, check=True)
        rows = [line.split() for line in listing.stdout.splitlines()]
    else:
        rows = [row for path in Path("/proc").glob("[0-9]*/stat") if (row := _process(path))]
    return [int(pid) for pid, state, pgid in rows if int(pgid) == group and state[0] not in "ZX"]


def outliving(process: subprocess.Popen[str], seconds: float = 20) -> list[int]:
    """Processes of a command that has ended which do not end by themselves within this time."""
    deadline = time.monotonic() + seconds
    while (left := living(process.pid)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left


def _process(path: Path) -> list[str]:
    """Id, state and group of a process from its `/proc/ID/stat`; empty where it has just gone."""
    try:
        state, _, group = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:3]
    except OSError:
        return []
    return [path.parent.name, state, group]


def wait_until(
    is_so: Callable[[], bool], what: str, process: subprocess.Popen[str], seconds: float = TIMEOUT_SECONDS
) -> None:
    """Wait for something that a command does.

    Raises:
        TimeoutError: it did not come.
        RuntimeError: the command ended before.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        if process.poll() is not None:
            raise RuntimeError(f"the command ended with status {process.returncode} before {what}: {ended(process)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(POLL_SECONDS)


def num_lines(folder: Path) -> int:
    """What a run has logged so far: one line for each iteration and each evaluation."""
    logs = [folder / "metrics.jsonl", folder / "evaluations.jsonl"]
    return sum(path.read_bytes().count(b"\n") for path in logs if path.exists())


def kill(arguments: list[str], folder: Path, *, after: int, delay: float, patience: float = TIMEOUT_SECONDS) -> bool:
    """Start a run, and kill -9 its first process once it has logged so many lines, and some time has passed.

    Args:
        arguments: the command.
        folder: its run folder.
        after: lines that are in the folder's logs, perhaps from before.
        delay: seconds to let pass after that.
        patience: seconds in which the lines have to come.

    Returns:
        Whether the run was still under way.

    Raises:
        AssertionError: another process of the run lived on.
    """
    with started(*arguments) as process:
        with suppress(RuntimeError):
            wait_until(lambda: num_lines(folder) >= after, f"line {after}", process, patience)
        time.sleep(delay)
        was_running = process.poll() is None
        process.kill()
        process.wait()
        assert not outliving(process), "processes outlived the run that started them"
    return was_running


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of everything in a run folder that must not depend on how often the run was interrupted.

    That is all of its stages (models, shards, evaluations), logs and rollouts. The name of the folder is taken out of
    them, and the seconds out of the metrics.
    """
    contents = {}
    for path in sorted(path for path in (folder / "stages").rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix in (".json", ".jsonl"):
            content = content.replace(str(folder).encode(), b"RUN")
        contents[str(path.relative_to(folder))] = content
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        path = folder / name
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        kept = [{key: value for key, value in row.items() if not key.startswith("seconds")} for row in rows]
        contents[name] = json.dumps(kept).replace(str(folder), "RUN").encode()
    for path in sorted((folder / "rollouts").glob("*")):
        contents[f"rollouts/{path.name}"] = gzip.decompress(path.read_bytes())
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
