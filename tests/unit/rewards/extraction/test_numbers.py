"""The last number of a text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rewards.extraction.numbers import last_number
from aha.rewards.verifier import MathVerifier


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so there are 72.", "72"),
        ("3 and then 72 of them", "72"),
        ("it is -5", "-5"),
        ("it is $-5$.", "-5"),
        ("x=−7", "-7"),
        ("(1,-2)", "-2"),
        ("10-5", "5"),
        ("x-5", "5"),
        ("it is -3.50.", "-3.50"),
        ("about .5.", ".5"),
        ("well...5", "5"),
        ("1,234,567.", "1,234,567"),
        ("1{,}234$", "1,234"),
        ("1,2", "2"),
        ("1,2345", "2345"),
        ("3/4.", "3/4"),
        ("-3 / 4", "-3 / 4"),
        ("2 3/4 cups", "2 3/4"),
        (r"it is $\frac{3}{4}$", "3/4"),
        (r"it is -\dfrac{ 1 }{ 2 }", "-1/2"),
        ("50%", "50%"),
        (r"50 \%.", "50%"),
        ("1.5e6", "1.5e6"),
        ("3rd", "3"),
        ("5km", "5"),
        ("答案是5。", "5"),
        ("<answer> 42 </answer>", "42"),
        (r"\boxed{42}", "42"),
        ("v1.2", None),
        ("x_2 and H2O", None),
        ("none", None),
        ("- , . / %", None),
        ("", None),
    ],
)
def test_the_last_number_is_read_with_what_belongs_to_it(text: str, number: str | None) -> None:
    assert last_number(text) == number


NUMBERS = st.one_of(
    st.integers(-(10**9), 10**9).map(str),
    st.integers(-(10**9), 10**9).map("{:,}".format),
    st.decimals(-1000, 1000, places=3).map(str),
    st.tuples(st.integers(-99, 99), st.integers(1, 99)).map(lambda two: f"{two[0]}/{two[1]}"),
    st.integers(0, 100).map("{}%".format),
)


@given(
    number=NUMBERS,
    before=st.sampled_from(["", "it is ", "7 or ", "= ", "是", "$", "**"]),
    after=st.sampled_from(" .,;!?。$)\n*"),
)
def test_a_number_at_the_end_of_a_sentence_is_read_whole_and_judged_as_it_is(
    number: str, before: str, after: str
) -> None:
    read = last_number(f"{before}{number}{after}")
    assert read == number
    assert MathVerifier().compare(number, read).kind == "correct"


@given(st.text(alphabet="0123456789.,/-−%eE {}\\frac<>x\n", max_size=60))
@settings(max_examples=500)
def test_any_text_is_read(text: str) -> None:
    number = last_number(text)
    has_digits = any(character.isdecimal() for character in text)
    assert number is None or has_digits
    assert number is None or not number.endswith((".", ",", "/", "-"))


@pytest.mark.parametrize(
    "text",
    [
        "1" * 300_000,
        "1,234" + ",234" * 60_000 + "5",
        "1/" * 150_000,
        r"\frac{1" * 40_000,
        "1 " * 150_000,
        ".1" * 150_000,
    ],
)
def test_long_texts_are_read_at_once(text: str) -> None:
    """A quadratic search would take minutes for each of them."""
    last_number(text)
