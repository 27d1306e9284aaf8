"""Which files of a folder are for training and which are for tests, by their names."""

from pathlib import Path

from aha.problems.datasets.folders import split_files, split_of


def test_a_name_tells_the_split() -> None:
    for name, split in [
        ("train.jsonl", "train"),
        ("main/train-00000-of-00002.parquet", "train"),
        ("test.jsonl.gz", "test"),
        ("my_test.json", "test"),
        ("validation/part-0.jsonl", "validation"),
        ("dev.jsonl", "validation"),
        ("test/train-like.jsonl", "train"),
        ("latest.jsonl", ""),
        ("contest.jsonl", ""),
        ("training_testimony.jsonl", "train"),
    ]:
        assert split_of(Path(name)) == split, (name, split)


def test_files_beside_training_files_that_tell_no_split_are_left_out(tmp_path: Path) -> None:
    for name in ("train.jsonl", "extra.jsonl", "test.jsonl"):
        (tmp_path / name).write_text("{}\n")
    found = split_files(tmp_path)
    assert {split: [path.name for path in paths] for split, paths in found.items()} == {
        "train": ["train.jsonl"],
        "test": ["test.jsonl"],
        "": ["extra.jsonl"],
    }
