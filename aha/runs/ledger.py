"""The ledger: the answers of another model, so that an interrupted run asks nothing twice.

One JSON object per line, `{"key": ..., "answer": ...}`, where the key is a hash of the whole request. Lines are only
appended.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aha.runs.folder import naming

__all__ = ["Ledger", "request_key"]


def request_key(request: Mapping[str, Any]) -> str:
    """The hash of a whole request; equal content has an equal key, whatever the order of its fields.

    Args:
        request: anything that JSON can hold.

    Returns:
        64 hexadecimal digits, stable across machines and versions.
    """
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Ledger:
    """Answers by key, on disk before `put` returns. Threads may share one; a file belongs to one ledger at a time.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Opens a ledger, and creates it where there is none.

        An incomplete last line, which a killed process has left, is dropped.

        Args:
            path: a `.jsonl` file; its folder must exist.

        Raises:
            ValueError: another ledger has the file open, or a line of it is damaged.
            OSError: the file cannot be read or written.
        """
        self.path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._is_open = True

        try:
            self._claim()
            self._answers = self._read()
        except BaseException:
            self.close()
            raise

    def _claim(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{self.path} is in use by another process: wait for it, or name another file") from None

    def _read(self) -> dict[str, str]:
        """The answers of all complete lines; an incomplete last line is cut off the file."""
        complete, newline, rest = self.path.read_bytes().rpartition(b"\n")
        # Cut off, not left: the next line would be appended to it, and be damaged too.
        if rest:
            os.ftruncate(self._file, len(complete) + len(newline))

        lines = complete.split(b"\n") if newline else []
        answers: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            key, answer = self._entry(number, line)
            answers.setdefault(key, answer)
        return answers

    def _entry(self, number: int, line: bytes) -> tuple[str, str]:
        try:
            row = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            row = None

        match row:
            case {"key": str(key), "answer": str(answer)}:
                return key, answer

        raise ValueError(
            f"{self.path}:{number}: damaged: not an object with the texts `key` and `answer`; "
            "remove the line, and its request is asked again"
        )

    def get(self, key: str) -> str | None:
        """The answer to a request, or None where there is none yet."""
        with self._lock:
            return self._answers.get(key)

    def put(self, key: str, answer: str) -> None:
        """Stores an answer; of two answers to one request, the first stays.

        Args:
            key: key of the request.
            answer: any text, lone surrogates included.

        Raises:
            ValueError: the ledger is closed.
            OSError: the line could not be written, for example on a full disk; the ledger is then unchanged.
        """
        line = (json.dumps({"key": key, "answer": answer}) + "\n").encode("ascii")
        # The file is written before the answer is known to others: what `get` gives is safe from a kill.
        with self._lock:
            if not self._is_open:
                raise ValueError(f"{self.path} is closed")
            # Two threads may have asked the same; their answers may differ.
            if key in self._answers:
                return
            with naming(self.path):
                self._append(line)
            self._answers[key] = answer

    def _append(self, line: bytes) -> None:
        """Appends a whole line or nothing."""
        end = os.fstat(self._file).st_size
        rest = memoryview(line)
        try:
            # A write may take only a part of what it is given, for example when the disk is nearly full.
            while rest:
                num_written = os.write(self._file, rest)
                rest = rest[num_written:]
            os.fsync(self._file)
        except BaseException:
            os.ftruncate(self._file, end)
            raise

    def __len__(self) -> int:
        with self._lock:
            return len(self._answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self._file)
