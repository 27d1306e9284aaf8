"""What relations and lists say: a value and its name, an equation, a solved inequality, the roots of one unknown."""

from collections.abc import Sequence
from typing import Final

from aha.rewards.math.nodes import (
    Chain,
    Named,
    Node,
    Operation,
    Quantity,
    Region,
    Relation,
    Several,
    Symbol,
    Value,
    Words,
    symbols_of,
)
from aha.rewards.math.regions import between, region_of
from aha.rewards.math.tokens import UnreadableError

__all__ = ["name_of", "related", "together"]

MAX_CHAIN: Final = 4
"""Most sides of a chain of equations that are checked."""


def name_of(value: Value) -> str:
    r"""The name that a left side is: `x`, `AB`, `\angle A`, `f(x)`, `dy/dx`, `(x,y)`, words; empty where it is none."""
    match value:
        case Words(text):
            return text
        case Quantity(node, (), False):
            return _name_of_node(node)
        case Several("()", items):
            names = [name_of(item) for item in items]
            return ",".join(names) if all(names) else ""
    return ""


def _name_of_node(node: Node) -> str:
    match node:
        case Symbol("pi" | "e" | "i" | "infty"):
            return ""
        case Symbol(name):
            return name
        case Operation("*", operands):
            names = [_name_of_node(one) for one in operands]
            return "".join(names) if all(names) else ""
        case Operation("/", (over, under)):
            names = [_name_of_node(over), _name_of_node(under)]
            return "/".join(names) if all(name.startswith("d") for name in names) else ""
        case Operation("abs", (inner,)):
            return _name_of_node(inner)
        case Operation("^", (Symbol(base), Operation("neg", _))):
            return f"{base}^-1"
    return ""


def related(sides: Sequence[Value], signs: Sequence[str]) -> Value:
    """The value of a chain of relations."""
    if set(signs) == {"="}:
        return _equation(sides)
    if signs == ["in"]:
        name = name_of(sides[0])
        if not name or not isinstance(sides[1], Region | Several):
            raise UnreadableError("it says that something is in what is no set")
        return Named(name, sides[1])
    nodes = [_node_of(side) for side in sides]
    if set(signs) <= {"<", "<=", ">", ">=", "!="}:
        region = region_of(nodes, signs)
        return Relation(tuple(nodes), tuple(signs)) if region is None else region
    raise UnreadableError("it mixes relations")


def _node_of(side: Value) -> Node:
    """The expression that a side of a relation is."""
    if not isinstance(side, Quantity) or side.unit or side.is_percent:
        raise UnreadableError("a side of its relation is no expression")
    return side.node


def _equation(sides: Sequence[Value]) -> Value:
    """A value with its name, a chain of equal values, or an equation."""
    if len(sides) > MAX_CHAIN:
        raise UnreadableError("a chain of equations without an end")
    name = name_of(sides[0])
    if name:
        rest = sides[1:]
        return Named(name, rest[0] if len(rest) == 1 else Chain(tuple(rest)))
    if len(sides) == 2 and (name := name_of(sides[1])) and not name_of(sides[0]):
        return Named(name, sides[0])
    if all(isinstance(side, Quantity) for side in sides) and len(sides) == 2:
        left, right = (_node_of(side) for side in sides)
        if symbols_of(left) | symbols_of(right):
            return Relation((left, right), ("=",))
    return Chain(tuple(sides))


def together(values: Sequence[Value], separators: Sequence[str]) -> Value:
    """Values between separators as one: a union of regions, roots of one unknown, or a list."""
    if all(isinstance(value, Region) for value in values):
        return between([value for value in values if isinstance(value, Region)], separators)
    names = [value.name if isinstance(value, Named) else "" for value in values]
    if len(set(names)) == 1 and names[0]:
        inner = tuple(value.value for value in values if isinstance(value, Named))
        if all(isinstance(one, Region) for one in inner):
            return between([one for one in inner if isinstance(one, Region)], separators)
        return Named(names[0], Several("", inner))

    # x = 1, 3 names the first of two roots only in writing.
    if names[0] and not any(names[1:]) and isinstance(values[0], Named):
        return Named(names[0], Several("", (values[0].value, *values[1:])))
    return Several("", tuple(values))
