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

    Two expressions that differ only in the order and the grouping of summands and factors have the same canonical text:
    `(3+8)-2` and `8 - 2 + 3` are both `3 + 8 - 2`. Products are not multiplied out.

    Args:
        text: at most `MAX_CHARS` characters, `MAX_TOKENS` tokens and `MAX_DIGITS` digits per integer; blanks are ASCII.

    Returns:
        The expression; None where the text is none, passes a limit or divides by zero.
    """
    tokens = _tokens(text)
    try:
        node = _parse(tokens)
    except ZeroDivisionError:
        return None
    if node is None:
        return None
    return Expression(value=node.value, numbers=tuple(sorted(node.numbers)), canonical=_render(node.terms))


def parse_integer(text: str) -> int | None:
    """One ASCII integer of at most `MAX_DIGITS` digits, sign and leading zeros allowed; None for anything else."""
    match = _INTEGER.fullmatch(text) if len(text) <= MAX_CHARS else None
    return int(match[1] + match[2]) if match else None


_Part = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of an expression, ready to be put into a sum or into a product.

    A product is one summand; a sum is one factor, in parentheses.

    Attributes:
        value: exact value.
        numbers: integers in it, in the order of the text.
        terms: its summands, each as sign and text.
        sign: sign of the product of its factors.
        factors: its factors, each as `*` or `/` and text.
    """

    value: Fraction
    numbers: tuple[int, ...]
    terms: tuple[_Part, ...]
    sign: str
    factors: tuple[_Part, ...]


def _tokens(text: str) -> list[str]:
    """Tokens of a text; none at all where it passes a limit."""
    if len(text) > MAX_CHARS:
        return []
    tokens = _TOKEN.findall(text)
    is_bounded = len(tokens) <= MAX_TOKENS and all(len(token) <= MAX_DIGITS for token in tokens)
    return tokens if is_bounded else []


def _parse(tokens: list[str]) -> _Node | None:
    """Dijkstra's shunting yard: operators wait until one that binds less tightly, a parenthesis or the end comes."""
    nodes: list[_Node] = []
    waiting: list[str] = []
    is_operand_due = True
    for token in tokens:
        if is_operand_due:
            if not _open(token, nodes, waiting):
                return None
            is_operand_due = not token.isdigit()
        elif token == ")":
            _apply(nodes, waiting, precedence=0)
            if not waiting:
                return None
            waiting.pop()
        elif token in _BINARY:
            _apply(nodes, waiting, precedence=_PRECEDENCE[token])
            waiting.append(token)
            is_operand_due = True
        else:
            return None
    if is_operand_due or "(" in waiting:
        return None
    _apply(nodes, waiting, precedence=0)
    return nodes.pop()


def _open(token: str, nodes: list[_Node], waiting: list[str]) -> bool:
    """Takes a token where an operand may begin; False where it cannot stand there."""
    if token.isascii() and token.isdigit():
        number = int(token)
        nodes.append(_product(Fraction(number), (number,), "+", (("*", str(number)),)))
        return True
    if token in ("(", "-"):
        waiting.append("(" if token == "(" else _NEGATION)
        return True
    return False


def _apply(nodes: list[_Node], waiting: list[str], *, precedence: int) -> None:
    """Applies the waiting operators that bind at least as tightly, back to the nearest open parenthesis."""
    while waiting and waiting[-1] != "(" and _PRECEDENCE[waiting[-1]] >= precedence:
        operator = waiting.pop()
        right = nodes.pop()
        nodes.append(_negated(right) if operator == _NEGATION else _BINARY[operator](nodes.pop(), right))


def _sum(value: Fraction, numbers: tuple[int, ...], terms: tuple[_Part, ...]) -> _Node:
    return _Node(value, numbers, terms, "+", (("*", f"({_render(terms)})"),))


def _product(value: Fraction, numbers: tuple[int, ...], sign: str, factors: tuple[_Part, ...]) -> _Node:
    return _Node(value, numbers, ((sign, _render(factors)),), sign, factors)


def _add(left: _Node, right: _Node) -> _Node:
    return _sum(left.value + right.value, left.numbers + right.numbers, left.terms + right.terms)


def _multiply(left: _Node, right: _Node) -> _Node:
    sign = "+" if left.sign == right.sign else "-"
    return _product(left.value * right.value, left.numbers + right.numbers, sign, left.factors + right.factors)


def _negated(node: _Node) -> _Node:
    return _Node(-node.value, node.numbers, _opposites(node.terms), _OPPOSITE[node.sign], node.factors)


def _inverted(node: _Node) -> _Node:
    return _product(1 / node.value, node.numbers, node.sign, _opposites(node.factors))


def _opposites(parts: tuple[_Part, ...]) -> tuple[_Part, ...]:
    return tuple((_OPPOSITE[mark], text) for mark, text in parts)


def _render(parts: tuple[_Part, ...]) -> str:
    """Parts in one order for all their permutations: what is added or multiplied first, smaller numbers first."""
    ordered = sorted(parts, key=lambda part: (part[0], len(part[1]), part[1]))
    return " ".join(f"{mark} {text}" for mark, text in ordered).removeprefix("+ ").removeprefix("* ")


_BINARY: Mapping[str, Callable[[_Node, _Node], _Node]] = {
    "+": _add,
    "-": lambda left, right: _add(left, _negated(right)),
    "*": _multiply,
    "/": lambda left, right: _multiply(left, _inverted(right)),
}
