r"""LaTeX around an answer: noise taken off, statements taken apart, and text that is no mathematics told from it.

What a model wrote is untrusted. Every function here reads it a fixed number of times from left to right and refuses
what is longer than `MAX_CHARS`.
"""

import re
from typing import Final

__all__ = [
    "MAX_CHARS",
    "clean",
    "fault",
    "has_inequality",
    "has_list",
    "has_relation",
    "is_balanced",
    "members",
    "split_list",
    "without_name",
]

MAX_CHARS: Final = 2_000
"""Longest answer that is read at all."""

MAX_DEPTH: Final = 10
"""Brackets within brackets that are read: the time of a parser doubles with each."""

MAX_ALGEBRA_CHARS: Final = 400
"""Longest clean text that is given to algebra."""

MAX_DIGITS: Final = 100
"""Shortest run of digits that is not given to algebra."""

MONEY: Final = "¤"
"""Stands for a money sign in clean text."""

_TYPED = str.maketrans(
    {
        "−": "-",
        "×": "\\times ",
        "·": "\\cdot ",
        "÷": "/",
        "°": "^\\circ ",
        "π": "\\pi ",
        "∞": "\\infty ",
        "≤": "\\le ",
        "≥": "\\ge ",
        "≠": "\\ne ",
        "≈": "\\approx ",
        "±": "\\pm ",
        "∪": "\\cup ",
        "∩": "\\cap ",
        "∈": "\\in ",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
    }
)
_PLAIN = re.compile(r"[\t\n\r\x20-\x7e¤]*")
_NOISE: Final = (
    (re.compile(r",\\!\s*|\{,\}"), ","),
    (re.compile(r"(?<=\d)\\[,;:!](?=\d{3}(?!\d))"), ","),
    (re.compile(r"(?<!\\)\\[,;:!>\s]|\\q?quad(?![A-Za-z])|~"), " "),
    (re.compile(r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\.?"), ""),
    (re.compile(r"\\(?:displaystyle|textstyle|limits|hfill)(?![A-Za-z])"), ""),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (
        re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal)|mathrm|mathbf|mathit|mathsf|mbox|hbox)(?![A-Za-z])\s*"),
        r"\\text",
    ),
    (re.compile(r"\\text\s+\{"), r"\\text{"),
    (re.compile(r"\\text\{\s*\}"), ""),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degrees?(?![A-Za-z])"), r"\\text{ degrees}"),
    (re.compile(r"\\(leq?|geq?|neq?)(?:q|slant)?(?![A-Za-z])"), lambda found: "\\" + found[1][:2]),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\\$"), MONEY),
    (re.compile(r"^\s*([+-]?)\s*\$(?=[^$]*$)"), rf"\1{MONEY}"),
    (re.compile(r"\\[()\[\]]|\$"), ""),
    (re.compile(r"^\s*\*\*([^*]*)\*\*\s*$"), r"\1"),
    (re.compile(r"\\text\{\s*(?:or|and)\s*\}|(?<![A-Za-z])(?:or|and)(?![A-Za-z])"), ","),
    (re.compile(r",\s*,"), ","),
)
_LARGE_POWER = re.compile(
    r"\^\s*\{[^{}]*\^|\^\s*\{?\s*[+-]?[0-9]{4,}|\*\*|\}\s*\^\s*\{[^{}]*\}\s*\^|(?<=\))\^\{?[0-9]{3,}"
)
_LONG_DIGITS = re.compile(rf"[0-9]{{{MAX_DIGITS},}}")
_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9])\s+|\s+(?![A-Za-z0-9])")
_ENDING = re.compile(r"[.,;\s]+$")
_NAME = re.compile(
    r"(?:\\text\{)?([A-Za-z]|\\[a-z]+)\}?(?:_\{?[A-Za-z0-9]{1,3}\}?)?'*(?:\([a-z](?:,[a-z])*\))?(=|\\in(?![A-Za-z]))"
)
_RELATION = re.compile(
    r"=|<|>|\\(?:le|ge|ne|lt|gt|in|notin|approx|sim|simeq|cong|equiv|to|mid|propto|subset|implies)(?![A-Za-z])"
)
_INEQUALITY = re.compile(r"[<>]|\\(?:le|ge|lt|gt)(?![A-Za-z])")
_ROUGHLY = re.compile(r"\\(?:approx|simeq|sim)(?![A-Za-z])")
_BRACKET = re.compile(r"\\[{}]|\\.|[()\[\]{}]", re.DOTALL)
_OPENING, _CLOSING = ("(", "[", "{", "\\{"), (")", "]", "}", "\\}")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{4,}|(?<![A-Za-z\\])(?:any|all|not|nan|inf|yes|no|oo|zoo)(?![A-Za-z])")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_COMMANDS: Final = frozenset(
    re.findall(
        r"\w+",
        "alpha approx arccos arccot arcsin arctan bar begin beta cap cdot cdots chi circ cos cosh cot coth csc "
        "cup delta Delta div dots ell emptyset end epsilon equiv eta exp frac gamma Gamma ge geq gt hat i imath "
        "in infty iota kappa lambda Lambda ldots le leq lg ln log lt mp mu ne neq nu "
        "omega Omega oplus over overline pi phi Phi pm prime psi Psi quad rho sec setminus sigma Sigma "
        "sin sinh sqrt tan tanh tau text theta Theta times to varphi varepsilon vec xi zeta mathbb mathcal "
        "varnothing langle rangle vert Vert lvert rvert angle triangle cong sim",
    )
)


def clean(text: str) -> str | None:
    r"""The text without what does not change its meaning: spacing, sizes, dollar signs, styles, a final full stop.

    `\dfrac` becomes `\frac`, `\mbox` becomes `\text`, `10,\!080` becomes `10,080`, `or` and `and` between results
    become commas, and blanks stay only where they part two names or numbers.

    Args:
        text: an answer.

    Returns:
        Clean text in ASCII, with `¤` for a money sign; None where the text is empty, too long, or has characters that
        are no mathematics, among them control characters, invisible ones, and digits and letters of other scripts.
    """
    if len(text) > MAX_CHARS:
        return None
    text = text.translate(_TYPED)
    if MONEY in text or not _PLAIN.fullmatch(text):
        return None
    # A comma at the end is noise only where it was written: `or` without a second result is none.
    text = _ENDING.sub("", text)
    for pattern, replacement in _NOISE:
        text = pattern.sub(replacement, text)
    return _LOOSE_SPACE.sub("", " ".join(text.split())).rstrip(".") or None


def without_name(text: str) -> tuple[str, str]:
    """A result and the name that `x =` or `x in` gives it, empty where there is none; clean text."""
    found = _NAME.match(text)
    return (text[found.end() :], found[1]) if found else (text, "")


def members(text: str) -> list[str]:
    r"""The sides of a chain of equations; what follows `\approx` is only a comment on what precedes it."""
    return _ROUGHLY.split(text, maxsplit=1)[0].split("=")


def has_relation(text: str) -> bool:
    """Whether anything is said to be equal to, less than, or in something."""
    return _RELATION.search(text) is not None


def has_inequality(text: str) -> bool:
    """Whether something is said to be less or more than something."""
    return _INEQUALITY.search(text) is not None


def has_list(text: str) -> bool:
    """Whether clean text lists several results outside of brackets."""
    return len(split_list(text)) > 1


def split_list(text: str) -> list[str]:
    """The parts between commas that are outside of all brackets."""
    parts, depth, start = [], 0, 0
    for found in re.finditer(r"\\[{}]|\\.|[()\[\]{},]", text, re.DOTALL):
        if found[0] in _OPENING:
            depth += 1
        elif found[0] in _CLOSING:
            depth -= 1
        elif found[0] == "," and depth <= 0:
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]


def fault(answer: str, gold: str) -> str:
    """Why clean text is not given to algebra; empty where it is.

    Args:
        answer: what a model wrote.
        gold: the reference; words, commands, factorials and large powers that stand in it may stand in the answer.
    """
    if len(answer) > max(MAX_ALGEBRA_CHARS, 2 * len(gold)):
        return f"it is longer than {MAX_ALGEBRA_CHARS} characters and needs algebra"
    if _LONG_DIGITS.search(answer):
        return f"it has a number of {MAX_DIGITS} digits or more"
    if _LARGE_POWER.search(answer) and not _LARGE_POWER.search(gold):
        return "it has a power of a power, or a large one"
    if "!" in answer and "!" not in gold:
        return "it has a factorial"
    known = set(_words(gold))
    for word in _words(answer):
        if word not in known:
            return f"it has the word {word[:40]!r}"
    for command in _COMMAND.findall(answer):
        if command not in _COMMANDS and f"\\{command}" not in gold:
            return f"it has the command {command[:40]!r}"
    return ""


def _words(text: str) -> list[str]:
    """Words of a language, in small letters: what stands in `text` commands, and long runs of letters outside."""
    inside = [word for content in _TEXT.findall(text) for word in re.findall(r"[A-Za-z]+", content)]
    outside = _TEXT.sub(" ", re.sub(r"\\(?:begin|end)\{[A-Za-z]+\*?\}|\\mathbb\{[A-Z]\}", " ", text))
    return [word.lower() for word in inside + _WORD.findall(outside)]


def is_balanced(text: str) -> bool:
    """Whether braces match, and other brackets close as often as they open; half-open intervals mix those."""
    braces, others, deepest = 0, 0, 0
    for found in _BRACKET.finditer(text):
        if found[0] in ("{", "}"):
            braces += 1 if found[0] == "{" else -1
        elif found[0] in _OPENING:
            others += 1
        elif found[0] in _CLOSING:
            others -= 1
        deepest = max(deepest, braces + others)
        if min(braces, others) < 0:
            return False
    return braces == others == 0 and deepest <= MAX_DEPTH
