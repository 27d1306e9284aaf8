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
        name: name on the command line.
        format: format of its file.
        num_problems: number of problems as published.
        num_samples: k, the number of responses to each problem.
        max_new_tokens: largest length of a response, tokens. Source: DeepSeek-R1 v1, 3, and v2, D.1.
        metrics: the metrics that the papers report.
        source: source of the number of samples.
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
        suite: the suite.
        problems: its problems, of the split `test`.
        note: how it differs from the published set, in words; empty where it does not.
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

_STEMS = ("test", "HumanEval", "gpqa_diamond")  # the files as they are published
_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".json")


def open_suite(
    text: str, *, data: Path | None = None, mapping: str = "", on_bad: OnBad = "stop", limit: int | None = None
) -> OpenSuite:
    """Opens a suite.

    Args:
        text: `NAME` of a named suite, whose file lies in the folder `data`; `NAME=SOURCE`; or a SOURCE alone, where
            SOURCE is a path or an address of `open_problems`. A NAME that is not in `SUITES` makes a suite of the
            user's own.
        data: folder with a folder or file for each named suite; None for the value of `AHA_DATA`.
        mapping: as in `read_problems`.
        on_bad: likewise.
        limit: largest number of problems to read.

    Raises:
        ValueError: there is no such suite or file, or the file cannot be read.
        RuntimeError: the extra that it needs is not installed.
    """
    name, sign, source = text.partition("=")
    if not sign:
        name, source = _located(text, data)

    named_suite = SUITES.get(name)
    format = named_suite.format if named_suite and not mapping else ""

    if source.startswith(GYM):
        problems = open_problems(source, format=format, mapping=mapping, on_bad=on_bad, limit=limit)
    else:
        # The ids of problems from the hub begin with the name of their data set.
        data_set, files, description = evaluation_files(source)
        set_name = data_set if source.startswith(HUB) else name
        problems = read_problems(files, format=format, mapping=mapping, on_bad=on_bad, limit=limit, name=set_name)
        if description:
            problems = replace(problems, says=f"{problems.says} ({description})")

    problems = replace(problems, problems=[replace(problem, split="test") for problem in problems])
    size = len(problems)

    if named_suite is None:
        num_samples = samples_for(size)
        suite = Suite(name=name, format=format, num_problems=size, num_samples=num_samples, source="ours: by size")
        return OpenSuite(suite=suite, problems=problems)

    # The papers' figures are those of the published set.
    note = ""
    if size != named_suite.num_problems:
        note = f"{name}: {size:,} problems, {named_suite.num_problems:,} as published"
    return OpenSuite(suite=named_suite, problems=problems, note=note)


def samples_for(num_problems: int) -> int:
    """Samples k for a set of a size: the largest power of two of 4 to 64 with at most about 4,000 responses."""
    for k in (64, 32, 16, 8):
        if k * num_problems <= 4096:
            return k
    return 4


def _located(text: str, data: Path | None) -> tuple[str, str]:
    """The name and the source of a suite of which only one is given."""
    if text.startswith((HUB, GYM)):
        name = "".join(char if char.isalnum() else "-" for char in text)
        return name, text

    if text not in SUITES:
        if not Path(text).exists():
            raise ValueError(
                f"{text!r} is neither a suite ({', '.join(SUITES)}) nor a file: write NAME=PATH for a file"
            )
        return Path(text).name.split(".")[0], text

    folder = data or Path(os.environ.get("AHA_DATA") or ".")
    candidates = [folder / text / f"{stem}{suffix}" for stem in _STEMS for suffix in _SUFFIXES]
    candidates += [folder / f"{text}{suffix}" for suffix in _SUFFIXES]

    for path in candidates:
        if path.is_file():
            return text, str(path)

    raise ValueError(
        f"suite {text!r}: neither {folder / text / 'test.jsonl'} nor {folder / f'{text}.jsonl'} is there: "
        f"name the folder of your data (AHA_DATA), or the file itself: {text}=PATH"
    )
