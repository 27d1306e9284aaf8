r"""Expressions: sums, products, powers, functions, fractions and roots, read from tokens by recursive descent.

The grammar, from the loosest to the tightest:

    sum      = [sign] product { ("+" | "-" | "\pm" | "\mp") product }
    product  = factor { ("*" | "\cdot" | "/" | ...) factor | factor }         adjacent factors are multiplied
    factor   = atom { "^" argument | "!" | "%" | degrees | prime }
    atom     = number | symbol | "(" sum ")" | "|" sum "|" | "\frac" argument argument | function argument | ...

A text that does not fit is refused with the place where reading stopped. Nothing is skipped.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from aha.rewards.math.nodes import Node, Number, Operation, Symbol, product_of, quotient_of, read_number
from aha.rewards.math.reading.reader import TokenReader, spelling
from aha.rewards.math.reading.tokens import Token, UnreadableError
from aha.rewards.math.reading.vocabulary import (
    FACTORS,
    FENCES,
    FIGURES,
    FUNCTIONS,
    NAMES,
    OPAQUE,
    SAME_NAMES,
    TIMES,
)

__all__ = ["ExpressionParser"]

# A bracket costs several calls, and no answer may exhaust Python's stack.
MAX_DEPTH: Final = 24
"""Largest depth of nested brackets."""


class ExpressionParser(TokenReader):
    """Reads expressions."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Starts before the first token."""
        super().__init__(tokens)
        self._depth = 0

        # Inside |...| a bar closes; outside of them it opens.
        self._num_bars = 0

        # f(x) is a function where a text has an f, and so is g(x) beside it; alone, g(x) is a product.
        self._functions = ("f", "g") if any(token.text == "f" for token in self.tokens) else ()

    # Sums and products

    def sum(self) -> Node:
        """Reads a sum."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnreadableError("its brackets are too deep")

        node: Node
        if self.skip("-"):
            node = Operation("neg", (self.product(),))
        elif self.is_next("\\pm", "\\mp"):
            # A leading plus-or-minus is one between 0 and the product.
            sign = self.take().text
            node = Operation(sign, (Number(Fraction(0)), self.product()))
        else:
            self.skip("+")
            node = self.product()

        while self.is_next("+", "-", "\\pm", "\\mp"):
            sign = spelling(self.take()).removeprefix("\\")
            node = Operation(sign, (node, self.product()))

        self._depth -= 1
        return node

    def product(self) -> Node:
        """Reads a product, with signs between its factors or without."""
        node = self.factor()
        while True:
            if self.is_next(*TIMES):
                operator = TIMES[spelling(self.take())]
                is_negative = self.skip("-")
                right = self.factor()
                if is_negative:
                    right = Operation("neg", (right,))
                node = quotient_of(node, right) if operator == "/" else Operation(operator, (node, right))
            elif self._is_typed_mixed(node):
                numerator = self.take()
                self.expect("/")
                denominator = self.take()
                node = Operation("mixed", (node, read_number(numerator.text), read_number(denominator.text)))
                if self.skip("%"):
                    node = Operation("percent", (node,))
            elif self._begins_factor():
                node = product_of(node, self.factor())
            else:
                return node

    def _is_typed_mixed(self, before: Node) -> bool:
        """Whether a number and the next three tokens are a mixed number, as in `1 1/2`."""
        following = self.tokens[self.position : self.position + 3]
        if not isinstance(before, Number) or [token.kind for token in following] != ["number", "sign", "number"]:
            return False

        numerator, sign, denominator = following
        has_whole_parts = numerator.text.isdigit() and denominator.text.isdigit()
        return numerator.is_apart and sign.text == "/" and has_whole_parts

    def _begins_factor(self) -> bool:
        """Whether the next token begins a factor without a sign before it; a number does so only after a bracket."""
        token = self.peek()
        if token is None:
            return False
        if token.kind == "command":
            return token.text in FACTORS
        if token.text in ("(", "[", "{"):
            return self.remark() is None
        if token.kind == "number":
            # (2)3 is a product; 1 2 is no number, and \frac{1}{2}3 may be meant as either.
            return self.tokens[self.position - 1].text == ")"

        return token.kind == "letter" or (token.text == "|" and not self._num_bars)

    def factor(self) -> Node:
        """Reads an atom with the powers and other marks that follow it."""
        node = self.atom()
        while True:
            if self.is_next("^"):
                node = self._power(node)
            elif self.skip("!"):
                node = Operation("factorial", (node,))
            elif self.skip("%"):
                node = Operation("percent", (node,))
            elif self.skip("\\degree", "\\degrees"):
                node = Operation("degrees", (node,))
            elif self.is_next("'") and isinstance(node, Symbol):
                self.take()
                node = self._application(Symbol(node.name + "'"))
            else:
                return node

    def _power(self, node: Node) -> Node:
        """Reads what follows `^` after a node: a power, the sign of degrees, or primes."""
        self.expect("^")
        following = [spelling(token) for token in self.tokens[self.position : self.position + 3]]

        # MATH writes 39^\circ, College Math 29^{\circ}.
        if following[:1] == ["\\circ"]:
            self.position += 1
            return Operation("degrees", (node,))
        if following == ["{", "\\circ", "}"]:
            self.position += 3
            return Operation("degrees", (node,))

        if "\\prime" in following[:2] and isinstance(node, Symbol):
            has_braces = self.skip("{")
            while self.skip("\\prime"):
                node = Symbol(node.name + "'")
            if has_braces:
                self.expect("}")
            return node

        # A subscript after the power belongs to the base: `v^2_0` is `v_0^2`, not 2 in the base 0.
        token = self.peek()
        if token is not None and token.kind == "number" and isinstance(node, Symbol):
            exponent: Node = read_number(self.take().text)
        else:
            exponent = self.argument()

        if isinstance(node, Symbol) and self.is_next("_"):
            node = self.symbol(node.name)

        return Operation("^", (node, exponent))

    # Atoms

    def atom(self) -> Node:
        """Reads an expression that no operator divides: a number, a symbol, a command, or brackets."""
        token = self.take()
        match token.kind:
            case "number":
                return self._number(token)
            case "letter":
                return self._application(self.symbol(token.text))
            case "command":
                return self._command(token)
            case "sign" if token.text in ("(", "[", "{"):
                return self.group(token.text)
            case "sign" if token.text == "|":
                return self._absolute()

        self.position -= 1
        raise self.unexpected()

    def group(self, opening: str) -> Node:
        """Reads an expression in brackets, of which the opening one has been taken."""
        closing = {"(": ")", "[": "]", "{": "}"}[opening]

        # Inside of brackets, bars open again.
        num_bars = self._num_bars
        self._num_bars = 0
        node = self.sum()

        if opening == "{" and self.skip("\\choose"):
            node = Operation("binom", (node, self.sum()))

        self._num_bars = num_bars
        self.expect(closing)
        return node

    def argument(self, *, is_digit: bool = False) -> Node:
        r"""Reads the argument of a command or of `^`: a group in braces, or an atom; of `\frac12` a single digit."""
        if self.skip("{"):
            return self.group("{")

        token = self.peek()
        if is_digit and token is not None and token.kind == "number" and len(token.text) > 1:
            # The other digits stay as the next token.
            self.tokens[self.position] = Token("number", token.text[1:], token.start + 1)
            return self._number(Token("number", token.text[0], token.start))

        if self.skip("-"):
            return Operation("neg", (self.atom(),))

        return self.atom()

    def _number(self, token: Token) -> Node:
        # 52_8 keeps its digits: numbers with a base are compared as they are written.
        number = read_number(token.text)
        if self.is_next("_"):
            self.take()
            return Operation("based", (number, self.argument()))
        return number

    def _application(self, symbol: Symbol) -> Node:
        """A symbol, or its application where brackets follow: `f(0)` is a symbol of its own, `f(x)` an operation."""
        following = self.tokens[self.position : self.position + 3]
        texts = [token.text for token in following]
        if texts[:1] != ["("] or following[0].is_apart:
            return symbol

        # As a product, I(0) would be worth 0 whatever I is.
        if texts[2:] == [")"] and following[1].kind == "number":
            self.position += 3
            return Symbol(f"{symbol.name}({texts[1]})")

        if symbol.name.rstrip("'") not in self._functions:
            return symbol

        self.take()
        return Operation("apply", (symbol, self.group("(")))

    def _absolute(self) -> Node:
        self._num_bars += 1
        node = self.sum()
        self._num_bars -= 1
        self.expect("|")
        return Operation("abs", (node,))

    def _command(self, token: Token) -> Node:
        """Reads what a command stands for."""
        name = token.text
        if name in NAMES:
            return self.symbol(SAME_NAMES.get(name, name))

        if name in FENCES:
            closing, operation = FENCES[name]
            node = self.sum()
            self.expect(f"\\{closing}")
            return Operation(operation, (node,))

        if name in FUNCTIONS:
            return self._function(name)
        if name in FIGURES:
            return self.figure(name)
        if name in OPAQUE:
            return self.opaque(token)

        return self._structure(name)

    def _structure(self, name: str) -> Node:
        """Reads a fraction, a binomial, a root, a sum or product over an index, or a matrix."""
        match name:
            case "frac" | "binom":
                operation = "/" if name == "frac" else "binom"
                upper = self.argument(is_digit=True)
                lower = self.argument(is_digit=True)
                return Operation(operation, (upper, lower))
            case "sqrt":
                index = self.group("[") if self.skip("[") else Number(Fraction(2))
                return Operation("root", (self.argument(), index))
            case "sum" | "prod":
                return self._sum_or_product(name)
            case "begin":
                return self._matrix()

        self.position -= 1
        raise self.unexpected()

    def _function(self, name: str) -> Node:
        """Reads a function with its power or base, and its arguments."""
        exponent = base = None
        while self.is_next("^", "_"):
            if self.take().text == "^":
                exponent = self.argument()
            else:
                base = self.argument()

        arguments = self._arguments()
        if name == "log" and base is not None:
            node = Operation("log", (arguments[0], base))
        elif base is not None:
            raise UnreadableError(f"{name} has no index")
        else:
            node = Operation(name, arguments)

        # The power -1 of a trigonometric function is its inverse.
        if exponent == Operation("neg", (Number(Fraction(1)),)) and name in ("sin", "cos", "tan", "cot"):
            return Operation(f"arc{name}", arguments)

        return node if exponent is None else Operation("^", (node, exponent))

    def _arguments(self) -> tuple[Node, ...]:
        r"""Reads the arguments of a function: in brackets, or the factors up to a sign or function, as in `\sin 2x`."""
        if self.skip("("):
            arguments = [self.sum()]
            while self.skip(",", ";"):
                arguments.append(self.sum())
            self.expect(")")
            return tuple(arguments)

        node = self.factor()
        while (token := self.peek()) is not None and token.text not in FUNCTIONS and self._begins_factor():
            node = product_of(node, self.factor())

        return (node,)

    def _sum_or_product(self, name: str) -> Node:
        """Reads a sum or product over an index."""
        index = Symbol("")
        low = None
        high = None

        while self.is_next("_", "^"):
            if self.take().text == "^":
                high = self.argument()
                continue
            self.expect("{")
            index = self.symbol(self.take().text)
            self.expect("=")
            low = self.sum()
            self.expect("}")

        body = self.product()
        if low is None or high is None:
            raise UnreadableError(f"the {name} has no limits")

        return Operation(name, (index, low, high, body))

    def _matrix(self) -> Node:
        """Reads a matrix, or a determinant, row by row."""
        kind = self.environment()
        if kind == "array" and self.skip("{"):
            # The alignment of the columns means nothing.
            while not self.skip("}"):
                self.take()

        rows: list[tuple[Node, ...]] = []
        while not self.is_next("\\end"):
            row = [self.sum()]
            while self.skip("&"):
                row.append(self.sum())
            rows.append(tuple(row))
            if not self.skip("\\\\"):
                break

        self.expect("\\end")
        if self.environment() != kind or len({len(row) for row in rows}) != 1:
            raise UnreadableError("it has a matrix whose rows differ in length, or that does not end")

        matrix = Operation("matrix", tuple(Operation("row", row) for row in rows))
        return Operation("det", (matrix,)) if kind == "vmatrix" else matrix
