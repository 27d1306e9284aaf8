"""Data of a run on disk: numbered shards, each written exactly once and atomically.

A shard is a JSONL file whose first line describes the rest (key of the stage, number, counts, rows, checksum). A stage
that was killed continues after its finished shards; damage to a shard is detected when it is read.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.runs.folder import as_json, write_atomically

__all__ = ["Shard", "count_shards", "read_rows", "read_shard", "write_shard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One finished part of a stage's data.

    Attributes:
        number: index of the shard, from 0.
        key: key of the stage.
        counts: number of items by what became of them; they sum to the number of all items.
        rows: the rows of the items that were kept.
    """

    number: int
    key: str
    counts: Mapping[str, int]
    rows: Sequence[Mapping[str, Any]]


def _path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:06d}.jsonl"


def write_shard(folder: Path, shard: Shard) -> None:
    """Write a shard whole or not at all.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    # The first line needs the checksum of the rest, so the rest is made first.
    body = "".join(as_json(dict(row)) + "\n" for row in shard.rows)
    head = {
        "shard": shard.number,
        "key": shard.key,
        "counts": dict(sorted(shard.counts.items())),
        "num_rows": len(shard.rows),
        "sha256": hashlib.sha256(body.encode()).hexdigest(),
    }

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(_path(folder, shard.number), as_json(head) + "\n" + body)


def read_shard(folder: Path, number: int) -> Shard:
    """A finished shard.

    Raises:
        ValueError: it is missing or damaged; the message names the file.
    """
    path = _path(folder, number)
    try:
        first, _, body = path.read_text(encoding="utf-8").partition("\n")
        head = json.loads(first)
        if hashlib.sha256(body.encode()).hexdigest() != head["sha256"]:
            raise ValueError("checksum")

        # Not `splitlines`: JSON may hold other ends of lines within a string.
        rows = [json.loads(line) for line in body.split("\n") if line]
        return Shard(number=head["shard"], key=head["key"], counts=Counter(head["counts"]), rows=rows)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: its stage was not finished, or the file was moved") from None
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} is damaged: remove it, and the same command makes it again") from None


def count_shards(folder: Path) -> int:
    """The number of finished shards, which are written in order."""
    number = 0
    while _path(folder, number).exists():
        number += 1
    return number


def read_rows(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Rows of all finished shards, in order."""
    for number in range(count_shards(folder)):
        yield from read_shard(folder, number).rows
