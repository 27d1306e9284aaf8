"""Decontamination: training problems that share an n-gram of words with an evaluation set.

Source: DeepSeek-R1, arXiv:2501.12948v2, D.1: 10-gram matching against the benchmarks.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from aha.types import Problem

__all__ = ["Contamination", "Decontaminated", "decontaminate", "ngrams", "without_instruction"]

MIN_QUESTIONS = 10
SHARE = 0.9
MIN_WORDS = 5
"""An instruction is what this share of the questions of a source begins or ends with: of so many questions, so many
words at least. With fewer words in common, half of an n-gram is the question's own."""

# Chinese and Japanese characters one by one, since nothing separates their words; runs of other letters and digits.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]"
    r"|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+"
)


def ngrams(text: str, n: int = 10) -> set[str]:
    """All sequences of n consecutive words of a text; a shorter text is one sequence as a whole.

    Words are runs of letters and digits in lower case, and single characters of Chinese and Japanese; punctuation,
    operators and blanks only separate them.

    Args:
        text: anything.
        n: words in a sequence, n >= 1.

    Returns:
        The sequences, each with single blanks; none for a text without words.

    Raises:
        ValueError: n is less than 1.

    Source: DeepSeek-R1, arXiv:2501.12948v2, D.1. Ours: what a word is, and what happens to short texts.
    """
    if n < 1:
        raise ValueError(f"an n-gram has at least one word, not {n}")
    # A text without words has one window, which is empty.
    return set(_windows(text, n)) - {""}


def _windows(text: str, n: int) -> Iterator[str]:
    words = _WORD.findall(text.lower())
    last_start = max(len(words) - n, 0)
    for start in range(last_start + 1):
        yield " ".join(words[start : start + n])


class Contamination:
    """The n-grams of evaluation sets, which training data must not share.

    Attributes:
        n: words in an n-gram.
        key: a short text that is equal for equal n-grams.
    """

    def __init__(self, texts: Iterable[str], n: int = 10) -> None:
        """Collects the n-grams.

        Args:
            texts: questions (and answers) of the evaluation sets; may be empty.
            n: words in an n-gram, n >= 1.

        Raises:
            ValueError: n is less than 1.
        """
        self.n = n
        # Of the empty text, so that a wrong n is an error without texts as well.
        self._ngrams = ngrams("", n)
        for text in texts:
            self._ngrams |= ngrams(text, n)

        # Sorted: the order of a set differs from process to process.
        listing = "\n".join(sorted(self._ngrams))
        digest = hashlib.sha256(listing.encode(errors="replace"))
        self.key = f"{n}-grams:{digest.hexdigest()[:16]}"

    def overlaps(self, text: str) -> bool:
        """Whether a text shares an n-gram with an evaluation set; a text of fewer than n words is compared as a whole.

        Args:
            text: a question, with or without its answer.
        """
        return not self._ngrams.isdisjoint(ngrams(text, self.n))

    def shared(self, text: str) -> str | None:
        """The first n-gram of a text that an evaluation set has too; None where there is none."""
        for ngram in _windows(text, self.n):
            if ngram in self._ngrams:
                return ngram
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decontaminated:
    """Training problems without those that an evaluation set gives away.

    Attributes:
        kept: the problems that share no n-gram, in their order.
        dropped: the others, each with the n-gram that it shares.
    """

    kept: Sequence[Problem]
    dropped: Sequence[tuple[Problem, str]]

    def lines(self, num_examples: int = 3) -> list[str]:
        """A report of what was dropped: the number of problems, and the most frequent n-grams."""
        num_dropped = len(self.dropped)
        total = len(self.kept) + num_dropped
        lines = [f"{num_dropped:,} of {total:,} training problems share an n-gram with an evaluation set"]

        ngrams = Counter(ngram for _, ngram in self.dropped)
        for ngram, count in ngrams.most_common(num_examples):
            lines.append(f"  {count:,} times: {ngram}")
        return lines


def decontaminate(problems: Iterable[Problem], evaluation: Iterable[Problem], n: int = 10) -> Decontaminated:
    """Drops the training problems whose question shares an n-gram of words with an evaluation question.

    Args:
        problems: training problems.
        evaluation: the problems of every evaluation set, without an instruction around their questions: words that all
            of them share would match. `without_instruction` removes those that a file brings along.
        n: words in an n-gram, n >= 1.

    Raises:
        ValueError: n is less than 1.

    Source: DeepSeek-R1, arXiv:2501.12948v2, D.1.
    """
    contamination = Contamination((problem.question for problem in evaluation), n)
    clean: list[Problem] = []
    dropped: list[tuple[Problem, str]] = []

    for problem in problems:
        ngram = contamination.shared(problem.question)
        if ngram is None:
            clean.append(problem)
        else:
            dropped.append((problem, ngram))

    return Decontaminated(kept=clean, dropped=dropped)


def without_instruction(problems: Sequence[Problem]) -> list[Problem]:
    """Removes the words with which nearly all questions of a source begin or end.

    Many files put the same instruction around each question, which would make all of their problems match.

    Args:
        problems: problems of one source; with fewer than `MIN_QUESTIONS` nothing is removed.

    Returns:
        As many problems, in order. A question that consists of such words alone is unchanged.

    Ours: the papers do not say what they compare.
    """
    if len(problems) < MIN_QUESTIONS:
        return list(problems)

    texts = [_WORD.findall(problem.question.lower()) for problem in problems]
    starts = _num_shared(texts)

    # The words at the end are those at the beginning of the reversed text; a word is not removed twice.
    reversed_texts = [words[start:][::-1] for words, start in zip(texts, starts, strict=True)]
    ends = _num_shared(reversed_texts)

    stripped = []
    for problem, words, start, end in zip(problems, texts, starts, ends, strict=True):
        rest = words[start : len(words) - end]
        # Signs are lost with the instruction: the result is made to be compared, not to be asked.
        if rest and start + end:
            stripped.append(replace(problem, question=" ".join(rest)))
        else:
            stripped.append(problem)

    return stripped


def _num_shared(texts: Sequence[Sequence[str]]) -> list[int]:
    """The number of words at the beginning of each text that nearly all texts share; 0 where they are too few."""
    alike = list(range(len(texts)))
    length = 0

    # The common beginning grows by a word for as long as enough texts go on with the same one.
    while True:
        longer = [index for index in alike if len(texts[index]) > length]
        following = Counter(texts[index][length] for index in longer)
        word, count = following.most_common(1)[0] if following else ("", 0)
        # A share of all texts, not of those that are still alike: otherwise every word might lose some more.
        if count < SHARE * len(texts):
            break

        alike = [index for index in longer if texts[index][length] == word]
        length += 1

    if length < MIN_WORDS:
        return [0] * len(texts)
    sharing = set(alike)
    return [length if index in sharing else 0 for index in range(len(texts))]
