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

OVERLOOKED = 0.5
"""Share of foreign words that stay. The paper does not say how clean its cold-start data are, only that R1's first
stage of reinforcement learning still mixed languages."""

_PIECE = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]|[0-9]+|\S")
_PHRASES = {"let me see": "我看看"}
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

    thinking = " ".join(_without_repeats(_without_opening(words)))
    return f"<think> {_OPENINGS[language]} {thinking} </think> {summary_of(draft.answer, language)}"


def summary_of(answer: str, language: str) -> str:
    """The summary of an answer, in a sentence."""
    return _SUMMARIES[language].format(answer=answer)


def _translate(thinking: str, language: str, overlooks: Callable[[], bool]) -> list[str] | None:
    """The pieces of a thought in one language; None where a word of the other language has no translation."""
    column = 0 if language == "en" else 1
    text = thinking
    for english, chinese in _PHRASES.items():
        text = text.replace(english, chinese) if column else text.replace(chinese, f" {english} ")

    translations = {pair[1 - column]: pair[column] for pair in WORDS.values()}
    known_words = {"x", *translations}
    for pair in WORDS.values():
        known_words.update(_PIECE.findall(pair[column]))

    # A generator draws for each foreign word in turn whether the editor overlooks it.
    pieces = []
    for piece in _PIECE.findall(text):
        is_foreign = piece in translations
        pieces.append(translations[piece] if is_foreign and not overlooks() else piece)

    is_word = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]+").fullmatch
    if any(is_word(piece) and piece not in known_words for piece in pieces):
        return None
    return pieces


def _without_opening(words: list[str]) -> list[str]:
    """A thought without its opening phrase, since the editor writes one of its own."""
    text = " ".join(words)
    for opening in (_OPENINGS["en"], " ".join(_PIECE.findall(_OPENINGS["zh"]))):
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
        content = tuple(word for word in attempt if word not in (*WORDS["wait"], *WORDS["hmm"]))
        if content not in earlier:
            earlier.add(content)
            edited += attempt
        if set(WORDS["yes"]) & set(attempt):
            break

    return edited
