"""What relations and lists say: a value and its name, an equation, a solved inequality, the roots of one unknown."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from aha.rewards.math.arithmetic import real_value
from aha.rewards.math.nodes import (
    Chain,
    Named,
    Node,
    Number,
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

__all__ = ["check_approximation", "coordinates", "measured", "name_of", "related", "together"]

_DENIALS: Final = frozenset(["not", "no", "never", "wrong", "false", "incorrect"])
_SEGMENT: Final = re.compile("[A-Z]{2}")

_UNKNOWNS: Final = frozenset("xyzt")
_MEASURES: Final = frozenset(["sin", "cos", "tan", "cot", "sec", "csc", "abs", "gcd", "lcm", "opaque"])

MAX_CHAIN: Final = 4
"""Most sides of a chain of equations that are checked."""


def name_of(value: Value) -> str:
    r"""The name that a left side is: `x`, `AB`, `\angle A`, `f(x)`, `dy/dx`, `(x,y)`, words; empty where it is none."""
    match value:
        case Words(text):
            return "" if _DENIALS & set(text.split()) else text
        case Quantity(node, (), False):
            return _name_of_node(node)
        case Several("()", items):
            names = [name_of(item) for item in items]
            return ",".join(names) if all(names) else ""
    return ""


def _name_of_node(node: Node) -> str:
    match node:
        case Symbol("pi" | "infty"):
            return ""
        case Symbol(name):
            return name
        case Operation("*", operands):
            names = [_name_of_node(one) for one in operands]
            return "".join(names) if all(names) else ""
        case Operation("/", (over, under)):
            names = [_name_of_node(over), _name_of_node(under)]
            is_known = all(name.startswith("d") for name in names) or all(_SEGMENT.fullmatch(name) for name in names)
            return "/".join(names) if is_known else ""
        case Operation("abs", (inner,)) if inner != Symbol("x"):
            return _name_of_node(inner)
        case Operation("^", (Symbol(base), Operation("neg", (Number(value=1),)))) if (
            base in ("f", "g", "h") or base.isupper()
        ):
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
        if set(name.split(",")) <= {"x", "y", "z"} and isinstance(rest[0], Several) and len(rest) == 1:
            return coordinates(name.split(","), rest[0])
        return Named(name, rest[0] if len(rest) == 1 else Chain(tuple(rest)))
    if len(sides) == 2 and (name := name_of(sides[1])) and not name_of(sides[0]):
        return Named(name, sides[0])
    if all(isinstance(side, Quantity) for side in sides) and len(sides) == 2:
        left, right = (_node_of(side) for side in sides)
        if symbols_of(left) | symbols_of(right):
            return Relation((left, right), ("=",))
    return Chain(tuple(sides))


def coordinates(names: Sequence[str], values: Several) -> Value:
    """`(y,x) = (1,2)` as `y = 1, x = 2`; a list for a single name stays one."""
    if len(names) == 1 or len(names) != len(values.items):
        return Named(",".join(names), values)
    return Several("", tuple(Named(name, value) for name, value in zip(names, values.items, strict=True)))


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

    systems = _systems(values, separators)
    if systems is not None:
        return systems

    # x = 1, 3 names the first of two roots only in writing.
    if names[0] and not any(names[1:]) and isinstance(values[0], Named):
        return Named(names[0], Several("", (values[0].value, *values[1:])))
    return Several("", tuple(values))


def measured(value: Value) -> Value:
    r"""The value of `m + n = 5` or `\cos A = \frac35`, which say what something is; any other value as it is.

    An equation in x, y, z or t is to be solved, and one with zero on a side may stand in any question.
    """
    match value:
        case Relation((left, right), ("=",)):
            for side, other in ((left, right), (right, left)):
                is_about = symbols_of(side) and not symbols_of(side) & _UNKNOWNS
                if is_about and not symbols_of(other) and _is_measure(side, is_zero=other == Number(Fraction(0))):
                    return Quantity(other)
    return value


def _is_measure(node: Node, *, is_zero: bool) -> bool:
    """Whether an expression is something that a question may ask for: a sum of letters, a function of an angle."""
    if isinstance(node, Operation) and node.name in ("+", "-"):
        return not is_zero and all(symbols_of(one) or isinstance(one, Number) for one in node.operands)
    is_variance = node == Operation("^", (Symbol("sigma"), Number(Fraction(2))))
    return is_variance or (isinstance(node, Operation) and node.name in _MEASURES)


def _systems(values: Sequence[Value], separators: Sequence[str]) -> Several | None:
    """`x = 1, y = 2 or x = 3, y = 4` as two solutions; None where values are not named, or stand alone."""
    is_last = [separator in (";", "or") for separator in separators]
    if not any(is_last) or not all(isinstance(value, Named) for value in values):
        return None
    groups: list[list[Value]] = [[values[0]]]
    for value, is_next_group in zip(values[1:], is_last, strict=True):
        if is_next_group:
            groups.append([value])
        else:
            groups[-1].append(value)
    if any(len(group) == 1 for group in groups):
        return None
    return Several("", tuple(Several("", tuple(group)) for group in groups))


def check_approximation(value: Value, remark: Value) -> None:
    r"""Refuse `5 \approx 6`, in which what follows the sign is another answer.

    Raises:
        UnreadableError: the two are numbers, and farther apart than rounding to a whole number or a tenth brings them.
    """
    if not isinstance(value, Quantity) or not isinstance(remark, Quantity):
        raise UnreadableError("what it is approximately is no number")
    nodes = [Operation("percent", (one.node,)) if one.is_percent else one.node for one in (value, remark)]
    number, near = map(real_value, nodes)
    if number is None or near is None:
        return
    distance = abs(number - near)
    is_rounded = near == int(near) and distance <= 0.5
    if distance > abs(number) / 20 and not is_rounded:
        raise UnreadableError("what it is approximately is another number")
