"""What an answer of mathematics can be: expressions as trees, and the values that are made of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from aha.rewards.math.units import Unit

__all__ = [
    "CONSTANTS",
    "EVERYTHING",
    "Chain",
    "Interval",
    "Matrix",
    "Named",
    "Node",
    "Number",
    "Operation",
    "Quantity",
    "Region",
    "Relation",
    "Several",
    "Symbol",
    "Value",
    "Words",
    "product_of",
    "quotient_of",
    "read_number",
    "symbols_of",
    "walk",
]


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written: 5, 0.50, 1,234, 0.333 with a bar over its last digit.

    Attributes:
        value: exactly.
        places: decimals that are shown; -1 where it is not an ordinary decimal.
    """

    value: Fraction
    places: int = 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable or a constant; upper and lower case, subscripts and primes belong to its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation or function with its operands: `+`, `*`, `/`, `^`, `neg`, `sqrt`, `sin`, `sum` and so on."""

    name: str
    operands: tuple["Node", ...]


Node = Number | Symbol | Operation


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression, with a unit or a percent sign where it has one; of a percentage, before the division by 100."""

    node: Node
    unit: Unit = ()
    is_percent: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """A name or a word, in small letters."""

    text: str


@dataclass(frozen=True, slots=True)
class Several:
    """Several values.

    Attributes:
        brackets: `()`, `[)`, `{}` and so on; empty where there are none, and nothing tells the order; `:` for a ratio.
        items: the values.
        is_endless: dots follow the last of them.
    """

    brackets: str
    items: tuple["Value", ...]
    is_endless: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers between two ends; an end is None where there is no bound."""

    low: Node | None
    high: Node | None
    has_low: bool = False
    has_high: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """A set of real numbers: a union of intervals, as it was written or as an inequality describes it.

    Attributes:
        intervals: in the order of the text.
        variable: whose values they are; empty where none is named.
        holes: single numbers that are left out.
    """

    intervals: tuple[Interval, ...]
    variable: str = ""
    holes: tuple[Node, ...] = ()


EVERYTHING = Interval(None, None)
"""All real numbers."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of expressions."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """An equation or inequality that names no value: sides, and the signs between them."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A value and its name, as in `x = 5`."""

    name: str
    value: "Value"


@dataclass(frozen=True, slots=True)
class Chain:
    """The sides of a chain of equations, each of which is the answer."""

    sides: tuple["Value", ...] = field(default=())


Value = Quantity | Words | Several | Region | Matrix | Relation | Named | Chain


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        if isinstance(current, Operation):
            waiting += reversed(current.operands)


def symbols_of(node: Node) -> frozenset[str]:
    """Names of the symbols in an expression that are no constants."""
    return frozenset(one.name for one in walk(node) if isinstance(one, Symbol) and one.name not in CONSTANTS)


CONSTANTS = frozenset(["pi", "e", "i"])
"""Symbols with a value of their own."""


def read_number(text: str) -> Number:
    """A number as it is written."""
    repeating = re.fullmatch(r"([0-9]*)\.([0-9]*)\\(?:overline|bar)\s*\{?([0-9]+)\}?", text)
    if repeating:
        whole, fixed, period = repeating[1] or "0", repeating[2], repeating[3]
        tail = Fraction(int(period), 10 ** len(fixed) * (10 ** len(period) - 1))
        return Number(Fraction(f"{whole}.{fixed or 0}") + tail, -1)

    digits, _, exponent = text.lower().partition("e")
    decimals = digits.partition(".")[2]
    value = Fraction(digits.rstrip(".") or "0")
    return Number(value * Fraction(10) ** int(exponent), -1) if exponent else Number(value, len(decimals))


def product_of(left: Node, right: Node) -> Node:
    """Two factors side by side: a mixed number where they look like one, a product elsewhere."""
    if isinstance(right, Operation) and right.name in ("percent", "degrees") and _is_proper(right.operands[0]):
        return Operation(right.name, (product_of(left, right.operands[0]),))
    if isinstance(left, Number) and left.value.denominator == 1 and _is_proper(right):
        return Operation("mixed", (left, *right.operands))  # type: ignore[union-attr]  # a fraction has them
    return Operation("*", (left, right))


def _is_proper(node: Node) -> bool:
    """Whether a node is a fraction of two whole numbers as a mixed number has it."""
    if not isinstance(node, Operation) or node.name != "/":
        return False
    parts = [one.value for one in node.operands if isinstance(one, Number)]
    return len(parts) == 2 and all(part.denominator == 1 for part in parts) and parts[1] != 0


def quotient_of(over: Node, under: Node) -> Node:
    """A typed fraction; the mark behind `1/3%` and `45/2` degrees belongs to the whole of it."""
    if isinstance(over, Number) and isinstance(under, Operation) and under.name in ("percent", "degrees"):
        return Operation(under.name, (Operation("/", (over, *under.operands)),))
    return Operation("/", (over, under))
