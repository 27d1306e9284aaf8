"""The splits of the files of a folder: training, validation and test problems, recognised by the names of the files.

Source: DeepSeek-R1, arXiv:2501.12948v2, D.1: no evaluation problem is trained on. Ours: the names, which are those of
Hugging Face `datasets` (`train.jsonl`, `data/train-00000-of-00002.parquet`, `validation/part-0.jsonl`, `dev.jsonl`).
"""

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
_LETTERS = re.compile("[a-z]+")  # a split is a whole word of a name: `latest.jsonl` is no test


def split_of(path: Path) -> str:
    """The split that a path names: `train`, `validation`, `test`, or empty where it names none.

    Args:
        path: a path relative to the folder of the data. The name of the file decides first, then the folders from the
            inside out; of several words in a name the first decides.
    """
    for part in reversed(path.parts):
        for word in _LETTERS.findall(part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return ""


def named_split(path: Path) -> str:
    """The split that a single file names, by its own name, or by its folder if that is called like a split."""
    split = split_of(Path(path.name))
    if split:
        return split
    # Folders further out are not asked: they say nothing about a single file.
    return _SPLITS.get(path.parent.name.lower(), "")


def split_files(folder: Path) -> dict[str, list[Path]]:
    """The data files of a folder and of the folders in it, in the order of their paths, by split.

    Raises:
        ValueError: there is no data file.
    """
    nested = []
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if is_data(path) and not is_hidden:
            nested.append(path)

    files_by_split = group_by_split(folder, nested)
    if set(files_by_split) <= {""}:
        # Without names of splits only the folder's own files are read.
        return {"": data_files(folder)}

    return files_by_split


def group_by_split(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by the split that their path inside the folder names; only splits that have files, in a fixed order."""
    files_by_split: dict[str, list[Path]] = {split: [] for split in (*_WORDS, "")}
    for path in files:
        split = split_of(path.relative_to(folder))
        files_by_split[split].append(path)
    return {split: paths for split, paths in files_by_split.items() if paths}


def describe_splits(source: str, files: dict[str, list[Path]]) -> str:
    """The recognised splits in words; empty where no name tells a split."""
    if set(files) <= {""}:
        return ""

    parts = []
    for split, paths in files.items():
        name = paths[0].name
        example = f"1 file ({name})" if len(paths) == 1 else f"{len(paths)} files ({name}, ...)"
        parts.append(f"{split or 'no split'}: {example}")

    left_out = "; files without a split are left out" if "" in files and "train" in files else ""
    return f"{source}: told by the file names: {', '.join(parts)}{left_out}"
