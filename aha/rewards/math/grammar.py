r"""An answer read into a typed value: numbers with units, lists, intervals, equations, words.

    answer   = item { ("," | ";" | "or" | "and") item }
    item     = side { relation side }
    side     = words | piece { "\cup" piece } | piece "\setminus" piece
    piece    = bracketed | expression [unit]

Expressions are read by `aha.rewards.math.parser`, units and signs by `aha.rewards.math.amounts`. What
cannot be read raises `UnreadableError`, which says where.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from aha.rewards.math.amounts import AmountParser
from aha.rewards.math.nodes import (
    EVERYTHING,
    Chain,
    Named,
    Quantity,
    Region,
    Several,
    Symbol,
    Value,
    Words,
)
from aha.rewards.math.regions import combined
from aha.rewards.math.statements import check_approximation, name_of, related, together
from aha.rewards.math.tokens import DOTS, UnreadableError, plain_text, spelling, tokenize
from aha.rewards.math.vocabulary import NAMES, SAME_NAMES

__all__ = ["read"]

MAX_ITEMS: Final = 64
"""Most items of a list."""

_RELATIONS: Final = {
    "=": "=", "<": "<", ">": ">", "\\lt": "<", "\\gt": ">", "\\le": "<=", "\\ge": ">=", "\\ne": "!=", "\\in": "in",
    "\\approx": "~", "\\simeq": "~", "\\sim": "~", "\\equiv": "=", "\\leqslant": "<=", "\\geqslant": ">=",
}  # fmt: skip
_SEPARATORS: Final = (",", ";", "or", "and")
_WORDS = re.compile(r"(?:\\text\w*\s*\{\s*)?([A-Za-z][A-Za-z]+(?:[ '-]+[A-Za-z]+){0,11})\.?\s*\}?")
_NO_SOLUTION = re.compile(r"no (?:real |such )?(?:solutions?|roots?|numbers?|values?)|(?:the )?empty set")
_FUNCTION_NAME = re.compile(
    rf"(?:[A-Za-z]{{1,2}}|{'|'.join(sorted(NAMES))}|mathbbE|[Vv]ar|[Cc]ov|[Aa]rea|rank|det|deg|dim|gcd|lcm)"
    r"'{0,3}(?:\^\{?(?:-1|\([0-9]\))\}?)?"
    r"(?:\([^()]{1,24}\)|\[[^\[\]]{1,24}\])|(?:det|deg|dim|rank)[A-Za-z]"
)
_TIME: Final = re.compile(r"(1[0-2]|0?[1-9])(?::([0-5][0-9]))?( ?)([ap])(?:\.m\.?|m)", re.IGNORECASE)
_TEXT: Final = re.compile(r"\\(?:text(?:bf|rm)?|mathrm|mbox)\s*\{|[{}~]")
_LOGARITHMS: Final = ("ln", "lg")
_ALL_NUMBERS: Final = (["all", "real", "numbers"], ["all", "reals"], ["real", "numbers"])
_ARTICLES: Final = ("a", "an", "the")


@lru_cache(maxsize=4096)
def read(text: str) -> Value:
    """The value that an answer or a reference says.

    Args:
        text: as a model or a data set wrote it.

    Raises:
        UnreadableError: it is empty, too long, or no mathematics; the message says where reading stopped.
    """
    plain = plain_text(text)
    if plain is None:
        raise UnreadableError("it is empty, too long, or has characters that are no mathematics")
    words = _words(plain) or _time_of_day(plain)
    if words is not None:
        return words
    try:
        parser = _AnswerParser(tokenize(plain))
        return parser.answer()
    except RecursionError:
        raise UnreadableError("its brackets are too deep") from None


def _words(plain: str) -> Words | Region | Several | None:
    """Words of a language, where the text is nothing else; two or three letters outside of a text are a product."""
    match = _WORDS.fullmatch(plain)
    if match is None or (len(match[1]) < 4 and not plain.startswith("\\")):
        return None
    words = match[1].lower().split()
    if words in _ALL_NUMBERS:
        return Region((EVERYTHING,))
    if _NO_SOLUTION.fullmatch(" ".join(words)):
        return Several("{}", ())
    if words == ["dne"]:
        return Words("does not exist")
    return Words(" ".join(words[1:] if words[0] in _ARTICLES and len(words) > 1 else words))


def _time_of_day(plain: str) -> Words | None:
    """`3:30 p.m.` in one spelling; `5am` without a colon, a blank or a dot is a product."""
    match = _TIME.fullmatch(" ".join(_TEXT.sub(" ", plain).split()))
    if match is None or not (match[2] or match[3] or "." in match[0]):
        return None
    return Words(f"{int(match[1])}:{match[2] or '00'} {match[4].lower()}m")


class _AnswerParser(AmountParser):
    """Reads values."""

    def answer(self) -> Value:
        """The whole text."""
        value = self.items(())
        if self.peek() is not None:
            raise self.stopped()
        return value

    def items(self, closings: Sequence[str]) -> Value:
        """Values up to a closing bracket or the end."""
        values: list[Value] = []
        separators: list[str] = []
        is_endless = False
        while True:
            if self.skip(*DOTS):
                is_endless = True
                if not (self.peek() is None or self.is_next(*closings)):
                    raise UnreadableError("something follows the dots")
                break
            values.append(self.item())
            if not self.is_next(*_SEPARATORS):
                break
            separators.append(self.take().text)

            # A comma before `or` and `and` parts nothing more.
            if separators[-1] in (",", ";") and self.is_next("or", "and"):
                separators[-1] = self.take().text
        if len(values) > MAX_ITEMS:
            raise UnreadableError(f"it has more than {MAX_ITEMS} items")
        if is_endless:
            return Several("", tuple(values), is_endless=True)
        value = values[0] if len(values) == 1 else together(values, separators)
        if isinstance(value, Region) and self.skip(":"):
            # x < 1: (-oo, 1) says the same twice.
            return Chain((self.items(closings), value))
        return value

    def item(self) -> Value:
        """One value, with the name or the relation that it stands in."""
        if self.position == 0:
            self.skip("=", "\\approx")
        name = self._function_name()
        sides: list[Value] = []
        signs: list[str] = []
        if name:
            sides.append(Quantity(Symbol(name)))
        else:
            sides.append(self.side())
        while (token := self.peek()) is not None and (sign := _RELATIONS.get(spelling(token), "")):
            self.take()
            if sign == "~" and not (len(sides) == 1 and name_of(sides[0])):
                # What follows an approximate sign is a comment on what precedes it, which it must be near to.
                check_approximation(sides[-1], self.side())
                continue
            signs.append("=" if sign == "~" else sign)
            sides.append(self.side())
        return sides[0] if len(sides) == 1 else related(sides, signs)

    def _function_name(self) -> str:
        """The left side of `P(A|B) = ...`, which is a name whatever stands in its brackets; empty elsewhere."""
        depth, end = 0, self.position
        for end in range(self.position, min(self.position + 16, len(self.tokens))):
            text = self.tokens[end].text
            depth += (text == "(") - (text == ")")
            if text == "=" and depth == 0:
                break
        else:
            return ""
        tokens = self.tokens[self.position : end]
        written = "".join(SAME_NAMES.get(token.text, token.text) for token in tokens)
        if not _FUNCTION_NAME.fullmatch(written) or tokens[0].text in _LOGARITHMS:
            return ""
        self.position = end
        return written

    def side(self) -> Value:
        """What may stand beside a relation."""
        token = self.peek()
        if token is not None and token.kind == "word":
            return self._leading_words()
        value = self.piece()
        while self.is_next("\\cup", "\\setminus", "\\backslash", "\\cap") or (
            self.is_next("-") and isinstance(value, Region)
        ):
            operator = self.take().text
            other = self.piece()
            value = combined(value, other, operator.removeprefix("\\"))
        return value

    def _leading_words(self) -> Value:
        """Words before a relation are a name; alone they are what they say."""
        words = self.take().text
        while (token := self.peek()) is not None and token.kind in ("word", "letter"):
            words += " " + self.take().text
        if self.peek() is not None and not self.is_next("=", ",", ";", "or", "and", ")", "]", "\\}", "\\approx", ":"):
            raise self.stopped()
        self.skip(":")
        return Words(" ".join(words.lower().split()))

    def piece(self) -> Value:
        """A bracketed list, a set, or an expression with its unit."""
        if self.skip("\\{"):
            return self._set()
        point = self._name_of_point()
        if self.is_next("(", "[", "\\langle", "{"):
            several = self._bracketed()
            if several is not None:
                return Named(point, several) if point else several
        self.position -= bool(point)
        if self.skip("\\mathbbR"):
            return Region((EVERYTHING,))
        if self.skip("\\emptyset", "\\varnothing"):
            return Several("{}", ())
        return self.amount()

    def _name_of_point(self) -> str:
        """The letter before the coordinates of a point, as in `P(1,2)`, which is then behind; empty elsewhere."""
        letter, bracket = self.peek(), self.peek(1)
        if letter is None or bracket is None or bracket.text != "(" or bracket.is_apart:
            return ""
        return self.take().text if letter.kind == "letter" and re.fullmatch("[A-Z]", letter.text) else ""

    def _bracketed(self) -> Value | None:
        """A tuple, vector, interval or set; None where the bracket only groups an expression."""
        start = self.position
        opening = self.take().text
        if self.is_next(")", "]"):
            raise UnreadableError("its brackets are empty")
        try:
            value = self.items((")", "]", "}", "\\rangle"))
            closing = self.take().text
        except UnreadableError:
            value, closing = None, ""

        is_pair = closing in (")", "]", "rangle", "}") and (opening == "{") == (closing == "}")
        if isinstance(value, Several) and not value.brackets and is_pair:
            is_column = self._is_transposed()
            brackets = "()" if opening == "langle" or is_column else opening + closing
            return replace(value, brackets=brackets)

        # A single value in brackets keeps them only where nothing but the brackets is said: (x+1)(x-2) is a product.
        is_alone = self.peek() is None or self.is_next(*_SEPARATORS, "=")
        is_closed = closing == {"(": ")", "[": "]", "{": "}"}.get(opening)
        if isinstance(value, Several | Named | Region | Words) and is_closed and is_alone:
            return value
        self.position = start
        return None

    def _is_transposed(self) -> bool:
        """Whether a row is followed by the sign that makes it a column, which is then behind."""
        following = "".join(spelling(token) or token.text for token in self.tokens[self.position : self.position + 4])
        match = re.match(r"\^(?:T|\{T\}|\\top|\{\\top\})", following)
        if match:
            self.position += 4 if "{" in match[0] else 2
        return match is not None

    def _set(self) -> Value:
        r"""A set: its elements, or `\{x \mid x > 5\}`."""
        if self.skip("\\}"):
            return Several("{}", ())
        bar, first = self._set_builder(), self.peek()
        if first is None:
            raise self.stopped()
        if bar is not None:
            self.position = bar + 1
        value = self.items(("\\}",))
        self.expect("\\}")
        if bar is not None:
            if isinstance(value, Region) and value.variable not in ("", first.text):
                raise UnreadableError("its set is about another variable")
            return value.value if isinstance(value, Named) and isinstance(value.value, Region) else value
        if isinstance(value, Several) and not value.brackets:
            return replace(value, brackets="{}")
        return Several("{}", (value,))

    def _set_builder(self) -> int | None:
        """Where the bar of a set builder is, which only names the variable before it."""
        for index in range(self.position, min(self.position + 8, len(self.tokens))):
            token = self.tokens[index]
            if token.text in ("mid", "|", ":") and index > self.position:
                before = [one.text for one in self.tokens[self.position : index]]
                is_variable = self.tokens[self.position].kind == "letter" and before[1:] in ([], ["in", "mathbbR"])
                return index if is_variable else None
        return None
