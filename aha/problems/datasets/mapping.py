"""From the columns of a file to a format: told by the fields, named by the user, or declared by a mapping."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aha.problems.datasets.conversations import has_messages
from aha.problems.datasets.fields import BadRow, Fields, find
from aha.problems.datasets.files import normal_name
from aha.problems.datasets.formats import DOMAINS, OWN, PLAIN, PROMPTS, Format, formats
from aha.types import Problem

__all__ = ["choose_format", "parse_mapping"]

_LITERALS = ("domain", "language")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}|[\u3400-\u9fff]")


def parse_mapping(text: str) -> dict[str, str]:
    """A mapping as written on the command line: `question=prompt,answer=gold,domain=math`.

    On the left stands a field of a format, on the right the column that holds it (dots lead into objects); `domain`
    and `language` are given as they are.

    Raises:
        ValueError: it is written in another way, or names an unknown field, domain or language.
    """
    mapping: dict[str, str] = {}
    known = {name for one in formats().values() for name in one.reads} | set(_LITERALS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, sign, column = (piece.strip() for piece in part.partition("="))
        if not sign or not column or name not in known:
            raise ValueError(f"mapping {part!r}: write FIELD=COLUMN, with a field of {', '.join(sorted(known))}")
        if name in mapping:
            raise ValueError(f"mapping: the field {name!r} is given twice")
        mapping[name] = column if name in _LITERALS else ".".join(map(normal_name, column.split(".")))
    if mapping.get("domain", "math") not in DOMAINS:
        raise ValueError(f"mapping: no domain {mapping['domain']!r}: an answer is compared as {', '.join(DOMAINS)}")
    if mapping.get("language", "en") not in ("en", "zh"):
        raise ValueError(f"mapping: no language {mapping['language']!r}: en or zh")
    return mapping


def choose_format(rows: Sequence[Fields], *, name: str, mapping: Mapping[str, str], options_seed: int | None) -> Format:
    """The format of a file, with the mapping applied.

    Args:
        rows: some rows of the file, fields by their normal names.
        name: of the format, as the user gave it; empty or `auto` to tell it by the fields.
        mapping: from fields of the format to columns of the file.
        options_seed: as in `formats`.

    Returns:
        A format that reads the file's own columns.

    Raises:
        ValueError: there is no such format, or none fits, or several do.
    """
    known, name = formats(options_seed), "" if name == "auto" else name
    if name and name not in known:
        raise ValueError(f"no format {name!r}: {', '.join(known)}")
    columns = sorted({column for row in rows for column in row})
    renamed = {field: column for field, column in mapping.items() if field not in _LITERALS}
    absent = sorted(column for column in renamed.values() if column.split(".")[0] not in columns)
    if absent:
        raise ValueError(f"mapping: no column {absent[0]!r}: the columns are {', '.join(columns)}")
    chosen = known[name] if name else _detect([_renamed(row, renamed) for row in rows], known, columns, mapping)
    return _with_mapping(chosen, renamed, mapping)


def _renamed(fields: Fields, renamed: Mapping[str, str]) -> dict[str, Any]:
    """A row under the names of the format; with a mapping, only what it names."""
    if not renamed:
        return dict(fields)
    found = {}
    for name, column in renamed.items():
        try:
            found[name] = find(fields, column)
        except BadRow:
            continue
    return found


def _detect(
    rows: Sequence[Fields], known: Mapping[str, Format], columns: Sequence[str], mapping: Mapping[str, str]
) -> Format:
    seen = {name for row in rows for name in row}
    if mapping.get("domain") == OWN and ("question" in seen or any(map(has_messages, rows))):
        return PROMPTS
    particular = [one for one in known.values() if one.name not in ("aime", "plain", "prompts")]
    fitting = [one for one in particular if one.has_columns(seen) and one.fits(rows)]
    if len(fitting) == 1:
        return _compared(fitting[0], rows, mapping) if fitting[0].name == "messages" else fitting[0]
    if not fitting and {"question", "answer"} <= seen:
        return _compared(PLAIN, rows, mapping)
    several = f"fit several formats ({', '.join(one.name for one in fitting)})" if fitting else "fit no known format"
    raise ValueError(
        f"the columns {', '.join(columns)} {several}: name them with a mapping such as "
        f"question={columns[0] if columns else 'COLUMN'},answer={columns[-1] if columns else 'COLUMN'},domain=math, "
        f"or give the format ({', '.join(known)}); prompts without answers are question=COLUMN,domain={OWN}"
    )


def _compared(chosen: Format, rows: Sequence[Fields], mapping: Mapping[str, str]) -> Format:
    """A format of questions and answers of any kind; how answers are compared shows in the answers."""
    if "domain" in mapping:
        return chosen
    answers = [str(row["answer"]).rpartition("####")[2] for row in rows if row.get("answer") is not None]
    says = chosen.says.removesuffix(", compared as text")
    formulas = [_WORD.search(answer) is None and any(c.isdigit() or c == "\\" for c in answer) for answer in answers]
    if all(formulas):
        return replace(
            chosen,
            says=f"{says}; the answers are numbers or formulas, compared as mathematics",
            build=lambda fields: replace(chosen.build(fields), domain="math"),
        )
    if not any(formulas):
        return replace(chosen, says=f"{says}; the answers are words, compared as text")
    example = answers[formulas.index(False)][:40]
    raise ValueError(
        f"question and answer, but some answers are numbers and some are words (such as {example!r}): "
        "add domain=math or domain=text to the mapping"
    )


def _with_mapping(chosen: Format, renamed: Mapping[str, str], mapping: Mapping[str, str]) -> Format:
    """The format under the columns of the file."""
    if not mapping:
        return chosen
    moved = set(renamed.values())

    def build(fields: Fields) -> Problem:
        own = {name: value for name, value in fields.items() if name not in moved}
        found = {name: find(fields, column) for name, column in renamed.items()}
        problem = chosen.build({**own, **found})
        domain, language = (mapping.get(name, "") for name in _LITERALS)
        return replace(problem, domain=domain or problem.domain, language=language or problem.language)

    said = [f"{name} is {column}" for name, column in renamed.items()]
    said += [f"{name} is {mapping[name]}" for name in _LITERALS if name in mapping]
    own = tuple(sorted(chosen.reads - set(renamed)))
    return replace(chosen, says=f"{chosen.says}; where {', '.join(said)}", build=build, optional=(*own, *moved))
