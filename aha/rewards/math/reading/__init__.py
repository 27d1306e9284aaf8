"""Reading: from the text of an answer to its value."""

__all__ = [
    "amounts",
    "grammar",
    "parser",
    "reader",
    "tokens",
    "units",
    "vocabulary",
]
