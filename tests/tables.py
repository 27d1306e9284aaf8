"""Numbers of the package as tables in JSON beside their tests, so that none of them changes unnoticed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aha.runs.config import Config

UPDATE = "AHA_UPDATE_TABLES"
"""Environment variable: tables are written, not compared."""


def assert_as_in_table(found: Mapping[str, Any], path: Path) -> None:
    """Compare nested numbers with the table of a test; what differs is named, with the way to change the table."""
    # What JSON cannot tell apart, such as tuples and lists, is not told apart here.
    after = flat(json.loads(json.dumps(found)))
    if os.environ.get(UPDATE):
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in after.items()]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

    before = json.loads(path.read_text(encoding="utf-8"))
    changes = [
        f"{name}: {before.get(name, 'nothing')!r} -> {after.get(name, 'nothing')!r}"
        for name in sorted({*before, *after})
        # A number and a truth value may be equal.
        if repr(before.get(name, "nothing")) != repr(after.get(name, "nothing"))
    ]
    remedy = f"If they are meant to change, run this test with {UPDATE}=1 and commit the table."
    assert not changes, "\n".join([f"{len(changes)} values are not those of {path}:", *changes, remedy])


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested tables by their dotted paths."""
    values: dict[str, Any] = {}
    for name, value in table.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return values


def limits_of(*kinds: type[Config]) -> dict[str, dict[str, Any]]:
    """What each field of some configurations allows and what its default is, as in their JSON schemas."""
    limits = {}
    for kind in kinds:
        for name, schema in kind.model_json_schema()["properties"].items():
            limits[f"{kind.__name__}.{name}"] = {
                word: value for word, value in schema.items() if word not in ("title", "description")
            }
    return limits
