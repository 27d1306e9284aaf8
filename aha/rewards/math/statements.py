"""The meaning of relations and lists: a value with its name, an equation, a solved inequality, roots, coordinates."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from aha.rewards.math.arithmetic import real_value
from aha.rewards.math.nodes import (
    Chain,
    Collection,
    Named,
    Node,
    Number,
    Operation,
    Quantity,
    Region,
    Relation,
    Symbol,
    Value,
    Words,
    expression_of,
    symbols_of,
)
from aha.rewards.math.reading.tokens import UnreadableError
from aha.rewards.math.regions import join_regions, region_of

__all__ = ["check_approximation", "coordinates", "join_values", "measured_value", "name_of", "relate"]

# `\text{not} = 5` would otherwise name the value 5 and pass for it.
_DENIALS: Final = frozenset(["not", "no", "never", "wrong", "false", "incorrect"])
_SEGMENT: Final = re.compile("[A-Z]{2}")

_UNKNOWNS: Final = frozenset("xyzt")
_MEASURES: Final = frozenset(["sin", "cos", "tan", "cot", "sec", "csc", "abs", "gcd", "lcm", "opaque"])

MAX_CHAIN: Final = 4
"""Largest number of sides of a chain of equations."""


def name_of(value: Value) -> str:
    r"""The name of a left side: `x`, `AB`, `\angle A`, `f(x)`, `dy/dx`, `(x,y)`, words; empty where it is no name."""
    match value:
        case Words(text):
            return "" if _DENIALS & set(text.split()) else text
        case Quantity(node, (), False):
            return _name_of_node(node)
        case Collection("()", items):
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
            names = [_name_of_node(operand) for operand in operands]
            return "".join(names) if all(names) else ""
        case Operation("/", (numerator, denominator)):
            names = [_name_of_node(numerator), _name_of_node(denominator)]
            # dy/dx and AB/CD are names; x/2 = 5 is an equation, which is to be solved.
            is_derivative = all(name.startswith("d") for name in names)
            is_ratio_of_segments = all(_SEGMENT.fullmatch(name) for name in names)
            return "/".join(names) if is_derivative or is_ratio_of_segments else ""
        case Operation("abs", (inner,)) if inner != Symbol("x"):
            # |x| = 5 is an equation, which is to be solved.
            return _name_of_node(inner)
        case Operation("^", (Symbol(base), Operation("neg", (Number(value=1),)))):
            # Of a function or a matrix -1 is the inverse; x^{-1} = 5 is an equation.
            is_invertible = base in ("f", "g", "h") or base.isupper()
            return f"{base}^-1" if is_invertible else ""

    return ""


def relate(sides: Sequence[Value], signs: Sequence[str]) -> Value:
    """The value of sides with relations between them.

    Raises:
        UnreadableError: the relations are mixed, or a side is nothing that can stand there.
    """
    if set(signs) == {"="}:
        return _equation(sides)

    if signs == ["in"]:
        # Only sets may follow, as in `x \in [-2,7]` of MATH: membership in anything else says no value.
        name = name_of(sides[0])
        if not name or not isinstance(sides[1], Region | Collection):
            raise UnreadableError("it says that something is in what is no set")
        return Named(name, sides[1])

    nodes = [_node_of(side) for side in sides]
    if set(signs) <= {"<", "<=", ">", ">=", "!="}:
        region = region_of(nodes, signs)
        return Relation(tuple(nodes), tuple(signs)) if region is None else region

    raise UnreadableError("it mixes relations")


def _node_of(side: Value) -> Node:
    """The expression of a side of a relation.

    Raises:
        UnreadableError: it is no expression, or has a unit.
    """
    if not isinstance(side, Quantity) or side.unit or side.is_percent:
        raise UnreadableError("a side of its relation is no expression")
    return side.node


def _equation(sides: Sequence[Value]) -> Value:
    """The value of an equation: a named value, an equation between expressions, or a chain of equal values."""
    if len(sides) > MAX_CHAIN:
        raise UnreadableError("a chain of equations without an end")

    name = name_of(sides[0])
    if name and len(sides) > 2:
        return Named(name, Chain(tuple(sides[1:])))
    if name:
        value = sides[1]
        names = name.split(",")
        # Coordinates may be named in another order: (y,x) = (1,2) is not (1,2).
        if isinstance(value, Collection) and set(names) <= {"x", "y", "z"}:
            return coordinates(names, value)
        return Named(name, value)

    # 5 = x names its value too.
    if len(sides) == 2:
        name = name_of(sides[1])
        if name:
            return Named(name, sides[0])

    # Without a variable an equation is a chain, whose sides must have one value: 1/2 = 0.5.
    if len(sides) == 2 and all(isinstance(side, Quantity) for side in sides):
        left = _node_of(sides[0])
        right = _node_of(sides[1])
        has_variables = symbols_of(left) or symbols_of(right)
        if has_variables:
            return Relation((left, right), ("=",))

    return Chain(tuple(sides))


def coordinates(names: Sequence[str], values: Collection) -> Value:
    """`(y,x) = (1,2)` as `y = 1, x = 2`; a single name keeps the list as its value."""
    if len(names) == 1 or len(names) != len(values.items):
        return Named(",".join(names), values)

    pairs = zip(names, values.items, strict=True)
    named = tuple(Named(name, value) for name, value in pairs)
    return Collection("", named)


def join_values(values: Sequence[Value], separators: Sequence[str]) -> Value:
    """Joins values between separators: a union of regions, roots of one unknown, solutions of a system, or a list."""
    regions = [value for value in values if isinstance(value, Region)]
    if len(regions) == len(values):
        return join_regions(regions, separators)

    # x = 1, x = 3 gives one name several values.
    # This precedes systems: x = 1, x = 2 or x = 3, x = 4 are four roots.
    names = [value.name if isinstance(value, Named) else "" for value in values]
    if len(set(names)) == 1 and names[0]:
        inner = [value.value for value in values if isinstance(value, Named)]
        inner_regions = [value for value in inner if isinstance(value, Region)]
        if len(inner_regions) == len(inner):
            return join_regions(inner_regions, separators)
        return Named(names[0], Collection("", tuple(inner)))

    systems = _systems(values, separators)
    if systems is not None:
        return systems

    # In x = 1, 3 the name belongs to both roots.
    if names[0] and not any(names[1:]) and isinstance(values[0], Named):
        return Named(names[0], Collection("", (values[0].value, *values[1:])))

    return Collection("", tuple(values))


def measured_value(value: Value) -> Value:
    r"""The value of `m + n = 5` or `\cos A = \frac35`, where a question may ask for the left side; others unchanged.

    An equation in x, y, z or t must be solved instead, and one with zero on a side says nothing of its own.
    """
    match value:
        case Relation((left, right), ("=",)):
            for side, other in ((left, right), (right, left)):
                letters = symbols_of(side)
                has_letters = letters and not letters & _UNKNOWNS
                is_zero = other == Number(Fraction(0))
                if has_letters and not symbols_of(other) and _is_measure(side, is_zero=is_zero):
                    return Quantity(other)
    return value


def _is_measure(node: Node, *, is_zero: bool) -> bool:
    """Whether a question may ask for an expression: a sum of letters, a function of an angle, a variance."""
    if not isinstance(node, Operation):
        return False
    if node.name in ("+", "-"):
        # a^2 - 5a + 6 = 0 is worth no 0: an equation with zero is the question, or a rewriting of it.
        if is_zero:
            return False
        return all(symbols_of(operand) or isinstance(operand, Number) for operand in node.operands)

    variance = Operation("^", (Symbol("sigma"), Number(Fraction(2))))
    return node == variance or node.name in _MEASURES


def _systems(values: Sequence[Value], separators: Sequence[str]) -> Collection | None:
    """`x = 1, y = 2 or x = 3, y = 4` as two solutions; None where values have no name, or a solution has only one."""
    begins_solution = [separator in (";", "or") for separator in separators]
    if not any(begins_solution):
        return None
    if not all(isinstance(value, Named) for value in values):
        return None

    solutions: list[list[Value]] = [[values[0]]]
    for value, is_new in zip(values[1:], begins_solution, strict=True):
        if is_new:
            solutions.append([value])
        else:
            solutions[-1].append(value)

    # x = 1 or x = 3 has one name in each part: these are roots and no system.
    if any(len(solution) == 1 for solution in solutions):
        return None

    collections = [Collection("", tuple(solution)) for solution in solutions]
    return Collection("", tuple(collections))


def check_approximation(value: Value, remark: Value) -> None:
    r"""Refuses `5 \approx 6`, where an approximate sign joins two different answers.

    Raises:
        UnreadableError: a side is no number, or they differ by more than a twentieth and more than rounding to a whole
            number explains.
    """
    if not isinstance(value, Quantity) or not isinstance(remark, Quantity):
        raise UnreadableError("what it is approximately is no number")

    number = real_value(expression_of(value))
    approximation = real_value(expression_of(remark))
    # A side with variables has no value to compare.
    if number is None or approximation is None:
        return

    # Remarks are rough, such as `\frac{10}{3} \approx 3.33`: only another number is to be refused.
    distance = abs(number - approximation)
    is_near = distance <= abs(number) / 20
    is_rounded = approximation == int(approximation) and distance <= 0.5
    if not is_near and not is_rounded:
        raise UnreadableError("what it is approximately is another number")
