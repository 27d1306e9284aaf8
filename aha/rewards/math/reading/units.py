"""Units and nouns after a number: which are the same, and which words make it another number."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

__all__ = ["SPACED_LETTERS", "Suffix", "Unit", "is_unit", "read_unit", "unit_symbol"]

Unit = tuple[str, ...]
"""The unit of a number, as the words of its known units; empty where it is unknown or missing."""

MAX_WORDS: Final = 6
"""Largest number of words of a unit."""

SPACED_LETTERS: Final = frozenset("mgshLlJNWVAKC")
"""Units of one letter, which a blank separates from their number; without it, the letter is a variable."""

_NAMES: Final = (
    "degree degrees deg", "radian radians rad", "percent percents pct percentage", "cent cents", "dollar dollars usd",
    "cm centimeter centimeters centimetre centimetres", "mm millimeter millimeters millimetre millimetres",
    "m meter meters metre metres", "km kilometer kilometers kilometre kilometres", "in inch inches", "ft foot feet",
    "yd yard yards", "mi mile miles", "mg milligram milligrams", "g gram grams", "kg kgs kilogram kilograms",
    "lb lbs pound pounds", "oz ounce ounces", "ton tons", "s sec secs second seconds", "min mins minute minutes",
    "h hr hrs hour hours", "day days", "week weeks", "month months", "year years", "ml milliliter milliliters",
    "l liter liters litre litres", "gallon gallons gal", "quart quarts", "cup cups", "hz hertz",
    "euro euros", "rupee rupees", "yen", "unit units",
    "j joule joules", "n newton newtons", "w watt watts", "v volt volts",
)  # fmt: skip
_UNITS: Final = {alias: line.split()[0] for line in _NAMES for alias in line.split()}
_COMPOUNDS: Final = {"mph": ("mi", "/", "h"), "kph": ("km", "/", "h"), "kmh": ("km", "/", "h"), "cc": ("cm", "3")}
_SCALES: Final = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
}  # fmt: skip
_POWERS: Final = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cubed": "3", "cu": "3"}
# Words that change the number before them, or doubt it: 5 factorial, 5 or more, 5 lakh, 5 perhaps.
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
        "right answer wrong false exactly between from up down above below no yes the also with without "
        "double twice triple thrice dot choose negative positive inverse reciprocal square squared cube cubed "
        "percentages perhaps possibly probably likely unlikely alternatively alternately otherwise instead rather "
        "actually wait never tens score gross lakh lakhs crore crores",
    )
)
# `9 (quarters)`, as ASDiv writes its answers, counts quarters; `9 quarters` may be 9/4.
_COUNTED: Final = frozenset(["times", "quarter", "quarters", "third", "fourth", "fifth", "up", "down"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffix:
    """The words after a number.

    Attributes:
        name: the unit.
        factor: the factor of a word such as `million`.
        is_percent: whether the number is a percentage.
    """

    name: Unit = ()
    factor: Fraction = Fraction(1)
    is_percent: bool = False


def is_unit(word: str) -> bool:
    """Whether a word of two letters or more is a known unit or a scale, in upper or lower case."""
    if len(word) < 2:
        return False
    lower = word.lower()
    return any(lower in table for table in (_UNITS, _COMPOUNDS, _SCALES, _POWERS))


def unit_symbol(name: str) -> Unit:
    """The unit that a symbol of one letter may stand for; empty where it stands for none."""
    if name in SPACED_LETTERS and name.lower() in _UNITS:
        return (_UNITS[name.lower()],)
    return ()


def read_unit(words: Sequence[str], *, is_remark: bool = False) -> Suffix | None:
    """Reads the words after a number as its unit.

    Args:
        words: in order; `/` and the digits of powers are words too.
        is_remark: whether they stand in brackets, so that `9 (quarters)` counts quarters.

    Returns:
        The suffix; it is empty for nouns that are no unit (`5 apples`). None where the words change the number.
    """
    words = [word if word in SPACED_LETTERS else word.lower() for word in words]
    if len(words) > MAX_WORDS:
        return None

    factor = Fraction(1)
    if words and words[0] in _SCALES:
        factor = Fraction(_SCALES[words[0]])
        words = words[1:]

    # `square feet` is a unit, though `square` alone is among the words that change a number.
    unit_words = _UNITS.keys() | _COMPOUNDS.keys() | _POWERS.keys() | {"/", "per"}
    is_known_unit = all(word.lower() in unit_words or word.isdigit() for word in words)
    number_words = _OTHER_NUMBERS - _COUNTED if is_remark else _OTHER_NUMBERS

    if not is_known_unit and any(word in number_words or word in _SCALES for word in words):
        return None

    # A power without its unit is one of the number: `5 squared` is 25.
    if words and (words[0].isdigit() or words[0] in ("squared", "cubed")):
        return None

    name = _name(words)
    if name == ("percent",):
        return Suffix(factor=factor, is_percent=True)

    return Suffix(name=name, factor=factor)


def _name(words: Sequence[str]) -> Unit:
    """The known units of words in one spelling, each with its power after it; empty where a word is unknown."""
    name: list[str] = []
    power = ""

    for word in words:
        # `squared` follows its unit; `square` precedes it.
        if word in _POWERS and name and word.endswith("d"):
            name.append(_POWERS[word])
        elif word in _POWERS:
            power = _POWERS[word]
        elif word in ("/", "per", "a", "an", "each"):
            name.append("/")
        elif word.isdigit():
            name.append(word)
        elif word.lower() in _UNITS:
            name.append(_UNITS[word.lower()])
            if power:
                name.append(power)
            power = ""
        elif word in _COMPOUNDS:
            name += _COMPOUNDS[word]
        else:
            return ()

    # `units` and `square units` stand for any unit.
    return () if "unit" in name else tuple(name)
