"""The words of summaries of general problems: tokens, names, refusals, sentences, languages."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from aha.problems.world.lexicon import NAMES, REFUSED

__all__ = ["find_run", "is_in_language", "is_sentence", "names_in", "refuses", "tokens_of", "without_run", "words_of"]

_NAMES_OF_MODELS = frozenset(("aha",))
# A Chinese character is a token of its own, as in the vocabulary of the base model.
_TOKEN = re.compile("[A-Za-z]+|[0-9]+|[^\\sA-Za-z0-9]")


def tokens_of(text: str) -> list[str]:
    """The words, numbers, Chinese characters and signs of a text, in lower case."""
    return [token.lower() for token in _TOKEN.findall(text)]


def words_of(text: str) -> list[str]:
    """The tokens of a text without signs."""
    return [token for token in tokens_of(text) if token.isalnum()]


def find_run(tokens: Sequence[str], run: Sequence[str]) -> int:
    """The index at which a run of tokens first starts; -1 where it does not occur."""
    expected = list(run)
    for start, token in enumerate(tokens):
        # The first token is compared on its own: it rules out most positions without a slice.
        if token == expected[0] and list(tokens[start : start + len(expected)]) == expected:
            return start
    return -1


def without_run(tokens: list[str], run: Sequence[str]) -> list[str]:
    """The tokens without the first occurrence of a run."""
    start = find_run(tokens, run) if run else -1
    if start < 0:
        return tokens
    return tokens[:start] + tokens[start + len(run) :]


def refuses(tokens: Sequence[str]) -> bool:
    """Whether tokens hold a refusal."""
    return any(find_run(tokens, run) >= 0 for run in REFUSED)


def names_in(tokens: Sequence[str]) -> set[str]:
    """The English names of the things and colours among tokens, and the numbers: what can be right or wrong."""
    names = set()
    for token in tokens:
        if token in NAMES or token.isdecimal():
            names.add(NAMES.get(token, token))
    return names


def is_in_language(language: str, tokens: Sequence[str]) -> bool:
    """Whether all words are of a language; numbers, signs and the name of the model belong to both languages."""
    words = [token for token in tokens if token.isalpha() and token not in _NAMES_OF_MODELS]
    if language == "en":
        return all(word.isascii() for word in words)
    return all("\u4e00" <= word <= "\u9fff" for word in words)


def is_sentence(tokens: Sequence[str]) -> bool:
    """Whether tokens are a sentence: 3 to 20 words, a full stop, no pair of words twice, and no unusual signs."""
    words = [token for token in tokens if token.isalnum()]
    signs = [token for token in tokens if not token.isalnum()]
    if not 3 <= len(words) <= 20 or tokens[-1] not in (".", "!"):
        return False

    # A pair of words that comes again is a sign of a text that repeats itself.
    pairs = Counter(pairwise(words))
    repeats = max(pairs.values()) > 1
    return not repeats and all(sign in ".,!?" for sign in signs)
