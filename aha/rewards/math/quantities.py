"""The comparison of two expressions with their units and percent signs."""

from dataclasses import replace
from fractions import Fraction
from typing import Final

from aha.rewards.math.arithmetic import exact, real_value
from aha.rewards.math.nodes import Node, Number, Operation, Quantity, Symbol, expression_of, symbols_of, walk
from aha.rewards.math.points import are_equal
from aha.rewards.math.reading.units import unit_symbol

__all__ = ["EVIDENT_DIGITS", "has_same_value", "is_literal", "quantity_difference"]

EVIDENT_DIGITS: Final = 6
"""Significant digits that a decimal must have to count as the rounding of a number without a finite decimal."""

_ARITHMETIC: Final = frozenset(["+", "-", "*", "/", "neg", "^", "root", "mixed", "percent", "degrees", "exp"])
_FAMILIES: Final = {
    **dict.fromkeys(("sin", "cos", "tan", "cot", "sec", "csc"), "trigonometric function"),
    **dict.fromkeys(("arcsin", "arccos", "arctan", "arccot"), "inverse trigonometric function"),
    **dict.fromkeys(("sinh", "cosh", "tanh", "coth"), "hyperbolic function"),
    **dict.fromkeys(("ln", "log", "lg"), "logarithm"),
    **dict.fromkeys(("factorial", "binom"), "factorial"),
}


def quantity_difference(gold: Quantity, answer: Quantity) -> str:
    """Why an expression with its unit is not the reference; empty where it is.

    A unit may be left out or added; two known units must agree. Where only one side has a percent sign, the bare number
    may be a fraction or count percents, so that 50 and 0.5 both equal 50%. An answer of at most 1 percent must be equal
    as a fraction: 1% would otherwise equal 1.

    Raises:
        TooLargeError: a computation exceeds its limits.
    """
    answer = _with_unit_of(gold, answer)
    gold = _with_unit_of(answer, gold)

    # 50 cm is no 50%, whichever of the two the reference has.
    if (gold.is_percent and answer.unit) or (answer.is_percent and gold.unit):
        return "a percentage has no unit"
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return "another unit"

    # Numbers with a base are compared before their values are: 52_8 in MATH is asked for in base 8, and 42 is wrong.
    if "based" in (_operation(gold.node), _operation(answer.node)):
        return "" if _have_same_digits(gold.node, answer.node) else "other digits"
    if is_literal(gold.node) and not is_literal(answer.node):
        return "an expression that is not worked out; the reference is a number"

    # `\sin 60^\circ` is worth the right value, but working it out was the question.
    extra_families = _families(answer.node) - _families(gold.node)
    if extra_families:
        return f"it has a {min(extra_families)}, which the reference has not: it is not worked out"

    if has_same_value(gold, answer):
        return ""

    if gold.is_percent == answer.is_percent:
        is_rounded = _is_rounding(answer.node, gold.node) or _is_rounding(gold.node, answer.node)
        return "" if is_rounded else "another value"

    # From here on, one side alone is a percentage.
    percents = Operation("*", (gold.node, Number(Fraction(100))))
    if answer.is_percent and _is_rounding(answer.node, percents):
        return ""

    value = exact(answer.node)
    exceeds_one = value is not None and abs(value) > 1
    may_count_percents = gold.is_percent or exceeds_one
    return "" if may_count_percents and _are_same(gold.node, answer.node) else "another value"


def has_same_value(gold: Quantity, answer: Quantity) -> bool:
    r"""Whether two expressions have the same value; `\log` without a base is either of the two that it is used for."""
    gold_node = expression_of(gold)
    answer_node = expression_of(answer)
    if _are_same(gold_node, answer_node):
        return True

    # Both sides are read in the same base, so that log 100 is never 2 and ln 100 at once.
    decadic_gold = _with_decadic_logarithms(gold_node)
    decadic_answer = _with_decadic_logarithms(answer_node)
    is_changed = (decadic_gold, decadic_answer) != (gold_node, answer_node)
    return is_changed and _are_same(decadic_gold, decadic_answer)


def _with_decadic_logarithms(node: Node) -> Node:
    if not isinstance(node, Operation):
        return node
    operands = tuple(_with_decadic_logarithms(operand) for operand in node.operands)
    has_no_base = node.name == "log" and len(operands) == 1
    name = "lg" if has_no_base else node.name
    return Operation(name, operands)


def _with_unit_of(other: Quantity, value: Quantity) -> Quantity:
    """A value whose last factor is read as a unit if the other value has that unit: `4m` beside 4 metres."""
    match value.node:
        # Beside anything else a letter close to its number is a variable: `2d` is no 2.
        case Operation("*", (factor, Symbol(name))) if other.unit and not value.unit:
            if unit_symbol(name) == other.unit:
                return replace(value, node=factor, unit=other.unit)
    return value


def _operation(node: Node) -> str:
    return node.name if isinstance(node, Operation) else ""


def _families(node: Node) -> frozenset[str]:
    """The families of functions in an expression, beyond arithmetic, powers and roots."""
    names = {part.name for part in walk(node) if isinstance(part, Operation)}
    return frozenset(_FAMILIES.get(name, name) for name in names - _ARITHMETIC)


def _are_same(gold: Node, answer: Node) -> bool:
    if gold == answer:
        return True

    gold_value = _exact_value(gold)
    answer_value = _exact_value(answer)
    if gold_value is None or answer_value is None:
        return are_equal(gold, answer)
    return gold_value == answer_value


def _exact_value(node: Node) -> Fraction | None:
    if isinstance(node, Operation) and node.name == "percent":
        value = exact(node.operands[0])
        return None if value is None else value / 100
    return exact(node)


def _have_same_digits(gold: Node, answer: Node) -> bool:
    """Whether two numbers have the same digits, where at least one of them has a base.

    The answer may leave out the base of the reference. A base that the reference does not have must be 10.
    """
    if _operation(gold) != "based":
        assert isinstance(answer, Operation)
        digits, base = answer.operands
        return base == Number(Fraction(10)) and _are_same(gold, digits)

    # 52 answers 52_8 by its digits; 42, its value in base 10, does not.
    assert isinstance(gold, Operation)
    if isinstance(answer, Operation) and answer.name == "based":
        return all(map(are_equal, gold.operands, answer.operands))
    return isinstance(answer, Number) and are_equal(gold.operands[0], answer)


def _is_rounding(decimal: Node, other: Node) -> bool:
    """Whether a decimal is a number without a finite decimal, rounded to enough digits; a fraction may also be cut."""
    number = _absolute(decimal)
    if not isinstance(number, Number) or number.places < 1 or symbols_of(other):
        return False

    # The number is compared as an integer in units of its last decimal.
    unit = 10**number.places
    digits = number.value * unit
    if digits < 10 ** (EVIDENT_DIGITS - 1):
        return False

    is_negative = number is not decimal
    value = exact(other)
    if value is not None:
        # A number with a finite decimal must be given in full, however many digits that takes.
        if _is_finite_decimal(value) or (value < 0) != is_negative:
            return False
        whole, remainder = divmod(abs(value) * unit, 1)
        rounded = whole + (remainder > Fraction(1, 2))
        return digits in (whole, rounded)

    real = real_value(other)
    if real is None or (real < 0) != is_negative:
        return False

    distance = abs(abs(real) * unit - int(digits))
    return bool(distance <= 0.5)


def _is_finite_decimal(value: Fraction) -> bool:
    """Whether a fraction has a finite decimal: its denominator divides a power of 10."""
    # A prime factor 2 or 5 occurs in the denominator at most as often as the denominator has bits.
    num_bits = value.denominator.bit_length()
    return pow(10, num_bits, value.denominator) == 0


def is_literal(node: Node) -> bool:
    """Whether an expression is a single number as written: 5, -0.5, 3/4, 1 1/2, 6.02 times a power of ten."""
    match node:
        case Number():
            return True
        # -(-5) is a computation: one sign belongs to a number, two do not.
        case Operation("neg", (inner,)):
            return is_literal(inner) and not (isinstance(inner, Operation) and inner.name == "neg")
        case Operation("/", (over, under)):
            return isinstance(_absolute(over), Number) and isinstance(_absolute(under), Number)
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
