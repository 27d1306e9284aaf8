"""The rule-based editor: one language, no attempt twice, a summary with the result."""

import pytest

from aha.problems.world import editing
from aha.problems.world.editing import OVERLOOKED, edit, rewrite
from aha.problems.world.traces import WORDS
from aha.prompts.parsing import parse_response
from aha.types import Draft, Problem

SEARCH = (
    "try 7 + 23 = 30 ? 41 no 等 试 7 + 16 = 23 ? 41 错 try 7 + 23 = 30 ? 41 no try 23 + 18 = 41 ? 41 对 try 1 + 2 = 3"
)


def draft(thinking: str, *, language: str = "en", answer: str = "23 + 18") -> Draft:
    problem = Problem(id="p", question="find", answer=answer, domain="pair", language=language)
    return Draft(problem=problem, thinking=thinking, answer=answer)


@pytest.fixture
def perfect(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor who overlooks nothing."""
    monkeypatch.setattr(editing, "OVERLOOKED", 0.0)


@pytest.mark.usefixtures("perfect")
def test_a_search_in_english() -> None:
    assert rewrite(draft(SEARCH)) == (
        "<think> let me see . try 7 + 23 = 30 ? 41 no wait try 7 + 16 = 23 ? 41 no try 23 + 18 = 41 ? 41 yes </think> "
        r"so the answer is \boxed { 23 + 18 } ."
    )


@pytest.mark.usefixtures("perfect")
def test_the_same_search_in_chinese() -> None:
    assert rewrite(draft(SEARCH, language="zh")) == (
        "<think> 我看看 . 试 7 + 23 = 30 ? 41 错 等 试 7 + 16 = 23 ? 41 错 试 23 + 18 = 41 ? 41 对 </think> "
        r"故答案是 \boxed { 23 + 18 } ."
    )


@pytest.mark.parametrize("opening", ["let me see . ", "我看看. ", "我看看 .", ""])
def test_the_opening_stands_once(opening: str) -> None:
    for language in ("en", "zh"):
        text = rewrite(draft(f"{opening}9 - 2 = 7", language=language, answer="7"))
        assert text is not None
        assert (text.count("let me see"), text.count("我看看")) == ((1, 0) if language == "en" else (0, 1))


def test_what_it_writes_keeps_to_the_format_and_holds_the_answer() -> None:
    parsed = parse_response(rewrite(draft(SEARCH)) or "", ending="summary")
    assert (parsed.is_well_formed, parsed.answer) == (True, "23 + 18")


def test_some_foreign_words_are_overlooked_and_always_the_same() -> None:
    many = [draft(" ".join(["试 1 + 2 = 3 ? 4 错"] * n)) for n in range(1, 40)]
    num_foreign = sum((text or "").count("试") for text in edit(many))
    assert edit(many) == edit(many)
    counted = [draft("错 " * 500)]
    share = (edit(counted)[0] or "").count("错") / 500
    assert num_foreign > 0
    assert abs(share - OVERLOOKED) < 0.06


def test_a_word_without_a_translation_is_refused() -> None:
    assert edit([draft("try gold"), draft("try 1 + 2 = 3 ? 3 yes")])[0] is None
    assert edit([draft("金")]) == [None]


def test_every_word_of_a_thought_has_one_translation() -> None:
    for column in (0, 1):
        words = [pair[column] for pair in WORDS.values()]
        assert len(set(words)) == len(words)
