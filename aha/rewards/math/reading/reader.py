"""A reader of tokens, and the parts of an expression that hold no expression: symbols, figures, opaque text."""

from collections.abc import Sequence

from aha.rewards.math.nodes import Node, Operation, Symbol
from aha.rewards.math.reading.tokens import CLOSING, OPENING, Token, UnreadableError
from aha.rewards.math.reading.vocabulary import MATRICES

__all__ = ["TokenReader", "spelling"]


class TokenReader:
    """Reads tokens one by one; `position` is the index of the next token."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Starts before the first token."""
        # A copy, because `\frac12` splits the token 12.
        self.tokens = list(tokens)
        self.position = 0

    def peek(self, ahead: int = 0) -> Token | None:
        """The next token, or a later one, without taking it; None after the last token."""
        index = self.position + ahead
        return self.tokens[index] if index < len(self.tokens) else None

    def is_next(self, *texts: str) -> bool:
        r"""Whether the next token is one of these signs or commands; commands are given with their backslash."""
        token = self.peek()
        return token is not None and spelling(token) in texts

    def take(self) -> Token:
        """Takes the next token.

        Raises:
            UnreadableError: there is none.
        """
        token = self.peek()
        if token is None:
            raise UnreadableError("it ends too early", is_torn=True)
        self.position += 1
        return token

    def skip(self, *texts: str) -> bool:
        """Takes the next token if it is one of these; returns whether it is."""
        is_match = self.is_next(*texts)
        self.position += is_match
        return is_match

    def expect(self, text: str) -> None:
        """Takes the next token.

        Raises:
            UnreadableError: it is not the given one.
        """
        if not self.skip(text):
            raise self.unexpected()

    def unexpected(self) -> UnreadableError:
        """The error to raise where the next token does not fit."""
        token = self.peek()
        if token is None:
            return UnreadableError("it ends too early", is_torn=True)
        return UnreadableError(f"it cannot be read from {token.text!r} on")

    def symbol(self, name: str) -> Symbol:
        """A symbol with the subscript that follows it, which is part of its name."""
        # x_1 and x_2 are other variables: a subscript that is dropped would pay x_2 + 1 for x_1 + 1.
        if not self.skip("_"):
            return Symbol(name)
        if not self.skip("{"):
            return Symbol(f"{name}_{self.take().text}")

        start = self.position
        while not self.is_next("}"):
            self.take()
        subscript = "".join(token.text for token in self.tokens[start : self.position])
        self.take()
        return Symbol(f"{name}_{subscript}")

    def figure(self, name: str) -> Node:
        r"""The name of an angle, a triangle or a segment, as in `\angle ABC`, as one symbol."""
        has_braces = self.skip("{")
        letters = []

        while (token := self.peek()) is not None and token.kind in ("letter", "number"):
            letters.append(self.symbol(self.take().text).name)

        if has_braces:
            self.expect("}")
        if not letters:
            raise self.unexpected()

        return Symbol(f"{name} {''.join(letters)}")

    def opaque(self, token: Token) -> Node:
        """An integral or a limit, up to the end of the value: its text is compared, because it is never computed."""
        # A comma within brackets, as in f(x, y), does not end the value; one outside of them does.
        start = self.position
        depth = 0

        while (following := self.peek()) is not None:
            text = spelling(following)
            if text in OPENING:
                depth += 1
            elif text in CLOSING:
                depth -= 1
            if depth < 0 or (depth == 0 and text in ("=", ",", "\\approx")):
                break
            self.take()

        text = " ".join(following.text for following in self.tokens[start : self.position])
        return Operation("opaque", (Symbol(f"{token.text} {text}"),))

    def remark(self) -> list[str] | None:
        """The words in brackets after a number, as in `9 (apples)`; None where something else comes next."""
        # Only after a blank and a number: `9(abc)` and `x (abc)` are products.
        token = self.peek()
        if token is None or token.text != "(" or not token.is_apart:
            return None
        if self.tokens[self.position - 1].kind != "number":
            return None

        # Nothing is taken: the caller decides what to do with the words.
        text = ""
        for token in self.tokens[self.position + 1 :]:
            if token.text == ")":
                # Words of one or two letters alone are a factor, such as `(xy)`.
                longest = max(map(len, text.split()), default=0)
                return text.split() if longest > 2 else None

            if token.kind not in ("letter", "word") and token.text not in ("-", ".", "'"):
                return None
            if token.is_apart or token.text in ("-", "."):
                text += " "
            text += token.text.strip("-.'")

        return None

    def environment(self) -> str:
        """The name of the matrix environment in braces after `begin` or `end`."""
        self.expect("{")
        name = ""
        while not self.skip("}"):
            name += self.take().text
        if name not in MATRICES:
            raise UnreadableError(f"it has the environment {name[:40]!r}")
        return name


def spelling(token: Token) -> str:
    """The text by which `is_next` recognises a token; empty for numbers, letters and words."""
    if token.kind == "command":
        return f"\\{token.text}"
    return token.text if token.kind == "sign" else ""
