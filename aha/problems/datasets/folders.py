"""Which files of a folder hold training, validation and test problems, told by the names that the hub uses.

Source: DeepSeek-R1, arXiv:2501.12948v2, D.1: no evaluation problem is trained on. Ours: the names, which are those of
Hugging Face `datasets` (`train.jsonl`, `data/train-00000-of-00002.parquet`, `validation/part-0.jsonl`, `dev.jsonl`).
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from aha.problems.datasets.files import data_files, is_data

__all__ = ["describe_splits", "group_by_split", "named_split", "split_files", "split_of"]

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
_LETTERS = re.compile("[a-z]+")


def split_of(path: Path) -> str:
    """Split that a path names: `train`, `validation`, `test`, or empty where it names none.

    Args:
        path: relative to the folder that was given. The file name decides before the folders around it do, the inner
            ones first; of several words in one name the first decides.
    """
    for part in reversed(path.parts):
        for word in _LETTERS.findall(part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return ""


def named_split(path: Path) -> str:
    """Split that a single file names: by its own name, or by its folder where that is called by a split alone."""
    return split_of(Path(path.name)) or _SPLITS.get(path.parent.name.lower(), "")


def split_files(folder: Path) -> dict[str, list[Path]]:
    """The data files of a folder and of the folders in it, in the order of their paths, by split.

    Raises:
        ValueError: there is no data file.
    """
    nested = sorted(
        path
        for path in folder.rglob("*")
        if is_data(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    found = group_by_split(folder, nested)
    if set(found) <= {""}:
        # Without names of splits only the folder's own files are read.
        return {"": data_files(folder)}
    return found


def group_by_split(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by the split that their path inside the folder names; only splits that have files, in a fixed order."""
    found: dict[str, list[Path]] = {split: [] for split in (*_WORDS, "")}
    for path in files:
        found[split_of(path.relative_to(folder))].append(path)
    return {split: paths for split, paths in found.items() if paths}


def describe_splits(source: str, files: dict[str, list[Path]]) -> str:
    """What was recognised, in words; empty where no name tells a split."""
    if set(files) <= {""}:
        return ""
    parts = [
        f"{split or 'no split'}: {len(paths)} file{'s' * (len(paths) > 1)} "
        f"({os.path.basename(paths[0])}{', ...' * (len(paths) > 1)})"
        for split, paths in files.items()
    ]
    left_out = "; files without a split are left out" if "" in files and "train" in files else ""
    return f"{source}: told by the file names: {', '.join(parts)}{left_out}"
