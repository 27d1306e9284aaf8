"""Equality of expressions, decided by their values at points.

Two expressions count as equal if they agree at several points that a hash of the reference determines, so that a model
cannot aim at them. That two short expressions agree to 80 digits at all of them by chance is out of the question.
Symbolic simplification, in contrast, has no bound on its time, and it often fails.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from aha.rewards.math.arithmetic import CONTEXT, are_close, exact, is_real, value_at
from aha.rewards.math.nodes import Node, Operation, Symbol, symbols_of, walk

__all__ = ["are_equal", "zero_ratio"]

# Below 1, above 1, negative, and three of either sign: see `_point`.
NUM_POINTS: Final = 6
"""Points at which expressions with variables are compared."""


def are_equal(gold: Node, answer: Node) -> bool:
    """Whether two expressions have the same value wherever they have one.

    Raises:
        TooLargeError: a computation exceeds the limits.
    """
    if gold == answer:
        return True

    # Fractions need no points and no tolerance, however near to zero they are: 2^{-99} is not 2^{-98}.
    gold_value = exact(gold)
    answer_value = exact(answer)
    if gold_value is not None and answer_value is not None:
        return gold_value == answer_value

    # A variable that cancels out in one of them may be missing in the other.
    names = sorted(symbols_of(gold) | symbols_of(answer))
    whole = _whole_symbols(gold) | _whole_symbols(answer)
    imaginary = Symbol("i")
    is_complex = imaginary in walk(gold) or imaginary in walk(answer)

    # ln |x| has real values below zero, where ln x has none: only negative numbers tell the two apart.
    is_strict = is_complex or _has_absolute_logarithm(gold) != _has_absolute_logarithm(answer)
    agreements: list[bool] = []
    agreements_outside: list[bool] = []

    # Twice as many points are tried as are needed, because some have no value: (d-k)! has none where d < k.
    for number in range(2 * NUM_POINTS if names else 1):
        if len(agreements) == NUM_POINTS:
            break

        point = _point(repr(gold), names, whole, number)
        left = value_at(gold, point)
        right = value_at(answer, point)

        # Where only one of them has a value, they differ; where neither has, the point says nothing.
        if left is None and right is None:
            continue
        if left is None or right is None:
            return False

        left_value, is_left_real = left
        right_value, is_right_real = right
        agrees = are_close(left_value, right_value)

        # Where one of them leaves the real numbers, as the root of x does below zero, roots and logarithms follow other
        # laws: such a point counts only if there is no other.
        if names and not is_strict and not (is_left_real and is_right_real):
            agreements_outside.append(agrees)
        elif agrees:
            agreements.append(agrees)
        else:
            return False

    # A sum of a_n has no value anywhere: then only the order of terms may differ.
    if not agreements and not agreements_outside:
        return _in_standard_order(gold) == _in_standard_order(answer)

    return bool(agreements) or all(agreements_outside)


def _has_absolute_logarithm(node: Node) -> bool:
    """Whether an expression has a logarithm of an absolute value."""
    for part in walk(node):
        if not isinstance(part, Operation) or part.name not in ("ln", "log", "lg"):
            continue
        operations = {inner.name for inner in walk(part) if isinstance(inner, Operation)}
        if "abs" in operations:
            return True
    return False


def _in_standard_order(node: Node) -> Node:
    """An expression with its terms and factors sorted, to compare expressions without a value, such as sums of a_n."""
    if not isinstance(node, Operation):
        return node

    operands = [_in_standard_order(operand) for operand in node.operands]
    if node.name not in ("+", "*"):
        return Operation(node.name, tuple(operands))

    parts: list[Node] = []
    for operand in operands:
        if isinstance(operand, Operation) and operand.name == node.name:
            parts += operand.operands
        else:
            parts.append(operand)
    return Operation(node.name, tuple(sorted(parts, key=repr)))


def zero_ratio(left: Sequence[Node], right: Sequence[Node]) -> float | None:
    """The constant c with (a - b) = c (d - e) for two equations a = b and d = e; None where there is none, or it is 0.

    Raises:
        TooLargeError: a computation exceeds the limits.
    """
    first = Operation("-", (left[0], left[1]))
    second = Operation("-", (right[0], right[1]))
    names = sorted(symbols_of(first) | symbols_of(second))
    # Without variables an equation is true or false: all true ones would be the same, and so would 1 = 2 and 3 = 5.
    if not names or symbols_of(first) != symbols_of(second):
        return None

    # A point where a difference is zero says nothing of the constant; x = x has no other points, and equals nothing.
    ratios = []
    for number in range(NUM_POINTS):
        point = _point(repr(left), names, frozenset(), number)
        numerator = value_at(first, point)
        denominator = value_at(second, point)
        if numerator is None or denominator is None or numerator[0] == 0 or denominator[0] == 0:
            continue
        ratios.append(numerator[0] / denominator[0])

    # A single ratio would be constant by itself.
    if len(ratios) < 2 or not all(are_close(ratio, ratios[0]) for ratio in ratios) or not is_real(ratios[0]):
        return None

    ratio = float(CONTEXT.re(ratios[0]))
    return ratio if abs(ratio) > 1e-20 else None


def _point(seed: str, names: Sequence[str], whole: frozenset[str], number: int) -> dict[str, Any]:
    """Pseudo-random values of the variables at the point of a number, by a hash of the seed.

    At the first points they are below 1, above 1 and negative, later of either sign; variables in `whole` are even,
    odd, then either. Each of these cases has laws of its own.
    """
    point: dict[str, Any] = {}
    for name in names:
        text = f"{seed} {name} {number}"
        digest = hashlib.sha256(text.encode()).digest()

        if name in whole:
            # At even numbers alone (-1)^n would be 1^n. From 2 to 13, factorials and sums stay within their limits.
            parity = number if number < 2 else digest[1] % 2
            point[name] = CONTEXT.mpf(2 + 2 * (digest[0] % 6) + parity)
            continue

        uniform = CONTEXT.mpf(int.from_bytes(digest[:16], "big")) / 2**128
        # Below 1 the one in x^{2018} + 1 counts; above 1 it is lost beyond the eighty digits.
        if number == 0:
            size = 0.25 + 0.75 * uniform
        elif number == 1:
            size = 1 + 2 * uniform
        else:
            size = 0.25 + 3 * uniform
        is_negative = number == 2 or (number > 2 and digest[16] % 2)
        point[name] = -size if is_negative else size

    return point


def _whole_symbols(node: Node) -> frozenset[str]:
    """The variables that must be whole numbers: in factorials, binomials, limits of sums; in floors, n and its like."""
    names: frozenset[str] = frozenset()
    for part in walk(node):
        if not isinstance(part, Operation):
            continue

        if part.name in ("factorial", "binom", "gcd", "lcm"):
            names |= symbols_of(part)
        elif part.name in ("floor", "ceil"):
            # Only letters that mean counts: the floor of x at whole x would be x itself.
            names |= {name for name in symbols_of(part) if name[0] in "ijklmnpqN"}
        elif part.name in ("sum", "prod"):
            _, low, high, _ = part.operands
            names |= symbols_of(low) | symbols_of(high)

    return names
