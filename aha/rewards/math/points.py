"""Are two expressions equal? Their values at points say it.

Two expressions are taken for equal where they agree at several points that depend on the reference, so that nobody can
know them beforehand. That two short expressions agree to 80 digits by chance at all of them is out of the question;
unlike symbolic simplification it needs neither luck nor time.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from aha.rewards.math.arithmetic import CONTEXT, are_close, exact, is_real, value_at
from aha.rewards.math.nodes import Node, Operation, Symbol, symbols_of, walk

__all__ = ["are_equal", "zero_ratio"]

NUM_POINTS: Final = 6
"""Points at which expressions with variables are compared."""


def are_equal(gold: Node, answer: Node) -> bool:
    """Whether two expressions have the same value wherever they have one.

    Raises:
        TooLargeError: a computation passes the limits.
    """
    if gold == answer:
        return True
    values = exact(gold), exact(answer)
    if None not in values:
        return values[0] == values[1]

    # A variable that cancels out in one of them may be missing in the other.
    names = sorted(symbols_of(gold) | symbols_of(answer))
    whole = _whole_symbols(gold) | _whole_symbols(answer)
    is_complex = any(one == Symbol("i") for node in (gold, answer) for one in walk(node))

    # ln |x| has real values below zero, where ln x has none: then negative numbers tell.
    is_strict = is_complex or _has_absolute_logarithm(gold) != _has_absolute_logarithm(answer)
    agreements: list[bool] = []
    agreements_outside: list[bool] = []
    for number in range(2 * NUM_POINTS if names else 1):
        if len(agreements) == NUM_POINTS:
            break
        point = _point(repr(gold), names, whole, number)
        left, right = value_at(gold, point), value_at(answer, point)
        if left is None or right is None:
            if (left is None) != (right is None):
                return False
            continue

        # Where one of them leaves the real numbers, as the root of x does below zero, roots and logarithms follow other
        # laws: such a point counts only if there is no other.
        is_outside = bool(names) and not is_strict and not (left[1] and right[1])
        (agreements_outside if is_outside else agreements).append(are_close(left[0], right[0]))
        if False in agreements:
            return False
    if not agreements and not agreements_outside:
        return _in_standard_order(gold) == _in_standard_order(answer)
    return bool(agreements) or all(agreements_outside)


def _has_absolute_logarithm(node: Node) -> bool:
    """Whether a logarithm of an absolute value stands in an expression."""
    logarithms = [one for one in walk(node) if isinstance(one, Operation) and one.name in ("ln", "log", "lg")]
    return any(isinstance(one, Operation) and one.name == "abs" for logarithm in logarithms for one in walk(logarithm))


def _in_standard_order(node: Node) -> Node:
    """An expression with its terms and factors sorted, for what has no value, such as a sum over a sequence."""
    if not isinstance(node, Operation):
        return node
    operands = [_in_standard_order(one) for one in node.operands]
    if node.name not in ("+", "*"):
        return Operation(node.name, tuple(operands))
    parts = [
        part
        for one in operands
        for part in (one.operands if isinstance(one, Operation) and one.name == node.name else (one,))
    ]
    return Operation(node.name, tuple(sorted(parts, key=repr)))


def zero_ratio(left: Sequence[Node], right: Sequence[Node]) -> float | None:
    """The constant c with (a - b) = c (d - e) for two equations a = b and d = e; None where there is none, or it is 0.

    Raises:
        TooLargeError: a computation passes the limits.
    """
    first, second = (Operation("-", (sides[0], sides[1])) for sides in (left, right))
    names = sorted(symbols_of(first) | symbols_of(second))
    if not names or symbols_of(first) != symbols_of(second):
        return None
    ratios = []
    for number in range(NUM_POINTS):
        point = _point(repr(left), names, frozenset(), number)
        over, under = value_at(first, point), value_at(second, point)
        if over is None or under is None or over[0] == 0 or under[0] == 0:
            continue
        ratios.append(over[0] / under[0])
    if len(ratios) < 2 or not all(are_close(ratio, ratios[0]) for ratio in ratios) or not is_real(ratios[0]):
        return None
    ratio = float(CONTEXT.re(ratios[0]))
    return ratio if abs(ratio) > 1e-20 else None


def _point(seed: str, names: Sequence[str], whole: frozenset[str], number: int) -> dict[str, Any]:
    """Values of the variables: below 1, above 1, negative, then of either sign; whole ones even, odd, then either."""
    point: dict[str, Any] = {}
    for name in names:
        digest = hashlib.sha256(f"{seed} {name} {number}".encode()).digest()
        share = CONTEXT.mpf(int.from_bytes(digest[:16], "big")) / 2**128
        size = 0.25 + 0.75 * share if number == 0 else 1 + 2 * share if number == 1 else 0.25 + 3 * share
        is_negative = number == 2 or (number > 2 and digest[16] % 2)
        if name in whole:
            point[name] = CONTEXT.mpf(2 + 2 * (digest[0] % 6) + (number if number < 2 else digest[1] % 2))
        else:
            point[name] = -size if is_negative else size
    return point


def _whole_symbols(node: Node) -> frozenset[str]:
    """Variables that are whole numbers: in factorials, binomials and limits of sums, and in floors those that count."""
    names: frozenset[str] = frozenset()
    for one in walk(node):
        if isinstance(one, Operation) and one.name in ("factorial", "binom", "gcd", "lcm"):
            names |= frozenset().union(*map(symbols_of, one.operands))
        elif isinstance(one, Operation) and one.name in ("floor", "ceil"):
            names |= {name for name in symbols_of(one) if name[0] in "ijklmnpqN"}
        elif isinstance(one, Operation) and one.name in ("sum", "prod"):
            names |= symbols_of(one.operands[1]) | symbols_of(one.operands[2])
    return names
