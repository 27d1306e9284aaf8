"""The value of an expression: exactly as a fraction, or at a point with a hundred digits.

Every computation is bounded: in its steps, in the size of its numbers, in the terms of its sums.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import mpmath  # type: ignore[import-untyped]  # the library ships no types

from aha.rewards.math.nodes import Node, Number, Operation, Symbol, symbols_of, walk

__all__ = ["CONTEXT", "TooLargeError", "are_close", "exact", "is_real", "real_value", "value_at"]

DIGITS: Final = 100
"""Decimal digits of the computation."""

# Twenty of the hundred digits are left to rounding and cancellation.
TOLERANCE: Final = 1e-80
"""Largest relative difference of equal values."""

MAX_STEPS: Final = 2_000
"""Largest number of operations of one evaluation."""

MAX_TERMS: Final = 300
"""Largest number of terms of a sum or product."""

MAX_BITS: Final = 20_000
"""Largest size of a number: of a fraction in bits, of others as the logarithm to base 2."""

CONTEXT: Final[Any] = mpmath.MPContext()
"""The arithmetic of `mpmath` with this number of digits; a context of its own, so that nobody else can change it."""

CONTEXT.dps = DIGITS


class TooLargeError(ArithmeticError):
    """A number or a computation exceeds the limits."""


def exact(node: Node) -> Fraction | None:
    """The value of an expression of fractions and whole powers; None where it has other operations, or no value.

    Raises:
        TooLargeError: the value, or an intermediate one, is too large.
    """
    match node:
        case Number(value):
            return value
        case Operation(name, operands) if name in _EXACT:
            # All operands are computed, even after one without a value: a later one may be too large.
            values = [exact(operand) for operand in operands]
            fractions = [value for value in values if value is not None]
            return _EXACT[name](*fractions) if len(fractions) == len(values) else None

    return None


def _quotient(over: Fraction, under: Fraction) -> Fraction | None:
    return over / under if under else None


def _whole_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    # 0^0 has no value here: nothing may equal it but the same text.
    if exponent.denominator != 1 or (base == 0 and exponent <= 0):
        return None

    # The size of the power is estimated before it is computed, because an answer may be 9^{9^{9^9}}.
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

    # A TooLargeError is an ArithmeticError too: an end that is too large to compute is no number.
    evaluate = _Evaluation({})
    try:
        value = evaluate(node)
    except (ArithmeticError, ValueError, TypeError):
        return None

    return CONTEXT.re(value) if _is_finite(value) and is_real(value) else None


def value_at(node: Node, point: Mapping[str, Any]) -> tuple[Any, bool] | None:
    """The value of an expression at a point.

    Args:
        node: the expression.
        point: the values of the variables, by name.

    Returns:
        The value, and whether all intermediate values are real; None where the expression has no value there.

    Raises:
        TooLargeError: the computation exceeds the limits.
    """
    evaluation = _Evaluation(point)
    try:
        value = evaluation(node)
    except TooLargeError:
        # A point without a value is passed over; what exceeds the limits must end the whole comparison.
        raise
    except (ArithmeticError, ValueError, TypeError):
        return None
    return (value, evaluation.is_real) if _is_finite(value) else None


def _is_finite(value: Any) -> bool:
    return bool(CONTEXT.isfinite(value))


def is_real(value: Any) -> bool:
    """Whether a value has no imaginary part beyond rounding."""
    size = max(abs(value), 1e-300)
    return bool(abs(CONTEXT.im(value)) <= TOLERANCE * size)


def are_close(left: Any, right: Any) -> bool:
    """Whether two values agree to 80 digits."""
    largest = max(abs(left), abs(right))
    if left == 0 or right == 0:
        # No relative difference is small beside zero: the other value must be zero up to rounding.
        return bool(largest < CONTEXT.mpf(10) ** (5 - DIGITS))
    return bool(abs(left - right) <= TOLERANCE * largest)


class _Evaluation:
    """Computes the value of an expression at a point, within limits."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        self.point = dict(point)
        self.num_steps = 0
        self.is_real = True

    def __call__(self, node: Node) -> Any:
        """The value of an expression.

        Raises:
            ArithmeticError, ValueError, TypeError: it has no value.
            TooLargeError: the computation exceeds the limits.
        """
        # Every visit counts, not every node: nested sums compute their terms again and again.
        self.num_steps += 1
        if self.num_steps > MAX_STEPS:
            raise TooLargeError("its computation has too many steps")

        match node:
            case Number(value):
                return CONTEXT.mpf(value.numerator) / value.denominator
            case Symbol(name):
                return self._symbol(name)
            case Operation("sum" | "prod"):
                return self._sum_or_product(node)
            case Operation("opaque", (Symbol(text),)):
                # Equal texts get equal values, different ones different values.
                digest = hashlib.sha256(text.encode()).hexdigest()
                return CONTEXT.mpf(int(digest[:16], 16)) / 2**60
            case Operation("det", (Operation("matrix", rows),)):
                return self._determinant([row.operands for row in rows if isinstance(row, Operation)])
            case Operation(name, operands):
                if name not in _FUNCTIONS:
                    raise ValueError(f"{name} has no value")
                arguments = [self(operand) for operand in operands]
                value = _check_size(_FUNCTIONS[name](*arguments))

                # `mpmath` turns to the complex type where a root or a logarithm leaves the real numbers.
                self.is_real = self.is_real and not isinstance(value, CONTEXT.mpc)
                return value

    def _symbol(self, name: str) -> Any:
        constants = {"pi": CONTEXT.pi, "e": CONTEXT.e, "i": CONTEXT.mpc(0, 1)}
        # The point comes first: e and i may be the index of a sum.
        if name in self.point:
            return self.point[name]
        if name in constants:
            # A constant of `mpmath` is lazy; the plus sign computes its digits.
            return +constants[name]
        raise ValueError(f"{name} has no value")

    def _sum_or_product(self, node: Operation) -> Any:
        """The value of a sum or product over an index, term by term."""
        index, low, high, body = node.operands

        # A term such as a_n is an element of a sequence that nobody knows.
        subscripts = [part.name.partition("_")[2] for part in walk(body) if isinstance(part, Symbol)]
        if not isinstance(index, Symbol) or any(index.name in subscript for subscript in subscripts):
            raise ValueError("its terms have no value")

        first = _whole_number(self(low))
        last = _whole_number(self(high))
        if last - first > MAX_TERMS:
            raise TooLargeError("it has too many terms")

        # The index hides a variable of the same name for as long as the terms are computed.
        before = self.point.get(index.name)
        result = CONTEXT.mpf(0 if node.name == "sum" else 1)

        for number in range(first, last + 1):
            self.point[index.name] = CONTEXT.mpf(number)
            term = self(body)
            result = _check_size(result + term if node.name == "sum" else result * term)

        self.point.pop(index.name, None)
        if before is not None:
            self.point[index.name] = before

        return result

    def _determinant(self, rows: Sequence[Sequence[Node]]) -> Any:
        """The determinant of a small matrix."""
        size = len(rows)
        if size > 6 or any(len(row) != size for row in rows):
            raise TooLargeError("its determinant is too large")

        values = []
        for row in rows:
            values.append([self(element) for element in row])
        return CONTEXT.det(CONTEXT.matrix(values))


def _whole_number(value: Any) -> int:
    """A value as a whole number.

    Raises:
        ValueError: it is none.
    """
    # Beyond 2^53 a float drops units, so that larger whole numbers may fail here.
    number = round(float(CONTEXT.re(value)))
    if abs(value - number) > 1e-20:
        raise ValueError("no whole number")
    return number


def _check_size(value: Any) -> Any:
    """The value itself.

    Raises:
        TooLargeError: it is too large to compute with.
    """
    if _is_finite(value) and value != 0 and abs(CONTEXT.mag(value)) > MAX_BITS:
        raise TooLargeError("a number is too large")
    return value


def _power(base: Any, exponent: Any) -> Any:
    """A power, within limits.

    Raises:
        ZeroDivisionError: the base is 0 and the exponent is not positive.
        TooLargeError: the power is too large.
    """
    if base == 0 and CONTEXT.re(exponent) <= 0:
        raise ZeroDivisionError
    if base != 0 and abs(exponent) * (abs(CONTEXT.mag(base)) + 1) > MAX_BITS:
        raise TooLargeError("a power is too large")
    return CONTEXT.power(base, exponent)


def _root(value: Any, index: Any) -> Any:
    """The real root where there is one, otherwise the principal root."""
    degree = _whole_number(index)
    if not 0 < degree <= 1_000:
        raise ValueError("no root")

    # The cube root of -8 is -2, where `mpmath` returns the principal root, which is complex.
    real_part = CONTEXT.re(value)
    if degree % 2 and is_real(value) and real_part < 0:
        return -CONTEXT.root(-real_part, degree)
    return CONTEXT.root(value, degree)


def _factorial(value: Any) -> Any:
    number = _whole_number(value)
    if number < 0:
        raise ValueError("no factorial")
    if number > 2_000:
        raise TooLargeError("a factorial is too large")
    return CONTEXT.mpf(math.factorial(number))


def _binomial(over: Any, under: Any) -> Any:
    top = _whole_number(over)
    bottom = _whole_number(under)
    if not 0 <= bottom <= top:
        raise ValueError("no binomial")
    if top > 2_000:
        raise TooLargeError("a binomial is too large")
    return CONTEXT.mpf(math.comb(top, bottom))


def _gcd(*values: Any) -> Any:
    numbers = [_whole_number(value) for value in values]
    return CONTEXT.mpf(math.gcd(*numbers))


def _lcm(*values: Any) -> Any:
    numbers = [_whole_number(value) for value in values]
    return CONTEXT.mpf(math.lcm(*numbers))


def _for_reals(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that accepts real numbers only."""

    def of_reals(*values: Any) -> Any:
        if not all(is_real(value) for value in values):
            raise ValueError("not real")
        real_parts = [CONTEXT.re(value) for value in values]
        return function(*real_parts)

    return of_reals


def _for_angles(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of an angle that refuses angles so large that no digit of the result would be right."""

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
    "degrees": lambda value: value * CONTEXT.pi / 180,
    # An unknown function f is any function of f and x that no simple law simplifies: f(2x) is not 2 f(x).
    "apply": lambda function, value: CONTEXT.sin(function * value + 1),
    "factorial": _factorial,
    "binom": _binomial,
    "abs": abs,
    "floor": _for_reals(CONTEXT.floor),
    "ceil": _for_reals(CONTEXT.ceil),
    "ln": CONTEXT.ln,
    "log": lambda value, base=None: CONTEXT.ln(value) / (1 if base is None else CONTEXT.ln(base)),
    "lg": CONTEXT.log10,
    "exp": lambda value: _power(+CONTEXT.e, value),
    "gcd": _gcd,
    "lcm": _lcm,
    "max": _for_reals(max),
    "min": _for_reals(min),
    "sin": _for_angles(CONTEXT.sin),
    "cos": _for_angles(CONTEXT.cos),
    "tan": _for_angles(CONTEXT.tan),
    "cot": _for_angles(CONTEXT.cot),
    "sec": _for_angles(CONTEXT.sec),
    "csc": _for_angles(CONTEXT.csc),
    "arcsin": CONTEXT.asin,
    "arccos": CONTEXT.acos,
    "arctan": CONTEXT.atan,
    "arccot": CONTEXT.acot,
    "sinh": _for_angles(CONTEXT.sinh),
    "cosh": _for_angles(CONTEXT.cosh),
    "tanh": CONTEXT.tanh,
    "coth": CONTEXT.coth,
}
