"""Near misses: references with one change, for audits and tests of verifiers.

A change may keep the value (`(-x)^2` for `(x)^2`), so a near miss that a verifier accepts is not always its fault.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

__all__ = ["CHANGES", "near_misses"]


def near_misses(references: Sequence[str], count: int, rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Draws references, and changes each of them in one place.

    Args:
        references: answers as data sets have them; repeated ones are drawn more often.
        count: number of near misses.
        rng: draws the reference, the change and its position.

    Yields:
        The kind of change, the reference, and the answer, which is never the same text.

    Raises:
        ValueError: too few references can be changed.
    """
    # Sorted, so that the order of the table does not decide what a seed draws.
    kinds = sorted(CHANGES)
    num_left = count

    # Many draws fail, because the change does not apply to the reference.
    for _ in range(100 * count + 1 if references else 0):
        if not num_left:
            return
        reference = rng.choice(references)
        kind = rng.choice(kinds)
        answer = CHANGES[kind](reference, rng)
        if answer is None:
            continue

        # Blanks alone change nothing, and an answer with other blanks is right.
        if re.sub(r"\s", "", answer) != re.sub(r"\s", "", reference):
            num_left -= 1
            yield kind, reference, answer

    if num_left:
        raise ValueError(f"only {count - num_left} near misses can be made of {len(references)} references")


def _replace(pattern: str, change: Callable[[re.Match[str], random.Random], str]) -> "Change":
    """Makes the change that replaces a random match of a pattern."""

    def apply(text: str, rng: random.Random) -> str | None:
        matches = list(re.finditer(pattern, text))
        if not matches:
            return None
        match = rng.choice(matches)
        replacement = change(match, rng)
        return text[: match.start()] + replacement + text[match.end() :]

    return apply


def _swap(pairs: dict[str, str]) -> Callable[[re.Match[str], random.Random], str]:
    return lambda match, rng: pairs[match[0]]


def _next_number(match: re.Match[str], rng: random.Random) -> str:
    return str(max(0, int(match[0]) + rng.choice((-1, 1, 10))))


def _drop_item(text: str, rng: random.Random) -> str | None:
    """A list without a random item."""
    # Beside braces a comma may be no separator, as in 10{,}080.
    parts = text.split(",")
    if len(parts) < 2 or "{" in text:
        return None
    parts.pop(rng.randrange(len(parts)))
    return ",".join(parts)


def _add_item(text: str, rng: random.Random) -> str | None:
    return f"{text}, {rng.randrange(100)}"


def _negate(text: str, rng: random.Random) -> str | None:
    del rng
    if text.startswith("-"):
        return text[1:]
    return f"-{text}" if re.match(r"[0-9\\a-z]", text) else None


Change = Callable[[str, random.Random], str | None]

CHANGES: Final[dict[str, Change]] = {
    "number": _replace(r"(?<![0-9.,])[0-9]{1,6}(?![0-9.,])", _next_number),
    "decimal": _replace(r"(?<=\.)[0-9]+", lambda match, rng: match[0] + str(rng.randrange(1, 10))),
    "sign": _replace(r"(?<=[0-9a-z})])\s*[+-](?=\s*[0-9a-z\\(])", lambda match, rng: "+" if "-" in match[0] else "-"),
    "leading sign": _negate,
    "case": _replace(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", lambda match, rng: match[0].swapcase()),
    "letter": _replace(r"(?<![\\A-Za-z])[b-hj-z](?![A-Za-z])", lambda match, rng: "a"),
    "operator": _replace(r"\\cdot|\\times|(?<=[0-9a-z])\+", _swap({"\\cdot": "+", "\\times": "+", "+": "\\cdot "})),
    "power": _replace(r"\^\{?[0-9]\}?", lambda match, rng: f"^{{{rng.randrange(4, 9)}}}"),
    "root": _replace(r"\\sqrt", lambda match, rng: "\\sqrt[3]"),
    "constant": _replace(r"\\pi(?![a-z])", lambda match, rng: "e"),
    "subscript": _replace(r"_\{?[0-9a-z]\}?", lambda match, rng: f"_{{{rng.randrange(7, 10)}}}"),
    "relation": _replace(
        r"\\leq?(?![a-z])|\\geq?(?![a-z])|<|>",
        _swap({"\\le": "<", "\\leq": "<", "\\ge": ">", "\\geq": ">", "<": "\\le ", ">": "<"}),
    ),
    "bracket": _replace(r"^\(|^\[|\)$|\]$", _swap({"(": "[", "[": "(", ")": "]", "]": ")"})),
    "infinity": _replace(r"\\infty", lambda match, rng: str(rng.randrange(100))),
    "unit": _replace(
        r"\\(?:text|mbox|mathrm)\s*\{\s*(?:cm|m|km|inches|feet|meters|miles|hours|minutes|dollars|cents)\s*\}",
        lambda match, rng: r"\text{ seconds}",
    ),
    "percent": _replace(r"\\?%", lambda match, rng: r"\text{ cm}"),
    "item fewer": _drop_item,
    "item more": _add_item,
    "fraction turned round": _replace(
        r"\\frac\{([^{}]+)\}\{([^{}]+)\}", lambda match, rng: rf"\frac{{{match[2]}}}{{{match[1]}}}"
    ),
    "function": _replace(r"\\(?:sin|cos|tan|ln|log)(?![a-z])", lambda match, rng: rng.choice(("\\cot", "\\arctan"))),
    "times two": lambda text, rng: f"2({text})" if not re.search(r"[,=<>]|\\text|\\mbox", text) else None,
    "word": lambda text, rng: f"{text} \\text{{ {rng.choice(('squared', 'million', 'or more', 'factorial'))}}}",
}
"""The changes by name; each returns None where there is nothing to change."""
