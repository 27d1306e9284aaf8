"""Each limit of the verifier of mathematics: what just reaches it is read and computed, one more is refused."""

from collections.abc import Callable

import pytest

from aha.rewards.math.arithmetic import TooLargeError
from aha.rewards.math.comparison import difference
from aha.rewards.math.reading.grammar import read
from aha.rewards.math.reading.tokens import UnreadableError

Text = Callable[[int], str]
"""A text by its size."""


def is_read(text: str) -> bool:
    try:
        read(text)
    except UnreadableError:
        return False
    return True


def is_computed(text: str) -> bool:
    try:
        return not difference(read(text), read(f"{text}+0"))
    except TooLargeError:
        return False


@pytest.mark.parametrize(
    ("text", "largest"),
    [
        pytest.param(lambda n: "(" * n + "1" + ")" * n, 23, id="depth of brackets"),
        pytest.param(lambda n: r"\sqrt{" * n + "x" + "}" * n, 23, id="depth of roots"),
        pytest.param(lambda n: ",".join(["1"] * n), 64, id="items of a list"),
        pytest.param(lambda n: "+".join(["1"] * n), 350, id="tokens"),
        pytest.param(lambda n: "=".join(f"{k}x" for k in range(1, n + 1)), 4, id="sides of a chain"),
        pytest.param(lambda n: "5 meters" + " per second" * n, 2, id="words behind a number"),
    ],
)
def test_the_longest_text_is_read_and_no_longer_one(text: Text, largest: int) -> None:
    assert is_read(text(largest))
    assert not is_read(text(largest + 1))


@pytest.mark.parametrize(
    ("text", "largest"),
    [
        pytest.param(lambda n: rf"\sum_{{k=0}}^{{{n}}} \sin(k)", 300, id="terms of a sum"),
        pytest.param(lambda n: rf"\sum_{{k=5}}^{{{n}}} \sin(k)", 305, id="terms of a sum from five on"),
        pytest.param(lambda n: f"3^{{{n}}}", 20_000, id="bits of a power"),
    ],
)
def test_the_largest_value_is_computed_and_no_larger_one(text: Text, largest: int) -> None:
    assert is_computed(text(largest))
    assert not is_computed(text(largest + 1))


def test_six_digits_are_evident_of_a_number_that_has_no_end() -> None:
    for gold, digits, is_same in [
        (r"\frac{1}{3}", "0.33333", False),
        (r"\frac{1}{3}", "0.333333", True),
        (r"\frac{2}{3}", "0.66666", False),
        (r"\frac{2}{3}", "0.666666", True),
        (r"\pi", "3.1416", False),
        (r"\pi", "3.14159", True),
        (r"\pi", "3.141593", True),
        (r"100\pi", "314.159", True),
        (r"100\pi", "314.16", False),
        (r"\sqrt{2}", "1.41421", True),
        (r"\sqrt{2}", "1.4142", False),
    ]:
        assert (difference(read(gold), read(digits)) == "") is is_same, (gold, digits, is_same)
