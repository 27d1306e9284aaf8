"""Units and nouns after a number: which are the same, and which words make it another number."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

__all__ = ["Suffix", "Unit", "read_unit"]

Unit = tuple[str, ...]
"""What a number counts or measures, as the words of its known units; empty where it is unknown or not said."""

MAX_WORDS: Final = 5

_TOKEN = re.compile(r"\\text\{([^{}\\]*)\}|([A-Za-z]+)|\^(?:\{([0-9])\}|([0-9]))|([ /.]|\\cdot)")
_WORD = re.compile(r"[A-Za-z]+")
_VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)
_SPACED_LETTERS: Final = frozenset("mgshLlJNWVAKC")
_NAMES: Final = (
    "degree degrees deg", "radian radians rad", "percent percents pct percentage", "cent cents", "dollar dollars usd",
    "cm centimeter centimeters centimetre centimetres", "mm millimeter millimeters millimetre millimetres",
    "m meter meters metre metres", "km kilometer kilometers kilometre kilometres", "in inch inches", "ft foot feet",
    "yd yard yards", "mi mile miles", "mg milligram milligrams", "g gram grams", "kg kilogram kilograms",
    "lb lbs pound pounds", "oz ounce ounces", "ton tons", "s sec secs second seconds", "min mins minute minutes",
    "h hr hrs hour hours", "day days", "week weeks", "month months", "year years", "ml milliliter milliliters",
    "l liter liters litre litres", "gallon gallons gal", "quart quarts", "cup cups", "mph", "kph kmh", "hz hertz",
    "euro euros", "rupee rupees",
)  # fmt: skip
_UNITS: Final = {alias: line.split()[0] for line in _NAMES for alias in line.split()}
_SCALES: Final = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
}  # fmt: skip
_POWERS: Final = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cubed": "3", "cu": "3"}
_LINKS: Final = frozenset(["per", "of", "a", "an", "each"])
_OTHER_NUMBERS: Final = frozenset(
    re.findall(
        r"\w+",
        "or and not plus minus times over divided by to than more less most least about approximately roughly "
        "almost nearly half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths "
        "seventh eighth eighths ninth tenth tenths hundredth hundredths thousandth thousandths millionth "
        "factorial root pi tau e i zero one two three four five six seven eight nine ten eleven twelve twenty "
        "thirty forty fifty sixty seventy eighty ninety hundreds thousands millions billions dozens mod "
        "modulo remainder base log ln sin cos tan sqrt inf infinity nan power raised is equals equal if when "
        "where but except unless maybe either neither none any all some something everything correct true "
        "right answer wrong false exactly between from up down above below no yes the also with without ",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffix:
    """What follows a number.

    Attributes:
        name: its unit.
        factor: what a word such as `million` multiplies the number by.
        is_percent: it is a percentage.
    """

    name: Unit = ()
    factor: Fraction = Fraction(1)
    is_percent: bool = False


def read_unit(text: str, *, is_money: bool) -> Suffix | None:
    """The unit that clean text after a number names.

    Args:
        text: what follows the number.
        is_money: a money sign precedes the number.

    Returns:
        What it says; nouns that are no unit (`5 apples`) say nothing. None where it is not only a unit: letters that
        may be variables, words that change the number, or anything else.
    """
    percent = text.startswith("%")
    words = _words(text[percent:])
    if words is None or len(words) > MAX_WORDS:
        return None
    factor = Fraction(1)
    if words and words[0] in _SCALES:
        factor, words = Fraction(_SCALES[words[0]]), words[1:]
    if any(word in _OTHER_NUMBERS or word in _SCALES for word in words):
        return None
    name = _name(words)
    if name == ("percent",):
        percent, name = True, ()
    if is_money and name not in ((), ("dollar",)):
        return None
    return Suffix(name=("dollar",) if is_money else name, factor=factor, is_percent=percent)


def _words(text: str) -> list[str] | None:
    """The words of a unit, powers as digits; None where the text is none."""
    words: list[str] = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if not found:
            return None
        if found[1] is not None:
            if not re.fullmatch(r"[A-Za-z ./-]*", found[1]):
                return None
            words += _WORD.findall(found[1])
        elif found[2] and not _is_unit_outside_text(found[2], text[:place]):
            return None
        elif found[3] or found[4]:
            words.append(found[3] or found[4])
        elif found[2]:
            words.append(found[2])
        place = found.end()
    is_power_first = bool(words) and words[0].isdigit()
    return None if is_power_first else [word if word in _SPACED_LETTERS else word.lower() for word in words]


def _is_unit_outside_text(word: str, before: str) -> bool:
    """Whether bare letters are a word, not a product of variables."""
    is_apart = not before or before[-1:] in (" ", "/")
    if len(word) == 1:
        return word in _SPACED_LETTERS and before[-1:] in (" ", "/")
    if word.lower() in _UNITS or word.lower() in _SCALES or word.lower() in _POWERS:
        return True
    return (is_apart and before != "" and bool(_VOWEL.search(word)) and len(word) > 2) or word in _LINKS


def _name(words: list[str]) -> Unit:
    """Known units in one spelling, powers after them; empty where a word is unknown."""
    name: list[str] = []
    power = ""
    for word in words:
        if word in _POWERS and name and word.endswith("d"):
            name.append(_POWERS[word])
        elif word in _POWERS:
            power = _POWERS[word]
        elif word in ("per", "a", "an", "each"):
            name.append("/")
        elif word.isdigit():
            name.append(word)
        elif word.lower() in _UNITS:
            name += [_UNITS[word.lower()], *([power] if power else [])]
            power = ""
        else:
            return ()
    return tuple(name)
