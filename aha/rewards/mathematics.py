r"""Answers of mathematics that need no algebra: numbers, words, and lists, tuples, intervals and sets of numbers.

The fast path of the verifier. It reads clean text (`aha.rewards.notation`) with regular expressions of bounded length,
computes with exact fractions, and says what it is sure of: the rest goes to `aha.rewards.workers`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from aha.rewards.notation import MONEY, split_list, without_name
from aha.rewards.units import Unit, read_unit

__all__ = [
    "EVIDENT_DIGITS",
    "Listing",
    "Number",
    "Value",
    "Words",
    "compare_values",
    "form_of",
    "read_value",
    "same_number",
]

MAX_NUMBER_CHARS: Final = 400
"""Longest text that is read as one number."""

MAX_ITEMS: Final = 64
"""Most items of a list."""

EVIDENT_DIGITS: Final = 6
"""Significant digits that a decimal must show to pass for the rounding of a fraction without a finite decimal."""

_DEC = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
_ARGUMENT = rf"(?:\{{([+-]?{_DEC})\}}|\s?([0-9]))"
_SIGN = re.compile(rf"([+-]?)({MONEY}?)([+-]?)")
_SCIENTIFIC = re.compile(
    rf"(?:({_DEC})(?:\\times\s?|\\cdot\s?|\*))?10\^(?:\{{([+-]?[0-9]{{1,3}})\}}|([0-9]))(?![0-9.])"
)
_EXPONENT = re.compile(rf"({_DEC})[eE]([+-]?[0-9]{{1,3}})(?![0-9A-Za-z.])")
_MIXED = re.compile(rf"([0-9]{{1,18}})\s?\\frac{_ARGUMENT}{_ARGUMENT}|([0-9]{{1,18}}) ([0-9]{{1,18}})/([0-9]{{1,18}})")
_FRACTION = re.compile(rf"\\frac{_ARGUMENT}{_ARGUMENT}")
_SLASH = re.compile(rf"({_DEC})/({_DEC})(?![0-9.^])")
_BASED = re.compile(r"([0-9]{1,60})_(?:\{([0-9]{1,2})\}|([0-9])(?![0-9]))")
_DECIMAL = re.compile(rf"({_DEC})(?![0-9.^_!])")
_INFINITE = re.compile(r"([+-]?)\\infty")
_WRAPPED = re.compile(
    r"\\text\{([A-Za-z][A-Za-z '-]*|\([A-Z]\))\}|([A-Za-z]{3,}(?:[ -][A-Za-z]{1,20}){0,7})|\(?([A-Z])\)?"
)
_CHOICE = re.compile(r"(?:\\text)?\{?\(([A-J])\)\}?[^()]{0,80}|(?:\\text\{)?([A-J])[.:)]?\}?")
_BRACKETED = re.compile(r"(\\\{|[(\[])(.*)(\\\}|[)\]])", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A rational number as it was written.

    Attributes:
        value: its exact value; of a percentage, before the division by 100.
        places: decimals that it shows; -1 where it is not written as a decimal.
        is_percent: a percent sign follows.
        unit: what it counts or measures.
        base: base of the digits that `52_8` shows, 10 elsewhere; such digits are compared, not converted.
    """

    value: Fraction
    places: int = -1
    is_percent: bool = False
    unit: Unit = ()
    base: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    r"""Several numbers: a list, tuple, interval or set.

    Attributes:
        brackets: `()`, `[)`, `{}` and so on; empty where there are none, and nothing tells the order.
        items: numbers, or `\infty` and `-\infty`.
    """

    brackets: str
    items: tuple[Number | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A name, a word, or the letter of a choice, in small letters."""

    text: str


Value = Number | Listing | Words


def read_value(text: str) -> Value | None:
    """What clean text says, where no algebra is needed to know it; None elsewhere."""
    number = _number(text)
    if number is not None:
        return number
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed:
        return _listing(bracketed[1][-1] + bracketed[3][-1], split_list(bracketed[2])) or _words(text)
    parts = split_list(text)
    return _listing("", [without_name(part)[0] for part in parts]) if len(parts) > 1 else _words(text)


def compare_values(gold: Value, answer: Value) -> bool | None:
    """Whether two values are the same; None where neither is sure.

    Args:
        gold: the reference.
        answer: what a model wrote.
    """
    match gold, answer:
        case Number(), Number():
            return same_number(gold, answer)
        case Listing(), Listing():
            return _same_listing(gold, answer)
        case Words(), Words():
            return gold.text == answer.text
        case Number(), Words():
            return None
        case _:
            return False


def same_number(gold: Number, answer: Number) -> bool:
    """Whether two numbers are the same: exactly, or as the evident rounding of a fraction.

    A percentage is a hundredth (`50%` is 0.5), and where only one of the two has the sign, the bare number may count
    percents too, as the question often asks for them; an answer of at most 1 percent may not, because it would pass
    for 1. A decimal passes for a fraction that has no finite decimal (0.333333 for 1/3) where it shows at least
    `EVIDENT_DIGITS` significant digits, and rounding or cutting the fraction to its decimals gives it. Units must
    agree where both are known; digits in another base must agree in digits and base.
    """
    if gold.base != answer.base and 10 not in (gold.base, answer.base):
        return False
    if gold.base != answer.base and answer.base != 10 and gold.base == 10:
        return False
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return False
    if _exact(gold) == _exact(answer) or _is_rounding(gold, answer) or _is_rounding(answer, gold):
        return True
    is_counted = gold.is_percent or (answer.is_percent and abs(answer.value) > 1)
    return gold.is_percent != answer.is_percent and is_counted and gold.value == answer.value


def form_of(value: Value) -> str:
    """One text for all ways to write a value, for votes."""
    match value:
        case Words():
            return value.text
        case Number():
            return _form_of_number(value)
        case Listing():
            items = [item if isinstance(item, str) else _form_of_number(item) for item in value.items]
            items = items if value.brackets not in ("", "{}") else sorted(items)
            return f"{value.brackets[:1]}{', '.join(items)}{value.brackets[1:]}"


def _form_of_number(number: Number) -> str:
    return f"{number.value}{'%' if number.is_percent else ''}{f'_{number.base}' if number.base != 10 else ''}"


def _exact(number: Number) -> Fraction:
    return number.value / 100 if number.is_percent else number.value


def _is_rounding(decimal: Number, fraction: Number) -> bool:
    """Whether a decimal shows enough digits of a fraction that has no finite decimal, rounded or cut."""
    if decimal.places < 1 or decimal.is_percent != fraction.is_percent or _is_finite(fraction.value):
        return False
    shown, rest = divmod(abs(fraction.value) * 10**decimal.places, 1)
    digits = abs(decimal.value) * 10**decimal.places
    has_same_sign = (decimal.value < 0) == (fraction.value < 0)
    return has_same_sign and digits >= 10 ** (EVIDENT_DIGITS - 1) and digits in (shown, shown + (rest > Fraction(1, 2)))


def _is_finite(value: Fraction) -> bool:
    """Whether a fraction has a finite decimal: its denominator divides a power of 10."""
    return pow(10, value.denominator.bit_length(), value.denominator) == 0


def _number(text: str) -> Number | None:
    """One number with its sign, percent sign and unit."""
    sign = _SIGN.match(text) if len(text) <= MAX_NUMBER_CHARS else None
    if sign is None:
        return None
    for pattern, value in _READERS:
        found = pattern.match(text, sign.end())
        number = value(found) if found else None
        if found and number is not None:
            return _finished(number, sign, text[found.end() :])
    return None


def _finished(number: Number, sign: re.Match[str], rest: str) -> Number | None:
    """A number with what stands before and after it; None where that is more than a sign and a unit."""
    unit = read_unit(rest, is_money=bool(sign[2]))
    if unit is None or (sign[1] and sign[3]):
        return None
    negative = "-" in sign[1] + sign[3]
    value = (-number.value if negative else number.value) * unit.factor
    return Number(value=value, places=number.places, is_percent=unit.is_percent, unit=unit.name, base=number.base)


def _scientific(found: re.Match[str]) -> Number:
    return Number(value=_decimal(found[1] or "1") * Fraction(10) ** int(found[2] or found[3]))


def _exponent(found: re.Match[str]) -> Number:
    return Number(value=_decimal(found[1]) * Fraction(10) ** int(found[2]))


def _mixed(found: re.Match[str]) -> Number | None:
    if found[6]:
        return _quotient(Fraction(found[6]), Fraction(found[7]), Fraction(found[8]))
    if set("+-.") & set((found[2] or "") + (found[4] or "")):
        return None
    return _quotient(Fraction(found[1]), _decimal(found[2] or found[3]), _decimal(found[4] or found[5]))


def _fraction(found: re.Match[str]) -> Number | None:
    return _quotient(Fraction(0), _decimal(found[1] or found[2]), _decimal(found[3] or found[4]))


def _slash(found: re.Match[str]) -> Number | None:
    return _quotient(Fraction(0), _decimal(found[1]), _decimal(found[2]))


def _based(found: re.Match[str]) -> Number:
    return Number(value=Fraction(found[1]), base=int(found[2] or found[3]))


def _plain(found: re.Match[str]) -> Number:
    decimals = found[1].partition(".")[2]
    return Number(value=_decimal(found[1]), places=len(decimals) if decimals else 0)


_READERS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Number | None]], ...] = (
    (_SCIENTIFIC, _scientific),
    (_EXPONENT, _exponent),
    (_MIXED, _mixed),
    (_FRACTION, _fraction),
    (_SLASH, _slash),
    (_BASED, _based),
    (_DECIMAL, _plain),
)


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", "").rstrip(".") or "0")


def _quotient(whole: Fraction, over: Fraction, under: Fraction) -> Number | None:
    return Number(value=whole + over / under) if under else None


def _listing(brackets: str, parts: list[str]) -> Value | None:
    """A list of numbers; one number in parentheses or as a set is that number."""
    if len(parts) > MAX_ITEMS:
        return None
    items = [_item(part) for part in parts]
    known = tuple(item for item in items if item is not None)
    if len(known) < len(items):
        return None
    if len(known) == 1 and brackets in ("()", "{}"):
        return known[0] if isinstance(known[0], Number) else None
    return Listing(brackets=brackets, items=known)


def _item(text: str) -> Number | str | None:
    infinite = _INFINITE.fullmatch(text)
    if infinite:
        return r"-\infty" if infinite[1] == "-" else r"\infty"
    return _number(text)


def _words(text: str) -> Words | None:
    choice = _CHOICE.fullmatch(text)
    if choice:
        return Words(text=(choice[1] or choice[2]).lower())
    found = _WRAPPED.fullmatch(text) if len(text) <= MAX_NUMBER_CHARS else None
    if not found:
        return None
    words = (found[1] or found[2] or found[3]).strip("() ").lower().split()
    return Words(text=" ".join(words[1:] if words[0] in ("a", "an", "the") and len(words) > 1 else words))


def _same_listing(gold: Listing, answer: Listing) -> bool | None:
    """Whether two lists are the same: with brackets in order, as sets, or without brackets in any order."""
    if gold.brackets and answer.brackets and gold.brackets != answer.brackets:
        is_vector = len(gold.items) != 2 and {gold.brackets, answer.brackets} <= {"()", "[]"}
        return _same_items(gold.items, answer.items) if is_vector else False
    if gold.brackets == answer.brackets == "{}":
        return _covers(gold.items, answer.items) and _covers(answer.items, gold.items)
    if {gold.brackets, answer.brackets} <= {"", "{}"}:
        return len(gold.items) == len(answer.items) and _covers(gold.items, answer.items)
    if {gold.brackets, answer.brackets} <= {"", "()"} or gold.brackets == answer.brackets:
        return _same_items(gold.items, answer.items)
    return False


def _covers(gold: tuple[Number | str, ...], answer: tuple[Number | str, ...]) -> bool:
    """Whether every item of each has its equal, each as often in a list of the same length."""
    left = list(answer)
    for item in gold:
        place = next((place for place, other in enumerate(left) if _same_item(item, other)), None)
        if place is None:
            return any(_same_item(item, other) for other in answer) and len(gold) != len(answer)
        left.pop(place)
    return True


def _same_items(gold: tuple[Number | str, ...], answer: tuple[Number | str, ...]) -> bool:
    return len(gold) == len(answer) and all(_same_item(*pair) for pair in zip(gold, answer, strict=True))


def _same_item(gold: Number | str, answer: Number | str) -> bool:
    if isinstance(gold, str) or isinstance(answer, str):
        return gold == answer
    return same_number(gold, answer)
