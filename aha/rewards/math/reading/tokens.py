r"""Text into tokens: the only place where notation that means nothing is dropped.

Spacing, sizes, styles and dollar signs are dropped; Unicode signs (`√`, `²`, `≤`, `€`) become the commands that mean
the same; `\dfrac` becomes `\frac`, and `10{,}080` becomes 10080. Whether `1,234` is one number or two depends on its
context. Model output is untrusted: every pattern here reads it once from left to right.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from aha.rewards.math.reading.units import SPACED_LETTERS, is_unit

__all__ = [
    "CLOSING",
    "DOTS",
    "MAX_CHARS",
    "OPENING",
    "Token",
    "UnreadableError",
    "is_balanced",
    "plain_text",
    "tokenize",
]

MAX_CHARS: Final = 2_000
"""Largest length of an answer that is read, in characters."""

MAX_TOKENS: Final = 700
"""Largest number of tokens of an answer."""

OPENING: Final = ("(", "[", "{", "\\{")
DOTS: Final = ("\\ldots", "\\dots", "\\cdots", "...")
CLOSING: Final = (")", "]", "}", "\\}")

TokenKind = Literal["number", "letter", "word", "command", "sign"]


class UnreadableError(ValueError):
    """A text cannot be read as mathematics; the message says where reading stopped, and why.

    Attributes:
        is_torn: the text ends where more must follow, so that it is incomplete in any reading.
    """

    def __init__(self, reason: str, *, is_torn: bool = False) -> None:
        """Keeps the reason as the message."""
        super().__init__(reason)
        self.is_torn = is_torn


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: `number` and `letter` are text as written, `word` is a word or the content of a `text` command, `command`
            is a command of LaTeX without its backslash, `sign` is anything else.
        text: its text.
        start: its index in the plain text.
        is_apart: whether a blank precedes it.
    """

    kind: TokenKind
    text: str
    start: int
    is_apart: bool = False


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
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
    """A number without the blanks between its thousands, as in `10 000`."""
    return match[0].replace(" ", "")


_PLAIN = re.compile(r"[\t\n\r\x20-\x7e]*")
_STYLE = r"(?:text(?:bf|it|rm|sf|tt|normal|up)?|mathrm|mathbf|mathit|mathsf|mbox|hbox|textnormal|operatorname|bf|rm)"
_SPACING: Final = (
    # A box within the box of the answer.
    (re.compile(r"\\(?:boxed|fbox)\s*(?=\{)"), ""),
    (re.compile(r"\.\.+"), r"\\ldots "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\\(?:lor|vee)(?![A-Za-z])"), " or "),
    (re.compile(r"\\(?:land|wedge)(?![A-Za-z])"), " and "),
    # `6th`, as ASDiv has it; 1/6th is a part and no ordinal.
    (re.compile(r"(?<![0-9./])([0-9]+)(?:\^?th|\^\{th\}|\^?\\text\{th\}|\^\{\\text\{th\}\})(?![A-Za-z])"), r"\1"),
    # Seconds are told from the secant by what stands before them and after: `ft / sec` of College Math, `5 sec`.
    (re.compile(r"\\(?:text|mathrm|mbox)\s*\{[\s~]*sec\s*\}"), r"\\text{seconds}"),
    (re.compile(r"(?<=[0-9/]) ?sec(?![A-Za-z])(?!\s*[\\({^A-Za-z0-9])"), r" seconds"),
    # A typed cross and a typed union are letters that stand where no variable can.
    (re.compile(r"(?<=[0-9])\s*x\s*(?=10\s*\^)"), r" \\times "),
    (re.compile(r"(?<=[)\]])\s*U\s*(?=[(\[])"), r" \\cup "),
    # `10 000`, but not the mixed number `1 100/101`, and nothing that follows another number or a letter.
    (
        re.compile(r"(?<![0-9A-Za-z.,_^{}] )(?<![0-9A-Za-z.,_^{}])[0-9]{1,3}(?: [0-9]{3})+(?![0-9]|\s*/)"),
        _without_blanks,
    ),
    # `10,\!080` and `8{,}880` are thousands of MATH; the plain comma of `1,234` waits for its context.
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
    """An answer in ASCII, without the notation that does not change its meaning.

    Returns:
        The text, which `tokenize` reads. None where it is empty or too long, or has characters that do not belong to
        mathematics: control characters, invisible characters, digits and letters of other scripts.
    """
    if len(text) > MAX_CHARS:
        return None

    text = _SUPERSCRIPT_RUN.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    text = text.translate(_TYPED)
    if not _PLAIN.fullmatch(text):
        return None

    # Outside of a matrix, two backslashes before a command are one backslash that was escaped twice.
    if "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)

    emphasised = _EMPHASIS.fullmatch(text)
    if emphasised:
        text = emphasised[1]
    text = _ENDING.sub("", text)

    # The order of the patterns matters: later ones see what earlier ones leave.
    for pattern, replacement in _SPACING:
        text = pattern.sub(replacement, text)

    # A single dollar sign is money; several of them delimit mathematics.
    is_money = len(_DOLLAR.findall(text)) == 1
    text = _DOLLAR.sub(lambda _: "\\money " if is_money else "", text)
    text = text.replace("\\$", "\\money ")

    # What a replacement leaves at the end may be punctuation again.
    return " ".join(_ENDING.sub("", text).split()) or None


def tokenize(text: str) -> list[Token]:
    """The tokens of a plain text.

    Raises:
        UnreadableError: a character begins no token, or there are too many tokens.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        is_apart = text[position] == " "
        position += is_apart
        match = _TOKEN.match(text, position)

        if match is None:
            raise UnreadableError(f"{text[position : position + 20]!r} is no mathematics")

        previous = tokens[-1] if tokens else None
        tokens += _match_tokens(match, is_apart, previous)
        position = match.end()

        if len(tokens) > MAX_TOKENS:
            raise UnreadableError(f"it has more than {MAX_TOKENS} tokens")

    return _join_thousands(tokens)


def _match_tokens(match: re.Match[str], is_apart: bool, before: Token | None) -> list[Token]:
    """The tokens of one match of the token pattern; several where letters stand side by side."""
    group = match.lastgroup or ""
    text = match[match.lastgroup or 0]
    start = match.start()

    match group:
        case "number" | "repeating":
            return [Token("number", text, start, is_apart)]
        case "words":
            # `\mathrm{ab}` is a product of variables, unless it is the unit of a number.
            words = text.strip()
            is_short_math = match[0].startswith("\\math") and words.isalpha() and len(text) <= 3
            if is_short_math and not (is_unit(text) and _ends_number(before)):
                return _letter_tokens(words, start, is_apart, before)
            return _text_tokens(words, start, is_apart, before)
        case "styled" | "arrow1":
            return [Token("letter", text, start, is_apart)]
        case "field":
            return [Token("command", f"mathbb{text}", start, is_apart)]
        case "arrow" | "letters":
            return _letter_tokens(text, start, is_apart, before)
        case "command":
            return [Token("command", text, start, is_apart)]
        case "percent":
            return [Token("sign", "%", start, is_apart)]
        case "sign":
            sign = {"<=": "\\le", ">=": "\\ge", "!=": "\\ne"}.get(text, text)
            return [Token("sign", sign, start, is_apart)]

    return [Token("sign", text, start, is_apart)]


def _text_tokens(text: str, start: int, is_apart: bool, before: Token | None) -> list[Token]:
    """The tokens of the content of a `text` command: a function, number, separator, letter, or words.

    After a number, a single letter may be its unit and is a word then.
    """
    if text in _TYPED_FUNCTIONS:
        return [Token("command", text, start, is_apart)]
    if _NUMBER.fullmatch(text):
        return [Token("number", text, start, is_apart)]
    if text == ",":
        return [Token("sign", text, start, is_apart)]
    # `19 \text{ and }43` of MATH is a list; a comma may stand beside the word.
    separator = text.lower().strip(" ,")
    if separator in _SEPARATORS:
        return [Token("sign", separator, start, is_apart)]

    is_unit_letter = text in SPACED_LETTERS and _ends_number(before)
    if len(text) == 1 and text.strip().isalpha() and not is_unit_letter:
        return [Token("letter", text, start, is_apart)]

    return [Token("word", text, start, is_apart)] if text else []


def _letter_tokens(text: str, start: int, is_apart: bool, before: Token | None) -> list[Token]:
    """Letters side by side: a typed function, a separator, a unit, a word, or a product of variables."""
    if text in _TYPED_FUNCTIONS:
        return [Token("command", text, start, is_apart)]
    if text in _SEPARATORS:
        return [Token("sign", text, start, is_apart)]
    if text in _INFINITIES:
        return [Token("command", "infty", start, is_apart)]

    # After a number, `cm` is a unit and `men` a noun; elsewhere they are products of variables. Four letters or more
    # are a word, unless they are all capitals like the corners of a figure.
    is_noun = is_apart and len(text) == 3 and _VOWEL.search(text) is not None and text.islower()
    is_word = len(text) >= 4 and not text.isupper()
    if is_word or (_ends_number(before) and (is_unit(text) or is_noun)):
        return [Token("word", text, start, is_apart)]

    tokens: list[Token] = []
    for index, letter in enumerate(text):
        tokens.append(Token("letter", letter, start + index, is_apart and index == 0))
    return tokens


def _ends_number(token: Token | None) -> bool:
    """Whether a token may end a number, so that a unit may follow it."""
    if token is None:
        return False
    return token.kind in ("number", "word") or token.text in (")", "}", "%", "/", "pi")


def _join_thousands(tokens: list[Token]) -> list[Token]:
    """Joins the groups of digits of numbers such as `1,234`.

    Outside of brackets, `1,234` is one number and `1, 234` is two. In brackets it is two, as in `(1,234)`, unless
    another comma there is followed by a blank, as in `(1,234, 5)`.
    """
    if not any(token.text == "," for token in tokens):
        return tokens

    # The level of a token is the index of the bracket around it plus 1; 0 outside of all brackets.
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
        may_join = levels[index] == 0 or levels[index] in has_blank_comma
        if end > index + 1 and may_join:
            digits = "".join(token.text for token in tokens[index:end] if token.text != ",")
            joined.append(replace(tokens[index], text=digits))
        else:
            # A run that is no number is kept as a whole: none of its ends may begin another number.
            joined += tokens[index:end]
        index = end

    return joined


def _end_of_thousands(tokens: Sequence[Token], start: int) -> int:
    """The index after a number such as `1,234,567` that begins at a token; that of the next token where none does."""
    if not re.fullmatch("[0-9]{1,3}", tokens[start].text):
        return start + 1

    before = tokens[max(0, start - 2) : start]
    if len(before) == 2 and before[0].kind == "number" and before[1].text == "," and not tokens[start].is_apart:
        # 1,2,345 is a list.
        return start + 1

    end = start + 1
    while end + 1 < len(tokens) and tokens[end].text == "," and not tokens[end].is_apart:
        group = tokens[end + 1]
        is_next_number = group.kind == "number" and not group.is_apart
        if not is_next_number:
            return end
        if not re.fullmatch(r"[0-9]{3}(?:\.[0-9]*)?", group.text):
            # 1,234,5 is a list: then 1,234 is no number either.
            return start + 1
        end += 2

    return end


def is_balanced(text: str) -> bool:
    """Whether braces match, and other brackets close as often as they open: half-open intervals mix their kinds."""
    braces = 0
    others = 0

    for match in re.finditer(r"\\[{}]|\\.|[()\[\]{}]", text):
        if match[0] in ("{", "}"):
            braces += 1 if match[0] == "{" else -1
        elif match[0] in OPENING:
            others += 1
        elif match[0] in CLOSING:
            others -= 1
        # `1)(` closes before it opens.
        if min(braces, others) < 0:
            return False

    return braces == others == 0
