"""What an expression is worth: exactly as a fraction, or at points with forty digits.

Two expressions are taken for equal where they agree at several points that depend on the reference, so that nobody can
know them beforehand. That two short expressions agree to 25 digits by chance at all of them is out of the question;
unlike symbolic simplification it needs neither luck nor time. Every computation is bounded: in its steps, in the size
of its numbers, in the terms of its sums.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import mpmath  # type: ignore[import-untyped]  # the library ships no types

from aha.rewards.math.nodes import Node, Number, Operation, Symbol, symbols_of, walk

__all__ = ["TooLargeError", "are_equal", "exact", "real_value", "zero_ratio"]

DIGITS: Final = 40
"""Digits of the computation."""

TOLERANCE: Final = 1e-25
"""Largest relative difference of equal values."""

NUM_POINTS: Final = 5
"""Points at which expressions with variables are compared."""

MAX_STEPS: Final = 20_000
"""Operations of one evaluation."""

MAX_TERMS: Final = 2_000
"""Terms of a sum or product."""

MAX_BITS: Final = 20_000
"""Largest size of a number: of a fraction in bits, of others as the logarithm to base 2."""

_CONTEXT: Final[Any] = mpmath.MPContext()
_CONTEXT.dps = DIGITS


class TooLargeError(ArithmeticError):
    """A number or a computation that passes the limits."""


def exact(node: Node) -> Fraction | None:
    """The value of an expression of fractions and whole powers; None where it has anything else, or no value.

    Raises:
        TooLargeError: the value, or one on the way to it, is too large.
    """
    match node:
        case Number(value):
            return value
        case Operation(name, operands) if name in _EXACT:
            values = [exact(one) for one in operands]
            if None in values:
                return None
            return _EXACT[name](*(value for value in values if value is not None))
    return None


def _quotient(over: Fraction, under: Fraction) -> Fraction | None:
    return over / under if under else None


def _whole_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1 or (base == 0 and exponent <= 0):
        return None
    bits = max(abs(base.numerator).bit_length(), base.denominator.bit_length()) - 1
    if base not in (0, 1, -1) and abs(exponent) * max(1, bits) > MAX_BITS:
        raise TooLargeError("a power is too large")
    return base ** int(exponent)


def _mixed_number(whole: Fraction, over: Fraction, under: Fraction) -> Fraction | None:
    return whole + over / under if under else None


_EXACT: Final[Mapping[str, Callable[..., Fraction | None]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "neg": lambda value: -value,
    "/": _quotient,
    "^": _whole_power,
    "mixed": _mixed_number,
}


def real_value(node: Node) -> Any | None:
    """The real value of an expression without variables; None where it has none."""
    if symbols_of(node):
        return None
    try:
        value = _Evaluation({})(node)
    except (ArithmeticError, ValueError, TypeError):
        return None
    return _CONTEXT.re(value) if _is_finite(value) and _is_real(value) else None


def are_equal(gold: Node, answer: Node) -> bool:
    """Whether two expressions have the same value wherever they have one.

    Raises:
        TooLargeError: a computation passes the limits.
    """
    values = exact(gold), exact(answer)
    if None not in values:
        return values[0] == values[1]

    # A variable that cancels out in one of them may be missing in the other.
    names = sorted(symbols_of(gold) | symbols_of(answer))
    whole = _whole_symbols(gold) | _whole_symbols(answer)
    num_compared = 0
    for number in range(NUM_POINTS if names else 1):
        point = _point(repr(gold), names, whole, number)
        left, right = _value(gold, point), _value(answer, point)
        if left is None or right is None:
            if (left is None) != (right is None):
                return False
            continue

        # Where one of them leaves the real numbers, the point lies outside of what both are about.
        if names and _is_real(left) != _is_real(right):
            continue
        if not _are_close(left, right):
            return False
        num_compared += 1
    return num_compared > 0


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
        over, under = _value(first, point), _value(second, point)
        if over is None or under is None or over == 0 or under == 0:
            continue
        ratios.append(over / under)
    if len(ratios) < 2 or not all(_are_close(ratio, ratios[0]) for ratio in ratios) or not _is_real(ratios[0]):
        return None
    ratio = float(_CONTEXT.re(ratios[0]))
    return ratio if abs(ratio) > 1e-20 else None


def _point(seed: str, names: Sequence[str], whole: frozenset[str], number: int) -> dict[str, Any]:
    """Values of the variables: positive at the first two points, then of either sign."""
    point: dict[str, Any] = {}
    for name in names:
        digest = hashlib.sha256(f"{seed} {name} {number}".encode()).digest()
        value = _CONTEXT.mpf(int.from_bytes(digest[:16], "big")) / 2**128
        if name in whole:
            point[name] = _CONTEXT.mpf(2 + digest[0] % 29)
        else:
            point[name] = (0.25 + 3 * value) * (-1 if number >= 2 and digest[16] % 2 else 1)
    return point


def _whole_symbols(node: Node) -> frozenset[str]:
    """Variables that are whole numbers: in factorials, binomials, floors and the limits of sums."""
    names: frozenset[str] = frozenset()
    for one in walk(node):
        if isinstance(one, Operation) and one.name in ("factorial", "binom", "floor", "ceil", "gcd", "lcm"):
            names |= frozenset().union(*map(symbols_of, one.operands))
        elif isinstance(one, Operation) and one.name in ("sum", "prod"):
            names |= symbols_of(one.operands[1]) | symbols_of(one.operands[2])
    return names


def _value(node: Node, point: Mapping[str, Any]) -> Any | None:
    """The value at a point; None where it has none there."""
    try:
        value = _Evaluation(point)(node)
    except TooLargeError:
        raise
    except (ArithmeticError, ValueError, TypeError):
        return None
    return value if _is_finite(value) else None


def _is_finite(value: Any) -> bool:
    return bool(_CONTEXT.isfinite(value))


def _is_real(value: Any) -> bool:
    """Whether a value has no imaginary part, but for what rounding leaves."""
    return bool(abs(_CONTEXT.im(value)) <= TOLERANCE * max(abs(value), 1e-300))


def _are_close(left: Any, right: Any) -> bool:
    """Whether two values agree to 25 digits; one that is zero must meet one that rounding alone keeps from it."""
    largest = max(abs(left), abs(right))
    if left == 0 or right == 0:
        return bool(largest < _CONTEXT.mpf(10) ** (5 - DIGITS))
    return bool(abs(left - right) <= TOLERANCE * largest)


class _Evaluation:
    """Computes the value of an expression at a point, within limits."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        self.point = dict(point)
        self.num_steps = 0

    def __call__(self, node: Node) -> Any:
        """The value; raises what a computation without a value raises."""
        self.num_steps += 1
        if self.num_steps > MAX_STEPS:
            raise TooLargeError("its computation has too many steps")
        match node:
            case Number(value):
                return _CONTEXT.mpf(value.numerator) / value.denominator
            case Symbol(name):
                return self._symbol(name)
            case Operation("sum" | "prod"):
                return self._big(node)
            case Operation("opaque", (Symbol(text),)):
                return _CONTEXT.mpf(int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)) / 2**60
            case Operation("det", (Operation("matrix", rows),)):
                return self._determinant([row.operands for row in rows if isinstance(row, Operation)])
            case Operation(name, operands):
                if name not in _FUNCTIONS:
                    raise ValueError(f"{name} has no value")
                return _bounded(_FUNCTIONS[name](*(self(one) for one in operands)))

    def _symbol(self, name: str) -> Any:
        constants = {"pi": _CONTEXT.pi, "e": _CONTEXT.e, "i": _CONTEXT.mpc(0, 1)}
        if name in self.point:
            return self.point[name]
        if name in constants:
            return +constants[name]
        raise ValueError(f"{name} has no value")

    def _big(self, node: Operation) -> Any:
        """A sum or product, term by term."""
        index, low, high, body = node.operands
        subscripts = [one.name.partition("_")[2] for one in walk(body) if isinstance(one, Symbol)]
        if not isinstance(index, Symbol) or any(index.name in subscript for subscript in subscripts):
            raise ValueError("its terms have no value")
        first, last = (_whole(self(end)) for end in (low, high))
        if last - first > MAX_TERMS:
            raise TooLargeError("it has too many terms")

        before = self.point.get(index.name)
        result = _CONTEXT.mpf(0 if node.name == "sum" else 1)
        for number in range(first, last + 1):
            self.point[index.name] = _CONTEXT.mpf(number)
            term = self(body)
            result = _bounded(result + term if node.name == "sum" else result * term)
        self.point.pop(index.name, None)
        if before is not None:
            self.point[index.name] = before
        return result

    def _determinant(self, rows: Sequence[Sequence[Node]]) -> Any:
        """The determinant of a small matrix, by its first row."""
        if len(rows) > 6 or any(len(row) != len(rows) for row in rows):
            raise TooLargeError("its determinant is too large")
        values = [[self(one) for one in row] for row in rows]
        return _CONTEXT.det(_CONTEXT.matrix(values))


def _whole(value: Any) -> int:
    """A whole number, or an error."""
    number = round(float(_CONTEXT.re(value)))
    if abs(value - number) > 1e-20:
        raise ValueError("no whole number")
    return number


def _bounded(value: Any) -> Any:
    """A value that is not too large to go on with."""
    if _is_finite(value) and value != 0 and abs(_CONTEXT.mag(value)) > MAX_BITS:
        raise TooLargeError("a number is too large")
    return value


def _power(base: Any, exponent: Any) -> Any:
    """A power; an odd root of a negative number is the real one."""
    if base == 0 and _CONTEXT.re(exponent) <= 0:
        raise ZeroDivisionError
    if base != 0 and abs(exponent) * (abs(_CONTEXT.mag(base)) + 1) > MAX_BITS:
        raise TooLargeError("a power is too large")
    return _CONTEXT.power(base, exponent)


def _root(value: Any, index: Any) -> Any:
    """The real root where there is one, the principal one elsewhere."""
    degree = _whole(index)
    if not 0 < degree <= 1_000:
        raise ValueError("no root")
    if degree % 2 and _is_real(value) and _CONTEXT.re(value) < 0:
        return -_CONTEXT.root(-_CONTEXT.re(value), degree)
    return _CONTEXT.root(value, degree)


def _factorial(value: Any) -> Any:
    number = _whole(value)
    if not 0 <= number <= 2_000:
        raise TooLargeError("a factorial is too large")
    return _CONTEXT.mpf(math.factorial(number))


def _binomial(over: Any, under: Any) -> Any:
    top, bottom = _whole(over), _whole(under)
    if not 0 <= top <= 2_000 or not 0 <= bottom <= 2_000:
        raise TooLargeError("a binomial is too large")
    return _CONTEXT.mpf(math.comb(top, bottom))


def _gcd(*values: Any) -> Any:
    return _CONTEXT.mpf(math.gcd(*map(_whole, values)))


def _lcm(*values: Any) -> Any:
    return _CONTEXT.mpf(math.lcm(*map(_whole, values)))


def _reals(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of real numbers alone."""

    def of_reals(*values: Any) -> Any:
        if not all(_is_real(value) for value in values):
            raise ValueError("not real")
        return function(*map(_CONTEXT.re, values))

    return of_reals


def _angle(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of an angle that is not so large that its digits say nothing."""

    def of_angle(value: Any) -> Any:
        if abs(value) > 1e12:
            raise TooLargeError("an angle is too large")
        return function(value)

    return of_angle


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "neg": lambda value: -value,
    "^": _power,
    "root": _root,
    "mixed": lambda whole, over, under: whole + over / under,
    "percent": lambda value: value / 100,
    "degrees": lambda value: value * _CONTEXT.pi / 180,
    "factorial": _factorial,
    "binom": _binomial,
    "abs": abs,
    "floor": _reals(_CONTEXT.floor),
    "ceil": _reals(_CONTEXT.ceil),
    "ln": _CONTEXT.ln,
    "log": lambda value, base=None: _CONTEXT.ln(value) / (1 if base is None else _CONTEXT.ln(base)),
    "lg": _CONTEXT.log10,
    "exp": lambda value: _power(+_CONTEXT.e, value),
    "gcd": _gcd,
    "lcm": _lcm,
    "max": _reals(max),
    "min": _reals(min),
    "sin": _angle(_CONTEXT.sin),
    "cos": _angle(_CONTEXT.cos),
    "tan": _angle(_CONTEXT.tan),
    "cot": _angle(_CONTEXT.cot),
    "sec": _angle(_CONTEXT.sec),
    "csc": _angle(_CONTEXT.csc),
    "arcsin": _CONTEXT.asin,
    "arccos": _CONTEXT.acos,
    "arctan": _CONTEXT.atan,
    "arccot": _CONTEXT.acot,
    "sinh": _angle(_CONTEXT.sinh),
    "cosh": _angle(_CONTEXT.cosh),
    "tanh": _CONTEXT.tanh,
    "coth": _CONTEXT.coth,
}
