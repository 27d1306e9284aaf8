r"""Text into tokens: the only place where notation that changes nothing is dropped.

Spacing, sizes, styles and dollar signs go; typed signs (`√`, `²`, `≤`, `€`) become the commands that mean the same;
`\dfrac` is `\frac`, `10{,}080` is 10080. A comma in `1,234` is decided by what stands around it. What a model wrote is
untrusted: every pattern here reads it once from left to right.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from aha.rewards.math.units import SPACED_LETTERS, is_unit

__all__ = [
    "CLOSING",
    "DOTS",
    "MAX_CHARS",
    "OPENING",
    "Token",
    "TokenReader",
    "UnreadableError",
    "is_balanced",
    "plain_text",
    "spelling",
    "tokenize",
]

MAX_CHARS: Final = 2_000
"""Longest answer that is read at all."""

MAX_TOKENS: Final = 700
"""Most tokens of an answer."""

OPENING: Final = ("(", "[", "{", "\\{")
DOTS: Final = ("\\ldots", "\\dots", "\\cdots", "...")
CLOSING: Final = (")", "]", "}", "\\}")

TokenKind = Literal["number", "letter", "word", "command", "sign"]


class UnreadableError(ValueError):
    """Text that is no mathematics which can be read: where it stops, and why.

    Attributes:
        is_torn: the text ends where more must follow, so it is no complete text in any reading.
    """

    def __init__(self, reason: str, *, is_torn: bool = False) -> None:
        """Say why."""
        super().__init__(reason)
        self.is_torn = is_torn


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: `number` and `letter` are text as written, `word` is a word or the content of a `text` command, `command`
            is a command of LaTeX without its backslash, `sign` is all else.
        text: what stands there.
        start: its place in the plain text.
        is_apart: a blank precedes it.
    """

    kind: TokenKind
    text: str
    start: int
    is_apart: bool = False


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_TYPED: Final = str.maketrans(
    {
        "−": "-", "–": "-", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "÷": "\\div ", "°": "^\\circ ",
        "π": "\\pi ", "∞": "\\infty ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "≈": "\\approx ", "±": "\\pm ",
        "∓": "\\mp ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∅": "\\emptyset ", "√": "\\sqrt ", "∠": "\\angle ",
        "△": "\\triangle ", "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "λ": "\\lambda ",
        "μ": "\\mu ", "ℝ": "\\mathbb{R} ", "€": "\\euro ", "£": "\\pounds ", "′": "'", "’": "'", "…": "\\ldots ",
        "¥": "\\yen ", "₹": "\\rupee ", "∛": "\\sqrt[3]",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "⟨": "\\langle ", "⟩": "\\rangle ",
    }
)  # fmt: skip


def _without_blanks(match: re.Match[str]) -> str:
    """A number whose thousands are set apart, as in 10 000."""
    return match[0].replace(" ", "")


_PLAIN = re.compile(r"[\t\n\r\x20-\x7e]*")
_STYLE = r"(?:text(?:bf|it|rm|sf|tt|normal|up)?|mathrm|mathbf|mathit|mathsf|mbox|hbox|textnormal|operatorname|bf|rm)"
_SPACING: Final = (
    (re.compile(r"\\(?:boxed|fbox)\s*(?=\{)"), ""),
    (re.compile(r"\.\.+"), r"\\ldots "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\\(?:lor|vee)(?![A-Za-z])"), " or "),
    (re.compile(r"\\(?:land|wedge)(?![A-Za-z])"), " and "),
    (re.compile(r"(?<![0-9./])([0-9]+)(?:\^?th|\^\{th\}|\^?\\text\{th\}|\^\{\\text\{th\}\})(?![A-Za-z])"), r"\1"),
    (re.compile(r"\\(?:text|mathrm|mbox)\s*\{[\s~]*sec\s*\}"), r"\\text{seconds}"),
    (re.compile(r"(?<=[0-9/]) ?sec(?![A-Za-z])(?!\s*[\\({^A-Za-z0-9])"), r" seconds"),
    (re.compile(r"(?<=[0-9])\s*x\s*(?=10\s*\^)"), r" \\times "),
    (re.compile(r"(?<=[)\]])\s*U\s*(?=[(\[])"), r" \\cup "),
    (
        re.compile(r"(?<![0-9A-Za-z.,_^{}] )(?<![0-9A-Za-z.,_^{}])[0-9]{1,3}(?: [0-9]{3})+(?![0-9]|\s*/)"),
        _without_blanks,
    ),
    (re.compile(r"(?<=[0-9])(?:,\\!\s*|\{,\}|\\[,;:!]\s*)(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile(r"(?<!\\)\\(?:[,;:!>\s]|q?quad|hspace\*?\{[^{}]*\}|hfill(?![A-Za-z]))|~"), " "),
    (re.compile(r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?"), ""),
    (re.compile(r"\\(?:displaystyle|textstyle|limits|nolimits|boldsymbol|bold|mathop|rm|bf|it)(?![A-Za-z])"), ""),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(leq?|geq?|neq?)(?:q|slant)?(?![A-Za-z])"), lambda match: "\\" + match[1][:2]),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\[()\[\]]"), " "),
)
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z]{2}|[{}%$])")
_DOLLAR = re.compile(r"(?<!\\)\$")
_EMPHASIS = re.compile(r"\s*\*\*([^*]*)\*\*\s*")
_ENDING = re.compile(r"(?:(?<!\.)\.(?!\.)|[,;:\s]|\\[,;:! ])+$")
_TOKEN = re.compile(
    rf"""
    (?P<repeating>[0-9]*\.[0-9]*\\(?:overline|bar)\s*\{{?[0-9]+\}}?)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{{1,3}}(?![0-9A-Za-z.]))?)
    | \\{_STYLE}\s*\{{(?P<words>[^{{}}]*)\}}
    | \\{_STYLE}\s+(?P<styled>[A-Za-z])(?![A-Za-z])
    | \\mathbb\s*\{{?\s*(?P<field>[A-Z])\s*\}}?
    | \\(?:vec|hat|overrightarrow|mathcal|mathbf)\s*(?:\{{\s*(?P<arrow>[A-Za-z]{{1,2}})\s*\}}|(?P<arrow1>[A-Za-z]))
    | \\(?P<command>[A-Za-z]+)
    | (?P<brace>\\[{{}}]) | (?P<row>\\\\) | (?P<norm>\\\|) | (?P<percent>\\%)
    | (?P<letters>[A-Za-z]+)
    | (?P<sign><=|>=|!=|\.\.\.|[^\sA-Za-z0-9\\])
    """,
    re.VERBOSE,
)
_TYPED_FUNCTIONS: Final = frozenset(
    re.findall(r"\w+", "sin cos tan cot sec csc arcsin arccos arctan arccot log ln exp sqrt gcd lcm pi")
)
_INFINITIES: Final = frozenset(["inf", "infinity", "oo"])
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SEPARATORS: Final = frozenset(["or", "and"])
_VOWEL = re.compile("[aeiouy]")


def plain_text(text: str) -> str | None:
    """An answer without what does not change its meaning, in ASCII.

    Returns:
        The text, from which `tokenize` reads; None where it is empty or too long, or has characters that are no
        mathematics: control characters, invisible ones, digits and letters of other scripts.
    """
    if len(text) > MAX_CHARS:
        return None
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text).translate(_TYPED)
    if not _PLAIN.fullmatch(text):
        return None

    # Outside of a matrix two backslashes before a command are one that was escaped twice.
    if "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)

    emphasised = _EMPHASIS.fullmatch(text)
    text = _ENDING.sub("", emphasised[1] if emphasised else text)
    for pattern, replacement in _SPACING:
        text = pattern.sub(replacement, text)

    # A single dollar sign is money; several stand around mathematics.
    is_money = len(_DOLLAR.findall(text)) == 1
    text = _DOLLAR.sub(lambda _: "\\money " if is_money else "", text).replace("\\$", "\\money ")
    return " ".join(_ENDING.sub("", text).split()) or None


def tokenize(text: str) -> list[Token]:
    """Tokens of a plain text.

    Raises:
        UnreadableError: a character that begins no token, or too many tokens.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        is_apart = text[position] == " "
        position += is_apart
        match = _TOKEN.match(text, position)
        if match is None:
            raise UnreadableError(f"{text[position : position + 20]!r} is no mathematics")
        tokens += _read(match, is_apart, tokens[-1] if tokens else None)
        position = match.end()
        if len(tokens) > MAX_TOKENS:
            raise UnreadableError(f"it has more than {MAX_TOKENS} tokens")
    return _join_thousands(tokens)


def _read(match: re.Match[str], is_apart: bool, before: Token | None) -> list[Token]:
    """The tokens of one match; several where letters stand side by side."""
    kind, text, start = match.lastgroup or "", match[match.lastgroup or 0], match.start()
    match kind:
        case "number" | "repeating":
            return [Token("number", text, start, is_apart)]
        case "words":
            if (
                match[0].startswith("\\math")
                and text.strip().isalpha()
                and len(text) <= 3
                and not (is_unit(text) and _ends_number(before))
            ):
                return _letters(text.strip(), start, is_apart, before)
            return _words(text.strip(), start, is_apart, before)
        case "styled" | "arrow1":
            return [Token("letter", text, start, is_apart)]
        case "field":
            return [Token("command", f"mathbb{text}", start, is_apart)]
        case "arrow" | "letters":
            return _letters(text, start, is_apart, before)
        case "command":
            return [Token("command", text, start, is_apart)]
        case "percent":
            return [Token("sign", "%", start, is_apart)]
        case "sign":
            return [Token("sign", {"<=": "\\le", ">=": "\\ge", "!=": "\\ne"}.get(text, text), start, is_apart)]
    return [Token("sign", text, start, is_apart)]


def _words(text: str, start: int, is_apart: bool, before: Token | None) -> list[Token]:
    """The content of a text command: a separator, a letter, or words; behind a number a letter may be its unit."""
    if text in _TYPED_FUNCTIONS:
        return [Token("command", text, start, is_apart)]
    if _NUMBER.fullmatch(text):
        return [Token("number", text, start, is_apart)]
    if text == ",":
        return [Token("sign", text, start, is_apart)]
    if text.lower().strip(" ,") in _SEPARATORS:
        return [Token("sign", text.lower().strip(" ,"), start, is_apart)]
    is_unit_letter = text in SPACED_LETTERS and _ends_number(before)
    if len(text) == 1 and text.strip().isalpha() and not is_unit_letter:
        return [Token("letter", text, start, is_apart)]
    return [Token("word", text, start, is_apart)] if text else []


def _letters(text: str, start: int, is_apart: bool, before: Token | None) -> list[Token]:
    """Letters side by side: a typed function, a separator, a unit, a word, or a product of variables."""
    if text in _TYPED_FUNCTIONS:
        return [Token("command", text, start, is_apart)]
    if text in _SEPARATORS:
        return [Token("sign", text, start, is_apart)]
    if text in _INFINITIES:
        return [Token("command", "infty", start, is_apart)]

    # Behind a number cm is a unit and men a word; elsewhere letters are a product. Four letters and more are a word,
    # unless they are all capitals as the corners of a figure are.
    is_noun = is_apart and len(text) == 3 and _VOWEL.search(text) is not None and text.islower()
    is_word = len(text) >= 4 and not text.isupper()
    if is_word or (_ends_number(before) and (is_unit(text) or is_noun)):
        return [Token("word", text, start, is_apart)]
    return [Token("letter", letter, start + index, is_apart and index == 0) for index, letter in enumerate(text)]


def _ends_number(token: Token | None) -> bool:
    """Whether a unit may follow a token."""
    return token is not None and (token.kind in ("number", "word") or token.text in (")", "}", "%", "/", "pi"))


def _join_thousands(tokens: list[Token]) -> list[Token]:
    """Commas between groups of three digits dropped where they part thousands.

    Outside of brackets `1,234` is one number and `1, 234` is two. In brackets it is two, as in `(1,234)`, unless
    another comma there is followed by a blank, as in `(1,234, 5)`.
    """
    if not any(token.text == "," for token in tokens):
        return tokens

    has_blank_comma: set[int] = set()
    levels: list[int] = []
    open_levels = [0]
    for index, token in enumerate(tokens):
        if token.text in ("(", "[", "\\{"):
            open_levels.append(index + 1)
        levels.append(open_levels[-1])
        if token.text in (")", "]", "\\}") and len(open_levels) > 1:
            open_levels.pop()
        if token.text == "," and index + 1 < len(tokens) and tokens[index + 1].is_apart:
            has_blank_comma.add(levels[-1])

    joined: list[Token] = []
    index = 0
    while index < len(tokens):
        end = _end_of_thousands(tokens, index)
        if end > index + 1 and (levels[index] == 0 or levels[index] in has_blank_comma):
            digits = "".join(token.text for token in tokens[index:end] if token.text != ",")
            joined.append(replace(tokens[index], text=digits))
            index = end
        else:
            # A run of groups that are no thousands stays as it is, as a whole.
            joined += tokens[index:end]
            index = end
    return joined


def _end_of_thousands(tokens: Sequence[Token], start: int) -> int:
    """Where a run such as 1,234,567 ends that begins at a token; the next token where none does."""
    if not re.fullmatch("[0-9]{1,3}", tokens[start].text):
        return start + 1
    before = tokens[max(0, start - 2) : start]
    if len(before) == 2 and before[0].kind == "number" and before[1].text == "," and not tokens[start].is_apart:
        # 1,2,345 is a list.
        return start + 1
    end = start + 1
    while end + 1 < len(tokens) and tokens[end].text == "," and not tokens[end].is_apart:
        group = tokens[end + 1]
        is_group = group.kind == "number" and not group.is_apart and re.fullmatch(r"[0-9]{3}(?:\.[0-9]*)?", group.text)
        if not is_group:
            # 1,234,5 is a list: then 1,234 is no number either.
            return start + 1 if group.kind == "number" and not group.is_apart else end
        end += 2
    return end


def is_balanced(text: str) -> bool:
    """Whether braces match, and other brackets close as often as they open; half-open intervals mix those."""
    braces, others = 0, 0
    for match in re.finditer(r"\\[{}]|\\.|[()\[\]{}]", text):
        if match[0] in ("{", "}"):
            braces += 1 if match[0] == "{" else -1
        elif match[0] in OPENING:
            others += 1
        elif match[0] in CLOSING:
            others -= 1
        if min(braces, others) < 0:
            return False
    return braces == others == 0


class TokenReader:
    """Reads tokens one by one; `position` is where it stands."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Stand before the first token."""
        self.tokens = list(tokens)
        self.position = 0

    def peek(self, ahead: int = 0) -> Token | None:
        """The token that comes next, or later; None behind the last."""
        index = self.position + ahead
        return self.tokens[index] if index < len(self.tokens) else None

    def is_next(self, *texts: str) -> bool:
        r"""Whether the next token is one of these signs, or of these commands, written with their backslash."""
        token = self.peek()
        return token is not None and spelling(token) in texts

    def take(self) -> Token:
        """The next token, which is then behind."""
        token = self.peek()
        if token is None:
            raise UnreadableError("it ends too early", is_torn=True)
        self.position += 1
        return token

    def skip(self, *texts: str) -> bool:
        """Take the next token if it is one of these."""
        is_there = self.is_next(*texts)
        self.position += is_there
        return is_there

    def expect(self, text: str) -> None:
        """Take the next token, which must be this one."""
        if not self.skip(text):
            raise self.stopped()

    def stopped(self) -> UnreadableError:
        """What to raise where nothing fits."""
        token = self.peek()
        if token is None:
            return UnreadableError("it ends too early", is_torn=True)
        return UnreadableError(f"it cannot be read from {token.text!r} on")


def spelling(token: Token) -> str:
    """A token as `is_next` names it."""
    return f"\\{token.text}" if token.kind == "command" else token.text if token.kind == "sign" else ""
