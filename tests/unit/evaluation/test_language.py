"""Counting words: reflection and language."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.evaluation.language import REFLECTIVE_WORDS, mixes_languages, reflective_acts, words_by_language

TRACE = "<think> try 7 + 23 = 30 ? 41 no wait try 23 + 18 = 41 ? 41 yes </think> <answer> 23 + 18 </answer>"
MIXED = "<think> 试 7 + 23 = 30 ? 41 错 wait 试 23 + 18 = 41 ? 41 对 </think> <answer> 23 + 18 </answer>"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("5 + 3 = 8", 0),
        ("wait", 1),
        ("Wait, wait. Wait.", 3),
        ("WAIT", 1),
        ("wait wait", 2),
        ("waiting awaits mistaken buttery rechecked", 0),
        ("retry", 1),
        ("re try", 1),
        ("hmm , let me check : 5", 2),
        ("7wait8", 1),
        ("错等wait", 2),
        ("试试", 2),
        ("嗯 查 等 试", 4),
        ("<check> <wait> </try>", 0),
        ("wa\u00eft", 0),
        (TRACE, 3),
        (MIXED, 3),
    ],
)
def test_whole_words_of_doubt_are_counted(text: str, count: int) -> None:
    assert reflective_acts(text) == count


def test_the_ten_words_of_the_paper_count() -> None:
    ten = "wait mistake however but retry error verify wrong evaluate check"
    assert reflective_acts(ten) == 10
    assert set(ten.split()) | {"try", "hmm", "试", "等", "查", "嗯"} == REFLECTIVE_WORDS


@pytest.mark.parametrize(
    ("text", "english", "chinese"),
    [
        ("", 0, 0),
        ("<think> </think> <answer> 23 + 18 </answer>", 0, 0),
        ("3 x + 4 = 19 , x = 5 , X", 0, 0),
        ("so x is 5", 2, 0),
        ("box xx", 2, 0),
        ("caf\u00e9", 1, 0),
        ("先试7", 0, 2),
        ("wait错", 1, 1),
        ("\uff0c \u3002 ? ! ^ * /", 0, 0),
        ("\u043f\u0440\u0438\u0432\u0435\u0442", 0, 0),
        (TRACE, 5, 0),
        (MIXED, 1, 4),
    ],
)
def test_words_belong_to_a_language(text: str, english: int, chinese: int) -> None:
    counts = words_by_language(text)
    assert (counts["en"], counts["zh"]) == (english, chinese)


@pytest.mark.parametrize(
    ("text", "language", "is_mixed"),
    [
        (TRACE, "en", False),
        (TRACE, "zh", True),
        (MIXED, "en", True),
        (MIXED, "zh", True),
        ("试 7 + 23", "zh", False),
        ("<think> x = 5 </think> <answer> 5 </answer>", "zh", False),
        ("<think> x = 5 </think> <answer> 5 </answer>", "en", False),
        ("", "en", False),
    ],
)
def test_one_word_of_another_language_is_mixing(text: str, language: str, is_mixed: bool) -> None:
    assert mixes_languages(text, language) is is_mixed


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="en, zh only, not in 'fr'"):
        mixes_languages(TRACE, "fr")


@given(st.lists(st.sampled_from(["wait", "no", "对", "试", "x", "7", "<think>", "=", "?"])))
@settings(deadline=None, derandomize=True)
def test_counts_add_up_over_the_words(words: list[str]) -> None:
    text = " ".join(words)
    counts = words_by_language(text)
    assert counts["en"] == words.count("wait") + words.count("no")
    assert counts["zh"] == words.count("对") + words.count("试")
    assert reflective_acts(text) == words.count("wait") + words.count("试")


@pytest.mark.parametrize(
    ("text", "english", "acts"),
    [
        ("<" * 100_000, 0, 0),
        ("<think" * 100_000, 100_000, 0),
        ("a" * 100_000, 1, 0),
        ("wait " * 100_000, 100_000, 100_000),
    ],
)
def test_floods_are_counted(text: str, english: int, acts: int) -> None:
    assert words_by_language(text)["en"] == english
    assert reflective_acts(text) == acts
