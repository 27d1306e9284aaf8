"""Word counts of responses: the language of the thinking, and words of doubt.

The text comes from a model and may be anything: every function here reads it in time proportional to its length, and
no content of it raises an error.

Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 7 (language consistency) and C.2 (words of reflection).
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "LANGUAGES",
    "REFLECTIVE_WORDS",
    "CountWords",
    "consistency",
    "mixes_languages",
    "prose",
    "reflective_acts",
    "words_by_language",
]

CountWords = Callable[[str], Counter[str]]
"""Counts the words of a text by the code of their language."""

LANGUAGES = ("en", "zh")
"""Languages that `words_by_language` tells apart."""

_TEN = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
REFLECTIVE_WORDS = frozenset((*_TEN, "try", "hmm", "试", "等", "查", "嗯"))
"""Counted by `reflective_acts`: the ten words of the paper, `try`, `hmm`, and the Chinese try, wait, check and hmm."""

_LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_TAG_OR_WORD = re.compile(rf"</?[a-z]+>|(?P<en>[{_LATIN}]{{2,}}|[AaI])|(?P<zh>[{_CHINESE}])")

_COMMAND = r"\\(?:(?:begin|end)\{[A-Za-z]*\*?\}|[A-Za-z]+|[^\w\s])"
# Longer marks stand before the shorter ones that begin them: ``` before `, $$ before $.
_MARK = re.compile(rf"{_COMMAND}|```|`|\$\$|\$|\n|</?[a-z]+>")
_CLOSERS = {"```": "```", "`": "`", "$$": "$$", "$": "$", r"\(": r"\)", r"\[": r"\]"}
_WITHIN_A_LINE = ("`", "$")  # marks that close on the same line only


def reflective_acts(text: str) -> int:
    """The metric `reflection`: the number of words of doubt, checking or another try in a response.

    A word is a whole run of Latin letters in any case (`Wait` counts, `waiting` does not) or one Chinese character;
    the words are those of `REFLECTIVE_WORDS`, each counted as often as it stands in the text, tags left out.

    Args:
        text: a response.

    Returns:
        The count, 0 or more.

    Source: DeepSeek-R1, arXiv:2501.12948v2, C.2 (wait, mistake, however, but, retry, error, verify, wrong, evaluate,
    check). Ours: the other six, because the built-in world says them in the same places.
    """
    words = [match[0].lower() for match in _TAG_OR_WORD.finditer(text)]
    return sum(word in REFLECTIVE_WORDS for word in words)


def words_by_language(text: str) -> Counter[str]:
    """Counts the English and Chinese words of a text, told apart by their script: a `CountWords`.

    A run of Latin letters is one English word and a Chinese character is one Chinese word. What `prose` leaves out
    (formulas, code, tags), numbers, operators and punctuation belong to no language, nor does a letter on its own,
    such as the unknown `x`; the words `a` and `I` do. `aha.prompts.identification` tells more languages apart.

    Args:
        text: a response, or its thinking.

    Returns:
        Counts under `en` and `zh`; a language without words has no entry and reads as 0.

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 7 counts words by language. Ours: what a word is, which the paper
    leaves open.
    """
    # The groups of the pattern are called like the languages; a tag is in none.
    matches = _TAG_OR_WORD.finditer(prose(text))
    return Counter(match.lastgroup for match in matches if match.lastgroup)


def consistency(text: str, language: str, *, count: CountWords = words_by_language) -> float:
    """The fraction of the words of a text that are in the target language.

    Reward_language = Num(Words_target) / Num(Words)

    Args:
        text: the chain of thought.
        language: code of the target language, that of the question.
        count: tells words apart.

    Returns:
        The share, in 0..1; 1.0 for a text without words, in which nothing is in another language.

    Raises:
        ValueError: the built-in count is asked for a language that it does not know.

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 7. Ours: 1.0 for the 0/0 of a text without words.
    """
    # The built-in count would find no word of another language, and the share would be 0 whatever the text.
    if count is words_by_language and language not in LANGUAGES:
        raise ValueError(f"words are told apart in {', '.join(LANGUAGES)} only, not in {language!r}")

    counts = count(text)
    total = counts.total()
    return counts[language] / total if total else 1.0


def mixes_languages(text: str, language: str) -> bool:
    """Whether at least one word of a response is not in the language of the question.

    The metric `mixing` is the share of such responses.

    Args:
        text: a response.
        language: language of the question, `en` or `zh`.

    Raises:
        ValueError: the language is another one.
    """
    return consistency(text, language) < 1.0


def prose(text: str) -> str:
    r"""A text without formulas, code and tags, which are in no natural language; each is replaced by a blank.

    Left out are tags, LaTeX commands (`\frac`, `\begin{align}`), formulas (`\(...\)`, `\[...\]`, `$$...$$`, `$...$`)
    and code (three backquotes to three backquotes, one to one). A delimiter that nothing closes hides nothing. One
    backquote and one dollar close on the same line, and dollars as in Pandoc: no blank follows the first or precedes
    the second, and no digit follows the second, so that `$5 or $6` are prices.

    Args:
        text: anything.

    Returns:
        The rest of the text.
    """
    marks = list(_MARK.finditer(text))
    closing = _closing(text, marks)
    pieces = []
    position = 0

    for index, mark in enumerate(marks):
        is_within = mark.start() < position
        is_unclosed = mark[0] in _CLOSERS and index not in closing
        if is_within or is_unclosed or mark[0] == "\n":
            continue

        # A command or a tag is a single mark, which nothing has to close.
        last_mark = marks[closing.get(index, index)]
        pieces.append(text[position : mark.start()])
        position = last_mark.end()

    return " ".join([*pieces, text[position:]])


def _closing(text: str, marks: Sequence[re.Match[str]]) -> Mapping[int, int]:
    """For each mark that opens a formula or code, the index of the first later mark that closes it."""
    closing: dict[int, int] = {}

    # Read from the end, so that the nearest closer of each kind is known at every mark.
    nearest: dict[str, int] = {}
    for index in reversed(range(len(marks))):
        mark = marks[index]
        is_dollar = mark[0] == "$"
        closer = _CLOSERS.get(mark[0], "")
        if closer in nearest and not (is_dollar and _is_blank(text, mark.end())):
            closing[index] = nearest[closer]

        if mark[0] == "\n":
            for name in _WITHIN_A_LINE:
                nearest.pop(name, None)
        elif not is_dollar or _closes_formula(text, mark):
            nearest[mark[0]] = index

    return closing


def _closes_formula(text: str, dollar: re.Match[str]) -> bool:
    """Whether a dollar can close a formula; that of a price cannot."""
    before_digit = text[dollar.end() : dollar.end() + 1].isdigit()
    return not before_digit and not _is_blank(text, dollar.start() - 1)


def _is_blank(text: str, index: int) -> bool:
    """Whether a text has a blank, or nothing, at an index."""
    if not 0 <= index < len(text):
        return True
    return text[index].isspace()
