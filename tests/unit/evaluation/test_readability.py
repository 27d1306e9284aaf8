"""What makes a response readable."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.evaluation.readability import (
    NGRAM,
    READABLE,
    Limits,
    faults,
    has_code_block,
    is_readable,
    longest_paragraph,
    repetition,
)
from aha.problems.world.questions import draw_content
from aha.problems.world.traces import search_to_the_end
from aha.prompts.templates import opening_of

TRY = "try {a} + {b} = {sum} ? 41 no "
GOOD = (
    "<think> let me see . try 7 + 23 = 30 ? 41 no wait try 23 + 18 = 41 ? 41 yes </think> so it is \\boxed {23 + 18} ."
)
ZERO = "<think> 试 7 + 23 = 30 ? 41 错 试 23 + 18 = 41 ? 41 对 </think> <answer> 23 + 18 </answer>"


def search(pairs: list[tuple[int, int]]) -> str:
    return "".join(TRY.format(a=a, b=b, sum=a + b) for a, b in pairs)


@pytest.mark.parametrize(("text", "language"), [(GOOD, "en"), (ZERO, "zh")])
def test_good_responses_of_both_formats_have_no_fault(text: str, language: str) -> None:
    assert faults(text, language) == []
    assert is_readable(text, language)


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("<｜User｜>7 + 34<｜Assistant｜>", ["no thinking"]),
        ("<｜User｜>7 + 34<｜Assistant｜><think>\n", []),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ["no thinking"]),
    ],
    ids=["the response opens it", "R1-Distill", "Qwen3 without thinking"],
)
def test_thinking_that_the_prompt_opens_is_thinking(prompt: str, found: list[str]) -> None:
    rest = "try 7 + 34 = 41 yes </think> so it is 41"
    assert faults(opening_of(prompt) + rest, "en") == found


def test_every_fault_is_named() -> None:
    for text, found in [
        ("so it is 41", ["no thinking"]),
        ("<think> </think> so it is 41", ["no thinking"]),
        ("<think> try 7 </think>", ["no summary"]),
        ("<think> try 7 </think> <answer> </answer>", ["no summary"]),
        ("<think> try 7", ["no summary"]),
        ("", ["no thinking", "no summary"]),
        ("<think> 试 7 </think> so it is 41", ["mixed languages"]),
        ("<think> try 7 </think> 故 41", ["mixed languages"]),
        (f"<think> {'wait ' * 20} </think> so it is 41", ["repetition"]),
        (f"<think> try 7 </think> so it is {'41 ' * 40}", []),
        ("<think> try ```print(7)``` </think> so it is 41", ["code block"]),
        ("<think> try 7 </think> so it is ```41```", []),
        (f"<think> {'wait ' * 201} </think> so it is 41", ["repetition", "long paragraph"]),
        (
            f"<think> 试 ```x``` {'wait ' * 300}",
            ["no summary", "mixed languages", "repetition", "long paragraph", "code block"],
        ),
    ]:
        assert faults(text, "en") == found, (text, found)
        assert is_readable(text, "en") == (not found), (text, found)


def test_limits_are_kept_to_and_no_further() -> None:
    mixed = "<think> try 试 </think> so it is"
    assert not faults(mixed, "en", Limits(min_consistency=0.8))
    assert faults(mixed, "en", Limits(min_consistency=0.81)) == ["mixed languages"]
    long = "<think> wait no </think> so"
    assert not faults(long, "en", Limits(max_paragraph_words=2))
    assert faults(long, "en", Limits(max_paragraph_words=1)) == ["long paragraph"]
    loop = f"<think> {'7 ' * 9} </think> so"
    assert not faults(loop, "en", Limits(max_repetition=0.5))
    assert faults(loop, "en", Limits(max_repetition=0.49)) == ["repetition"]
    assert replace(READABLE) == Limits()


def test_another_count_tells_languages_apart() -> None:
    def count(text: str) -> Counter[str]:
        return Counter(fr=text.count("donc"), en=text.count("so"))

    text = "<think> donc 41 </think> so it is 41"
    assert faults(text, "fr", count=count) == ["mixed languages"]
    assert is_readable(text, "fr", Limits(min_consistency=0.5), count=count)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="not in 'fr'"):
        faults(GOOD, "fr")


def test_repetition_is_the_share_of_sequences_that_came_before() -> None:
    for text, share in [
        ("", 0.0),
        ("a b c d e f g", 0.0),
        ("a a a a a a a", 0.0),
        ("a b c d e f g h", 0.0),
        ("a a a a a a a a a", 1 / 2),
        ("1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8", 1 / 9),
        ("一二三四五六七八一二三四五六七八", 1 / 9),
        ("a" * 99, 0.0),
    ]:
        assert repetition(text) == pytest.approx(share), (text, share)


def test_searches_of_the_world_do_not_count_as_loops() -> None:
    rng = Random(0)
    for _ in range(150):
        content = draw_content(rng, rng.choice(("train", "hard")), ("pair", "countdown", "quadratic"))
        assert repetition(search_to_the_end(rng, content, rng.choice(("en", "zh")))) < READABLE.max_repetition


def test_attempts_that_are_made_again_count_as_loops() -> None:
    new = [(7, 23), (7, 16), (7, 18), (23, 16), (16, 18)]
    assert repetition(search(new)) == 0.0
    assert 0.0 < repetition(search([*new, (7, 23)])) < READABLE.max_repetition
    assert repetition(search([*new[:3], new[2], new[2]])) > READABLE.max_repetition
    assert repetition(search(new * 4)) > 0.7


@given(st.lists(st.integers(0, 49), min_size=NGRAM, max_size=30), st.integers(1, 5))
def test_repetition_grows_with_every_round(numbers: list[int], rounds: int) -> None:
    shares = [repetition(" ".join(map(str, numbers * number))) for number in (1, rounds, rounds + 1)]
    assert 0.0 <= shares[0] <= shares[1] < shares[2] < 1.0
    if len(set(numbers)) == len(numbers):
        assert shares[0] == 0.0


def test_the_longest_paragraph_ends_at_a_blank_line() -> None:
    for text, num_words in [
        ("", 0),
        ("\n\n\n", 0),
        ("7 + 7 = 14", 0),
        ("wait no", 2),
        ("wait\nno", 2),
        ("wait no\n\nyes", 2),
        ("wait\n  \t\nno yes\n\n\n\nno", 2),
        ("等等 7\n\n对", 2),
        ("wait $no$ yes", 2),
    ]:
        assert longest_paragraph(text) == num_words, (text, num_words)


@pytest.mark.parametrize(
    ("text", "has_code"),
    [
        ("```python\nprint(7)\n```", True),
        ("so ``` 7", True),
        ("so\n  ~~~\n7", True),
        ("so ~~~ 7", False),
        ("so `7`", False),
        ("", False),
    ],
)
def test_code_blocks_are_seen(text: str, has_code: bool) -> None:
    assert has_code_block(text) == has_code


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "so", "对", "\n", "```", "$", "\ud800"]))
)
def test_any_text_has_faults_or_none(pieces: list[str]) -> None:
    text = " ".join(pieces)
    assert is_readable(text, "en") == (not faults(text, "en"))
    if "<think>" not in text:
        assert "no thinking" in faults(text, "en")


def test_floods_get_a_verdict() -> None:
    for piece in ["wait ", "<think>", "```", "$", "\n", "~", "对", "\\("]:
        assert faults(f"<think> {piece * 10_000} </think> so", "en"), piece
