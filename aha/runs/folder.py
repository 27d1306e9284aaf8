"""The run folder: all files of a run, in formats of standard tools, from which a killed run continues.

`run.json` (what was asked, and with which versions), `metrics.jsonl`, `evaluations.jsonl`, `rollouts/*.jsonl.gz`,
`stages/NAME/` (checkpoints) and `result.json` (at the end).
"""

import fcntl
import gzip
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = ["RunFolder", "as_json", "differences", "naming", "write_atomically"]


def as_json(content: Any, *, indent: int | None = None) -> str:
    """JSON that every reader accepts: a number that is not finite, such as the end of an open interval, is null."""
    # Python would write `NaN` and `Infinity`, which are no JSON. They are rare, so the content is copied only for them.
    try:
        return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(content: Any) -> Any:
    """Nested content with null for every number that is not finite."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the path to errors of the operating system that name no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_atomically(path: Path, text: str) -> None:
    """Writes a file completely or not at all."""
    _write_bytes(path, text.encode("utf-8"))


def _write_bytes(path: Path, content: bytes) -> None:
    # In the same folder, because a file is replaced in one step only within its file system.
    part = path.with_name(f".{path.name}.part")
    try:
        with naming(path):
            part.write_bytes(content)
        os.replace(part, path)
    # Also what is no Exception, such as Ctrl-C: no half of a file stays behind.
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two nested configurations differ, as `name: before -> now`."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old = before.get(name)
        new = now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: {old} -> {new}")

    return lines


class RunFolder:
    """The folder of a run. Only its first process writes; in the others, every method that writes does nothing.

    Attributes:
        path: the folder.
        is_writer: whether this process writes.
    """

    def __init__(self, path: Path, *, is_writer: bool = True) -> None:
        """Name a folder; `claim` makes it this run's."""
        self.path = path
        self.is_writer = is_writer
        self._lock: IO[str] | None = None

    def claim(self, described: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Claims the folder for this run, or continues the run that it holds.

        Args:
            described: recipe, scale, seed, config, provenance and so on; the first four must equal those of an earlier
                run in this folder.
            fresh: whether to delete an earlier run in this folder.

        Raises:
            ValueError: the folder holds something else or another run, or is in use.
        """
        if not self.is_writer:
            return
        self._acquire()
        try:
            self._take(described, fresh=fresh)
        except BaseException:
            self.release()
            raise

    def _take(self, described: Mapping[str, Any], *, fresh: bool) -> None:
        """Writes the record of this run, or compares it with the record in the folder."""
        record = self.path / "run.json"
        if fresh and record.exists():
            self._clear()

        if not record.exists():
            # The lock is ours, and a killed process may have left a part.
            names = sorted(path.name for path in self.path.iterdir())
            foreign = [name for name in names if name != ".lock" and not name.endswith(".part")]
            if foreign:
                raise ValueError(
                    f"{self.path} is not empty and holds no run ({', '.join(foreign[:3])}): "
                    "name another folder with --run"
                )

            write_atomically(record, as_json(dict(described), indent=2) + "\n")
            return

        try:
            earlier = dict(json.loads(record.read_text(encoding="utf-8")))
        except (TypeError, ValueError):
            raise ValueError(
                f"{record} is damaged: name another folder with --run, or start over with --fresh"
            ) from None

        # The record has gone through JSON, which turns tuples into lists: so must the settings of now.
        identity = ("recipe", "scale", "seed", "config")
        now = json.loads(json.dumps({name: described.get(name) for name in identity}))
        changed: list[str] = []
        for name in identity:
            changed += differences({name: earlier.get(name)}, {name: now[name]})

        if changed:
            raise ValueError(
                f"{self.path} holds a run with other settings ({'; '.join(changed[:4])}): "
                "name another folder with --run, or start over with --fresh"
            )

    def _acquire(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file: name a folder with --run")

        self.path.mkdir(parents=True, exist_ok=True)
        self.release()
        self._lock = (self.path / ".lock").open("w")

        # The system frees this lock when the process ends, however it ends; a file that marks the folder would stay.
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise ValueError(
                f"{self.path} is in use by another process: wait for it, or name another folder with --run"
            ) from None

    def release(self) -> None:
        """Releases the folder, so that another process may claim it; the end of the process does the same."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _clear(self) -> None:
        """Removes everything but the lock; `run.json` goes last, so that an interrupted removal can be repeated."""
        for path in sorted(self.path.iterdir(), key=lambda path: path.name == "run.json"):
            # What a link leads to is not the run's to delete.
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Appends one line to `NAME.jsonl`."""
        if self.is_writer:
            path = self.path / f"{name}.jsonl"
            with naming(path), path.open("a", encoding="utf-8") as file:
                file.write(as_json(dict(row)) + "\n")

    def rewind(self, stage: str, iteration: int) -> None:
        """Removes what a stage logged at an iteration and later, and incomplete lines: it will be logged again."""
        if not self.is_writer:
            return

        for name in ("metrics", "evaluations"):
            path = self.path / f"{name}.jsonl"
            if path.exists():
                # Bytes: an incomplete line may end in the middle of a character.
                lines = path.read_bytes().split(b"\n")
                earlier = [line for line in lines if _is_before(line, stage, iteration)]
                _write_bytes(path, b"".join(line + b"\n" for line in earlier))

        for path in (self.path / "rollouts").glob(f"{stage}-*.jsonl.gz"):
            # `NAME-*` also finds the files of a stage `NAME-other`, of which no number is left.
            number = path.name.removeprefix(f"{stage}-").split(".")[0]
            if number.isdigit() and int(number) >= iteration:
                path.unlink()

    def write_rollouts(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write `rollouts/NAME.jsonl.gz`, the same bytes for the same rows."""
        if not self.is_writer:
            return
        path = self.path / "rollouts" / f"{name}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(as_json(dict(row)) + "\n" for row in rows)

        # gzip would note the time, and equal rows would be unequal bytes.
        content = gzip.compress(text.encode("utf-8"), compresslevel=3, mtime=0)
        _write_bytes(path, content)

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes a JSON file completely or not at all."""
        if self.is_writer:
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, as_json(dict(content), indent=2) + "\n")

    def read(self, name: str) -> dict[str, Any] | None:
        """The content of a JSON file; None where there is none.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.path / name
        if not path.exists():
            return None
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError):
            raise ValueError(f"{path} is damaged: it holds no JSON object") from None


def _is_before(line: bytes, stage: str, iteration: int) -> bool:
    """Whether a logged line is complete, and not of a stage at an iteration or later."""
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and not (row.get("stage") == stage and row.get("iteration", -1) >= iteration)
