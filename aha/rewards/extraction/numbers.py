"""The last number of a text, for responses that end in a sentence such as `there are 1,234 of them`."""

import re

__all__ = ["last_number"]

# Digits that are part of a word or of a name, such as x_2 or v1.2, are no number. A full stop belongs to a number only
# where a digit follows. Each number is read at its first character in one way, so that the time is that of the text.
_DIGITS = r"(?:[0-9]{1,3}(?:(?:,|\{,\})[0-9]{3})+(?![0-9])|[0-9]+)"
_AMOUNT = rf"(?:(?<![0-9]\.){_DIGITS}(?:\.[0-9]+)?|(?<![0-9.])\.[0-9]+)(?:[eE][+-]?[0-9]+(?!\w))?"
_NUMBER = re.compile(
    rf"""
    (?: (?<![\w)\]}}]) (?P<sign>[-−]) )?
    (?:
        \\[dtc]?frac \s? \{{ \s? (?P<over>[0-9]{{1,50}}) \s? \}} \s? \{{ \s? (?P<under>[0-9]{{1,50}}) \s? \}}
        | (?<!\w) (?P<amount>
            (?: [0-9]{{1,50}} [ ]{{1,3}} )? (?<![.,]) [0-9]{{1,50}} [ ]? / [ ]? [0-9]{{1,50}} (?![0-9.]*[0-9])
            | {_AMOUNT}
        )
    )
    (?P<percent> \s? \\? % )?
    """,
    re.VERBOSE | re.ASCII,
)


def last_number(text: str) -> str | None:
    r"""The last number of a text, with its sign.

    A number is an integer, with or without commas between thousands, a decimal, a fraction such as `3/4`, `2 3/4` or
    `\frac{3}{4}`, each also in percent. Words are no numbers, nor are formulas: of `10^6` the last number is 6.

    Args:
        text: of any length and content.

    Returns:
        The number as the judge of mathematics reads it, such as `-1,234.5`, `3/4` or `50%`; None where there is none.
    """
    number: re.Match[str] | None = None
    for match in _NUMBER.finditer(text):
        number = match
    if number is None:
        return None

    amount = number["amount"] or f"{number['over']}/{number['under']}"
    sign = "-" if number["sign"] else ""
    percent = "%" if number["percent"] else ""
    return sign + amount.replace("{,}", ",") + percent
