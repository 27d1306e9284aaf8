"""Amounts: expressions with a money sign, a unit, a percent sign or a remark in brackets; ratios and matrices."""

import re
from fractions import Fraction
from typing import Final

from aha.rewards.math.arithmetic import exact
from aha.rewards.math.nodes import Collection, Matrix, Node, Number, Operation, Quantity, Symbol, Value, walk
from aha.rewards.math.quantities import is_literal
from aha.rewards.math.reading.parser import ExpressionParser
from aha.rewards.math.reading.tokens import DOTS, Token, UnreadableError
from aha.rewards.math.reading.units import Suffix, Unit, read_unit, unit_symbol

__all__ = ["AmountParser"]

# Pounds as money are another unit than pounds as weight, which `lb` stands for.
_MONEY: Final = {"money": "dollar", "euro": "euro", "pounds": "pound sterling", "yen": "yen", "rupee": "rupee"}


class AmountParser(ExpressionParser):
    """Reads amounts."""

    def amount(self) -> Value:
        """Reads an expression with a money sign, a unit, or a percent sign; or a ratio, or a matrix."""
        # A minus sign may stand before the money sign: -$5.
        is_negative = self.is_next("-") and _is_money(self.peek(1)) and self.skip("-")
        money = self.take().text if _is_money(self.peek()) else ""
        node = self.sum()
        if is_negative:
            node = Operation("neg", (node,))

        # The numbers of a ratio have no units, so that it is read before the words of a unit are.
        if self._is_ratio():
            return self._ratio(node)

        # Dots after a decimal say that its digits go on.
        if isinstance(node, Number) and node.places > 0:
            self.skip(*DOTS)

        # A sign after the number, as in `5 €`.
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
            node = _scale(node, suffix.factor)

        # The unit of a matrix is dropped: its elements are compared without one.
        matrix = _matrix_of(node)
        if matrix is not None:
            return matrix

        return Quantity(node, currency or unit or suffix.name, is_percent or suffix.is_percent)

    def _with_letter_unit(self, node: Node, unit: Unit) -> tuple[Node, Unit]:
        """Reads a last factor as a unit: `5 m` is five metres where a blank precedes the letter, else a product."""
        last = self.tokens[self.position - 1]
        match node:
            case Operation("*", (Number() as factor, Symbol(name))) if last.kind == "letter" and last.is_apart:
                letter_unit = unit_symbol(name)
                return (factor, letter_unit) if letter_unit else (node, unit)
            # 24.33^\circ F of College Math: the degrees of a scale are no angle.
            case Operation("*", (Operation("degrees", (factor,)), Symbol("C" | "F" as scale))):
                return factor, ("degree", scale)
        return node, unit

    def _suffix(self) -> Suffix | None:
        """Reads the unit after an expression, or the remark about it in brackets; None if it changes the number."""
        remark = self.remark()
        if remark is None:
            return read_unit(self._unit_words())

        while not self.skip(")"):
            self.take()
        return read_unit(remark, is_remark=True)

    def _is_ratio(self) -> bool:
        """Whether a colon and a further number follow; any other colon separates a name from its value."""
        following = self.peek(1)
        if not self.is_next(":") or following is None:
            return False
        return following.kind in ("number", "letter") or following.text in ("sqrt", "frac", "pi")

    def _ratio(self, first: Node) -> Value:
        parts: list[Value] = [Quantity(first)]
        while self.skip(":"):
            parts.append(Quantity(self.sum()))
        return Collection(":", tuple(parts))

    def _unit_words(self) -> list[str]:
        """Reads the words of a unit, with `/` and the digits of powers."""
        words: list[str] = []
        while (token := self.peek()) is not None:
            if token.kind == "word":
                # A digit or a sign within a text would be dropped with the noun around it.
                if not re.fullmatch(r"[A-Za-z ./-]*", token.text):
                    raise self.unexpected()
                words += re.findall(r"[A-Za-z]+|/", token.text)
            elif token.kind == "letter" and words:
                words.append(token.text)
            elif token.text == "/" and words:
                words.append("/")
            elif token.text == "^" and words:
                # `864 \mbox{ inches}^2` of MATH: the power belongs to the unit.
                self.take()
                power = self.argument()
                if not isinstance(power, Number):
                    raise self.unexpected()
                words.append(str(power.value))
                continue
            else:
                break

            self.take()

        return words


def _is_money(token: Token | None) -> bool:
    return token is not None and token.kind == "command" and token.text in _MONEY


def _without_marks(node: Node) -> tuple[Node, Unit, bool]:
    """An expression without a degree or percent sign around it.

    Returns:
        The expression, its unit, and whether it is a percentage.
    """
    if not isinstance(node, Operation):
        return node, (), False

    # A sign may stand before the mark: -90^\circ is the negative of 90 degrees.
    inner = node.operands[0]
    bare: Node
    if node.name in ("degrees", "percent"):
        mark = node.name
        bare = inner
    elif node.name == "neg" and isinstance(inner, Operation) and inner.name in ("degrees", "percent"):
        mark = inner.name
        bare = Operation("neg", inner.operands)
    else:
        return node, (), False

    unit: Unit = ("degree",) if mark == "degrees" else ()
    return bare, unit, mark == "percent"


def _scale(node: Node, factor: Fraction) -> Node:
    """An expression times a word such as `million`; a number stays a number."""
    # Only a number as written answers a reference that is a number: 2 million must stay one.
    if isinstance(node, Number):
        return Number(node.value * factor, -1)
    return Operation("*", (node, Number(factor)))


def _multiply(factor: Node, node: Node) -> Node:
    """An element of a matrix times the factor before the matrix; two numbers are multiplied."""
    # An element that is a number wants a number, and the factor before a matrix is only a way to write it.
    product = Operation("*", (factor, node))
    if not (is_literal(factor) and is_literal(node)):
        return product

    value = exact(product)
    return product if value is None else Number(value, -1)


def _matrix_of(node: Node) -> Matrix | None:
    """A matrix, or a factor times one, as a value; None where an expression is no matrix.

    Raises:
        UnreadableError: a matrix is part of a larger expression.
    """
    if isinstance(node, Operation) and node.name == "matrix":
        return Matrix(tuple(row.operands for row in node.operands if isinstance(row, Operation)))

    if isinstance(node, Operation) and node.name == "*":
        factor, right = node.operands
        inner = _matrix_of(right)
        if inner is not None:
            rows = [tuple(_multiply(factor, element) for element in row) for row in inner.rows]
            return Matrix(tuple(rows))

    # A determinant has rows too, but it is a number.
    operations = {part.name for part in walk(node) if isinstance(part, Operation)}
    if "row" in operations and "det" not in operations:
        raise UnreadableError("it has a matrix inside an expression")

    return None
