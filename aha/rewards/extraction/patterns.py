"""Regular expressions whose search takes time in proportion to the text, whatever the pattern and the text are.

Python's `re` tries one way after another, and there are patterns for which fifty characters keep it busy for years. It
cannot be interrupted either. RE2 searches in linear time; what it cannot do so, look-around and back-references, it
refuses. It is the extra `regex`, imported here alone.
"""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["MAX_CHARS", "Pattern", "compile_pattern"]

MAX_CHARS = 10_000
"""Characters at the end of a text that are searched: each match is a search of its own, of the rest of the text."""

MAX_MEMORY = 8 << 20
"""Bytes that a pattern may take; a repeat such as a{1000000} would take more, and is refused."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that is ready to be searched for; made by `compile_pattern`.

    Attributes:
        text: the expression.
        compiled: what searches.
    """

    text: str
    compiled: Any = field(compare=False, repr=False)

    def last_match(self, text: str) -> str | None:
        """The last match in a text: its first group where the pattern has one, or else the whole match.

        Args:
            text: of any length and content; its last 10,000 characters are searched, from left to right.

        Returns:
            The text of the match; None where there is none but of the empty text, or where its first group has no part
            in it.
        """
        # Half a surrogate pair, which a remote engine may reply with, cannot be searched.
        searched = text[-MAX_CHARS:].encode(errors="replace").decode()
        found: str | None = None
        for match in self.compiled.finditer(searched):
            if match[0]:
                found = match[min(1, self.compiled.groups)]
        return found


def compile_pattern(text: str) -> Pattern:
    """Make a pattern from a regular expression, in the notation of RE2.

    Args:
        text: the expression.

    Raises:
        ValueError: it is no regular expression, it needs what cannot be searched in linear time, it is too large, it
            matches the empty text, or the extra is not installed; says what to do.
    """
    try:
        import re2
    except ModuleNotFoundError:
        raise ValueError("patterns need the extra `regex`: pip install 'aha[regex]'") from None

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        compiled = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        words = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"the pattern {text[:200]!r} cannot be searched for: {words[:200]}") from None

    if compiled.fullmatch("") is not None:
        raise ValueError(f"the pattern {text!r} matches the empty text, which is no answer")
    return Pattern(text, compiled)
