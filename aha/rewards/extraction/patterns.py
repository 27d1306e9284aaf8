"""Regular expressions whose search takes time in proportion to the text, whatever the pattern and the text are.

Python's `re` tries one way after another, and there are patterns for which fifty characters keep it busy for years. It
cannot be interrupted either. Here a pattern becomes a small program. The search tries one way after another as `re`
does, but it remembers every step that has failed at a place of the text, and never takes it there again. The number of
comparisons is therefore at most the length of the program times that of the text. What one character is compared with,
such as `[^,]`, is left to `re`.

What is found is what `re` finds: the tests compare the two. A pattern that needs more than this, such as a
back-reference, is refused.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

__all__ = ["MAX_CHARS", "MAX_STEPS", "Pattern", "compile_pattern"]

MAX_CHARS = 10_000
"""Characters at the end of a text in which a match may begin; what stands before them is not searched."""

MAX_STEPS = 200
"""Longest program of a pattern. Repeats such as {3,5} are written out, so that they count several times."""

_TOKEN = re.compile(
    r"""
    (?P<repeat> (?: [*+?] | \{\d*,\d*\} | \{\d+\} ) [?+]? )
    | (?P<open> \( (?: \?: | \?P<\w+> | (?!\?) ) )
    | (?P<unsupported> \(\?. | \\[1-9] )
    | (?P<close> \) )
    | (?P<bar> \| )
    | (?P<place> [\^$] | \\[AbBZz] )
    | (?P<one> \[\^?\]?(?:\\.|[^\]\\])*\]
             | \\(?:x[0-9a-fA-F]{2} | u[0-9a-fA-F]{4} | U[0-9a-fA-F]{8} | N\{[^}]*\} | 0[0-7]{0,2} | .)
             | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_FLAGS = re.compile(r"\(\?[ims]+\)")

_Groups = tuple[int, int]
"""Where the first group begins and ends; -1 where it has not been reached."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of a program.

    Attributes:
        kind: `one` compares a character, `place` looks at a place of the text, `split` goes on at two steps, of which
            it prefers the first, `jump` goes on at one, `begin` and `end` note the place of the group, `match` is the
            last step.
        first: how many steps further `split` and `jump` go on.
        second: the other way of `split`.
        is_one: whether a character is the right one.
        is_place: whether a place of a text is the right one.
    """

    kind: Literal["one", "place", "split", "jump", "begin", "end", "match"]
    first: int = 1
    second: int = 1
    is_one: Callable[[str], bool] | None = None
    is_place: Callable[[str, int], bool] | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """The steps of a part of a pattern, and whether it can match the empty text."""

    steps: tuple[_Step, ...]
    can_be_empty: bool


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that is ready to be searched for; made by `compile_pattern`.

    Attributes:
        text: the expression.
        steps: its program.
        has_group: whether it has a group that captures.
    """

    text: str
    steps: tuple[_Step, ...]
    has_group: bool

    def last_match(self, text: str) -> str | None:
        """The last match in a text: its first group where the pattern has one, or else the whole match.

        The matches are those of `re.finditer`: from left to right, none inside another.

        Args:
            text: of any length and content; a match begins in its last 10,000 characters.

        Returns:
            The text of the match; None where there is none, or where its first group has no part in it.
        """
        begin = max(0, len(text) - MAX_CHARS)
        size = len(self.steps)
        # An entry for each step at each place: whether it has been taken there.
        taken = bytearray((len(text) - begin + 1) * size)

        found: tuple[int, int] | None = None
        start = begin
        while start <= len(text):
            match = self._match_at(text, start, begin, taken)
            if match is None:
                start += 1
                continue

            end, group = match
            found = group if self.has_group else (start, end)
            # The search goes on with what has been taken: beyond the match, each step that was taken has failed. At its
            # end others led out of the program, but none of them can be reached again without a character, since no
            # pattern matches the empty text.
            start = end

        if found is None or found[1] < 0:
            return None
        return text[found[0] : found[1]]

    def _match_at(self, text: str, start: int, begin: int, taken: bytearray) -> tuple[int, _Groups] | None:
        """The match that begins at a place: where it ends, and its group.

        Args:
            text: what is searched.
            start: where the match begins.
            begin: place of the first entry of `taken`.
            taken: the steps that were taken before, at each place; those that are taken now are added.
        """
        size = len(self.steps)
        # The ways that are still to be tried, the preferred one last.
        ways: list[tuple[int, int, _Groups]] = [(0, start, (-1, -1))]

        while ways:
            index, place, group = ways.pop()
            mark = (place - begin) * size + index
            if taken[mark]:
                continue
            taken[mark] = 1

            step = self.steps[index]
            if step.kind == "match":
                return place, group
            if step.kind == "begin":
                group = (place, -1)
            elif step.kind == "end":
                group = (group[0], place)
            elif step.is_one is not None:
                if place == len(text) or not step.is_one(text[place]):
                    continue
                place += 1
            elif step.is_place is not None and not step.is_place(text, place):
                continue

            if step.kind == "split":
                ways.append((index + step.second, place, group))
            ways.append((index + step.first, place, group))

        return None


def compile_pattern(text: str) -> Pattern:
    r"""Make a pattern from a regular expression, in the notation of Python's `re`.

    Understood are characters, classes, `.`, `|`, groups, the repeats `* + ? {m,n}` and their lazy forms, `^ $ \A \Z \b
    \B`, and the flags i, m and s at the beginning.

    Args:
        text: the expression.

    Raises:
        ValueError: it is no regular expression, it needs what is not understood, it is too long, or it matches the
            empty text; says what is wrong.
    """
    try:
        flags = re.compile(text).flags & (re.IGNORECASE | re.MULTILINE | re.DOTALL)
        compiler = _Compiler(text, flags)
        part = compiler.compile()
    except (re.error, OverflowError) as error:
        raise ValueError(f"the pattern {text!r} is no regular expression: {error}") from None
    except RecursionError:
        raise ValueError(f"the pattern {text[:40]!r} ... has too many groups inside each other") from None

    if part.can_be_empty:
        raise ValueError(f"the pattern {text!r} matches the empty text, which is no answer")
    return Pattern(text=text, steps=(*part.steps, _Step("match")), has_group=compiler.num_groups > 0)


class _Compiler:
    """Makes the program of a pattern that `re` has found to be correct."""

    def __init__(self, text: str, flags: int) -> None:
        self.num_groups = 0
        self._text = text
        self._flags = flags
        prefix = _FLAGS.match(text)
        self._tokens = list(_TOKEN.finditer(text, prefix.end() if prefix else 0))
        self._next = 0

    def compile(self) -> _Part:
        """The program of the whole pattern, without its last step."""
        return self._alternatives()

    def _alternatives(self) -> _Part:
        """Sequences with `|` between them, up to the end of the group or of the pattern."""
        parts = [self._sequence()]
        while self._kind() == "bar":
            self._next += 1
            parts.append(self._sequence())

        *others, part = parts
        for other in reversed(others):
            split = _Step("split", 1, len(other.steps) + 2)
            jump = _Step("jump", len(part.steps) + 1)
            can_be_empty = other.can_be_empty or part.can_be_empty
            part = self._checked((split, *other.steps, jump, *part.steps), can_be_empty)
        return part

    def _sequence(self) -> _Part:
        """Items one after the other, each with its repeats."""
        steps: tuple[_Step, ...] = ()
        can_be_empty = True
        while self._kind() not in ("bar", "close", ""):
            item = self._item()
            if self._kind() == "repeat":
                item = self._repeated(item, self._tokens[self._next][0])
                self._next += 1
            steps += item.steps
            can_be_empty &= item.can_be_empty
        return self._checked(steps, can_be_empty)

    def _item(self) -> _Part:
        """One group, character, class or place."""
        token = self._tokens[self._next]
        kind = self._kind()
        self._next += 1
        if kind == "open":
            return self._group(captures=token[0] != "(?:")
        if kind == "place":
            place = re.compile(token[0], self._flags)
            return _Part((_Step("place", is_place=lambda text, at: place.match(text, at) is not None),), True)
        if kind == "one":
            return _Part((_Step("one", is_one=_comparison(token[0], self._flags)),), False)
        raise ValueError(
            f"the pattern {self._text!r} has {token[0]} at position {token.start()}, which is not understood here: "
            "only groups, classes, alternatives and repeats are, and the flags i, m and s at the beginning"
        )

    def _group(self, *, captures: bool) -> _Part:
        """The content of a group up to its end; the first one that captures notes its places."""
        self.num_groups += captures
        is_first = captures and self.num_groups == 1
        part = self._alternatives()
        self._next += 1
        if not is_first:
            return part
        return self._checked((_Step("begin"), *part.steps, _Step("end")), part.can_be_empty)

    def _repeated(self, item: _Part, mark: str) -> _Part:
        """An item as often as a repeat such as `*?` or `{2,3}` says."""
        if mark.endswith("+") and mark != "+":
            raise ValueError(
                f"the pattern {self._text!r} has {mark}, which is not understood here: leave its last + out"
            )
        is_lazy = mark.endswith("?") and mark != "?"
        least, most = _bounds(mark.removesuffix("?") if is_lazy else mark)

        # Engines differ in how a repeat of nothing ends, and nobody who looks for an answer needs one.
        if item.can_be_empty and most != 1:
            raise ValueError(
                f"the pattern {self._text!r} repeats with {mark} what can match the empty text: write it so that each "
                "repeat has a character at least"
            )

        if most is None:
            # The last of the least number of items is the one that goes round.
            loop = self._looped(item, is_lazy=is_lazy)
            return self._copies(item, least - 1, loop) if least else self._optional(loop, is_lazy=is_lazy)

        rest = _Part((), True)
        for _ in range(most - least):
            rest = self._optional(self._copies(item, 1, rest), is_lazy=is_lazy)
        return self._copies(item, least, rest)

    def _looped(self, item: _Part, *, is_lazy: bool) -> _Part:
        """An item once or more often."""
        back = -len(item.steps)
        split = _Step("split", 1, back) if is_lazy else _Step("split", back, 1)
        return self._checked((*item.steps, split), item.can_be_empty)

    def _optional(self, item: _Part, *, is_lazy: bool) -> _Part:
        """An item once or not at all."""
        over = len(item.steps) + 1
        split = _Step("split", over, 1) if is_lazy else _Step("split", 1, over)
        return self._checked((split, *item.steps), True)

    def _copies(self, item: _Part, count: int, rest: _Part) -> _Part:
        """An item some number of times, and something after it."""
        # Before they are made: {1000000} must not fill the memory.
        self._check_length(count * len(item.steps))
        can_be_empty = rest.can_be_empty and (item.can_be_empty or not count)
        return self._checked(item.steps * count + rest.steps, can_be_empty)

    def _checked(self, steps: Sequence[_Step], can_be_empty: bool) -> _Part:
        """A part that is not too long."""
        self._check_length(len(steps))
        return _Part(tuple(steps), can_be_empty)

    def _check_length(self, count: int) -> None:
        if count >= MAX_STEPS:
            raise ValueError(
                f"the pattern {self._text!r} has more than {MAX_STEPS} steps, where repeats such as {{3,5}} are "
                "written out: make it shorter"
            )

    def _kind(self) -> str:
        """The kind of the next token; empty at the end."""
        return str(self._tokens[self._next].lastgroup) if self._next < len(self._tokens) else ""


def _comparison(one: str, flags: int) -> Callable[[str], bool]:
    """Whether a character is one that a part of a pattern for a single character names."""
    compiled = re.compile(one, flags)

    # Answers have few different characters, and this is asked for each of them many times.
    @lru_cache(maxsize=4096)
    def is_one(character: str) -> bool:
        return compiled.fullmatch(character) is not None

    return is_one


def _bounds(mark: str) -> tuple[int, int | None]:
    """The least and the greatest number of a repeat, without its mark of laziness; None where there is no greatest."""
    if mark in ("*", "+", "?"):
        return int(mark == "+"), 1 if mark == "?" else None
    least, comma, most = mark.strip("{}").partition(",")
    if not comma:
        return int(least), int(least)
    return int(least or 0), int(most) if most else None
