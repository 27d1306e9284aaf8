"""Decontamination: training problems that share an n-gram of words with an evaluation set.

Source: DeepSeek-R1, arXiv:2501.12948v2, D.1: 10-gram matching against the benchmarks.
"""

import hashlib
import re
from collections.abc import Iterable

__all__ = ["Contamination", "ngrams"]

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
    words = _WORD.findall(text.lower())
    return {" ".join(words[start : start + n]) for start in range(max(len(words) - n, 0) + 1)} - {""}


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
