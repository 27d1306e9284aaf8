"""The choice of a format for the columns of a file: by the fields, by name, or by a mapping of the user."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from statistics import fmean
from typing import Any

from aha.problems.datasets.conversations import has_messages
from aha.problems.datasets.fields import BadRow, Fields, find
from aha.problems.datasets.files import normal_name
from aha.problems.datasets.formats import DOMAINS, OWN, PLAIN, PROMPTS, Format, formats
from aha.types import Problem

__all__ = ["choose_format", "parse_mapping", "parse_pairs"]

_LITERALS = ("domain", "language")  # fields whose value stands in the mapping itself

# A command of LaTeX is no word, nor are one or two letters, which are variables or units.
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}|[\u3400-\u9fff]")


def parse_mapping(text: str) -> dict[str, str]:
    """Parses a mapping from the command line: `question=prompt,answer=gold,domain=math`.

    On the left is a field of a format, on the right the column that holds it (dots lead into objects). The values of
    `domain` and `language` are literal.

    Raises:
        ValueError: it has another form, or names an unknown field, domain or language.
    """
    all_fields = set(_LITERALS)
    for each_format in formats().values():
        all_fields |= each_format.reads
    mapping = parse_pairs(text, sorted(all_fields), literals=_LITERALS)

    if mapping.get("domain", "math") not in DOMAINS:
        raise ValueError(f"mapping: no domain {mapping['domain']!r}: an answer is compared as {', '.join(DOMAINS)}")
    if mapping.get("language", "en") not in ("en", "zh"):
        raise ValueError(f"mapping: no language {mapping['language']!r}: en or zh")

    return mapping


def parse_pairs(text: str, fields: Sequence[str], *, literals: Sequence[str] = ()) -> dict[str, str]:
    """Parses `FIELD=COLUMN,FIELD=COLUMN`; columns get their normal names, and dots lead into objects.

    Args:
        text: the pairs; empty for none.
        fields: the fields that can stand on the left.
        literals: those of them whose right side is a value, and no column.

    Raises:
        ValueError: a part has another form, or names an unknown field or one for the second time.
    """
    pairs: dict[str, str] = {}
    parts = [part.strip() for part in text.split(",")]
    for part in filter(None, parts):
        name, sign, column = (piece.strip() for piece in part.partition("="))
        if not sign or not column or name not in fields:
            raise ValueError(f"mapping {part!r}: write FIELD=COLUMN, with a field of {', '.join(fields)}")
        if name in pairs:
            raise ValueError(f"mapping: the field {name!r} is given twice")
        pairs[name] = column if name in literals else ".".join(map(normal_name, column.split(".")))
    return pairs


def choose_format(rows: Sequence[Fields], *, name: str, mapping: Mapping[str, str], options_seed: int | None) -> Format:
    """Chooses the format of a file, and applies the mapping to it.

    Args:
        rows: some rows of the file, fields by their normal names.
        name: name of the format; empty or `auto` to recognise it by the fields.
        mapping: columns of the file by fields of the format.
        options_seed: as in `formats`.

    Returns:
        A format that reads the columns of the file.

    Raises:
        ValueError: there is no such format, none fits, or several do.
    """
    all_formats = formats(options_seed)
    name = "" if name == "auto" else name
    if name and name not in all_formats:
        raise ValueError(f"no format {name!r}: {', '.join(all_formats)}")

    columns = sorted(set().union(*rows))
    renamed = {field: column for field, column in mapping.items() if field not in _LITERALS}
    absent = sorted(column for column in renamed.values() if column.split(".")[0] not in columns)
    if absent:
        raise ValueError(f"mapping: no column {absent[0]!r}: the columns are {', '.join(columns)}")

    if name:
        chosen = all_formats[name]
    else:
        # The format is recognised by the names that the mapping gives, not by those of the file.
        renamed_rows = [_rename(row, renamed) for row in rows]
        chosen = _detect(renamed_rows, all_formats, columns, mapping)
    return _with_mapping(chosen, renamed, mapping)


def _rename(fields: Fields, renamed: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a row under the names of the format; with a mapping, only those that it names."""
    if not renamed:
        return dict(fields)

    values = {}
    for name, column in renamed.items():
        # A field that one row lacks is that row's fault, and no reason to refuse the file.
        with suppress(BadRow):
            values[name] = find(fields, column)
    return values


def _detect(
    rows: Sequence[Fields], all_formats: Mapping[str, Format], columns: Sequence[str], mapping: Mapping[str, str]
) -> Format:
    names: set[str] = set().union(*rows)
    if mapping.get("domain") == OWN and ("question" in names or any(map(has_messages, rows))):
        return PROMPTS

    # AIME has the columns of MATH, and the other two fit nearly every file: columns alone do not tell them.
    fitting = []
    for candidate in all_formats.values():
        is_recognisable = candidate.name not in ("aime", "plain", "prompts")
        if is_recognisable and candidate.has_columns(names) and candidate.fits(rows):
            fitting.append(candidate)

    if len(fitting) == 1:
        (chosen,) = fitting
        return _with_domain(chosen, rows, mapping) if chosen.name == "messages" else chosen
    if not fitting and {"question", "answer"} <= names:
        return _with_domain(PLAIN, rows, mapping)

    problem = "fit no known format"
    if fitting:
        problem = f"fit several formats ({', '.join(candidate.name for candidate in fitting)})"
    raise ValueError(
        f"the columns {', '.join(columns)} {problem}: say which hold what, as in "
        f"--fields {_likely_mapping(rows, columns)}, or give the format ({', '.join(all_formats)}); prompts without "
        f"answers are --fields question=COLUMN,domain={OWN}"
    )


def _likely_mapping(rows: Sequence[Fields], columns: Sequence[str]) -> str:
    """A mapping for an error to propose: the longest texts are taken to be the questions, the shortest the answers."""
    if len(columns) < 2:
        return "question=COLUMN,answer=COLUMN"

    def mean_length(column: str) -> float:
        return fmean(len(str(row.get(column, ""))) for row in rows)

    in_order = sorted(columns, key=mean_length)
    return f"question={in_order[-1]},answer={in_order[0]}"


def _with_domain(chosen: Format, rows: Sequence[Fields], mapping: Mapping[str, str]) -> Format:
    """A format with answers of any kind, whose domain is recognised from the answers of the sample."""
    if "domain" in mapping:
        return chosen

    # A working may stand before the answer, as in GSM8K.
    answers = [str(row["answer"]).rpartition("####")[2] for row in rows if row.get("answer") is not None]
    says = chosen.says.removesuffix(", compared as text")
    formulas = [_is_formula(answer) for answer in answers]

    if all(formulas):
        return replace(
            chosen,
            says=f"{says}; the answers are numbers or formulas, compared as mathematics",
            build=lambda fields: replace(chosen.build(fields), domain="math"),
        )

    if not any(formulas):
        return replace(chosen, says=f"{says}; the answers are words, compared as text")

    # A guess would train on wrong verdicts (docs/decisions/0020-problem-files.md).
    example = answers[formulas.index(False)][:40]
    raise ValueError(
        f"question and answer, but some answers are numbers and some are words (such as {example!r}): "
        "add domain=math or domain=text to the mapping"
    )


def _is_formula(answer: str) -> bool:
    """Whether an answer is a number or a formula: it has no word, but a digit or a command of LaTeX."""
    if _WORD.search(answer):
        return False
    return any(char.isdigit() or char == "\\" for char in answer)


def _with_mapping(chosen: Format, renamed: Mapping[str, str], mapping: Mapping[str, str]) -> Format:
    """The format, reading the columns of the file instead of its own."""
    if not mapping:
        return chosen

    moved = set(renamed.values())

    def build(fields: Fields) -> Problem:
        remaining = {name: value for name, value in fields.items() if name not in moved}
        mapped = {name: find(fields, column) for name, column in renamed.items()}
        problem = chosen.build({**remaining, **mapped})
        domain = mapping.get("domain", problem.domain)
        language = mapping.get("language", problem.language)
        return replace(problem, domain=domain, language=language)

    descriptions = [f"{name} is {column}" for name, column in renamed.items()]
    descriptions += [f"{name} is {mapping[name]}" for name in _LITERALS if name in mapping]
    remaining = tuple(sorted(chosen.reads - set(renamed)))

    says = f"{chosen.says}; where {', '.join(descriptions)}"
    return replace(chosen, says=says, build=build, optional=(*remaining, *moved))
