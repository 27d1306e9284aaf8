r"""Expressions: sums, products, powers, functions, fractions and roots, read from tokens by recursive descent.

The grammar, from the loosest to the tightest:

    sum      = [sign] product { ("+" | "-" | "\pm" | "\mp") product }
    product  = factor { ("*" | "\cdot" | "/" | ...) factor | factor }         adjacent factors are multiplied
    factor   = atom { "^" argument | "!" | "%" | degrees | prime }
    atom     = number | symbol | "(" sum ")" | "|" sum "|" | "\frac" argument argument | function argument | ...

What it cannot read it refuses with the place where it stopped. Nothing is skipped.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from aha.rewards.math.nodes import Node, Number, Operation, Symbol, product_of, quotient_of, read_number
from aha.rewards.math.tokens import Token, TokenReader, UnreadableError, spelling
from aha.rewards.math.vocabulary import (
    FACTORS,
    FENCES,
    FIGURES,
    FUNCTIONS,
    MATRICES,
    NAMES,
    OPAQUE,
    SAME_NAMES,
    TIMES,
)

__all__ = ["ExpressionParser"]

MAX_DEPTH: Final = 24
"""Brackets within brackets that are read."""


class ExpressionParser(TokenReader):
    """Reads expressions."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Stand before the first token."""
        super().__init__(tokens)
        self._depth = 0
        self._num_bars = 0
        self._functions = ("f", "g") if any(token.text == "f" for token in self.tokens) else ()

    # Sums and products

    def sum(self) -> Node:
        """A sum."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnreadableError("its brackets are too deep")

        node: Node
        if self.skip("-"):
            node = Operation("neg", (self.product(),))
        elif self.is_next("\\pm", "\\mp"):
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
        """A product, with operators or without."""
        node = self.factor()
        while True:
            if self.is_next(*TIMES):
                operator = TIMES[spelling(self.take())]
                is_negative = self.skip("-")
                right = self.factor()
                right = Operation("neg", (right,)) if is_negative else right
                node = quotient_of(node, right) if operator == "/" else Operation(operator, (node, right))
            elif self._is_typed_mixed(node):
                over, _, under = self.take(), self.take(), self.take()
                node = Operation("mixed", (node, read_number(over.text), read_number(under.text)))
                node = Operation("percent", (node,)) if self.skip("%") else node
            elif self._begins_factor():
                node = product_of(node, self.factor())
            else:
                return node

    def _is_typed_mixed(self, before: Node) -> bool:
        """Whether a mixed number goes on, as in `1 1/2`."""
        following = self.tokens[self.position : self.position + 3]
        if not isinstance(before, Number) or [token.kind for token in following] != ["number", "sign", "number"]:
            return False
        return following[0].is_apart and following[1].text == "/" and all(one.text.isdigit() for one in following[::2])

    def _begins_factor(self) -> bool:
        """Whether the next token multiplies what stands before it; a number only does behind a bracket."""
        token = self.peek()
        if token is None:
            return False
        if token.kind == "command":
            return token.text in FACTORS
        if token.text in ("(", "[", "{"):
            return self.remark() is None
        if token.kind == "number":
            return self.tokens[self.position - 1].text == ")"
        return token.kind == "letter" or (token.text == "|" and not self._num_bars)

    def remark(self) -> list[str] | None:
        """The words in brackets behind a number, as in `9 (apples)`; None where something else comes next."""
        token = self.peek()
        if token is None or token.text != "(" or not token.is_apart or self.tokens[self.position - 1].kind != "number":
            return None
        words = ""
        for token in self.tokens[self.position + 1 :]:
            if token.text == ")":
                longest = max(map(len, words.split()), default=0)
                return words.split() if longest > 2 else None
            if token.kind not in ("letter", "word") and token.text not in ("-", ".", "'"):
                return None
            words += (" " if token.is_apart or token.text in ("-", ".") else "") + token.text.strip("-.'")
        return None

    def factor(self) -> Node:
        """An atom with powers and what else follows it."""
        node = self.atom()
        while True:
            if self.is_next("^"):
                node = self._raised(node)
            elif self.skip("!"):
                node = Operation("factorial", (node,))
            elif self.skip("%"):
                node = Operation("percent", (node,))
            elif self.skip("\\degree", "\\degrees"):
                node = Operation("degrees", (node,))
            elif self.is_next("'") and isinstance(node, Symbol):
                self.take()
                node = self._applied(Symbol(node.name + "'"))
            else:
                return node

    def _raised(self, node: Node) -> Node:
        """A node with what stands behind its `^`: a power, degrees, or a prime."""
        self.expect("^")
        following = [spelling(token) for token in self.tokens[self.position : self.position + 3]]
        if following[:1] == ["\\circ"] or following == ["{", "\\circ", "}"]:
            self.position += 1 if following[0] == "\\circ" else 3
            return Operation("degrees", (node,))
        if "\\prime" in following[:2] and isinstance(node, Symbol):
            has_braces = self.skip("{")
            while self.skip("\\prime"):
                node = Symbol(node.name + "'")
            if has_braces:
                self.expect("}")
            return node

        # A subscript behind the power belongs to the base: `v^2_0` is `v_0^2`, and no 2 to the base 0.
        token = self.peek()
        if token is not None and token.kind == "number" and isinstance(node, Symbol):
            exponent: Node = read_number(self.take().text)
        else:
            exponent = self.argument()
        if isinstance(node, Symbol) and self.is_next("_"):
            node = self._symbol(node.name)
        return Operation("^", (node, exponent))

    # Atoms

    def atom(self) -> Node:
        """What no operator takes apart."""
        token = self.take()
        match token.kind:
            case "number":
                return self._number(token)
            case "letter":
                return self._applied(self._symbol(token.text))
            case "command":
                return self._command(token)
            case "sign" if token.text in ("(", "[", "{"):
                return self.group(token.text)
            case "sign" if token.text == "|":
                return self._absolute()
        self.position -= 1
        raise self.stopped()

    def group(self, opening: str) -> Node:
        """An expression in brackets; the opening one is behind."""
        closing = {"(": ")", "[": "]", "{": "}"}[opening]
        num_bars, self._num_bars = self._num_bars, 0
        node = self.sum()
        if opening == "{" and self.skip("\\choose"):
            node = Operation("binom", (node, self.sum()))
        self._num_bars = num_bars
        self.expect(closing)
        return node

    def argument(self, *, is_digit: bool = False) -> Node:
        r"""What a command or `^` applies to: a group in braces, or a single atom; of `\frac12` a single digit."""
        if self.skip("{"):
            return self.group("{")
        token = self.peek()
        if is_digit and token is not None and token.kind == "number" and len(token.text) > 1:
            self.tokens[self.position] = Token("number", token.text[1:], token.start + 1)
            return self._number(Token("number", token.text[0], token.start))
        if self.skip("-"):
            return Operation("neg", (self.atom(),))
        return self.atom()

    def _number(self, token: Token) -> Node:
        number = read_number(token.text)
        if self.is_next("_"):
            self.take()
            return Operation("based", (number, self.argument()))
        return number

    def _applied(self, symbol: Symbol) -> Node:
        """A function at a number, as in `f(0)`, or f at anything, which is no product; g only beside f."""
        following = self.tokens[self.position : self.position + 3]
        texts = [token.text for token in following]
        if texts[:1] != ["("] or following[0].is_apart:
            return symbol
        if texts[2:] == [")"] and following[1].kind == "number":
            self.position += 3
            return Symbol(f"{symbol.name}({texts[1]})")
        if symbol.name.rstrip("'") not in self._functions:
            return symbol
        self.take()
        return Operation("apply", (symbol, self.group("(")))

    def _symbol(self, name: str) -> Symbol:
        """A symbol with its subscript, which is part of its name."""
        if self.skip("_"):
            if self.skip("{"):
                start = self.position
                while not self.is_next("}"):
                    self.take()
                subscript = "".join(token.text for token in self.tokens[start : self.position])
                self.take()
            else:
                subscript = self.take().text
            return Symbol(f"{name}_{subscript}")
        return Symbol(name)

    def _absolute(self) -> Node:
        self._num_bars += 1
        node = self.sum()
        self._num_bars -= 1
        self.expect("|")
        return Operation("abs", (node,))

    def _command(self, token: Token) -> Node:
        """What a command stands for."""
        name = token.text
        if name in NAMES:
            return self._symbol(SAME_NAMES.get(name, name))
        if name in FENCES:
            closing, operation = FENCES[name]
            node = self.sum()
            self.expect(f"\\{closing}")
            return Operation(operation, (node,))
        if name in FUNCTIONS:
            return self._function(name)
        if name in FIGURES:
            return self._figure(name)
        if name in OPAQUE:
            return self._opaque(token)
        return self._structure(name)

    def _structure(self, name: str) -> Node:
        """A fraction, a root, a binomial, a sum, a matrix."""
        match name:
            case "frac" | "binom":
                over = self.argument(is_digit=True)
                return Operation("/" if name == "frac" else name, (over, self.argument(is_digit=True)))
            case "sqrt":
                index = self.group("[") if self.skip("[") else Number(Fraction(2))
                return Operation("root", (self.argument(), index))
            case "sum" | "prod":
                return self._big(name)
            case "begin":
                return self._matrix()
        self.position -= 1
        raise self.stopped()

    def _function(self, name: str) -> Node:
        """A function, with its power or base, of what follows it."""
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

        if exponent == Operation("neg", (Number(Fraction(1)),)) and name in ("sin", "cos", "tan", "cot"):
            return Operation(f"arc{name}", arguments)
        return node if exponent is None else Operation("^", (node, exponent))

    def _arguments(self) -> tuple[Node, ...]:
        r"""What a function is of: brackets, or the factors up to the next sign or function, as in `\sin 2x`."""
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

    def _figure(self, name: str) -> Node:
        r"""The name of an angle, a triangle, a segment: `\angle ABC`."""
        has_braces = self.skip("{")
        letters = []
        while (token := self.peek()) is not None and token.kind in ("letter", "number"):
            letters.append(self._symbol(self.take().text).name)
        if has_braces:
            self.expect("}")
        if not letters:
            raise self.stopped()
        return Symbol(f"{name} {''.join(letters)}")

    def _big(self, name: str) -> Node:
        """A sum or product over an index."""
        index, low, high = Symbol(""), None, None
        while self.is_next("_", "^"):
            if self.take().text == "^":
                high = self.argument()
                continue
            self.expect("{")
            index = self._symbol(self.take().text)
            self.expect("=")
            low = self.sum()
            self.expect("}")
        body = self.product()
        if low is None or high is None:
            raise UnreadableError(f"the {name} has no limits")
        return Operation(name, (index, low, high, body))

    def _opaque(self, token: Token) -> Node:
        """What is compared as it is written: an integral, a limit, up to the end."""
        start = self.position
        depth = 0
        while (following := self.peek()) is not None:
            depth += (spelling(following) in ("(", "[", "{", "\\{")) - (spelling(following) in (")", "]", "}", "\\}"))
            if depth < 0 or (depth == 0 and spelling(following) in ("=", ",", "\\approx")):
                break
            self.take()
        written = " ".join(following.text for following in self.tokens[start : self.position])
        return Operation("opaque", (Symbol(f"{token.text} {written}"),))

    def _matrix(self) -> Node:
        """A matrix as rows of sums, or its determinant."""
        kind = self._environment()
        if kind == "array" and self.skip("{"):
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
        if self._environment() != kind or len({len(row) for row in rows}) != 1:
            raise UnreadableError("it has a matrix whose rows differ in length, or that does not end")
        matrix = Operation("matrix", tuple(Operation("row", row) for row in rows))
        return Operation("det", (matrix,)) if kind == "vmatrix" else matrix

    def _environment(self) -> str:
        """The name in braces after `begin` or `end`."""
        self.expect("{")
        name = ""
        while not self.skip("}"):
            name += self.take().text
        if name not in MATRICES:
            raise UnreadableError(f"it has the environment {name[:40]!r}")
        return name
