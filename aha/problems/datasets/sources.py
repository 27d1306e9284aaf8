"""Problems by address: a local path, a data set of the hub, or a family of reasoning-gym."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aha.problems.datasets.files import SUFFIXES, data_files, is_data
from aha.problems.datasets.folders import describe_splits, group_by_split, named_split, split_files, split_of
from aha.problems.datasets.gym import gym_problems
from aha.problems.datasets.sets import OnBad, ProblemSet, read_problems
from aha.runs.hub import dataset_files

__all__ = ["GYM", "HUB", "evaluation_files", "files_at", "open_problems", "open_splits", "split_in_name"]

HUB = "hub:"
GYM = "gym:"
"""The prefixes of addresses that are no path."""

_HUB = re.compile(r"hub:(?P<name>[^@:]+)(?:@(?P<revision>[^:]+))?(?::(?P<pattern>.+))?")
_GYM = re.compile(r"gym:(?P<family>\w+)(?::(?P<num>[0-9]{1,7}))?", re.ASCII)
_GYM_PROBLEMS = 1000  # problems of a family where the address says no number


def open_problems(
    address: str,
    *,
    format: str = "",
    mapping: str = "",
    on_bad: OnBad = "stop",
    limit: int | None = None,
    seed: int = 0,
) -> ProblemSet:
    """The problems at an address.

    Args:
        address: a path; `hub:NAME[@REVISION][:FILES]`, such as `hub:openai/gsm8k:main/train-*.parquet` (all data files
            where none are named); or `gym:FAMILY[:NUMBER]`, such as `gym:countdown:2000` (1,000 where no number is
            given).
        format: as in `read_problems`, for files.
        mapping: likewise.
        on_bad: likewise.
        limit: largest number of problems to read.
        seed: seed of a family of reasoning-gym.

    Raises:
        ValueError: the address has another form, or what it names cannot be found or read.
        RuntimeError: the extra that it needs is not installed.
    """
    if address.startswith(GYM):
        is_mapped = bool(format.removeprefix("auto") or mapping)
        return _from_gym(address, is_mapped=is_mapped, limit=limit, seed=seed)
    if not address.startswith(HUB):
        return read_problems(Path(address), format=format, mapping=mapping, on_bad=on_bad, limit=limit)

    name, files = _hub_files(address)
    return read_problems(files, format=format, mapping=mapping, on_bad=on_bad, limit=limit, name=name)


def open_splits(
    address: str, *, format: str = "", mapping: str = "", on_bad: OnBad = "stop", seed: int = 0
) -> dict[str, ProblemSet]:
    """The problems at an address, by the split that file names tell.

    Args:
        address: as in `open_problems`. Of a folder, or of several files of the hub, each file is put in the split that
            its path names; a single file and a family of reasoning-gym tell none.
        format: as in `read_problems`.
        mapping: likewise.
        on_bad: likewise.
        seed: of a family of reasoning-gym.

    Returns:
        Sets under `train`, `validation` and `test`, or one under the empty name. Beside training files, those without
        a split are left out; without training files, they are under the empty name.

    Raises:
        ValueError: as in `open_problems`.
        RuntimeError: likewise.
    """
    name, files = _files_by_split(address)
    if set(files) <= {""}:
        return {"": open_problems(address, format=format, mapping=mapping, on_bad=on_bad, seed=seed)}

    says = describe_splits(address, files)
    sets = {}
    for split, paths in files.items():
        # Beside training files, files without a split may be anything.
        if split or "train" not in files:
            problems = read_problems(paths, format=format, mapping=mapping, on_bad=on_bad, name=f"{name}-{split}")
            sets[split] = replace(problems, says=f"{problems.says} ({says})")
    return sets


def files_at(address: str) -> list[Path]:
    """The data files at a path, or at an address of the hub, in the order of their names.

    Raises:
        ValueError: the address is a family of reasoning-gym, which has no files, or there is nothing to read.
        RuntimeError: the extra that the hub needs is not installed.
    """
    if address.startswith(GYM):
        raise ValueError(f"{address!r} makes problems, and has no files with responses")
    if not address.startswith(HUB):
        return data_files(Path(address))
    _, files = _hub_files(address)
    return files


def evaluation_files(address: str) -> tuple[str, list[Path], str]:
    """The files for evaluation at a path or at an address of the hub.

    Returns:
        The name of the source; its test files, or else its validation files, or else those without a split, in the
        order of their paths (a single file whatever its name); and the recognised splits in words.

    Raises:
        ValueError: there are no such files, or they cannot be found.
    """
    name, files = _files_by_split(address)
    for split in ("test", "validation", ""):
        if split in files:
            return name, files[split], describe_splits(address, files)
    raise ValueError(f"{address} holds no test file, only train: name a file itself to evaluate on it")


def split_in_name(address: str) -> str:
    """The split that the name of a single file tells, at a path or on the hub; empty where it tells none."""
    if address.startswith(HUB):
        parts = _HUB.fullmatch(address)
        return named_split(Path(parts["pattern"])) if parts and parts["pattern"] else ""

    if address.startswith(GYM) or Path(address).is_dir():
        return ""
    return named_split(Path(address))


def _files_by_split(address: str) -> tuple[str, dict[str, list[Path]]]:
    """The name of a source, and its files by split; a single file has no split, a family of reasoning-gym no files."""
    if address.startswith(GYM):
        return "", {}

    if not address.startswith(HUB):
        path = Path(address)
        return path.name, split_files(path) if path.is_dir() else {"": [path]}

    name, files = _hub_files(address)
    if len(files) == 1:
        return name, {"": files}

    return name, group_by_split(_snapshot_of(files[0]), files)


def _hub_files(address: str) -> tuple[str, list[Path]]:
    """Name of a data set of the hub, and the files of it that an address names."""
    parts = _HUB.fullmatch(address)
    if parts is None:
        raise ValueError(
            f"{address!r}: write hub:NAME[@REVISION][:FILES], such as hub:openai/gsm8k:main/train-*.parquet"
        )

    files = dataset_files(parts["name"], parts["pattern"] or "", revision=parts["revision"] or "")
    if not parts["pattern"]:
        files = [file for file in files if is_data(file)]
        _check_configurations(address, files)

    return parts["name"].rpartition("/")[2], files


def _check_configurations(address: str, files: Sequence[Path]) -> None:
    """Refuses a data set with several configurations in folders of their own, which often hold the same questions."""
    if not files:
        raise ValueError(f"{address} holds no data file")

    # The first file of each folder of the data set; a folder that is called like a split is no configuration.
    snapshot = _snapshot_of(files[0])
    examples: dict[str, str] = {}
    for file in files:
        folder, *inside = file.relative_to(snapshot).parts
        if inside and not split_of(Path(folder)):
            examples.setdefault(folder, file.name)

    if len(examples) > 1:
        folder = min(examples)
        ending = next(suffix for suffix in SUFFIXES if examples[folder].lower().endswith(suffix))
        raise ValueError(
            f"{address} holds several sets of files ({', '.join(sorted(examples))}): name one, as in "
            f"{address}:{folder}/*{ending}"
        )


def _snapshot_of(file: Path) -> Path:
    """Folder of the revision of a data set that a file of the hub's cache belongs to."""
    # The cache keeps a revision under `datasets--OWNER--NAME/snapshots/REVISION`.
    return next(folder for folder in file.parents if folder.parent.name == "snapshots")


def _from_gym(address: str, *, is_mapped: bool, limit: int | None, seed: int) -> ProblemSet:
    parts = _GYM.fullmatch(address)
    if parts is None:
        raise ValueError(f"{address!r}: write gym:FAMILY or gym:FAMILY:NUMBER")
    if is_mapped:
        raise ValueError(f"{address!r}: takes neither a format nor a mapping")

    family = parts["family"]
    num = int(parts["num"] or _GYM_PROBLEMS)
    problems = gym_problems(family, min(num, limit or num), seed)

    return ProblemSet(
        name=family,
        problems=problems,
        says=f"{len(problems):,} problems of family {family!r} of reasoning-gym, compared as {problems[0].domain}",
        is_generated=True,
    )
