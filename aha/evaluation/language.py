"""What language a response thinks in, and how often it stops to doubt: word counts, and nothing but word counts."""

import re
from collections import Counter

__all__ = ["REFLECTIVE_WORDS", "mixes_languages", "reflective_acts", "words_by_language"]

_TEN = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
REFLECTIVE_WORDS = frozenset((*_TEN, "try", "hmm", "试", "等", "查", "嗯"))
"""Counted by `reflective_acts`: the ten words of the paper, `try`, `hmm`, and the Chinese try, wait, check and hmm."""

_LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_TAG_OR_WORD = re.compile(rf"</?[a-z]+>|(?P<en>[{_LATIN}]+)|(?P<zh>[{_CHINESE}])")
_LANGUAGES = ("en", "zh")
_UNKNOWN = "x"


def reflective_acts(text: str) -> int:
    """The metric `reflection`: how many words of a response are words of doubt, checking or another try.

    A word is a whole run of Latin letters in any case (`Wait` counts, `waiting` does not) or one Chinese character;
    the words are those of `REFLECTIVE_WORDS`, each counted as often as it stands in the text, tags left out.

    Args:
        text: a response.

    Returns:
        The count, 0 or more.

    Source: DeepSeek-R1, arXiv:2501.12948v2, C.2 (wait, mistake, however, but, retry, error, verify, wrong, evaluate,
    check). Ours: the other six, because the built-in world says them in the same places.
    """
    return sum(match[0].lower() in REFLECTIVE_WORDS for match in _TAG_OR_WORD.finditer(text))


def words_by_language(text: str) -> Counter[str]:
    """Words of each language in a text.

    A run of Latin letters is one English word and a Chinese character is one Chinese word. Tags such as `<think>`,
    numbers, operators, punctuation and the unknown `x` of equations belong to no language.

    Args:
        text: a response, or its thinking.

    Returns:
        Counts under `en` and `zh`; a language without words has no entry and reads as 0.

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 7 counts words by language. Ours: what a word is, which the paper
    leaves open.
    """
    words = (match for match in _TAG_OR_WORD.finditer(text) if match.lastgroup and match[0].lower() != _UNKNOWN)
    return Counter(str(match.lastgroup) for match in words)


def mixes_languages(text: str, language: str) -> bool:
    """Whether at least one word of a response is not in the language of the question.

    The metric `mixing` is the share of such responses.

    Args:
        text: a response.
        language: language of the question, `en` or `zh`.

    Raises:
        ValueError: the language is another one.
    """
    if language not in _LANGUAGES:
        raise ValueError(f"words are told apart in {', '.join(_LANGUAGES)} only, not in {language!r}")
    counts = words_by_language(text)
    return any(counts[other] for other in _LANGUAGES if other != language)
