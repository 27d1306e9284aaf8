"""The fast path: what it is sure of, and that it is right."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.mathematics import Number, compare_values, form_of, read_value
from aha.rewards.notation import MAX_CHARS, clean, is_balanced, split_list, without_name

EQUAL = [
    ("5", "5.0"), ("5", "5."), ("5", "+5"), ("-5", "- 5"), ("5", "05"), ("5", "$5$"), ("5", r"\(5\)"), ("5", r"\$5"),
    ("5", "$5"), ("-3", "−3"), ("1234", "1,234"), ("1234", "1{,}234"), ("1234", r"1\,234"), ("10,\\!080", "10080"),
    ("11,\\! 111,\\! 111,\\! 100", "11111111100"), ("1234567.5", "1,234,567.50"), ("0.5", ".5"), ("0.5", r"\frac12"),
    ("0.5", "1/2"), (r"\frac{1}{2}", r"\dfrac{2}{4}"), (r"\frac43", r"\tfrac{4}{3}"), (r"\frac 59", "5/9"),
    (r"\frac9{19}", "9/19"), (r"-\frac{1}{2}", r"\frac{-1}{2}"), (r"1\frac{4}{5}", "1.8"),
    (r"137 \frac{1}{2}", "137.5"),
    ("3/2", "1 1/2"), (r"-1\frac12", "-1.5"), ("6000", r"6 \times 10^3"), ("0.0000672", r"6.72 \times 10^{-5}"),
    ("1000", "10^3"), ("1200", "1.2e3"), ("50\\%", "0.5"), ("50%", "50"), ("50", "50\\%"), (r"\frac{1}{2}", "50%"),
    ("5", "5 apples"), ("5", r"5\text{ cm}"), ("90^\\circ", "90"), ("90", "90 degrees"), ("90°", r"90^{\circ}"),
    (r"864 \mbox{ inches}^2", r"864\text{ square inches}"), (r"15\mbox{ cm}^2", "15"), (r"\$18.90", "18.9"),
    ("5", "5 miles per hour"), (r"5.4 \text{ cents}", "5.4 cents"), ("2000000", "2 million"),
    (r"\frac{1}{3}", "0.333333"),
    (r"\frac{2}{3}", "0.666667"), (r"\frac{2}{3}", "0.666666"), ("52_8", "52_{8}"), ("52_8", "52"),
    (r"\text{Evelyn}", "evelyn"), (r"\text{east}", r"\textbf{East}"), (r"\text{(C)}", "C"),
    (r"\text{(C)}", r"\text{C}"),
    ("C", "(C)"), (r"\text{(C)}", "(C) 12"), ("(6,31,-1)", r"\left( 6, 31, -1 \right)"),
    ("(3,4]", r"\left(3, 4\right]"),
    (r"(-\infty, 0]", r"(-\infty,0.0]"), ("1,-2", "-2, 1"), ("1,-2", r"\{1,-2\}"), ("1,-2", "x=1, x=-2"),
    ("1,-2", r"1 \text{ and } -2"), ("1,-2", r"x = 1 \text{ or } x = -2"), (r"\{1,2\}", r"\{2,1,1\}"),
    ("(1,2)", "1, 2"),
    ("5", "{,}5".replace("{,}", "")), (r"(1,\frac12)", "(1,0.5)"), ("0", "-0"), ("5", "**5**"),
]  # fmt: skip

DIFFERENT = [
    ("5", "6"), ("5", "-5"), ("5", "5.0000001"), ("5", "50"), ("1234", "1,23"), ("1234", "1.234"), ("12", "1,2"),
    (r"\frac{1}{3}", "0.33"), (r"\frac{1}{3}", "0.33333"), (r"\frac{1}{3}", "0.3333334"), (r"\frac{2}{3}", "-0.666667"),
    ("0.0000672", "0.0000671"), ("0.0000672", "0"), (r"1\frac{4}{5}", "0.8"), (r"1\frac{4}{5}", r"\frac{14}{5}"),
    ("1", "1%"), ("0.5", "0.5%"), ("50%", "5"), ("52_8", "52_9"), ("52", "52_8"), ("52_8", "42"), ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"), ("(1,2)", r"\{1,2\}"), ("(3,4]", "[3,4]"), ("1,-2", "1"), ("1,-2", "1,2"), ("1,1,2", "1,2,2"),
    ("(1,2)", "(1,2,3)"), (r"(-\infty,0]", r"(\infty,0]"), (r"\text{east}", r"\text{west}"), (r"\text{(C)}", "(D)"),
    ("5 cents", "5 dollars"), (r"\$5", "5 cents") , ("15 cm", r"15\text{ cm}^2"), ("5", "5,5"),
    ("5", "5 million"), ("1000", "1"),
]  # fmt: skip

UNSURE = [
    "5x", "5!", "2^3", "1+1", "-(-5)", r"\sqrt{4}", r"5\pi", r"\frac{1}{0}", "1/0", "5 or", "not 5", "5 plus 3",
    "5 or more", "5 half", "1 2", "5 6 7", r"5\text{ correct}", "5;6", "5:6", "5xy", "5ab", "1.2.3", "1..2", "--5",
    r"\frac{1}{2}3", "10**2", "1e9999", "5_{16}x", r"\$5 \text{ cents}", "", "()", "+", r"\frac12\frac12", "9" * 401,
]  # fmt: skip


def same(gold: str, answer: str) -> bool | None:
    values = [read_value(without_name(clean(text) or "")[0]) for text in (gold, answer)]
    return None if None in values else compare_values(*values)


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_values_in_other_notation(gold: str, answer: str) -> None:
    assert same(gold, answer) is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different_values(gold: str, answer: str) -> None:
    assert same(gold, answer) is False


@pytest.mark.parametrize("text", UNSURE)
def test_what_is_no_plain_value_is_left_to_others(text: str) -> None:
    assert not isinstance(read_value(clean(text) or ""), Number)


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_fractions_compare_as_fractions(left: Fraction, right: Fraction) -> None:
    def write(number: Fraction) -> str:
        return rf"{'-' if number < 0 else ''}\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"

    assert same(write(left), write(right)) is (left == right)
    assert same(write(left), str(left)) is True


@given(st.integers(min_value=-(10**30), max_value=10**30), st.integers(min_value=1, max_value=10**6))
def test_integers_compare_as_integers(number: int, off: int) -> None:
    for form in (str(number), f"{number:,}", f"{number:,}".replace(",", "{,}"), f"${number}$", f"{number}.00"):
        assert same(str(number), form) is True
        assert same(str(number + off), form) is False


@given(st.text(alphabet="0123456789.,-+/%$ {}()[]\\fractextpi eE^_:=<>", max_size=60))
def test_nothing_raises_and_everything_equals_itself(text: str) -> None:
    cleaned = clean(text)
    value = read_value(cleaned) if cleaned else None
    if value is not None:
        assert compare_values(value, value) is True
        assert form_of(value)


@pytest.mark.parametrize(
    "unit", ["\\text{ a", "a ", "ab", "(", "\\", ",", "1,", "{", "\\frac", "1/", "^", "\\text{}", "¤"]
)
def test_reading_is_quick_on_long_text(unit: str) -> None:
    text = clean((unit * MAX_CHARS)[:MAX_CHARS])
    assert text is None or read_value(text) is None or len(text) < MAX_CHARS


def test_longer_text_is_not_read() -> None:
    assert clean("1" * MAX_CHARS) is not None
    assert clean("1" * (MAX_CHARS + 1)) is None


@pytest.mark.parametrize("text", ["5\x00", "\u200b5", "５", "٥", "5\u202e", "\x1b[31m5", "½", "5¤"])
def test_invisible_and_foreign_characters_are_no_mathematics(text: str) -> None:
    assert clean(text) is None


def test_blanks_part_digits() -> None:
    assert clean("1 2") == "1 2"
    assert clean(" x  = 1 ") == "x=1"


def test_powers_of_python_are_not_emphasis() -> None:
    assert clean("1**2") == "1**2"


def test_lists_are_split_outside_of_brackets() -> None:
    assert split_list("(1,2),{3,4},5") == ["(1,2)", "{3,4}", "5"]


def test_brackets() -> None:
    assert is_balanced("[1,2)")
    assert not is_balanced("(1")
    assert not is_balanced("1)(")
    assert not is_balanced("(" * 30 + ")" * 30)


def test_forms_do_not_depend_on_notation() -> None:
    for left, right in [("0.5", r"\frac12"), ("1,-2", "-2, 1"), ("1,234", "1234"), (r"\text{East}", "east")]:
        forms = [form_of(value) for text in (left, right) if (value := read_value(clean(text) or ""))]
        assert len(forms) == 2
        assert forms[0] == forms[1]
