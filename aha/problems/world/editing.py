"""The rule-based editor of the built-in world: it rewrites a raw chain of thought into R1's readable pattern.

It does what DeepSeek-V3 and human editors do in the paper: the thinking is put into the language of the question,
attempts that were made before are dropped, and a summary with the final result follows. Like them it overlooks some
foreign words; a perfect editor would leave nothing for the language reward to mend.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.2 (cold start).
"""

import re
from collections.abc import Callable, Sequence

from aha.problems.world.traces import WORDS
from aha.runs.seeds import generator
from aha.types import Draft

__all__ = ["OVERLOOKED", "edit", "rewritten", "summary_of"]

OVERLOOKED = 0.5
"""Share of foreign words that stay. The paper does not say how clean its cold start is, only that R1's first stage of
reinforcement learning still mixed languages."""

_PIECE = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]|[0-9]+|\S")
_PHRASES = {"let me see": "我看看"}
_SUMMARIES = {"en": r"so the answer is \boxed {{ {answer} }} .", "zh": r"故答案是 \boxed {{ {answer} }} ."}
_OPENINGS = {"en": "let me see .", "zh": "我看看 ."}


def edit(drafts: Sequence[Draft]) -> list[str | None]:
    """Rewrite drafts by rules.

    Args:
        drafts: chains of thought with their answers.

    Returns:
        For each draft the response in R1's format, `<think> thinking </think> summary`; None for one that cannot be
        put into its language, because a word has no translation.
    """
    return [rewritten(draft) for draft in drafts]


def rewritten(draft: Draft) -> str | None:
    """One draft rewritten, as `edit` does it."""
    rng = generator("edit", draft.problem.id, draft.thinking)
    words = _translated(draft.thinking, draft.problem.language, lambda: rng.random() < OVERLOOKED)
    if words is None:
        return None
    opening = _OPENINGS[draft.problem.language]
    thinking = " ".join(_without_repeats(_without_opening(words)))
    return f"<think> {opening} {thinking} </think> {summary_of(draft.answer, draft.problem.language)}"


def summary_of(answer: str, language: str) -> str:
    """The sentence that a reader is shown."""
    return _SUMMARIES[language].format(answer=answer)


def _translated(thinking: str, language: str, overlooks: Callable[[], bool]) -> list[str] | None:
    """The pieces of a thought in one language, None where a word of another language has no counterpart."""
    column = 0 if language == "en" else 1
    text = thinking
    for english, chinese in _PHRASES.items():
        text = text.replace(english, chinese) if column else text.replace(chinese, f" {english} ")
    names = {pair[1 - column]: pair[column] for pair in WORDS.values()}
    known = {piece for pair in WORDS.values() for piece in _PIECE.findall(pair[column])} | {"x"} | names.keys()
    pieces = [names[piece] if piece in names and not overlooks() else piece for piece in _PIECE.findall(text)]
    is_word = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]+").fullmatch
    return None if any(is_word(piece) and piece not in known for piece in pieces) else pieces


def _without_opening(words: list[str]) -> list[str]:
    """A thought without the phrase that opens it: the editor writes its own."""
    text = " ".join(words)
    for opening in (_OPENINGS["en"], " ".join(_PIECE.findall(_OPENINGS["zh"]))):
        text = text.removeprefix(opening)
    return text.split()


def _without_repeats(words: Sequence[str]) -> list[str]:
    """A search without the attempts that it had made before, up to the one that succeeds."""
    attempts: list[list[str]] = [[]]
    for word in words:
        if word in WORDS["try"]:
            attempts.append([])
        attempts[-1].append(word)
    kept, seen = [*attempts[0]], set[tuple[str, ...]]()
    for attempt in attempts[1:]:
        what = tuple(word for word in attempt if word not in (*WORDS["wait"], *WORDS["hmm"]))
        if what not in seen:
            seen.add(what)
            kept += attempt
        if set(WORDS["yes"]) & set(attempt):
            break
    return kept
