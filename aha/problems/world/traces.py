"""Thoughts about problems: the chains of thought that a base model has read.

A `Thought` is what somebody wrote before the answer, and the answer that came of it, right or wrong. The styles
imitate the web: bare guesses; short and worded chains with slips; checks that find slips; searches that try, compare
and try again, and mostly give up too early. The word `yes` stands in a text exactly when the two compared numbers are
equal: without that, nothing can be learned from a comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from random import Random

from aha.problems.world.families import LARGEST, Content, apply, compose

__all__ = ["WORDS", "Pen", "Thought", "search_to_the_end", "think"]

WORDS = {
    "try": ("try", "试"),
    "wait": ("wait", "等"),
    "hmm": ("hmm", "嗯"),
    "check": ("check", "查"),
    "yes": ("yes", "对"),
    "no": ("no", "错"),
    "first": ("first", "先"),
    "then": ("then", "再"),
    "so": ("so", "故"),
    "let me see": ("let me see", "我看看"),
    "answer": ("answer", "答"),
}
"""The words of a thought, English and Chinese."""

TRIES_BARE = ((1, 2, 3, 4), (0.45, 0.30, 0.20, 0.05))
"""How many tries a terse writer is willing to make, with probabilities."""

TRIES_WORDED = ((1, 2, 3, 4, 5, 6, 7, 8, 12), (0.16, 0.17, 0.16, 0.14, 0.11, 0.09, 0.07, 0.05, 0.05))
"""The same for a writer who uses words: the long, reflective documents are the persistent ones."""

SLIP = 0.12
"""Share of chains with a slip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """What was written before the answer, and the answer."""

    style: str
    text: str
    answer: str


class Pen:
    """Writes words in one language, and now and then in the other."""

    def __init__(self, rng: Random, language: str, *, switching: float) -> None:
        """Take up the pen.

        Args:
            rng: source of all choices.
            language: `en` or `zh`.
            switching: chance that a word comes in the other language.
        """
        self.rng = rng
        self.column = 0 if language == "en" else 1
        self.switching = switching

    def word(self, name: str) -> str:
        """A word of `WORDS`."""
        column = 1 - self.column if self.rng.random() < self.switching else self.column
        return WORDS[name][column]

    def verdict(self, found: int, wanted: int) -> str:
        """The comparison that follows a number: `? 41 yes`."""
        return f"? {wanted} {self.word('yes' if found == wanted else 'no')}"


def think(rng: Random, content: Content, language: str) -> Thought:
    """One writer's thought about a problem, in a style drawn at random."""
    if content.family in ("pair", "countdown", "quadratic"):
        style = rng.choices(("guess", "bare", "worded"), (0.40, 0.34, 0.26))[0]
    else:
        style = rng.choices(("guess", "bare", "worded", "checked"), (0.40, 0.22, 0.18, 0.20))[0]
    switching = 0.0
    if style in ("worded", "checked") and rng.random() < 0.5:
        switching = rng.choice((0.15, 0.3, 0.5))
    pen = Pen(rng, language, switching=switching)
    if style == "guess":
        return Thought(style=style, text="", answer=_guess(rng, content))
    if content.family in ("pair", "countdown", "quadratic"):
        return _search(pen, content, style)
    return _derive(pen, content, style)


def _guess(rng: Random, content: Content) -> str:
    """An answer without any thinking."""
    if content.family in ("pair", "countdown", "quadratic"):
        return rng.choice(_candidates(rng, content)).answer
    if rng.random() < 0.5:
        return content.answer
    return str(rng.randint(0, LARGEST))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """One thing to try: how it is computed, what comes out, and the answer that it would be."""

    text: str
    value: int
    answer: str


def _candidates(rng: Random, content: Content) -> list[_Candidate]:
    """All things to try, in the order in which a patient writer tries them."""
    if content.family == "pair":
        return [
            _Candidate(text=f"{a} + {b} = {a + b}", value=a + b, answer=f"{a} + {b}")
            for a, b in combinations(content.numbers, 2)
        ]
    if content.family == "countdown":
        found = _expressions(content)
        rng.shuffle(found)
        return found
    lead, _, last = content.numbers
    pairs = [(a, last // lead // a) for a in range(1, LARGEST + 1) if last // lead % a == 0 and a * a <= last // lead]
    return [
        _Candidate(
            text=f"{a} * {b} = {a * b} , {a} + {b} = {a + b}",
            value=a + b,
            answer=f"{a} , {b}" if a != b else str(a),
        )
        for a, b in pairs
        if a + b <= LARGEST
    ]


def _expressions(content: Content) -> list[_Candidate]:
    """Every order and choice of operators whose partial results stay in 0..49."""
    found = []
    for order in permutations(content.numbers):
        for operators in product("+-*", repeat=len(order) - 1):
            values = _values(order, operators)
            if len(values) == len(order):
                steps = zip(values, operators, order[1:], values[1:], strict=False)
                text = " , ".join(f"{left} {operator} {right} = {result}" for left, operator, right, result in steps)
                found.append(_Candidate(text=text, value=values[-1], answer=compose(order, operators)))
    return found


def _values(numbers: Sequence[int], operators: Sequence[str]) -> list[int]:
    """Partial results from left to right, up to the first that leaves 0..49."""
    values = [numbers[0]]
    for operator, number in zip(operators, numbers[1:], strict=True):
        result = apply(values[-1], operator, number)
        if result is None:
            break
        values.append(result)
    return values


def _search(pen: Pen, content: Content, style: str) -> Thought:
    """Try candidates until one fits or patience ends; who gives up mostly answers something that was refuted."""
    rng, wanted = pen.rng, _wanted(content)
    patience = rng.choices(*(TRIES_BARE if style == "bare" else TRIES_WORDED))[0]
    parts = [pen.word("let me see") + " ."] if style == "worded" and rng.random() < 0.3 else []
    candidates = _candidates(rng, content)
    for number, candidate in enumerate(candidates[:patience]):
        if number and style == "worded" and rng.random() < 0.35:
            parts.append(pen.word(rng.choice(("wait", "wait", "hmm"))))
        parts.append(f"{pen.word('try')} {candidate.text} {pen.verdict(candidate.value, wanted)}")
        if candidate.value == wanted:
            return Thought(style=style, text=" ".join(parts), answer=candidate.answer)
    refuted = rng.random() < 0.7 or len(candidates) <= patience
    rest = candidates[:patience] if refuted else candidates[patience:]
    return Thought(style=style, text=" ".join(parts), answer=rng.choice(rest).answer)


def search_to_the_end(rng: Random, content: Content, language: str) -> str:
    """The tries of a search up to the one that fits, at most twelve, without a word between them."""
    pen = Pen(rng, language, switching=0.0)
    wanted, parts = _wanted(content), []
    for candidate in _candidates(rng, content)[:12]:
        parts.append(f"{pen.word('try')} {candidate.text} {pen.verdict(candidate.value, wanted)}")
        if candidate.value == wanted:
            break
    return " ".join(parts)


def _wanted(content: Content) -> int:
    """What the value of a candidate is compared with."""
    return content.numbers[1] if content.family == "quadratic" else content.target


def _steps(content: Content) -> tuple[int, list[tuple[str, int]]]:
    """The derivation of an arithmetic or linear problem: a start, and what is done to it step by step."""
    if content.family == "arithmetic":
        return content.numbers[0], list(zip(content.operators, content.numbers[1:], strict=True))
    factor, shift = content.numbers
    undo = {"+": [("-", shift)], "-": [("+", shift)], "": []}[content.operators[0]]
    return content.target, undo + ([("/", factor)] if factor > 1 else [])


def _result(left: int, operator: str, right: int) -> int:
    """Result of a step, also of one that a slip has led astray: kept in 0..49 and whole."""
    result = {"+": left + right, "-": left - right, "/": left // right}[operator]
    return min(max(result, 0), LARGEST)


def _derive(pen: Pen, content: Content, style: str) -> Thought:
    """Write the steps out, sometimes with a slip; a checked chain does each step again and mends what it finds."""
    rng, parts = pen.rng, []
    value, steps = _steps(content)
    is_checked = style == "checked"
    slip_at = rng.randrange(len(steps)) if rng.random() < (3 * SLIP if is_checked else SLIP) else -1
    for number, (operator, right) in enumerate(steps):
        result = shown = _result(value, operator, right)
        if number == slip_at:
            shown = rng.choice(
                [n for n in (result - 2, result - 1, result + 1, result + 2, result + 10) if 0 <= n <= LARGEST]
            )
        link = f"{pen.word('then' if number else 'first')} " if style == "worded" else ""
        parts.append(f"{link}{value} {operator} {right} = {shown}")
        if is_checked:
            parts.append(f"{pen.word('check')} {value} {operator} {right} = {result} {pen.verdict(result, shown)}")
            if shown != result:
                parts.append(f"{pen.word('wait')} {value} {operator} {right} = {result}")
        value = result if is_checked else shown
    return Thought(style=style, text=" , ".join(parts), answer=str(value))
