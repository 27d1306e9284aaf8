"""The families of problems of the built-in world: the content of a problem, before it is put into words.

Every number lies in 0..49 and is one token. Each family has levels of difficulty: those of the training range, and
harder ones beyond it. A family draws the content of a problem; `aha.problems.world.questions` puts it into words, and
`aha.problems.world.traces` writes thoughts about it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from operator import add, floordiv, mul, sub
from random import Random

__all__ = ["FAMILIES", "LARGEST", "OPERATIONS", "Content", "Family", "apply", "compose"]

LARGEST = 49
"""The largest number of the world."""

OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": add, "-": sub, "*": mul, "/": floordiv}
"""The operations by their sign; quotients of the world are whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A problem without words.

    Attributes:
        family: name of the family.
        level: graded difficulty.
        numbers: the numbers of the problem.
        operators: operators between the numbers (arithmetic), or of the solution (countdown, linear).
        target: the number to reach, or the right-hand side.
        answer: reference answer.
        key: identity of the problem, the same in any wording and language; it decides the split.
    """

    family: str
    level: int
    numbers: tuple[int, ...]
    operators: tuple[str, ...] = ()
    target: int = 0
    answer: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of problem.

    Attributes:
        draw: draws the content of a problem of a level.
        levels: levels of the training range.
        hard_levels: levels beyond it.
        share: weight in the mixture.
    """

    draw: Callable[[Random, int], Content]
    levels: tuple[int, ...]
    hard_levels: tuple[int, ...]
    share: float


def apply(left: int, operator: str, right: int) -> int | None:
    """The result of an operation; None where it is outside of 0..49."""
    result = OPERATIONS[operator](left, right)
    return result if 0 <= result <= LARGEST else None


def compose(numbers: tuple[int, ...], operators: tuple[str, ...]) -> str:
    """The expression that applies the operators from left to right, such as `( 3 + 8 ) - 2`."""
    first, *others = numbers
    text = str(first)
    for position, (operator, number) in enumerate(zip(operators, others, strict=True)):
        left = f"( {text} )" if position else text
        text = f"{left} {operator} {number}"
    return text


def _left_to_right(rng: Random, first: int, numbers: list[int], operators: str) -> tuple[tuple[str, ...], int] | None:
    """Draws operators that keep every partial result in 0..49, and computes the result; None where a step has none."""
    drawn_operators = []
    value = first

    for number in numbers:
        results = {operator: apply(value, operator, number) for operator in operators}
        allowed = [operator for operator, result in results.items() if result is not None]
        if not allowed:
            return None

        operator = rng.choice(allowed)
        result = results[operator]
        assert result is not None
        drawn_operators.append(operator)
        value = result

    return tuple(drawn_operators), value


def _arithmetic(rng: Random, level: int) -> Content:
    """A chain of `level` operands with + and -."""
    while True:
        numbers = [rng.randint(1, 30) for _ in range(level)]
        drawn = _left_to_right(rng, numbers[0], numbers[1:], "+-")
        if drawn:
            operators, value = drawn
            steps = [f"{operator} {number}" for operator, number in zip(operators, numbers[1:], strict=True)]
            question = " ".join([str(numbers[0]), *steps])
            return Content(
                family="arithmetic",
                level=level,
                numbers=tuple(numbers),
                operators=operators,
                answer=str(value),
                key=f"arithmetic {question}",
            )


def _pair(rng: Random, level: int) -> Content:
    """A list of `level` different numbers, of which exactly one pair has the given sum."""
    while True:
        # Up to 24, so that the sum of every pair is a token. Where pairs with larger sums were skipped, the base model
        # never learned the order of the scan (LOG.md, base models).
        numbers = rng.sample(range(1, LARGEST // 2 + 1), level)
        left, right = sorted(rng.sample(range(level), 2))
        target = numbers[left] + numbers[right]
        # A second pair with the same sum would make the answer ambiguous.
        sums = [first + second for first, second in combinations(numbers, 2)]
        if sums.count(target) == 1:
            return Content(
                family="pair",
                level=level,
                numbers=tuple(numbers),
                target=target,
                answer=f"{numbers[left]} + {numbers[right]}",
                key=f"pair {sorted(numbers)} {target}",
            )


def _countdown(rng: Random, level: int) -> Content:
    """Use `level` different numbers once each, with + - *, to reach the target."""
    while True:
        numbers = rng.sample(range(1, 16), level)
        drawn = _left_to_right(rng, numbers[0], numbers[1:], "+-*")
        # A target among the numbers would be reached by that number alone.
        if drawn and drawn[1] not in numbers:
            operators, target = drawn
            # In a random order: that of the solution would give it away.
            listed = rng.sample(numbers, level)
            return Content(
                family="countdown",
                level=level,
                numbers=tuple(listed),
                operators=operators,
                target=target,
                answer=compose(tuple(numbers), operators),
                key=f"countdown {sorted(numbers)} {target}",
            )


def _linear(rng: Random, level: int) -> Content:
    """Level 1: x + b = c, x - b = c, a x = c. Level 2: a x + b = c, a x - b = c. Level 3: a x + b = x + d."""
    while True:
        # Draws until every number of the equation and of its derivation lies in 0..49.
        factor = 1 if level == 1 and rng.random() < 0.7 else rng.randint(2, 9)
        x = rng.randint(2, 30)
        shift = rng.randint(1, 30)
        operator = "" if level == 1 and factor > 1 else rng.choice("+-")

        if level == 3:
            operator = "+"
            right = (factor - 1) * x + shift
            text = f"{factor} x + {shift} = x + {right}"
        else:
            text = f"{factor} x" if factor > 1 else "x"
            right = factor * x
            if operator:
                right += shift if operator == "+" else -shift
                text += f" {operator} {shift}"
            text += f" = {right}"

        if 0 < right <= LARGEST and factor * x <= LARGEST:
            return Content(
                family="linear",
                level=level,
                numbers=(factor, shift),
                operators=(operator,),
                target=right,
                answer=str(x),
                key=f"linear {text}",
            )


def _quadratic(rng: Random, level: int) -> Content:
    """Two whole roots. Level 1: up to 6. Level 2: one beyond 6. Level 3: a leading coefficient of 2 or 3."""
    while True:
        # Vieta: lead (x - a) (x - b) = lead x^2 - total x + product.
        smaller, larger = sorted((rng.randint(1, 7), rng.randint(1, 6 if level == 1 else 16)))
        lead = rng.randint(2, 3) if level == 3 else 1
        total = lead * (smaller + larger)
        product = lead * smaller * larger

        is_wrong_level = (level == 1 and larger > 6) or (level == 2 and larger <= 6)
        if is_wrong_level or max(total, product) > LARGEST:
            continue

        answer = str(larger) if smaller == larger else f"{smaller} , {larger}"
        return Content(
            family="quadratic",
            level=level,
            numbers=(lead, total, product),
            answer=answer,
            key=f"quadratic {lead} {total} {product}",
        )


# With pairs of at most six numbers and 16 % arithmetic the mean length only doubled in training: hence pairs of seven,
# and searches as three quarters of the mixture (LOG.md, first reinforcement runs).
FAMILIES: dict[str, Family] = {
    "arithmetic": Family(draw=_arithmetic, levels=(3, 4, 5), hard_levels=(6, 7), share=0.12),
    "linear": Family(draw=_linear, levels=(1, 2), hard_levels=(3,), share=0.06),
    "quadratic": Family(draw=_quadratic, levels=(1, 2), hard_levels=(3,), share=0.06),
    "pair": Family(draw=_pair, levels=(3, 4, 5, 6, 7), hard_levels=(8, 9), share=0.40),
    "countdown": Family(draw=_countdown, levels=(2, 3), hard_levels=(4,), share=0.36),
}
"""The mixture: easy problems that need a few steps, and searches in which thinking longer is worth more."""
