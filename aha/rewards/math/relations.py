"""Names, equations and inequalities: are two of them the same?"""

import re
from typing import Final

from aha.rewards.math.nodes import Interval, Named, Quantity, Region, Relation, Symbol, Value, symbols_of
from aha.rewards.math.points import are_equal, zero_ratio

__all__ = ["are_same_name", "as_inequality", "as_relation", "relation_difference", "relation_symbols"]

_NAME: Final = re.compile(r"([^_(]*)((?:_[^(]*)?)((?:\(.*)?)", re.DOTALL)
_OPPOSITE: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def are_same_name(left: str, right: str) -> bool:
    """Whether two names are the same; a subscript, or the brackets of a function, may be missing in one of them."""
    # y = 2x and f(x) = 2x define the same function.
    functions_of_x = ("f(x)", "g(x)", "h(x)")
    if (left == "y" and right in functions_of_x) or (right == "y" and left in functions_of_x):
        return True

    left_base, left_subscript, left_argument = _name_parts(left)
    right_base, right_subscript, right_argument = _name_parts(right)
    if left_base != right_base:
        return False

    # x_1 = 1 may answer x = 1, but never x_2 = 1.
    if left_subscript != right_subscript and left_subscript and right_subscript:
        return False
    return left_argument == right_argument or not left_argument or not right_argument


def _name_parts(name: str) -> tuple[str, str, str]:
    """The letter, the subscript and the argument of a name such as `f_1(x)`."""
    # Each part of the pattern may be empty, so that anything matches.
    match = _NAME.fullmatch(name)
    assert match is not None
    return match[1], match[2], match[3]


def as_relation(value: Named) -> Relation | None:
    """`y = 2x` as an equation; None where the value is no expression."""
    if isinstance(value.value, Quantity) and not value.value.unit:
        return Relation((Symbol(value.name), value.value.node), ("=",))
    return None


def as_inequality(value: Value) -> Value:
    """`y < 5 - x`, read as the region of `y`, as an inequality between its variables; other values unchanged."""
    # The ends of a region are compared as numbers; only those with variables are a relation between variables.
    match value:
        case Region((Interval(low, None, has_end, False),), name, ()) if low is not None and symbols_of(low):
            return Relation((Symbol(name), low), (">=" if has_end else ">",))
        case Region((Interval(None, high, False, has_end),), name, ()) if high is not None and symbols_of(high):
            return Relation((Symbol(name), high), ("<=" if has_end else "<",))
    return value


def relation_symbols(relation: Relation) -> frozenset[str]:
    """The variables of an equation or inequality."""
    left, right = relation.sides[:2]
    return symbols_of(left) | symbols_of(right)


def relation_difference(gold: Relation, answer: Relation) -> str:
    """Compares two equations or inequalities: they may differ by a factor, which turns the sign if it is negative."""
    if len(gold.sides) != len(answer.sides):
        return "it is not the statement that was asked for"
    if gold.sides == answer.sides and gold.signs == answer.signs:
        return ""

    # A factor common to all of three sides or more is not looked for: each side must be the same.
    if len(gold.sides) > 2:
        is_same = gold.signs == answer.signs and all(map(are_equal, gold.sides, answer.sides))
        return "" if is_same else "another statement"

    ratio = zero_ratio(gold.sides, answer.sides)
    if ratio is None:
        return "another statement"

    # Multiplied by a negative number, x < y is -x > -y.
    sign = answer.signs[0] if ratio > 0 else _OPPOSITE[answer.signs[0]]
    return "" if sign == gold.signs[0] else "its sign points the other way"
