"""What an answer of mathematics can be: expressions as trees, and the values that are made of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from aha.rewards.math.reading.units import Unit

__all__ = [
    "CONSTANTS",
    "EVERYTHING",
    "Chain",
    "Collection",
    "Interval",
    "Matrix",
    "Named",
    "Node",
    "Number",
    "Operation",
    "Quantity",
    "Region",
    "Relation",
    "Symbol",
    "Value",
    "Words",
    "expression_of",
    "product_of",
    "quotient_of",
    "read_number",
    "symbols_of",
    "walk",
]


# The points at which expressions are compared are drawn from the repr of a node (points.py): another name of a class or
# of a field would move them.


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written: 5, 0.50, 1,234, 0.333 with a bar over its last digit.

    Attributes:
        value: the exact value.
        places: number of decimals written; -1 where it is not an ordinary decimal.
    """

    value: Fraction
    places: int = 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable or a constant; case, subscripts and primes belong to its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation or function with its operands: `+`, `*`, `/`, `^`, `neg`, `sqrt`, `sin`, `sum` and so on."""

    name: str
    operands: tuple["Node", ...]


Node = Number | Symbol | Operation


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression with its unit or percent sign; `node` of a percentage is the number before the percent sign."""

    node: Node
    unit: Unit = ()
    is_percent: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """A name or words, in lower case."""

    text: str


@dataclass(frozen=True, slots=True)
class Collection:
    """Several values: a list, tuple, set, interval or ratio, as its brackets tell.

    Attributes:
        brackets: `()`, `[)`, `{}` and so on; empty where there are none, so that the order is open; `:` for a ratio.
        items: the values.
        is_endless: whether dots follow the last of them.
    """

    brackets: str
    items: tuple["Value", ...]
    is_endless: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers between two ends; an end is None where there is no bound, and `has_low` says whether it belongs."""

    low: Node | None
    high: Node | None
    has_low: bool = False
    has_high: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """A set of real numbers: a union of intervals, as written or as described by an inequality.

    Attributes:
        intervals: in the order of the text.
        variable: the variable whose values they are; empty where none is named.
        holes: single numbers that do not belong to it.
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
    """An equation or inequality that is not solved for a name: its sides, and the signs between them."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A value with its name, as in `x = 5`."""

    name: str
    value: "Value"


@dataclass(frozen=True, slots=True)
class Chain:
    """The sides of a chain of equations such as `1/2 = 0.5`; each of them is the answer."""

    sides: tuple["Value", ...]


Value = Quantity | Words | Collection | Region | Matrix | Relation | Named | Chain


def walk(node: Node) -> Iterator[Node]:
    """A node and all nodes below it, in the order of the text."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        if isinstance(current, Operation):
            stack += reversed(current.operands)


def symbols_of(node: Node) -> frozenset[str]:
    """The names of the variables in an expression."""
    names = frozenset(part.name for part in walk(node) if isinstance(part, Symbol))
    return names - CONSTANTS


CONSTANTS = frozenset(["pi", "e", "i"])
"""Symbols with a value of their own."""


def expression_of(quantity: Quantity) -> Node:
    """The expression of a quantity, a hundredth of its node where it is a percentage."""
    return Operation("percent", (quantity.node,)) if quantity.is_percent else quantity.node


def read_number(text: str) -> Number:
    """Reads a number: an integer, a decimal, with an exponent or with a bar over a repeating decimal."""
    repeating = re.fullmatch(r"([0-9]*)\.([0-9]*)\\(?:overline|bar)\s*\{?([0-9]+)\}?", text)
    if repeating:
        whole = repeating[1] or "0"
        fixed = repeating[2]
        period = repeating[3]

        # 0.1666... with one fixed digit and the period 6 is 0.1 + 6/90.
        start = Fraction(f"{whole}.{fixed or 0}")
        denominator = 10 ** len(fixed) * (10 ** len(period) - 1)
        return Number(start + Fraction(int(period), denominator), -1)

    digits, _, exponent = text.lower().partition("e")
    value = Fraction(digits.rstrip(".") or "0")
    if exponent:
        # The tokens allow an exponent of three digits, as in the 4.5e33 of Minerva: the power stays small.
        return Number(value * Fraction(10) ** int(exponent), -1)

    _, _, decimals = digits.partition(".")
    return Number(value, len(decimals))


def product_of(left: Node, right: Node) -> Node:
    """Two factors side by side, as a mixed number where they look like one, otherwise as a product."""
    # The mark after a mixed number belongs to all of it: 33 1/3 % is no product of 33 and a third of a percent.
    if isinstance(right, Operation) and right.name in ("percent", "degrees"):
        marked = right.operands[0]
        if _is_proper(marked):
            return Operation(right.name, (product_of(left, marked),))

    # `137 \frac{1}{2}`, as MATH has it, is a sum; every other pair of neighbours is a product.
    is_whole = isinstance(left, Number) and left.value.denominator == 1
    if is_whole and _is_proper(right):
        return Operation("mixed", (left, *right.operands))  # type: ignore[union-attr]  # a fraction has them
    return Operation("*", (left, right))


def _is_proper(node: Node) -> bool:
    """Whether a node is a fraction of two whole numbers, as in a mixed number."""
    if not isinstance(node, Operation) or node.name != "/":
        return False

    values = [operand.value for operand in node.operands if isinstance(operand, Number)]
    if len(values) != 2:
        return False
    are_whole = all(value.denominator == 1 for value in values)
    return are_whole and values[1] != 0


def quotient_of(over: Node, under: Node) -> Node:
    """A fraction with a slash; the mark after `1/3%` and `45/2` degrees belongs to the whole fraction."""
    if isinstance(over, Number) and isinstance(under, Operation) and under.name in ("percent", "degrees"):
        fraction = Operation("/", (over, *under.operands))
        return Operation(under.name, (fraction,))
    return Operation("/", (over, under))
