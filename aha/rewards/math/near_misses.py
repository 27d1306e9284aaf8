"""Answers that are nearly right: references with one thing changed, for audits and tests of verifiers.

A change may leave a value as it was (`(-x)^2` for `(x)^2`), so what a verifier pays of them has to be looked at.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

__all__ = ["CHANGES", "near_misses"]


def near_misses(references: Sequence[str], count: int, rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Pairs of a reference and an answer that differs from it in one place.

    Args:
        references: answers as data sets have them; repeated ones are drawn more often.
        count: pairs.
        rng: draws the reference, the change and its place.

    Yields:
        The kind of change, the reference, the answer; never two equal texts.

    Raises:
        ValueError: no reference can be changed.
    """
    kinds = sorted(CHANGES)
    num_left = count
    for _ in range(100 * count + 1 if references else 0):
        if not num_left:
            return
        reference, kind = rng.choice(references), rng.choice(kinds)
        answer = CHANGES[kind](reference, rng)
        if answer is not None and re.sub(r"\s", "", answer) != re.sub(r"\s", "", reference):
            num_left -= 1
            yield kind, reference, answer
    if num_left:
        raise ValueError(f"only {count - num_left} near misses can be made of {len(references)} references")


def _replaced(pattern: str, change: Callable[[re.Match[str], random.Random], str]) -> "Change":
    """A change of one match of a pattern."""

    def apply(text: str, rng: random.Random) -> str | None:
        matches = list(re.finditer(pattern, text))
        if not matches:
            return None
        match = rng.choice(matches)
        return text[: match.start()] + change(match, rng) + text[match.end() :]

    return apply


def _swapped(pairs: dict[str, str]) -> Callable[[re.Match[str], random.Random], str]:
    return lambda match, rng: pairs[match[0]]


def _next_number(match: re.Match[str], rng: random.Random) -> str:
    return str(max(0, int(match[0]) + rng.choice((-1, 1, 10))))


def _without_one(text: str, rng: random.Random) -> str | None:
    """A list without one of its items."""
    parts = text.split(",")
    if len(parts) < 2 or "{" in text:
        return None
    parts.pop(rng.randrange(len(parts)))
    return ",".join(parts)


def _with_one_more(text: str, rng: random.Random) -> str | None:
    return f"{text}, {rng.randrange(100)}"


def _negated(text: str, rng: random.Random) -> str | None:
    del rng
    return text[1:] if text.startswith("-") else f"-{text}" if re.match(r"[0-9\\a-z]", text) else None


Change = Callable[[str, random.Random], str | None]

CHANGES: Final[dict[str, Change]] = {
    "number": _replaced(r"(?<![0-9.,])[0-9]{1,6}(?![0-9.,])", _next_number),
    "decimal": _replaced(r"(?<=\.)[0-9]+", lambda match, rng: match[0] + str(rng.randrange(1, 10))),
    "sign": _replaced(r"(?<=[0-9a-z})])\s*[+-](?=\s*[0-9a-z\\(])", lambda match, rng: "+" if "-" in match[0] else "-"),
    "leading sign": _negated,
    "case": _replaced(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", lambda match, rng: match[0].swapcase()),
    "letter": _replaced(r"(?<![\\A-Za-z])[b-hj-z](?![A-Za-z])", lambda match, rng: "a" if match[0] != "a" else "b"),
    "operator": _replaced(r"\\cdot|\\times|(?<=[0-9a-z])\+", _swapped({"\\cdot": "+", "\\times": "+", "+": "\\cdot "})),
    "power": _replaced(r"\^\{?[0-9]\}?", lambda match, rng: f"^{{{rng.randrange(4, 9)}}}"),
    "root": _replaced(r"\\sqrt", lambda match, rng: "\\sqrt[3]"),
    "constant": _replaced(r"\\pi(?![a-z])", lambda match, rng: "e"),
    "subscript": _replaced(r"_\{?[0-9a-z]\}?", lambda match, rng: f"_{{{rng.randrange(7, 10)}}}"),
    "relation": _replaced(
        r"\\leq?(?![a-z])|\\geq?(?![a-z])|<|>",
        _swapped({"\\le": "<", "\\leq": "<", "\\ge": ">", "\\geq": ">", "<": "\\le ", ">": "<"}),
    ),
    "bracket": _replaced(r"^\(|^\[|\)$|\]$", _swapped({"(": "[", "[": "(", ")": "]", "]": ")"})),
    "infinity": _replaced(r"\\infty", lambda match, rng: str(rng.randrange(100))),
    "unit": _replaced(
        r"\\(?:text|mbox|mathrm)\s*\{\s*(?:cm|m|km|inches|feet|meters|miles|hours|minutes|dollars|cents)\s*\}",
        lambda match, rng: r"\text{ seconds}",
    ),
    "percent": _replaced(r"\\?%", lambda match, rng: r"\text{ cm}"),
    "item fewer": _without_one,
    "item more": _with_one_more,
    "fraction turned round": _replaced(
        r"\\frac\{([^{}]+)\}\{([^{}]+)\}", lambda match, rng: rf"\frac{{{match[2]}}}{{{match[1]}}}"
    ),
    "function": _replaced(r"\\(?:sin|cos|tan|ln|log)(?![a-z])", lambda match, rng: rng.choice(("\\cot", "\\arctan"))),
    "times two": lambda text, rng: f"2({text})" if not re.search(r"[,=<>]|\\text|\\mbox", text) else None,
    "word": lambda text, rng: f"{text} \\text{{ {rng.choice(('squared', 'million', 'or more', 'factorial'))}}}",
}
"""From the name of a change to a function that makes it; None where there is nothing to change."""
