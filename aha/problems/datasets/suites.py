"""Suites: the named problem sets of evaluations, from local files, and how each is sampled.

Source: DeepSeek-R1, arXiv:2501.12948v1, 3, and v2, D.1: pass@1 as the mean over k samples, 4 to 64 of them by the size
of the set; 64 for AIME and GPQA, 16 for MATH; cons@64 for AIME.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from aha.problems.datasets.sets import OnBad, ProblemSet, read_problems
from aha.problems.datasets.sources import GYM, HUB, evaluation_files, open_problems

__all__ = ["SUITES", "OpenSuite", "Suite", "open_suite", "samples_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named set.

    Attributes:
        name: what the user calls it.
        format: of its file.
        num_problems: how many it has as published.
        num_samples: k, responses to each problem.
        max_new_tokens: length cap of a response, tokens. Source: DeepSeek-R1 v1, 3, and v2, D.1.
        metrics: those that are reported of it by the papers.
        source: of the number of samples.
    """

    name: str
    format: str
    num_problems: int
    num_samples: int
    max_new_tokens: int = 32_768
    metrics: tuple[str, ...] = ("pass@1",)
    source: str = "DeepSeek-R1 v2, D.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSuite:
    """A suite with its problems.

    Attributes:
        suite: what it is.
        problems: its problems, of the split `test`.
        note: what is unlike the published set, in words; empty where nothing is.
    """

    suite: Suite
    problems: ProblemSet
    note: str = ""


SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(name="gsm8k", format="gsm8k", num_problems=1319, num_samples=4, source="ours: 4 to 64 by size"),
        Suite(name="math500", format="math", num_problems=500, num_samples=16),
        Suite(name="aime24", format="aime", num_problems=30, num_samples=64, metrics=("pass@1", "cons@64")),
        Suite(name="humaneval", format="humaneval", num_problems=164, num_samples=8, source="ours: as LiveCodeBench"),
        Suite(name="gpqa", format="gpqa", num_problems=198, num_samples=64),
    )
}
"""The suites that have a name."""

_STEMS = ("test", "HumanEval", "gpqa_diamond")
_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".json")


def open_suite(
    text: str, *, data: Path | None = None, mapping: str = "", on_bad: OnBad = "stop", limit: int | None = None
) -> OpenSuite:
    """Open a suite.

    Args:
        text: `NAME` of a named suite, whose file lies in the folder `data`; `NAME=SOURCE`; or a SOURCE alone, where
            SOURCE is a path or an address of `open_problems`. A name that is no suite's names the user's own.
        data: folder with a folder or file for each named suite; what `AHA_DATA` says where None.
        mapping: as in `read_problems`.
        on_bad: likewise.
        limit: read no more than this many problems.

    Raises:
        ValueError: there is no such suite or file, or the file cannot be read.
        RuntimeError: the extra that it needs is not installed.
    """
    name, sign, source = text.partition("=")
    if not sign:
        name, source = _located(text, data)
    known = SUITES.get(name)
    format = known.format if known and not mapping else ""
    if source.startswith(GYM):
        found = open_problems(source, format=format, mapping=mapping, on_bad=on_bad, limit=limit)
    else:
        data_set, files, told = evaluation_files(source)
        own_name = data_set if source.startswith(HUB) else name
        found = read_problems(files, format=format, mapping=mapping, on_bad=on_bad, limit=limit, name=own_name)
        found = replace(found, says=f"{found.says} ({told})") if told else found
    found = replace(found, problems=[replace(problem, split="test") for problem in found])
    size = len(found)
    if known is None:
        own = Suite(name=name, format=format, num_problems=size, num_samples=samples_for(size), source="ours: by size")
        return OpenSuite(suite=own, problems=found)
    as_published = size == known.num_problems
    note = "" if as_published else f"{name}: {size:,} problems, {known.num_problems:,} as published"
    return OpenSuite(suite=known, problems=found, note=note)


def samples_for(num_problems: int) -> int:
    """Samples k for a set of this size: the power of two of 4 to 64 that asks for up to about 4,000 responses."""
    fitting = [k for k in (4, 8, 16, 32, 64) if k * num_problems <= 4096]
    return fitting[-1] if fitting else 4


def _located(text: str, data: Path | None) -> tuple[str, str]:
    """Name and source of a suite that is given by one of them."""
    if text not in SUITES:
        is_address = text.startswith((HUB, GYM))
        if not is_address and not Path(text).exists():
            raise ValueError(
                f"{text!r} is neither a suite ({', '.join(SUITES)}) nor a file: write NAME=PATH for a file"
            )
        return ("".join(c if c.isalnum() else "-" for c in text) if is_address else Path(text).name.split(".")[0]), text
    folder = data or Path(os.environ.get("AHA_DATA") or ".")
    tried = [folder / text / f"{stem}{suffix}" for stem in _STEMS for suffix in _SUFFIXES]
    tried += [folder / f"{text}{suffix}" for suffix in _SUFFIXES]
    for path in tried:
        if path.is_file():
            return text, str(path)
    raise ValueError(
        f"suite {text!r}: neither {folder / text / 'test.jsonl'} nor {folder / f'{text}.jsonl'} is there: "
        f"name the folder of your data (AHA_DATA), or the file itself: {text}=PATH"
    )
