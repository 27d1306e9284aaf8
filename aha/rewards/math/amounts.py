"""Amounts: expressions with a money sign, a unit, a percent sign or a remark in brackets; ratios and matrices."""

import re
from fractions import Fraction
from typing import Final

from aha.rewards.math.arithmetic import exact
from aha.rewards.math.nodes import Matrix, Node, Number, Operation, Quantity, Several, Symbol, Value, walk
from aha.rewards.math.parser import ExpressionParser
from aha.rewards.math.quantities import is_literal
from aha.rewards.math.tokens import DOTS, Token, UnreadableError
from aha.rewards.math.units import Suffix, Unit, read_unit, unit_symbol

__all__ = ["AmountParser"]

_MONEY: Final = {"money": "dollar", "euro": "euro", "pounds": "pound sterling", "yen": "yen", "rupee": "rupee"}


class AmountParser(ExpressionParser):
    """Reads amounts."""

    def amount(self) -> Value:
        """An expression with a money sign, a unit, or a percent sign."""
        is_negative = self.is_next("-") and _is_money(self.peek(1)) and self.skip("-")
        money = self.take().text if _is_money(self.peek()) else ""
        node = self.sum()
        node = Operation("neg", (node,)) if is_negative else node
        if self._goes_on_as_ratio():
            return self._ratio(node)

        # Dots behind a decimal say that it goes on.
        if isinstance(node, Number) and node.places > 0:
            self.skip(*DOTS)
        if not money and _is_money(self.peek()):
            money = self.take().text

        suffix = self._suffix()
        if suffix is None:
            raise UnreadableError("the words after it change what it says")
        currency: Unit = (_MONEY[money],) if money else ()
        if currency and suffix.name not in ((), currency):
            raise UnreadableError("it has two units")

        node, unit, is_percent = _without_marks(node)
        node, unit = self._with_letter_unit(node, unit)
        if unit and suffix.name not in ((), unit):
            unit = (*unit, *suffix.name)
        if suffix.factor != 1:
            node = _scaled(node, suffix.factor)

        matrix = _matrix_of(node)
        if matrix is not None:
            return matrix
        return Quantity(node, currency or unit or suffix.name, is_percent or suffix.is_percent)

    def _with_letter_unit(self, node: Node, unit: Unit) -> tuple[Node, Unit]:
        """`5 m` is five metres where a blank sets the letter apart, and a product elsewhere."""
        last = self.tokens[self.position - 1]
        match node:
            case Operation("*", (Number() as factor, Symbol(name))) if last.kind == "letter" and last.is_apart:
                return (factor, unit_symbol(name)) if unit_symbol(name) else (node, unit)
            case Operation("*", (Operation("degrees", (factor,)), Symbol("C" | "F" as scale))):
                return factor, ("degree", scale)
        return node, unit

    def _suffix(self) -> Suffix | None:
        """The unit behind an expression, or what is said about it in brackets."""
        remark = self.remark()
        if remark is None:
            return read_unit(self._unit_words())
        while not self.skip(")"):
            self.take()
        return read_unit(remark, is_remark=True)

    def _goes_on_as_ratio(self) -> bool:
        """Whether a colon and a further number follow; elsewhere a colon parts a name from what it names."""
        following = self.peek(1)
        if not self.is_next(":") or following is None:
            return False
        return following.kind in ("number", "letter") or following.text in ("sqrt", "frac", "pi")

    def _ratio(self, first: Node) -> Value:
        parts: list[Value] = [Quantity(first)]
        while self.skip(":"):
            parts.append(Quantity(self.sum()))
        return Several(":", tuple(parts))

    def _unit_words(self) -> list[str]:
        """Words of a unit up to the end of the value, with `/` and the digits of powers."""
        words: list[str] = []
        while (token := self.peek()) is not None:
            if token.kind == "word":
                if not re.fullmatch(r"[A-Za-z ./-]*", token.text):
                    raise self.stopped()
                words += re.findall(r"[A-Za-z]+|/", token.text)
            elif token.kind == "letter" and words:
                words.append(token.text)
            elif token.text == "/" and words:
                words.append("/")
            elif token.text == "^" and words:
                self.take()
                power = self.argument()
                if not isinstance(power, Number):
                    raise self.stopped()
                words.append(str(power.value))
                continue
            else:
                break
            self.take()
        return words


def _is_money(token: Token | None) -> bool:
    return token is not None and token.kind == "command" and token.text in _MONEY


def _without_marks(node: Node) -> tuple[Node, Unit, bool]:
    """An expression without the degrees or percent sign around it."""
    if isinstance(node, Operation):
        inner = node.operands[0]
        if node.name == "neg" and isinstance(inner, Operation) and inner.name in ("degrees", "percent"):
            return (
                Operation("neg", inner.operands),
                ("degree",) if inner.name == "degrees" else (),
                inner.name == "percent",
            )
        if node.name in ("degrees", "percent"):
            return inner, ("degree",) if node.name == "degrees" else (), node.name == "percent"
    return node, (), False


def _scaled(node: Node, factor: Fraction) -> Node:
    """A number times a word such as million; a literal number stays one."""
    if isinstance(node, Number):
        return Number(node.value * factor, -1)
    return Operation("*", (node, Number(factor)))


def _multiplied(factor: Node, node: Node) -> Node:
    """An element of a matrix times what stands before the matrix; of numbers, a number."""
    product = Operation("*", (factor, node))
    value = exact(product) if is_literal(factor) and is_literal(node) else None
    return product if value is None else Number(value, -1)


def _matrix_of(node: Node) -> Matrix | None:
    """A matrix, or a number times one; None where an expression is no matrix."""
    if isinstance(node, Operation) and node.name == "matrix":
        return Matrix(tuple(row.operands for row in node.operands if isinstance(row, Operation)))
    if isinstance(node, Operation) and node.name == "*":
        inner = _matrix_of(node.operands[1])
        if inner is not None:
            factor = node.operands[0]
            return Matrix(tuple(tuple(_multiplied(factor, one) for one in row) for row in inner.rows))
    if any(isinstance(one, Operation) and one.name == "row" for one in walk(node)) and "det" not in {
        one.name for one in walk(node) if isinstance(one, Operation)
    }:
        raise UnreadableError("it has a matrix inside an expression")
    return None
