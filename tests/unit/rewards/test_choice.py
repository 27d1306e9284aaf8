"""The letter that a response settles on."""

import time

import pytest

from aha.rewards.choice import chosen_letter, compare_choice
from aha.types import Problem

PROBLEM = Problem(id="p", question="Which?\n\nA) x\nB) y\nC) z", answer="C", domain="choice")


def test_one_letter_is_found() -> None:
    for text in [
        "C",
        " c ",
        "(C)",
        "C.",
        "C)",
        "$C$",
        "**C**",
        r"\boxed{C}",
        r"\boxed{\text{(C)}}",
        r"So it is $\boxed{C}$.",
        "Answer: C",
        "We weigh A and B.\n\nAnswer: C",
        "**Answer:** C",
        "**Answer: C**",
        "Final Answer: $C$",
        "the answer: C.",
        r"Answer: \boxed{C}",
        "Answer: C) the third one",
        "C) 12 m",
        "Answer: C\nI check it again.\nAnswer: C",
        "Answer: C\n\\boxed{C}",
    ]:
        assert chosen_letter(text) == "C", text
        verdict = compare_choice(text, PROBLEM)
        assert (verdict.score, verdict.kind) == (1.0, "correct"), text


def test_no_letter_or_several_are_none() -> None:
    for text in [
        "",
        "A, B, C",
        "A or C",
        "ABC",
        "A) x\nB) y\nC) z",
        "A) or C)",
        "Answer: A\nAnswer: C",
        "Answer: A or C",
        "Answer: A. and C.",
        "Answer: A\n\\boxed{C}",
        r"\boxed{A, C}",
        r"\boxed{A} \boxed{C}",
        r"\boxed{A} or rather \boxed{\text{C}}",
        "The answer is the third one.",
        "I think that C is right",
        "Answer:",
        "С",  # a Cyrillic letter
        "1",
        "Answer: $LETTER",
        "C" * 200_000,
    ]:
        assert chosen_letter(text) is None, text
        verdict = compare_choice(text, PROBLEM)
        assert (verdict.score, verdict.kind) == (0.0, "unparsable"), text


def test_another_letter_is_wrong() -> None:
    verdict = compare_choice("Answer: A", PROBLEM)
    assert (verdict.score, verdict.kind, verdict.reason) == (0.0, "wrong", "A is not C")


def test_a_reference_that_is_no_letter_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="problem 'p': the reference answer 'x' is no letter"):
        compare_choice("C", Problem(id="p", question="?", answer="x", domain="choice"))


@pytest.mark.parametrize(
    "text",
    [
        "(" * 99_999,
        "**Answer:" * 11_000,
        "\n" * 99_999,
        "Answer: " + "A) " * 33_000,
        r"\boxed{" * 14_000,
        " \n*" * 33_000,
    ],
)
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    start = time.perf_counter()
    chosen_letter(text)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(("num_chars", "letter"), [(99_999, "C"), (100_000, "C"), (100_001, None), (200_000, None)])
def test_a_text_of_more_than_100_000_characters_is_not_read(num_chars: int, letter: str | None) -> None:
    assert chosen_letter("Answer: C\n".ljust(num_chars, "x")) == letter
