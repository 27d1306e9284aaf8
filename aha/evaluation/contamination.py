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
    return set(_windows(text, n)) - {""}


def _windows(text: str, n: int) -> Iterator[str]:
    words = _WORD.findall(text.lower())
    return (" ".join(words[start : start + n]) for start in range(max(len(words) - n, 0) + 1))


class Contamination:
    """The n-grams of evaluation sets, to be kept out of training data.

    Attributes:
        n: words in an n-gram.
        key: what decides the verdicts, as a short text.
    """

    def __init__(self, texts: Iterable[str], n: int = 10) -> None:
        """Collect the n-grams.

        Args:
            texts: questions (and answers) of the evaluation sets; without any, nothing is contaminated.
            n: words in an n-gram, n >= 1.

        Raises:
            ValueError: n is less than 1.
        """
        self.n = n
        self._ngrams = ngrams("", n).union(*(ngrams(text, n) for text in texts))
        digest = hashlib.sha256("\n".join(sorted(self._ngrams)).encode(errors="replace"))
        self.key = f"{n}-grams:{digest.hexdigest()[:16]}"

    def overlaps(self, text: str) -> bool:
        """Whether a text shares an n-gram with an evaluation set; shorter than n words, whether it is one of its texts.

        Args:
            text: a question, with or without its answer.
        """
        return not self._ngrams.isdisjoint(ngrams(text, self.n))

    def shared(self, text: str) -> str | None:
        """The first n-gram of a text that an evaluation set has too; None where there is none."""
        return next((ngram for ngram in _windows(text, self.n) if ngram in self._ngrams), None)


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
        """What was dropped, in words: how many, and the n-grams that most of them share."""
        total = len(self.kept) + len(self.dropped)
        common = Counter(ngram for _, ngram in self.dropped).most_common(num_examples)
        said = [f"{len(self.dropped):,} of {total:,} training problems share an n-gram with an evaluation set"]
        return said + [f"  {count:,} times: {ngram}" for ngram, count in common]


def decontaminate(problems: Iterable[Problem], evaluation: Iterable[Problem], n: int = 10) -> Decontaminated:
    """Drop the training problems whose question shares an n-gram of words with an evaluation question.

    Args:
        problems: for training.
        evaluation: the problems of every evaluation set, before any wording is put around their questions: words that
            all of them share would match. `without_instruction` takes those away that a file brings along.
        n: words in an n-gram, n >= 1.

    Raises:
        ValueError: n is less than 1.

    Source: DeepSeek-R1, arXiv:2501.12948v2, D.1.
    """
    known = Contamination((problem.question for problem in evaluation), n)
    kept: list[Problem] = []
    dropped: list[tuple[Problem, str]] = []

    for problem in problems:
        ngram = known.shared(problem.question)
        if ngram is None:
            kept.append(problem)
        else:
            dropped.append((problem, ngram))

    return Decontaminated(kept=kept, dropped=dropped)


def without_instruction(problems: Sequence[Problem]) -> list[Problem]:
    """The problems of one source, without the words with which nearly all of their questions begin or end.

    Many files put an instruction around each question. To the search for n-grams all of their problems look alike.

    Args:
        problems: of one source; a few say nothing about what they share.

    Returns:
        As many problems, in their order. A question that is nothing but such words is left as it is.

    Ours: the papers do not say what they compare.
    """
    if len(problems) < MIN_QUESTIONS:
        return list(problems)

    texts = [_WORD.findall(problem.question.lower()) for problem in problems]
    starts = _num_shared(texts)
    ends = _num_shared([words[start:][::-1] for words, start in zip(texts, starts, strict=True)])
    stripped = []

    for problem, words, start, end in zip(problems, texts, starts, ends, strict=True):
        own = words[start : len(words) - end]
        stripped.append(replace(problem, question=" ".join(own)) if own and start + end else problem)

    return stripped


def _num_shared(texts: Sequence[Sequence[str]]) -> list[int]:
    """How many words at the beginning of each text are those of nearly all texts; 0 where they are too few."""
    alike = list(range(len(texts)))
    length = 0

    while True:
        following = Counter(texts[index][length] for index in alike if len(texts[index]) > length)
        word, count = following.most_common(1)[0] if following else ("", 0)
        if count < SHARE * len(texts):
            break
        alike = [index for index in alike if len(texts[index]) > length and texts[index][length] == word]
        length += 1

    shared = set(alike) if length >= MIN_WORDS else set()
    return [length if index in shared else 0 for index in range(len(texts))]
