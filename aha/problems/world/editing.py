"""The rule-based editor of the built-in world: it rewrites a raw chain of thought into R1's readable pattern.

It does the work of DeepSeek-V3 and human editors in the paper: the thinking is translated into the language of the
question, repeated attempts are dropped, and a summary with the final result follows. Like them it overlooks some
foreign words; a perfect editor would leave nothing for the language reward to improve.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.2 (cold start).
"""

import re
from collections.abc import Callable, Sequence

from aha.problems.world.traces import WORDS
from aha.runs.seeds import generator
from aha.types import Draft

__all__ = ["OVERLOOKED", "edit", "rewrite", "summary_of"]

# With 0.15 the consistency after the cold start was 0.998, which left nothing to mend (LOG.md, first runs of R1).
OVERLOOKED = 0.5
"""Share of foreign words that stay. The paper does not say how clean its cold-start data are, only that R1's first
stage of reinforcement learning still mixed languages."""

_WORD = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]+")
_PIECE = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]|[0-9]+|\S")
_PHRASES = {"let me see": "我看看"}  # translated before the text is cut into words
_SUMMARIES = {"en": r"so the answer is \boxed {{ {answer} }} .", "zh": r"故答案是 \boxed {{ {answer} }} ."}
_OPENINGS = {"en": "let me see .", "zh": "我看看 ."}


def edit(drafts: Sequence[Draft]) -> list[str | None]:
    """Rewrites drafts by rules.

    Args:
        drafts: chains of thought with their answers.

    Returns:
        For each draft the response in R1's format, `<think> thinking </think> summary`; None for a draft with a word
        that has no translation.
    """
    return [rewrite(draft) for draft in drafts]


def rewrite(draft: Draft) -> str | None:
    """The response of one draft, as `edit` returns it."""
    language = draft.problem.language
    rng = generator("edit", draft.problem.id, draft.thinking)
    words = _translate(draft.thinking, language, lambda: rng.random() < OVERLOOKED)
    if words is None:
        return None

    words = _without_repeats(_without_opening(words))
    thinking = f"{_OPENINGS[language]} {' '.join(words)}"
    return f"<think> {thinking} </think> {summary_of(draft.answer, language)}"


def summary_of(answer: str, language: str) -> str:
    """The summary of an answer, in a sentence."""
    return _SUMMARIES[language].format(answer=answer)


def _translate(thinking: str, language: str, overlooks: Callable[[], bool]) -> list[str] | None:
    """The pieces of a thought in one language; None where a word of the other language has no translation."""
    column = 0 if language == "en" else 1
    text = thinking
    for english, chinese in _PHRASES.items():
        # Blanks around the English, because Chinese has none that would separate it from its neighbours.
        text = text.replace(english, chinese) if column else text.replace(chinese, f" {english} ")

    translations = {pair[1 - column]: pair[column] for pair in WORDS.values()}
    vocabulary = {"x", *translations}
    for pair in WORDS.values():
        vocabulary.update(_PIECE.findall(pair[column]))

    pieces = []
    for piece in _PIECE.findall(text):
        # One draw for each foreign word in turn: the same draft is always edited the same way.
        if piece in translations and not overlooks():
            piece = translations[piece]
        if piece not in vocabulary and _WORD.fullmatch(piece):
            return None
        pieces.append(piece)
    return pieces


def _without_opening(words: list[str]) -> list[str]:
    """A thought without its opening phrase, since the editor writes one of its own."""
    text = " ".join(words)
    chinese_opening = " ".join(_PIECE.findall(_OPENINGS["zh"]))
    for opening in (_OPENINGS["en"], chinese_opening):
        text = text.removeprefix(opening)
    return text.split()


def _without_repeats(words: Sequence[str]) -> list[str]:
    """A search without repeated attempts, up to the one that succeeds."""
    attempts: list[list[str]] = [[]]
    for word in words:
        if word in WORDS["try"]:
            attempts.append([])
        attempts[-1].append(word)

    # The words before the first attempt always stay.
    edited = list(attempts[0])
    earlier: set[tuple[str, ...]] = set()

    for attempt in attempts[1:]:
        # `wait try 3 + 8` repeats `try 3 + 8`.
        content = tuple(word for word in attempt if word not in (*WORDS["wait"], *WORDS["hmm"]))
        if content not in earlier:
            earlier.add(content)
            edited += attempt
        has_succeeded = any(word in attempt for word in WORDS["yes"])
        if has_succeeded:
            break

    return edited
