"""Random orders in their plainest form, and the rows of the files that a run writes."""

import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any


def seed_of(*names: int | str) -> int:
    """64 bits of a hash of some names, each with its type: 7 and "7" are not the same."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def shuffled(count: int, *names: int | str) -> list[int]:
    """The numbers below `count` in a random order."""
    order = list(range(count))
    random.Random(seed_of(*names)).shuffle(order)
    return order


def rows_of(path: Path, **wanted: str) -> list[dict[str, Any]]:
    """The rows of a JSONL file that have these values."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [json.loads(line) for line in text.decode().splitlines()]
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]
