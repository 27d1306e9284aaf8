r"""Answers as typed values: numbers with units, lists, intervals, equations, words.

    answer   = item { ("," | ";" | "or" | "and") item }
    item     = side { relation side }
    side     = words | piece { "\cup" piece } | piece "\setminus" piece
    piece    = bracketed | expression [unit]

The module `parser` reads the expressions, `amounts` the units and signs. A text that cannot be read raises
`UnreadableError`, which says where reading stopped.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from aha.rewards.math.nodes import (
    EVERYTHING,
    Chain,
    Collection,
    Named,
    Quantity,
    Region,
    Symbol,
    Value,
    Words,
)
from aha.rewards.math.reading.amounts import AmountParser
from aha.rewards.math.reading.reader import spelling
from aha.rewards.math.reading.tokens import DOTS, UnreadableError, plain_text, tokenize
from aha.rewards.math.reading.vocabulary import NAMES, SAME_NAMES
from aha.rewards.math.regions import combine_sets
from aha.rewards.math.statements import check_approximation, join_values, name_of, relate

__all__ = ["read"]

MAX_ITEMS: Final = 64
"""Largest number of items of a list."""

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
    """Reads an answer or a reference as a value.

    Args:
        text: the text of a model or of a data set.

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


def _words(plain: str) -> Words | Region | Collection | None:
    """The value of a text that consists of words alone; None for any other text."""
    # Two or three letters outside of a text command are a product of variables.
    match = _WORDS.fullmatch(plain)
    if match is None or (len(match[1]) < 4 and not plain.startswith("\\")):
        return None

    words = match[1].lower().split()
    if words in _ALL_NUMBERS:
        return Region((EVERYTHING,))
    if _NO_SOLUTION.fullmatch(" ".join(words)):
        return Collection("{}", ())
    if words == ["dne"]:
        return Words("does not exist")

    if words[0] in _ARTICLES and len(words) > 1:
        words = words[1:]
    return Words(" ".join(words))


def _time_of_day(plain: str) -> Words | None:
    """A time such as `3:30 p.m.` in one spelling; None for any other text."""
    match = _TIME.fullmatch(" ".join(_TEXT.sub(" ", plain).split()))
    if match is None:
        return None

    # `5am` without a colon, a blank or a dot is a product.
    hour, minutes, blank, half = match.groups()
    if not (minutes or blank or "." in match[0]):
        return None
    return Words(f"{int(hour)}:{minutes or '00'} {half.lower()}m")


class _AnswerParser(AmountParser):
    """Reads values."""

    def answer(self) -> Value:
        """Reads the whole text."""
        value = self.items(())
        if self.peek() is not None:
            raise self.unexpected()
        return value

    def items(self, closings: Sequence[str]) -> Value:
        """Reads values up to a closing bracket or the end."""
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

            # A comma before `or` or `and` is no separator of its own.
            if separators[-1] in (",", ";") and self.is_next("or", "and"):
                separators[-1] = self.take().text

        if len(values) > MAX_ITEMS:
            raise UnreadableError(f"it has more than {MAX_ITEMS} items")
        if is_endless:
            return Collection("", tuple(values), is_endless=True)

        value = values[0] if len(values) == 1 else join_values(values, separators)

        # x < 1: (-oo, 1) gives the same set twice.
        if isinstance(value, Region) and self.skip(":"):
            return Chain((self.items(closings), value))

        return value

    def item(self) -> Value:
        """Reads one value with its name, or a relation."""
        # An answer may begin with a sign of equality, whose left side is in the question.
        if self.position == 0:
            self.skip("=", "\\approx")

        name = self._function_name()
        sides: list[Value] = [Quantity(Symbol(name)) if name else self.side()]
        signs: list[str] = []

        while (token := self.peek()) is not None:
            sign = _RELATIONS.get(spelling(token), "")
            if not sign:
                break
            self.take()

            # After a name, an approximate sign is one of equality; otherwise its right side only repeats the left.
            is_repetition = sign == "~" and not (len(sides) == 1 and name_of(sides[0]))
            if is_repetition:
                check_approximation(sides[-1], self.side())
                continue

            signs.append("=" if sign == "~" else sign)
            sides.append(self.side())

        return sides[0] if len(sides) == 1 else relate(sides, signs)

    def _function_name(self) -> str:
        """Reads the left side of `P(A|B) = ...`, a name whatever its brackets hold; empty where there is none."""
        depth = 0
        end = self.position

        for end in range(self.position, min(self.position + 16, len(self.tokens))):
            text = self.tokens[end].text
            depth += (text == "(") - (text == ")")
            if text == "=" and depth == 0:
                break
        else:
            return ""

        # ln(a) = 5 is an equation for a, and no name of 5.
        tokens = self.tokens[self.position : end]
        name = "".join(SAME_NAMES.get(token.text, token.text) for token in tokens)
        if not _FUNCTION_NAME.fullmatch(name) or tokens[0].text in _LOGARITHMS:
            return ""

        self.position = end
        return name

    def side(self) -> Value:
        """Reads one side of a relation."""
        token = self.peek()
        if token is not None and token.kind == "word":
            return self._leading_words()

        value = self.piece()
        while self.is_next("\\cup", "\\setminus", "\\backslash", "\\cap") or (
            self.is_next("-") and isinstance(value, Region)
        ):
            operator = self.take().text
            other = self.piece()
            value = combine_sets(value, other, operator.removeprefix("\\"))

        return value

    def _leading_words(self) -> Value:
        """Reads words: before a relation they are a name, alone they are the answer."""
        words = self.take().text
        while (token := self.peek()) is not None and token.kind in ("word", "letter"):
            words += " " + self.take().text

        if self.peek() is not None and not self.is_next("=", ",", ";", "or", "and", ")", "]", "\\}", "\\approx", ":"):
            raise self.unexpected()
        self.skip(":")

        return Words(" ".join(words.lower().split()))

    def piece(self) -> Value:
        """Reads a bracketed list, a set, or an expression with its unit."""
        if self.skip("\\{"):
            return self._set()

        point = self._name_of_point()
        if self.is_next("(", "[", "\\langle", "{"):
            value = self._bracketed()
            if value is not None:
                return Named(point, value) if point else value

        # The letter was no name of a point: it belongs to the expression.
        if point:
            self.position -= 1
        if self.skip("\\mathbbR"):
            return Region((EVERYTHING,))
        if self.skip("\\emptyset", "\\varnothing"):
            return Collection("{}", ())

        return self.amount()

    def _name_of_point(self) -> str:
        """Takes the letter before the coordinates of a point, as in `P(1,2)`; empty where there is none."""
        letter = self.peek()
        bracket = self.peek(1)
        if letter is None or bracket is None or bracket.text != "(" or bracket.is_apart:
            return ""
        if letter.kind != "letter" or not re.fullmatch("[A-Z]", letter.text):
            return ""
        return self.take().text

    def _bracketed(self) -> Value | None:
        """Reads a tuple, vector, interval or set; None, with nothing taken, where a bracket groups an expression."""
        start = self.position
        opening = self.take().text

        if self.is_next(")", "]"):
            raise UnreadableError("its brackets are empty")

        # Whether the bracket groups an expression shows only when its content is no list.
        try:
            value = self.items((")", "]", "}", "\\rangle"))
            closing = self.take().text
        except UnreadableError:
            value = None
            closing = ""

        is_pair = closing in (")", "]", "rangle", "}") and (opening == "{") == (closing == "}")
        if isinstance(value, Collection) and not value.brackets and is_pair:
            is_column = self._is_transposed()
            brackets = "()" if opening == "langle" or is_column else opening + closing
            return replace(value, brackets=brackets)

        # A value that is no expression may stand in brackets of its own, if nothing goes on after them.
        is_alone = self.peek() is None or self.is_next(*_SEPARATORS, "=")
        is_closed = closing == {"(": ")", "[": "]", "{": "}"}.get(opening)
        if isinstance(value, Collection | Named | Region | Words) and is_closed and is_alone:
            return value

        self.position = start
        return None

    def _is_transposed(self) -> bool:
        """Takes the sign that makes a row a column, as in `(1,2)^T`; returns whether there is one."""
        following = "".join(spelling(token) or token.text for token in self.tokens[self.position : self.position + 4])
        match = re.match(r"\^(?:T|\{T\}|\\top|\{\\top\})", following)
        if match:
            self.position += 4 if "{" in match[0] else 2
        return match is not None

    def _set(self) -> Value:
        r"""Reads a set by its elements, or as `\{x \mid x > 5\}`."""
        if self.skip("\\}"):
            return Collection("{}", ())

        bar = self._set_builder()
        first = self.peek()
        if first is None:
            raise self.unexpected()
        if bar is not None:
            self.position = bar + 1

        value = self.items(("\\}",))
        self.expect("\\}")

        if bar is not None:
            # The set of all x with y > 5 is no set of numbers above 5.
            if isinstance(value, Region) and value.variable not in ("", first.text):
                raise UnreadableError("its set is about another variable")
            # The name in `x \in (0,1)` is that of the variable.
            return value.value if isinstance(value, Named) and isinstance(value.value, Region) else value

        if isinstance(value, Collection) and not value.brackets:
            return replace(value, brackets="{}")

        return Collection("{}", (value,))

    def _set_builder(self) -> int | None:
        """The index of the bar in `x | x > 5`, before which only a variable may stand; None where there is none."""
        for index in range(self.position, min(self.position + 8, len(self.tokens))):
            token = self.tokens[index]
            if token.text not in ("mid", "|", ":") or index == self.position:
                continue

            variable, *domain = self.tokens[self.position : index]
            has_domain = [token.text for token in domain] == ["in", "mathbbR"]
            return index if variable.kind == "letter" and (has_domain or not domain) else None

        return None
