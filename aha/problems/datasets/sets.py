"""Sets of problems from files: the problems, the rows that were left out, and a digest of the contents.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2 and B.1: questions with answers that rules can check.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from aha.problems.datasets.fields import BadRow
from aha.problems.datasets.files import FileRow, data_files, read_rows
from aha.problems.datasets.formats import OWN, Format
from aha.problems.datasets.mapping import choose_format, parse_mapping
from aha.types import Problem

__all__ = [
    "MAX_ANSWER_CHARS",
    "MAX_QUESTION_CHARS",
    "Fault",
    "OnBad",
    "ProblemSet",
    "check_length",
    "check_text",
    "digest",
    "is_chinese",
    "read_problems",
]

OnBad = Literal["stop", "skip"]
"""The reaction to a row that is no problem."""

MAX_QUESTION_CHARS = 200_000
"""Largest length of a question, in characters."""

MAX_ANSWER_CHARS = 20_000
"""Largest length of a reference answer, in characters."""

_SAMPLE_ROWS = 64  # rows of a file that decide on its format
_KEPT_FAULTS = 1000  # faults that a set holds in memory; the others are counted
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can escape it, UTF-8 cannot write it
_KANA = re.compile("[\u3041-\u30ff]")  # hiragana and katakana
_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")  # no variables of one letter, no commands of LaTeX
_WITHOUT_ANSWER = ("stdio", OWN)  # domains that need no reference answer
_WITH_TESTS = ("stdio", "code")  # domains that judge by tests


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A row that was left out: its place as `file:line`, and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemSet:
    """Problems of one source.

    Attributes:
        name: name of the set; every id starts with it.
        problems: the problems, in the order of the file.
        says: what was read, and in which format, in words.
        faults: the first thousand rows that were left out.
        num_faults: number of all rows that were left out.
        places: `file:line` of each problem by its id, if it was read from a file.
        is_generated: whether a program made the questions from a single form, so that equal words in a row do not mean
            that problems overlap.
    """

    name: str
    problems: Sequence[Problem]
    says: str = ""
    faults: tuple[Fault, ...] = ()
    num_faults: int = 0
    places: Mapping[str, str] = field(default_factory=dict)
    is_generated: bool = False

    @property
    def key(self) -> str:
        """A digest of the problems; equal contents have equal digests, wherever they were read."""
        return digest(self.problems)

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems)


def digest(problems: Iterable[Problem]) -> str:
    """A hash of the contents of problems, in order; it is part of a stage's key."""
    total = hashlib.sha256()
    for problem in problems:
        total.update(_contents(problem, problem.id, problem.split, str(problem.level)))
    return total.hexdigest()[:32]


def _contents(problem: Problem, *more: str) -> bytes:
    # As JSON, and not joined: fields whose text moves from one to the next must not give the same bytes.
    parts = [problem.question, problem.answer, problem.domain, problem.language, problem.starter]
    return json.dumps([*parts, problem.tests, *more]).encode()


def read_problems(
    path: Path | Sequence[Path],
    *,
    format: str = "",
    mapping: str = "",
    on_bad: OnBad = "stop",
    limit: int | None = None,
    options_seed: int | None = None,
    name: str = "",
) -> ProblemSet:
    """Reads a file of problems, or several files as one set.

    Args:
        path: JSON lines, a JSON list (either may be gzipped) or Parquet; of a folder, all such files in order; or
            several paths.
        format: name of a format of `aha.problems.datasets.formats`; empty or `auto` to recognise it by the fields.
        mapping: the columns of the fields, as `parse_mapping` reads it.
        on_bad: whether a row that is no problem stops the reading, or is left out and counted.
        limit: largest number of problems to read; None for all.
        options_seed: draws the order of the options of multiple choice; None keeps that of the file.
        name: name of the set; the name of the first path where empty.

    Returns:
        The problems. The id of each is the set's name, the row's own id if it has one, and a digest of its contents.

    Raises:
        ValueError: the file cannot be read, no format or several fit it, a row is bad (the first one is shown with its
            place), or no problem is left.
        RuntimeError: the extra that the file needs is not installed.
    """
    if on_bad not in ("stop", "skip"):
        raise ValueError(f"on_bad is stop or skip, not {on_bad!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is one problem at least, not {limit}")

    paths = [path] if isinstance(path, Path) else list(path)
    files = [file for source in paths for file in data_files(source)]
    chosen = _format_of(files, format, mapping, options_seed)
    name = name or paths[0].name.split(".")[0]
    reader = _Reader(name, chosen, tells_language="language" not in parse_mapping(mapping))

    rows = chain.from_iterable(read_rows(file, chosen.reads) for file in files)
    for row in rows:
        reader.take(row)
        if len(reader.problems) == limit:
            break

    return reader.finish(", ".join(map(str, paths)), on_bad)


def _format_of(files: Sequence[Path], format: str, mapping: str, options_seed: int | None) -> Format:
    """The format of the first readable rows of the first file."""
    columns = parse_mapping(mapping)
    rows = list(islice(read_rows(files[0]), _SAMPLE_ROWS))
    sample = [row.fields for row in rows if not row.fault]

    if not rows:
        raise ValueError(f"{files[0]} holds no rows")
    if not sample:
        raise ValueError(f"{rows[0].place}: {rows[0].fault}")

    try:
        return choose_format(sample, name=format, mapping=columns, options_seed=options_seed)
    except ValueError as error:
        raise ValueError(f"{files[0]}: {error}") from error


class _Reader:
    """Turns rows into problems, and counts the rows that are none."""

    def __init__(self, name: str, chosen: Format, *, tells_language: bool) -> None:
        self.name = name
        self.chosen = chosen
        self.tells_language = tells_language
        self.problems: list[Problem] = []
        self.faults: list[Fault] = []
        self.num_faults = 0
        self.places: dict[str, str] = {}
        self._seen: dict[bytes, tuple[Path, int]] = {}

    def take(self, row: FileRow) -> None:
        """Adds the problem of a row, or its fault."""
        try:
            problem = self._problem(row)
            self.problems.append(problem)
            self.places[problem.id] = row.place
        except BadRow as error:
            self.num_faults += 1
            if len(self.faults) < _KEPT_FAULTS:
                self.faults.append(Fault(place=row.place, reason=str(error)))

    def _problem(self, row: FileRow) -> Problem:
        if row.fault:
            raise BadRow(row.fault)

        problem = self.chosen.build(row.fields)
        _check(problem)

        if self.tells_language and is_chinese(problem.question):
            problem = replace(problem, language="zh")

        # Every id holds a digest of its contents, so that the keys of stages change when a row does.
        suffix = hashlib.sha256(_contents(problem)).hexdigest()[:12]
        if problem.id:
            self._claim(f"id {problem.id}", row, f"the id {problem.id[:60]!r}")
            suffix = f"{problem.id}-{suffix}"

        # Two answers to one question cannot both be right.
        self._claim(f"question {problem.question}", row, "the question")
        return replace(problem, id=f"{self.name}/{suffix}")

    def _claim(self, text: str, row: FileRow, description: str) -> None:
        """Refuses an id or a question that an earlier row has."""
        # The first bytes of a hash stand for the text: whole questions would take too much memory.
        key = hashlib.sha256(text.encode()).digest()[:12]
        here = (row.path, row.line)
        path, line = self._seen.setdefault(key, here)
        if (path, line) != here:
            raise BadRow(f"{description} of {path}:{line} again")

    def finish(self, source: str, on_bad: OnBad) -> ProblemSet:
        """The set of problems; a `ValueError` where none is left, or where a row is bad and `on_bad` is `stop`."""
        num_rows = len(self.problems) + self.num_faults
        if self.num_faults and on_bad == "stop":
            raise ValueError(f"{self.faults[0]} ({self.num_faults} bad of {num_rows} rows; skip leaves them out)")

        if not self.problems:
            first = f", the first one {self.faults[0]}" if self.faults else ""
            raise ValueError(f"{source} holds no problem: {self.num_faults} bad rows{first}")

        says = f"{len(self.problems):,} problems of {source}, read as {self.chosen.name}: {self.chosen.says}"
        left_out = f" ({self.num_faults:,} bad rows left out)" if self.num_faults else ""
        return ProblemSet(
            name=self.name,
            problems=self.problems,
            says=says + left_out,
            faults=tuple(self.faults),
            num_faults=self.num_faults,
            places=self.places,
            is_generated=self.chosen.is_generated,
        )


def is_chinese(question: str) -> bool:
    """Whether a question has more Chinese characters than Latin words; commands of LaTeX do not count as words."""
    # Kana show that a text is Japanese.
    if _KANA.search(question):
        return False
    num_chinese = len(_CHINESE.findall(question))
    num_latin = len(_LATIN_WORD.findall(question))
    return num_chinese > num_latin


def check_length(name: str, text: str, limit: int) -> None:
    """Refuses a text with more characters than the limit, as a `BadRow`."""
    if len(text) > limit:
        raise BadRow(f"the {name} has {len(text):,} characters; {limit:,} are possible")


def check_text(text: str) -> None:
    """Checks that a text can be written as UTF-8.

    Raises:
        BadRow: it cannot.
    """
    if _HALF_CHARACTER.search(text):
        raise BadRow("a text holds half a character (a lone surrogate)")


def _check(problem: Problem) -> None:
    """Refuses a problem that breaks what holds for every format."""
    for text in (problem.id, problem.question, problem.answer, problem.starter, *problem.tests):
        check_text(text)
    if not problem.question.strip():
        raise BadRow("the question is empty")
    if not problem.answer.strip() and problem.domain not in _WITHOUT_ANSWER:
        raise BadRow("no answer")
    if not problem.tests and problem.domain in _WITH_TESTS:
        raise BadRow(f"no tests, which domain {problem.domain} compares by")
    check_length("question", problem.question, MAX_QUESTION_CHARS)
    check_length("answer", problem.answer, MAX_ANSWER_CHARS)
