"""The run folder: everything a run writes, laid so that standard tools read it and a killed run goes on where it was.

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
    """Let an error of the operating system that names no file, such as a full disk's, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    _write_bytes(path, text.encode("utf-8"))


def _write_bytes(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.part")
    try:
        with naming(path):
            aside.write_bytes(content)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two nested configurations differ, as `name: before -> now`."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        old = before.get(name)
        new = now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name}: {old} -> {new}")

    return found


class RunFolder:
    """A folder that one run writes. Only its first process writes; in the others every method that writes does nothing.

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
        """Make the folder this run's, or find that it already is.

        Args:
            described: recipe, scale, seed, config, provenance and so on; the first four must be those of an earlier
                run here.
            fresh: throw an earlier run in this folder away.

        Raises:
            ValueError: the folder holds something else, another run, or is in use.
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
        """Write down whose folder this is, or find that it says so already."""
        record = self.path / "run.json"
        if fresh and record.exists():
            self._clear()

        if not record.exists():
            strangers = sorted(
                p.name for p in self.path.iterdir() if p.name != ".lock" and not p.name.endswith(".part")
            )
            if strangers:
                raise ValueError(
                    f"{self.path} is not empty and holds no run ({', '.join(strangers[:3])}): "
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

        identity = ("recipe", "scale", "seed", "config")
        now = json.loads(json.dumps({k: described.get(k) for k in identity}))
        changed = [line for k in identity for line in differences({k: earlier.get(k)}, {k: now[k]})]

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

        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise ValueError(
                f"{self.path} is in use by another process: wait for it, or name another folder with --run"
            ) from None

    def release(self) -> None:
        """Let go of the folder, so that another process may claim it; the end of the process does the same."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _clear(self) -> None:
        """Remove everything but the lock; `run.json` last, so that what a kill leaves is still known as a run."""
        for path in sorted(self.path.iterdir(), key=lambda path: path.name == "run.json"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add one line to `NAME.jsonl`."""
        if self.is_writer:
            path = self.path / f"{name}.jsonl"
            with naming(path), path.open("a", encoding="utf-8") as file:
                file.write(as_json(dict(row)) + "\n")

    def rewind(self, stage: str, iteration: int) -> None:
        """Forget what a stage logged at this iteration and later, torn lines included: it will be logged again."""
        if not self.is_writer:
            return

        for name in ("metrics", "evaluations"):
            path = self.path / f"{name}.jsonl"
            if path.exists():
                kept = [line for line in path.read_bytes().split(b"\n") if _is_before(line, stage, iteration)]
                _write_bytes(path, b"".join(line + b"\n" for line in kept))

        for path in (self.path / "rollouts").glob(f"{stage}-*.jsonl.gz"):
            number = path.name.removeprefix(f"{stage}-").split(".")[0]
            if number.isdigit() and int(number) >= iteration:
                path.unlink()

    def write_rollouts(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write `rollouts/NAME.jsonl.gz`, the same bytes for the same rows."""
        if not self.is_writer:
            return
        path = self.path / "rollouts" / f"{name}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        text = "".join(as_json(dict(row)) + "\n" for row in rows)
        _write_bytes(path, gzip.compress(text.encode("utf-8"), compresslevel=3, mtime=0))

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file whole or not at all."""
        if self.is_writer:
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, as_json(dict(content), indent=2) + "\n")

    def read(self, name: str) -> dict[str, Any] | None:
        """Content of a JSON file, or None where there is none.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.path / name
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
        except (TypeError, ValueError):
            raise ValueError(f"{path} is damaged: it holds no JSON object") from None


def _is_before(line: bytes, stage: str, iteration: int) -> bool:
    """Whether a logged line is whole and stays when a stage goes back to an iteration."""
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and not (row.get("stage") == stage and row.get("iteration", -1) >= iteration)
