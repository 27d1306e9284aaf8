"""Numbers of the package as tables in JSON beside their tests, so that none of them changes unnoticed."""

import ast
import dataclasses
import importlib
import inspect
import json
import os
import pkgutil
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from aha.recipes.recipe import Recipe
from aha.runs.config import Config
from aha.runs.pipeline import Node

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


def constants_of(package: ModuleType, *, without: str = "") -> dict[str, Any]:
    """The numbers that the modules of a package state outside of what they compute.

    These are constants, the defaults of arguments, and the defaults of the fields of dataclasses.

    Args:
        package: the package.
        without: a module that is left out.
    """
    constants: dict[str, Any] = {}
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        name = found.name.removeprefix(f"{package.__name__}.")
        if not found.ispkg and name != without:
            constants[name] = dict(_constants(importlib.import_module(found.name)))
    return constants


def _constants(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The numbers that a module states, by name."""
    for name in _assigned(module):
        value = _plain(vars(module)[name])
        if _has_number(value):
            yield name, value

    for name, made in vars(module).items():
        if inspect.isfunction(made) and made.__module__ == module.__name__:
            yield from _defaults(name, made)
        if inspect.isclass(made) and made.__module__ == module.__name__:
            for method, function in vars(made).items():
                if inspect.isfunction(function):
                    yield from _defaults(f"{name}.{method}", function)


def _assigned(module: ModuleType) -> list[str]:
    """Names to which a module itself assigns a value, in order."""
    names = []
    for statement in ast.parse(inspect.getsource(module)).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        names += [name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)]
    return [name for name in names if not name.startswith("__")]


def _defaults(name: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The defaults of the arguments of a function that are numbers; the constructor of a dataclass has its fields'."""
    for argument, parameter in inspect.signature(function).parameters.items():
        value = _plain(parameter.default)
        if _has_number(value):
            yield f"{name}({argument})", value


def _plain(value: Any) -> Any:
    """A value in the types of JSON; None for what has none there, and for records of recipes, whose scales are told."""
    if isinstance(value, Recipe | Node):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case bool() | int() | float() | str():
            return value
        case Fraction():
            return str(value)
        case Mapping():
            return {name.__name__ if callable(name) else str(name): _plain(part) for name, part in value.items()}
        case set() | frozenset():
            return sorted((_plain(part) for part in value), key=repr)
        case list() | tuple() | range():
            return [_plain(part) for part in value]
    return None


def _has_number(value: Any) -> bool:
    """Whether there is a number or a truth value in plain data."""
    match value:
        case bool() | int() | float():
            return True
        case Mapping():
            return any(map(_has_number, value.values()))
        case list():
            return any(map(_has_number, value))
    return False
