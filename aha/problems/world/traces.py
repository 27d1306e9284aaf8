"""Thoughts about problems: the chains of thought in the pretraining corpus of the base model.

A `Thought` is a chain of thought with the answer that follows from it, right or wrong. The styles imitate the web: bare
guesses; chains with slips, with or without words; checks that find slips; searches that try, compare and try again, and
mostly give up too early. The word `yes` follows a comparison exactly when the two numbers are equal: otherwise nothing
could be learned from comparisons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from random import Random

from aha.problems.world.families import LARGEST, OPERATIONS, Content, apply, compose

__all__ = ["SEARCH_FAMILIES", "WORDS", "Pen", "Thought", "search_to_the_end", "think"]

SEARCH_FAMILIES = ("pair", "countdown", "quadratic")
"""The families that are solved by trying candidates; the others have a derivation."""

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

# The largest number of tries of a terse writer and of one who uses words, with probabilities: the long, reflective
# documents are the persistent ones.
TRIES_BARE = ((1, 2, 3, 4), (0.45, 0.30, 0.20, 0.05))
TRIES_WORDED = ((1, 2, 3, 4, 5, 6, 7, 8, 12), (0.16, 0.17, 0.16, 0.14, 0.11, 0.09, 0.07, 0.05, 0.05))

SLIP = 0.12  # share of chains with a slip


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """A chain of thought of a style, and its answer."""

    style: str
    text: str
    answer: str


class Pen:
    """Writes words in one language, and now and then in the other."""

    def __init__(self, rng: Random, language: str, *, switching: float) -> None:
        """Makes a writer.

        Args:
            rng: generator of all choices.
            language: `en` or `zh`.
            switching: probability that a word is in the other language.
        """
        self.rng = rng
        self.column = 0 if language == "en" else 1
        self.switching = switching

    def word(self, name: str) -> str:
        """A word of `WORDS`."""
        column = 1 - self.column if self.rng.random() < self.switching else self.column
        return WORDS[name][column]

    def verdict(self, value: int, target: int) -> str:
        """The comparison that follows a number: `? 41 yes`."""
        answer = self.word("yes" if value == target else "no")
        return f"? {target} {answer}"


def think(rng: Random, content: Content, language: str) -> Thought:
    """Writes a thought about a problem, in a random style."""
    is_search = content.family in SEARCH_FAMILIES
    if is_search:
        (style,) = rng.choices(("guess", "bare", "worded"), (0.40, 0.34, 0.26))
    else:
        (style,) = rng.choices(("guess", "bare", "worded", "checked"), (0.40, 0.22, 0.18, 0.20))

    # Writers who use words try longest, and half of them mix languages: longer thoughts therefore bring mixing along
    # (docs/results/r1_zero-tiny.md).
    switching = 0.0
    if style in ("worded", "checked") and rng.random() < 0.5:
        switching = rng.choice((0.15, 0.3, 0.5))

    pen = Pen(rng, language, switching=switching)
    if style == "guess":
        return Thought(style=style, text="", answer=_guess(rng, content))
    return _search(pen, content, style) if is_search else _derive(pen, content, style)


def _guess(rng: Random, content: Content) -> str:
    """An answer without any thinking."""
    if content.family in SEARCH_FAMILIES:
        candidate = rng.choice(_candidates(rng, content))
        return candidate.answer
    if rng.random() < 0.5:
        return content.answer
    return str(rng.randint(0, LARGEST))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A candidate of a search: its computation as a text, the value, and the answer that it would be."""

    text: str
    value: int
    answer: str


def _candidates(rng: Random, content: Content) -> list[_Candidate]:
    """All candidates of a search, in the order in which they are tried."""
    if content.family == "pair":
        return [_sum_of(a, b) for a, b in combinations(content.numbers, 2)]

    if content.family == "quadratic":
        return _factors(content)

    # Pairs and factors are tried in order; expressions have no order of their own.
    candidates = _expressions(content)
    rng.shuffle(candidates)
    return candidates


def _sum_of(a: int, b: int) -> _Candidate:
    pair = f"{a} + {b}"
    return _Candidate(text=f"{pair} = {a + b}", value=a + b, answer=pair)


def _factors(content: Content) -> list[_Candidate]:
    """The candidates of a quadratic equation: factors of its last number, whose sum must be the middle one (Vieta)."""
    lead, _, last = content.numbers
    product_of_roots = last // lead
    candidates = []
    for a in range(1, LARGEST + 1):
        b, remainder = divmod(product_of_roots, a)
        total = a + b
        # Each pair of factors once, the smaller one first, and only sums that are tokens.
        if remainder or a > b or total > LARGEST:
            continue
        answer = f"{a} , {b}" if a != b else str(a)
        text = f"{a} * {b} = {product_of_roots} , {a} + {b} = {total}"
        candidates.append(_Candidate(text=text, value=total, answer=answer))
    return candidates


def _expressions(content: Content) -> list[_Candidate]:
    """The candidates of a countdown problem: every order and choice of operators with partial results in 0..49."""
    candidates = []
    for order in permutations(content.numbers):
        for operators in product("+-*", repeat=len(order) - 1):
            values = _values(order, operators)
            if len(values) < len(order):
                continue

            steps = []
            for index, operator in enumerate(operators):
                steps.append(f"{values[index]} {operator} {order[index + 1]} = {values[index + 1]}")
            answer = compose(order, operators)
            candidates.append(_Candidate(text=" , ".join(steps), value=values[-1], answer=answer))

    return candidates


def _values(numbers: Sequence[int], operators: Sequence[str]) -> list[int]:
    """The partial results from left to right, up to the last one before a result outside of 0..49."""
    values = [numbers[0]]
    for operator, number in zip(operators, numbers[1:], strict=True):
        result = apply(values[-1], operator, number)
        if result is None:
            break
        values.append(result)
    return values


def _search(pen: Pen, content: Content, style: str) -> Thought:
    """Tries candidates until one fits or patience ends; a writer who gives up mostly answers a refuted candidate."""
    rng = pen.rng
    target = _wanted(content)
    tries, weights = TRIES_BARE if style == "bare" else TRIES_WORDED
    (patience,) = rng.choices(tries, weights)

    parts = []
    if style == "worded" and rng.random() < 0.3:
        parts.append(pen.word("let me see") + " .")

    candidates = _candidates(rng, content)
    for number, candidate in enumerate(candidates[:patience]):
        if number and style == "worded" and rng.random() < 0.35:
            doubt = rng.choice(("wait", "wait", "hmm"))
            parts.append(pen.word(doubt))
        parts.append(_attempt(pen, candidate, target))
        if candidate.value == target:
            return Thought(style=style, text=" ".join(parts), answer=candidate.answer)

    # There may be no candidate left that was not tried.
    gives_refuted = rng.random() < 0.7 or len(candidates) <= patience
    options = candidates[:patience] if gives_refuted else candidates[patience:]
    last_guess = rng.choice(options)
    return Thought(style=style, text=" ".join(parts), answer=last_guess.answer)


def _attempt(pen: Pen, candidate: _Candidate, target: int) -> str:
    """One try of a search: `try 3 + 8 = 11 ? 12 no`."""
    # The pen draws its words in the order in which they are written.
    opening = pen.word("try")
    verdict = pen.verdict(candidate.value, target)
    return f"{opening} {candidate.text} {verdict}"


def search_to_the_end(rng: Random, content: Content, language: str) -> str:
    """The tries of a search up to the one that fits, at most twelve, with no words between them."""
    pen = Pen(rng, language, switching=0.0)
    target = _wanted(content)
    parts = []
    for candidate in _candidates(rng, content)[:12]:
        parts.append(_attempt(pen, candidate, target))
        if candidate.value == target:
            break
    return " ".join(parts)


def _wanted(content: Content) -> int:
    """The number that the value of a candidate must equal."""
    if content.family == "quadratic":
        return content.numbers[1]
    return content.target


def _steps(content: Content) -> tuple[int, list[tuple[str, int]]]:
    """The derivation of an arithmetic or linear problem: a first number, and steps of an operator and a number."""
    if content.family == "arithmetic":
        first, *others = content.numbers
        return first, list(zip(content.operators, others, strict=True))

    # A linear equation is solved by undoing the shift, then the factor.
    factor, shift = content.numbers
    (operator,) = content.operators
    steps = []
    if operator:
        steps.append(("-" if operator == "+" else "+", shift))
    if factor > 1:
        steps.append(("/", factor))
    return content.target, steps


def _result(left: int, operator: str, right: int) -> int:
    """The result of a step as a whole number in 0..49, also where an earlier slip has led elsewhere."""
    result = OPERATIONS[operator](left, right)
    return min(max(result, 0), LARGEST)


def _derive(pen: Pen, content: Content, style: str) -> Thought:
    """Writes the steps of a derivation, sometimes with a slip; a checked chain repeats each step and corrects slips."""
    rng = pen.rng
    parts = []
    value, steps = _steps(content)
    is_checked = style == "checked"

    slip_share = 3 * SLIP if is_checked else SLIP
    slip_at = rng.randrange(len(steps)) if rng.random() < slip_share else -1

    for number, (operator, right) in enumerate(steps):
        step = f"{value} {operator} {right}"
        result = _result(value, operator, right)
        shown = result
        if number == slip_at:
            neighbours = (result - 2, result - 1, result + 1, result + 2, result + 10)
            shown = rng.choice([neighbour for neighbour in neighbours if 0 <= neighbour <= LARGEST])

        link = ""
        if style == "worded":
            link = pen.word("then" if number else "first") + " "
        parts.append(f"{link}{step} = {shown}")

        if is_checked:
            check = pen.word("check")
            parts.append(f"{check} {step} = {result} {pen.verdict(result, shown)}")
            if shown != result:
                parts.append(f"{pen.word('wait')} {step} = {result}")

        # An unchecked chain goes on with its slip.
        value = result if is_checked else shown

    return Thought(style=style, text=" , ".join(parts), answer=str(value))
