"""Are two expressions the same answer, with their units and percent signs?"""

from dataclasses import replace
from fractions import Fraction
from typing import Final

from aha.rewards.math.arithmetic import exact, real_value
from aha.rewards.math.nodes import Node, Number, Operation, Quantity, Symbol, symbols_of, walk
from aha.rewards.math.points import are_equal
from aha.rewards.math.units import unit_symbol

__all__ = ["EVIDENT_DIGITS", "has_same_value", "is_literal", "quantity_difference"]

EVIDENT_DIGITS: Final = 6
"""Significant digits that a decimal must show to pass for the rounding of a number without a finite decimal."""

_ARITHMETIC: Final = frozenset(["+", "-", "*", "/", "neg", "^", "root", "mixed", "percent", "degrees", "exp"])
_FAMILIES: Final = {
    **dict.fromkeys(("sin", "cos", "tan", "cot", "sec", "csc"), "trigonometric function"),
    **dict.fromkeys(("arcsin", "arccos", "arctan", "arccot"), "inverse trigonometric function"),
    **dict.fromkeys(("sinh", "cosh", "tanh", "coth"), "hyperbolic function"),
    **dict.fromkeys(("ln", "log", "lg"), "logarithm"),
    **dict.fromkeys(("factorial", "binom"), "factorial"),
}


def quantity_difference(gold: Quantity, answer: Quantity) -> str:
    """Two expressions with their units.

    A unit may be left out or added; two known ones must agree. A percentage is a hundredth, and where only one of the
    two has the sign, the bare number may count percents too, but for an answer of at most 1 percent, which would pass
    for 1.
    """
    answer = _with_unit_of(gold, answer)
    gold = _with_unit_of(answer, gold)
    if (gold.is_percent and answer.unit) or (answer.is_percent and gold.unit):
        return "a percentage has no unit"
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return "another unit"
    if "based" in (_operation(gold.node), _operation(answer.node)):
        return "" if _same_digits(gold.node, answer.node) else "other digits"
    if is_literal(gold.node) and not is_literal(answer.node):
        return "an expression that is not worked out; the reference is a number"
    if families := _families(answer.node) - _families(gold.node):
        return f"it has a {min(families)}, which the reference has not: it is not worked out"

    if has_same_value(gold, answer):
        return ""
    if gold.is_percent == answer.is_percent:
        return "" if _is_rounding(answer.node, gold.node) or _is_rounding(gold.node, answer.node) else "another value"
    if answer.is_percent and _is_rounding(answer.node, Operation("*", (gold.node, Number(Fraction(100))))):
        return ""
    value = exact(answer.node)
    is_counted = gold.is_percent or (value is not None and abs(value) > 1)
    return "" if is_counted and _is_same(gold.node, answer.node) else "another value"


def has_same_value(gold: Quantity, answer: Quantity) -> bool:
    r"""Whether two expressions have the same value; `\log` without a base is either of the two that it is used for."""
    shares = _share(gold), _share(answer)
    if _is_same(*shares):
        return True
    decadic = tuple(map(_with_decadic_logarithms, shares))
    return decadic != shares and _is_same(*decadic)


def _with_decadic_logarithms(node: Node) -> Node:
    if not isinstance(node, Operation):
        return node
    operands = tuple(map(_with_decadic_logarithms, node.operands))
    return Operation("lg" if node.name == "log" and len(operands) == 1 else node.name, operands)


def _with_unit_of(known: Quantity, value: Quantity) -> Quantity:
    """A value whose last factor is read as a unit, where the other value has that unit: `4m` beside 4 metres."""
    match value.node:
        case Operation("*", (factor, Symbol(name))) if known.unit and not value.unit:
            return replace(value, node=factor, unit=known.unit) if unit_symbol(name) == known.unit else value
    return value


def _operation(node: Node) -> str:
    return node.name if isinstance(node, Operation) else ""


def _families(node: Node) -> frozenset[str]:
    """What an expression has beyond arithmetic, powers and roots."""
    names = (one.name for one in walk(node) if isinstance(one, Operation) and one.name not in _ARITHMETIC)
    return frozenset(_FAMILIES.get(name, name) for name in names)


def _share(value: Quantity) -> Node:
    return Operation("percent", (value.node,)) if value.is_percent else value.node


def _is_same(gold: Node, answer: Node) -> bool:
    if gold == answer:
        return True
    values = [_exact_share(node) for node in (gold, answer)]
    return values[0] == values[1] if None not in values else are_equal(gold, answer)


def _exact_share(node: Node) -> Fraction | None:
    if isinstance(node, Operation) and node.name == "percent":
        value = exact(node.operands[0])
        return None if value is None else value / 100
    return exact(node)


def _same_digits(gold: Node, answer: Node) -> bool:
    """Numbers with a base: digits are compared, and the base may be left out of the answer alone, or be 10 in it."""
    if _operation(gold) != "based":
        assert isinstance(answer, Operation)
        return answer.operands[1] == Number(Fraction(10)) and _is_same(gold, answer.operands[0])
    assert isinstance(gold, Operation)
    if _operation(answer) == "based" and isinstance(answer, Operation):
        return all(map(are_equal, gold.operands, answer.operands))
    return isinstance(answer, Number) and are_equal(gold.operands[0], answer)


def _is_rounding(decimal: Node, other: Node) -> bool:
    """Whether a decimal shows enough digits of a number without a finite decimal: rounded, or of a fraction cut."""
    shown = _absolute(decimal)
    if not isinstance(shown, Number) or shown.places < 1 or symbols_of(other):
        return False
    digits = shown.value * 10**shown.places
    if digits < 10 ** (EVIDENT_DIGITS - 1):
        return False
    is_negative = shown is not decimal

    value = exact(other)
    if value is not None:
        if _is_finite_decimal(value) or (value < 0) != is_negative:
            return False
        whole, rest = divmod(abs(value) * 10**shown.places, 1)
        return digits in (whole, whole + (rest > Fraction(1, 2)))
    real = real_value(other)
    if real is None or (real < 0) != is_negative:
        return False
    return bool(abs(abs(real) * 10**shown.places - int(digits)) <= 0.5)


def _is_finite_decimal(value: Fraction) -> bool:
    """Whether a fraction has a finite decimal: its denominator divides a power of 10."""
    return pow(10, value.denominator.bit_length(), value.denominator) == 0


def is_literal(node: Node) -> bool:
    """Whether an expression is one number as it is written: 5, -0.5, 3/4, 1 1/2, 6.02 times a power of ten."""
    match node:
        case Number():
            return True
        case Operation("neg", (inner,)):
            return is_literal(inner) and not (isinstance(inner, Operation) and inner.name == "neg")
        case Operation("/", (over, under)):
            return all(isinstance(_absolute(part), Number) for part in (over, under))
        case Operation("mixed" | "based"):
            return all(isinstance(part, Number) for part in node.operands)
        case Operation("*", (Number(), Operation("^") as tens)):
            return is_literal(tens)
        case Operation("^", (Number(value), exponent)):
            return value == 10 and isinstance(_absolute(exponent), Number)
    return False


def _absolute(node: Node) -> Node:
    """A number without its minus sign."""
    return node.operands[0] if isinstance(node, Operation) and node.name == "neg" else node
