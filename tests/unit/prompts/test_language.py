"""Counting words: reflection, language and its consistency."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.prompts.language import (
    LANGUAGES,
    REFLECTIVE_WORDS,
    consistency,
    mixes_languages,
    prose,
    reflective_acts,
    words_by_language,
)

TRACE = "<think> try 7 + 23 = 30 ? 41 no wait try 23 + 18 = 41 ? 41 yes </think> <answer> 23 + 18 </answer>"
MIXED = "<think> 试 7 + 23 = 30 ? 41 错 wait 试 23 + 18 = 41 ? 41 对 </think> <answer> 23 + 18 </answer>"


def test_whole_words_of_doubt_are_counted() -> None:
    for text, count in [
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
    ]:
        assert reflective_acts(text) == count, (text, count)


def test_the_ten_words_of_the_paper_count() -> None:
    ten = "wait mistake however but retry error verify wrong evaluate check"
    assert reflective_acts(ten) == 10
    assert set(ten.split()) | {"try", "hmm", "试", "等", "查", "嗯"} == REFLECTIVE_WORDS


def test_words_belong_to_a_language() -> None:
    for text, english, chinese in [
        ("", 0, 0),
        ("<think> </think> <answer> 23 + 18 </answer>", 0, 0),
        ("3 x + 4 = 19 , x = 5 , X", 0, 0),
        ("so x is 5", 2, 0),
        ("box xx", 2, 0),
        ("caf\u00e9", 1, 0),
        ("I have a cow", 4, 0),
        ("n A b X \u00e9", 1, 0),
        (r"so the answer is \boxed { 5 } .", 4, 0),
        (r"故 $wait$ 是 \boxed{\frac{x}{y}}", 0, 2),
        ("故\n```python\nprint(sum)\n```\n是", 0, 2),
        ("先试7", 0, 2),
        ("wait错", 1, 1),
        ("\uff0c \u3002 ? ! ^ * /", 0, 0),
        ("\u043f\u0440\u0438\u0432\u0435\u0442", 0, 0),
        (TRACE, 5, 0),
        (MIXED, 1, 4),
    ]:
        counts = words_by_language(text)
        assert (counts["en"], counts["zh"]) == (english, chinese), (text, english, chinese)


def test_one_word_of_another_language_is_mixing() -> None:
    for text, language, is_mixed in [
        (TRACE, "en", False),
        (TRACE, "zh", True),
        (MIXED, "en", True),
        (MIXED, "zh", True),
        ("试 7 + 23", "zh", False),
        ("<think> x = 5 </think> <answer> 5 </answer>", "zh", False),
        ("<think> x = 5 </think> <answer> 5 </answer>", "en", False),
        ("", "en", False),
    ]:
        assert mixes_languages(text, language) is is_mixed, (text, language, is_mixed)


def test_an_unknown_language_is_refused() -> None:
    for function in (mixes_languages, consistency):
        with pytest.raises(ValueError, match="en, zh only, not in 'fr'"):
            function(TRACE, "fr")


@pytest.mark.parametrize(
    ("text", "english"),
    [
        (TRACE, 1.0),
        (MIXED, 1 / 5),
        ("wait 对 no 错", 1 / 2),
        ("对", 0.0),
        ("", 1.0),
        ("12 + 34 = 46 , x = 5", 1.0),
    ],
)
def test_consistency_is_the_share_of_words_in_the_target_language(text: str, english: float) -> None:
    assert consistency(text, "en") == english


def test_consistency_takes_another_count() -> None:
    def count(text: str) -> Counter[str]:
        return Counter(fr=text.count("oui"), en=text.count("yes"))

    assert consistency("oui yes oui yes oui", "fr", count=count) == 3 / 5
    assert consistency("oui", "de", count=count) == 0.0
    assert consistency("", "de", count=count) == 1.0


@given(st.lists(st.sampled_from(["wait", "no", "对", "试", "x", "7", "<think>", "$", "\n", "`"])).map(" ".join))
def test_shares_of_all_languages_add_up(text: str) -> None:
    num_words = words_by_language(text).total()
    assert sum(consistency(text, language) for language in LANGUAGES) == pytest.approx(1.0 if num_words else 2.0)
    assert all(mixes_languages(text, language) == (consistency(text, language) < 1.0) for language in LANGUAGES)


def test_prose_leaves_formulas_and_code_out() -> None:
    for text, rest in [
        ("no formula , no code", "no formula , no code"),
        (r"so \frac{1}{2} left", "so {1}{2} left"),
        (r"so \begin{align} y \end{align} left", "so y left"),
        ("so $wait$ left", "so left"),
        ("so $$wait\nwait$$ left", "so left"),
        (r"so \(wait\) and \[wait\] left", "so and left"),
        ("so `wait` left", "so left"),
        ("so ```wait\n`wait` $``` left", "so left"),
        ("so <think> left </think>", "so left"),
        ("it is $5 or $6 now", "it is $5 or $6 now"),
        ("it is $5 and then 7$ now", "it is now"),
        ("it is $5 and\nthen 7$ now", "it is $5 and then 7$ now"),
        ("it is ` and\nthen ` now", "it is ` and then ` now"),
        (r"costs \$5 or 6$ now", "costs 5 or 6$ now"),
        ("so ``` never closed", "so ``` never closed"),
        (r"so \( never closed $x$", r"so \( never closed"),
        (r"so \\( not opened \)", "so ( not opened"),
        ("", ""),
    ]:
        assert " ".join(prose(text).split()) == rest, (text, rest)


@given(st.lists(st.sampled_from(["wait", "no", "对", "试", "x", "7", "<think>", "=", "?"])))
@settings(deadline=None, derandomize=True)
def test_counts_add_up_over_the_words(words: list[str]) -> None:
    text = " ".join(words)
    counts = words_by_language(text)
    assert counts["en"] == words.count("wait") + words.count("no")
    assert counts["zh"] == words.count("对") + words.count("试")
    assert reflective_acts(text) == words.count("wait") + words.count("试")


def test_floods_are_counted() -> None:
    for text, english, acts in [
        ("<" * 10_000, 0, 0),
        ("<think" * 10_000, 10_000, 0),
        ("a" * 10_000, 1, 0),
        ("wait " * 10_000, 10_000, 10_000),
        ("$" * 10_000, 0, 0),
        ("$a" * 10_000, 5_000, 0),
        ("\\(" * 10_000, 0, 0),
        ("\\" * 10_000, 0, 0),
        ("`\n" * 10_000, 0, 0),
        ("\\begin{" * 10_000, 0, 0),
    ]:
        assert words_by_language(text)["en"] == english, (text, english, acts)
        assert reflective_acts(text) == acts, (text, english, acts)
