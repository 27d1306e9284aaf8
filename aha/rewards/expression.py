"""Arithmetic that a model wrote, read without ever running it.

A bounded reader of + - * / and parentheses over ASCII integers. The text is untrusted: its length, its tokens and the
digits of each integer are limited, and the parser keeps its own stack, so nothing in the text can make it slow, deep
or large. The limits also keep every value far below the 4,300 digits at which Python refuses to print an integer.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["MAX_CHARS", "MAX_DIGITS", "MAX_TOKENS", "Expression", "parse_expression", "parse_integer"]

MAX_CHARS = 2_000
MAX_TOKENS = 128
MAX_DIGITS = 18

_TOKEN = re.compile(r"[0-9]+|[^\s0-9]", re.ASCII)
_INTEGER = re.compile(rf"\s*([-+]?)\s*([0-9]{{1,{MAX_DIGITS}}})\s*", re.ASCII)
_NEGATION = "negation"
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, _NEGATION: 3}
_OPPOSITE = {"+": "-", "-": "+", "*": "/", "/": "*"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """What an arithmetic expression says.

    Attributes:
        value: its exact value.
        numbers: the integers written in it, sorted, each as often as it is used; a minus sign belongs to none of them.
        canonical: one text for all orders and groupings of the same sums and products.
    """

    value: Fraction
    numbers: tuple[int, ...]
    canonical: str


def parse_expression(text: str) -> Expression | None:
    """Reads an expression of + - * / ( ) over ASCII integers, with the usual precedence and unary minus.

    Two expressions that differ only in the order and grouping of their terms and factors have the same canonical text:
    `(3+8)-2` and `8 - 2 + 3` are both `3 + 8 - 2`. Products are not multiplied out.

    Args:
        text: at most `MAX_CHARS` characters, `MAX_TOKENS` tokens and `MAX_DIGITS` digits per integer; blanks are ASCII.

    Returns:
        The expression; None where the text is no expression, exceeds a limit or divides by zero.
    """
    tokens = _tokens(text)
    try:
        node = _parse(tokens)
    except ZeroDivisionError:
        node = None

    if node is None:
        return None

    numbers = tuple(sorted(node.numbers))
    return Expression(value=node.value, numbers=numbers, canonical=_render(node.terms))


def parse_integer(text: str) -> int | None:
    """Reads one ASCII integer of at most `MAX_DIGITS` digits, with sign and leading zeros; None for anything else."""
    match = _INTEGER.fullmatch(text) if len(text) <= MAX_CHARS else None
    return int(match[1] + match[2]) if match else None


_Part = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Node:
    """A subexpression, in the forms in which it can become part of a sum or of a product.

    In a sum, a product is one term. In a product, a sum is one factor, in parentheses.

    Attributes:
        value: exact value.
        numbers: integers in it, in the order of the text.
        terms: its terms as a sum, each as sign and text.
        sign: sign of the product of its factors.
        factors: its factors as a product, each as `*` or `/` and text.
    """

    value: Fraction
    numbers: tuple[int, ...]
    terms: tuple[_Part, ...]
    sign: str
    factors: tuple[_Part, ...]


def _tokens(text: str) -> list[str]:
    """The tokens of a text; an empty list where the text exceeds a limit."""
    if len(text) > MAX_CHARS:
        return []

    # Only integers are longer than one character.
    tokens = _TOKEN.findall(text)
    is_bounded = len(tokens) <= MAX_TOKENS and all(len(token) <= MAX_DIGITS for token in tokens)
    return tokens if is_bounded else []


def _parse(tokens: list[str]) -> _Node | None:
    """Parses by Dijkstra's shunting yard: an operator stays on its stack until one that binds less tightly follows."""
    nodes: list[_Node] = []
    operators: list[str] = []

    # Operands and binary operators take turns; unary minus and "(" stand where an operand is due.
    is_operand_due = True

    for token in tokens:
        if is_operand_due:
            if not _push_operand(token, nodes, operators):
                return None
            is_operand_due = not token.isdigit()
        elif token == ")":
            # All operators back to the parenthesis that it closes; without one the text is no expression.
            _apply(nodes, operators, precedence=0)
            if not operators:
                return None
            operators.pop()
        elif token in _BINARY:
            _apply(nodes, operators, precedence=_PRECEDENCE[token])
            operators.append(token)
            is_operand_due = True
        else:
            return None

    if is_operand_due or "(" in operators:
        return None

    _apply(nodes, operators, precedence=0)
    return nodes.pop()


def _push_operand(token: str, nodes: list[_Node], operators: list[str]) -> bool:
    """Pushes a token where an operand may begin; returns False where it cannot stand there."""
    if token.isascii() and token.isdigit():
        number = int(token)
        factors = (("*", str(number)),)
        nodes.append(_product(Fraction(number), (number,), "+", factors))
        return True

    if token in ("(", "-"):
        operators.append("(" if token == "(" else _NEGATION)
        return True

    return False


def _apply(nodes: list[_Node], operators: list[str], *, precedence: int) -> None:
    """Applies the operators of the stack that bind at least as tightly, back to the nearest open parenthesis."""
    while operators and operators[-1] != "(" and _PRECEDENCE[operators[-1]] >= precedence:
        operator = operators.pop()
        right = nodes.pop()
        if operator == _NEGATION:
            nodes.append(_negate(right))
        else:
            left = nodes.pop()
            nodes.append(_BINARY[operator](left, right))


def _sum(value: Fraction, numbers: tuple[int, ...], terms: tuple[_Part, ...]) -> _Node:
    return _Node(value, numbers, terms, "+", (("*", f"({_render(terms)})"),))


def _product(value: Fraction, numbers: tuple[int, ...], sign: str, factors: tuple[_Part, ...]) -> _Node:
    return _Node(value, numbers, ((sign, _render(factors)),), sign, factors)


def _add(left: _Node, right: _Node) -> _Node:
    return _sum(left.value + right.value, left.numbers + right.numbers, left.terms + right.terms)


def _multiply(left: _Node, right: _Node) -> _Node:
    sign = "+" if left.sign == right.sign else "-"
    return _product(left.value * right.value, left.numbers + right.numbers, sign, left.factors + right.factors)


def _negate(node: _Node) -> _Node:
    # The factors stay as they are, since the sign of a product stands apart from them.
    return _Node(-node.value, node.numbers, _opposites(node.terms), _OPPOSITE[node.sign], node.factors)


def _invert(node: _Node) -> _Node:
    return _product(1 / node.value, node.numbers, node.sign, _opposites(node.factors))


def _opposites(parts: tuple[_Part, ...]) -> tuple[_Part, ...]:
    return tuple((_OPPOSITE[mark], text) for mark, text in parts)


def _render(parts: tuple[_Part, ...]) -> str:
    """Prints parts in a canonical order: those that are added or multiplied come first, smaller numbers first."""
    # The signs happen to sort as they should: "+" before "-", and "*" before "/".
    ordered = sorted(parts, key=lambda part: (part[0], len(part[1]), part[1]))
    text = " ".join(f"{mark} {operand}" for mark, operand in ordered)
    return text.removeprefix("+ ").removeprefix("* ")


_BINARY: Mapping[str, Callable[[_Node, _Node], _Node]] = {
    "+": _add,
    "-": lambda left, right: _add(left, _negate(right)),
    "*": _multiply,
    "/": lambda left, right: _multiply(left, _invert(right)),
}
