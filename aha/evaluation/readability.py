"""Readability of responses: thinking and summary, a single language, no loops, no long paragraphs.

The filters of the cold start and of rejection sampling, as pure functions of a text. A text may be anything: it is read
in time proportional to its length, and no content of it raises an error.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.2 (repetition and mixed languages are filtered out) and B.3.3 (mixed
languages, long paragraphs and code blocks in the chain of thought); v1, 2.3.1 (reasoning, then a summary) and 2.3.3.
"""

import re
from dataclasses import dataclass

from aha.prompts.language import CountWords, consistency, words_by_language
from aha.prompts.parsing import parse_response

__all__ = [
    "READABLE",
    "Limits",
    "faults",
    "has_code_block",
    "is_readable",
    "longest_paragraph",
    "repetition",
]

NGRAM = 8
"""Number of pieces in a sequence whose second occurrence counts as repetition."""

# Words without their digits; numbers; and one by one the signs, and the Chinese and Japanese characters.
_PIECE = re.compile(r"[^\W\d_\u3040-\u30ff\u3400-\u9fff]+|\d+|[^\s\d]")
# More than three spaces before tildes would make it an indented block, which holds its text as it is (CommonMark).
_FENCE = re.compile(r"```|^ {0,3}~~~", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a readable response. Ours: the paper names the filters and gives no numbers.

    Attributes:
        min_consistency: smallest fraction of words in the language of the question, 0..1; with 1, a single foreign word
            is a fault. That suits an exact classification of words; 0.9 leaves room for names and for errors.
        max_repetition: largest `repetition`, 0..1. Searches of the built-in world, whose attempts resemble each other,
            stay below 0.3; a search of five attempts of which three are equal does not.
        max_paragraph_words: largest number of words in a paragraph of the thinking.
    """

    min_consistency: float = 1.0
    max_repetition: float = 0.3
    max_paragraph_words: int = 200


READABLE = Limits()
"""The default limits."""


def faults(text: str, language: str, limits: Limits = READABLE, *, count: CountWords = words_by_language) -> list[str]:
    """The faults that make a response hard to read.

    Args:
        text: the whole response, in the format of R1-Zero or of R1.
        language: language of the question.
        limits: the limits of a readable response.
        count: counts words by language.

    Returns:
        The faults, each at most once, in this order: `no thinking` and `no summary` (missing or empty), `mixed
        languages` (in either of them), and of the thinking alone `repetition`, `long paragraph` and `code block`.

    Raises:
        ValueError: the built-in count is asked for a language that it does not know.

    Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.2 and B.3.3.
    """
    parsed = parse_response(text)
    thinking = parsed.thinking or ""
    # The summary may hold code and long paragraphs: it is the answer that was asked for.
    has_fault = {
        "no thinking": not thinking,
        "no summary": not parsed.summary,
        "mixed languages": consistency(text, language, count=count) < limits.min_consistency,
        "repetition": repetition(thinking) > limits.max_repetition,
        "long paragraph": longest_paragraph(thinking, count=count) > limits.max_paragraph_words,
        "code block": has_code_block(thinking),
    }

    return [name for name, is_fault in has_fault.items() if is_fault]


def is_readable(text: str, language: str, limits: Limits = READABLE, *, count: CountWords = words_by_language) -> bool:
    """Whether a response has none of the `faults`.

    The metric `readability` is the share of such responses.

    Args:
        text: the whole response.
        language: language of the question.
        limits: where the faults begin.
        count: tells languages apart.

    Raises:
        ValueError: the built-in count is asked for a language that it does not know.
    """
    return not faults(text, language, limits, count=count)


def repetition(text: str) -> float:
    """Share of the sequences of 8 pieces that stood in the text before.

    1 - |distinct 8-grams| / |8-grams|

    A piece is a word, a number, a Chinese or Japanese character or a sign; case counts. Text that turns in circles
    tends to 1, however long the circle; a try that changes its numbers starts new sequences every time.

    Args:
        text: the chain of thought.

    Returns:
        The share, in 0..1; 0.0 for a text of fewer than 8 pieces.

    Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.2 filters repetition. Ours: the measure.
    """
    pieces = _PIECE.findall(text)
    num_sequences = len(pieces) - NGRAM + 1
    if num_sequences < 1:
        return 0.0

    # Shifted copies side by side: their rows are the sequences, and the shortest copy ends them.
    shifted = [pieces[start:] for start in range(NGRAM)]
    distinct = set(zip(*shifted, strict=False))
    return 1.0 - len(distinct) / num_sequences


def longest_paragraph(text: str, *, count: CountWords = words_by_language) -> int:
    """Words of the longest paragraph.

    Args:
        text: the chain of thought; blank lines separate its paragraphs.
        count: says what a word is; numbers and formulas are none.

    Returns:
        The number of words, 0 for a text without any.
    """
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return max(count("\n".join(lines)).total() for lines in paragraphs)


def has_code_block(text: str) -> bool:
    """Whether a text opens a block of code: three backquotes anywhere, or three tildes at the start of a line."""
    return _FENCE.search(text) is not None
