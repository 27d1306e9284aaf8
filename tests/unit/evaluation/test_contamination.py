"""Decontamination by n-grams of words."""

import random
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aha.evaluation.contamination import Contamination, decontaminate, ngrams, without_instruction
from aha.types import Problem

WORDS = st.sampled_from(["find", "two", "of", "7", "23", "x", "找", "数"])
TEXTS = st.lists(WORDS, max_size=14).map(" ".join)


def test_ngrams_by_hand() -> None:
    assert ngrams("Find two, of: 7 (23)!", 3) == {"find two of", "two of 7", "of 7 23"}
    assert ngrams("从 7 选两个", 2) == {"从 7", "7 选", "选 两", "两 个"}
    assert ngrams("two two two", 2) == {"two two"}


@pytest.mark.parametrize("text", ["", " ", "+ - _ ?", "\n\n"])
def test_a_text_without_words_has_no_ngrams(text: str) -> None:
    assert ngrams(text) == set()
    assert not Contamination([text]).overlaps(text)


def test_a_short_text_is_one_ngram() -> None:
    assert ngrams("compute 7 + 7") == {"compute 7 7"}


def test_a_shared_ngram_is_contamination() -> None:
    for text, overlaps in [
        ("one two three four five six seven eight nine ten", True),
        ("so: ONE two, three four five six seven eight nine ten - eleven", True),
        ("zero two three four five six seven eight nine ten eleven", True),
        ("one two three four five six seven eight nine", False),
        ("one two three four five! six seven eight nine and ten", False),
        ("compute 7 + 7", True),
        ("Compute: 7 7 .", True),
        ("please compute 7 + 7", False),
        ("compute 7", False),
        ("compute 7 + 7 and then find two of 7 23 16 18", False),
    ]:
        sets = ["one two three four five six seven eight nine ten eleven", "compute 7 + 7"]
        assert Contamination(sets).overlaps(text) == overlaps, (text, overlaps)


def test_without_texts_nothing_is_contaminated() -> None:
    assert not Contamination(()).overlaps("compute 7 + 7")


def test_the_key_tells_sets_apart() -> None:
    keys = [Contamination(texts, n).key for texts, n in ((("a b",), 10), (("a b", "c"), 10), (("a b",), 1), ((), 10))]
    assert len(set(keys)) == len(keys)
    assert Contamination(["a", "B !", "a"]).key == Contamination(["b", "a"]).key


@pytest.mark.parametrize("n", [0, -1])
def test_an_ngram_has_words(n: int) -> None:
    for texts in ([], ["a"]):
        with pytest.raises(ValueError, match="at least one word"):
            Contamination(texts, n)


@given(TEXTS, TEXTS, TEXTS, st.integers(1, 10))
def test_a_long_text_is_found_inside_another(before: str, text: str, after: str, n: int) -> None:
    assume(len(text.split()) >= n)
    assert Contamination([text], n).overlaps(f"{before} {text} {after}")
    assert Contamination([f"{before} {text} {after}"], n).overlaps(text)


@given(TEXTS, TEXTS, st.integers(1, 10))
def test_overlap_agrees_with_its_definition(one: str, other: str, n: int) -> None:
    ours, theirs = one.split(), other.split()
    windows = [theirs[start : start + n] for start in range(len(theirs) - n + 1)]
    is_short = min(len(ours), len(theirs)) < n
    expected = (
        ours == theirs != []
        if is_short
        else any(ours[start : start + n] in windows for start in range(len(ours) - n + 1))
    )
    assert Contamination([one], n).overlaps(other) == expected
    assert Contamination([other], n).overlaps(one) == expected


@given(st.text())
def test_any_text_overlaps_with_itself_if_it_has_words(text: str) -> None:
    assert Contamination([text]).overlaps(text) == bool(ngrams(text))
    assert Contamination([text]).overlaps(f" {text} ?!") == bool(ngrams(text))


def test_long_texts_are_read() -> None:
    flood = "a " * 20_000
    assert len(ngrams(flood)) == 1
    assert Contamination([flood]).overlaps("a " * 10)
    assert not Contamination([flood]).overlaps("a " * 9)


def problem(id: str, question: str) -> Problem:
    return Problem(id=id, question=question, answer="1", domain="math")


def test_decontamination_says_what_was_dropped_and_why() -> None:
    held_out = problem("test", "A farmer has 12 cows, and 7 of them are brown. How many are not?")
    same = problem("same", "a farmer has 12 cows and 7 of them are brown how many")
    inside = problem("inside", "Think. A farmer has 12 cows, and 7 of them are brown; how many of them are white?")
    near = problem("near", "A farmer has 13 cows, and 8 of them are brown. How many are not?")
    clean = problem("clean", "What is 2 + 2?")
    found = decontaminate([same, near, inside, clean], [held_out])
    ngram = "a farmer has 12 cows and 7 of them are"
    assert list(found.kept) == [near, clean]
    assert list(found.dropped) == [(same, ngram), (inside, ngram)]
    assert found.lines() == ["2 of 4 training problems share an n-gram with an evaluation set", f"  2 times: {ngram}"]


def test_without_evaluation_sets_everything_is_kept() -> None:
    problems = [problem("a", "What is 2 + 2?"), problem("b", "")]
    assert list(decontaminate(problems, []).kept) == problems


def test_decontamination_is_quick() -> None:
    rng = random.Random(0)
    names = [f"w{number}" for number in range(3000)]
    texts = [" ".join(rng.choices(names, k=50)) for _ in range(1200)]
    held_out = [problem("t", text) for text in texts[:200]]
    train = [problem("a", text) for text in texts]
    start = time.process_time()
    found = decontaminate(train, held_out)
    assert (len(found.kept), len(found.dropped)) == (1000, 200)
    assert time.process_time() - start < 2


def asked(*questions: str) -> list[Problem]:
    return [Problem(id=str(n), question=question, answer="", domain="text") for n, question in enumerate(questions)]


def test_the_words_around_every_question_are_left_out() -> None:
    """Nine of ten questions may be enough: one row without the instruction must not bring the others down."""
    rows = [f"Think for a while: what makes {n} and {n % 7}? Put it in a box." for n in range(19)]
    found = without_instruction(asked(*rows, "And this one is another"))
    assert [problem.question for problem in found[:2]] == ["0 and 0", "1 and 1"]
    assert found[19].question == "And this one is another"
    assert [problem.id for problem in found] == [str(n) for n in range(20)]


def test_a_few_questions_and_equal_ones_keep_their_words() -> None:
    few = asked(*(f"Think for a while of {n}." for n in range(9)))
    assert without_instruction(few) == few
    short = asked(*(f"Think of {n} once more, please." for n in range(20)))
    assert without_instruction(short) == short
    equal = asked(*["Think for a while of it"] * 20)
    assert without_instruction(equal) == equal
    assert without_instruction([]) == []


def test_an_instruction_makes_no_overlap_and_hides_none() -> None:
    instruction = "Let's think step by step and output the final answer after the last line of all"
    train = asked(*(f"What is {n} and {n * n % 97} more? {instruction}" for n in range(60)))
    held_out = asked(*(f"What is {n} and {n * n % 97} more? {instruction}" for n in range(50, 80)))
    assert not decontaminate(train, held_out).kept
    clean = decontaminate(without_instruction(train), without_instruction(held_out))
    assert [problem.id for problem in clean.kept] == [str(n) for n in range(50)]
