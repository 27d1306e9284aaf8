"""Shards: whole or not at all, in order, and found out when damaged."""

from pathlib import Path

import pytest

from aha.runs.shards import Shard, count_shards, read_rows, read_shard, write_shard

ROWS = [{"text": "a\u2028b\nc", "n": 1}, {"text": "从 7 选", "n": 2}]


def some_shard(number: int = 0) -> Shard:
    return Shard(number=number, key="k", counts={"items": 3, "kept": 2, "incorrect": 1}, rows=ROWS)


def test_a_shard_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_shard(tmp_path / "data", some_shard())
    read = read_shard(tmp_path / "data", 0)
    assert (list(read.rows), dict(read.counts), read.key) == (ROWS, dict(some_shard().counts), "k")


def test_shards_are_counted_from_the_first(tmp_path: Path) -> None:
    assert count_shards(tmp_path / "none") == 0
    for number in (0, 1, 3):
        write_shard(tmp_path, some_shard(number))
    assert count_shards(tmp_path) == 2
    assert list(read_rows(tmp_path)) == ROWS * 2


def test_equal_shards_are_equal_bytes(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", some_shard())
    reordered = {"incorrect": 1, "kept": 2, "items": 3}
    write_shard(tmp_path / "b", Shard(number=0, key="k", counts=reordered, rows=ROWS))
    assert (tmp_path / "a/shard-000000.jsonl").read_bytes() == (tmp_path / "b/shard-000000.jsonl").read_bytes()


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-9], lambda text: text.replace("选", "造"), lambda text: "", str.upper]
)
def test_a_damaged_shard_is_named(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    write_shard(tmp_path, some_shard())
    path = tmp_path / "shard-000000.jsonl"
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"shard-000000\.jsonl is damaged: remove it"):
        read_shard(tmp_path, 0)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shard-000007\.jsonl is missing"):
        read_shard(tmp_path, 7)
