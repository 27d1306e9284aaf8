"""The expression reader against trees whose meaning is known, and against bait."""

from dataclasses import dataclass
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rewards.expression import MAX_CHARS, MAX_DIGITS, MAX_TOKENS, parse_expression, parse_integer


@dataclass(frozen=True)
class Tree:
    """An expression by construction: an integer (`operator` empty), a negation (`neg`) or an operation."""

    operator: str
    left: "Tree | int"
    right: "Tree | None" = None


NUMBERS = st.integers(0, 60).map(lambda number: Tree("", number))
TREES = st.recursive(
    NUMBERS,
    lambda inner: (
        st.builds(Tree, st.sampled_from("+-*/"), inner, inner) | st.builds(Tree, st.just("neg"), inner, st.none())
    ),
    max_leaves=12,
)
PROPERTY = settings(deadline=None, derandomize=True, max_examples=60)


def value_of(tree: Tree) -> Fraction:
    """The oracle: exact value by recursion."""
    if isinstance(tree.left, int):
        return Fraction(tree.left)
    left = value_of(tree.left)
    if tree.right is None:
        return -left
    right = value_of(tree.right)
    if tree.operator == "/":
        return left / right
    return {"+": left + right, "-": left - right, "*": left * right}[tree.operator]


def numbers_of(tree: Tree) -> list[int]:
    """The oracle: the integers in the leaves."""
    if isinstance(tree.left, int):
        return [tree.left]
    return numbers_of(tree.left) + (numbers_of(tree.right) if tree.right else [])


def written(tree: Tree, rng: Random) -> str:
    """A tree with the parentheses that precedence asks for, some that it does not, and random blanks."""
    text, _ = _written(tree, rng)
    return text


def _written(tree: Tree, rng: Random) -> tuple[str, int]:
    if isinstance(tree.left, int):
        return "0" * rng.choice([0, 0, 0, 2]) + str(tree.left), 4
    level = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3}[tree.operator]
    blank = rng.choice(["", " ", "\n "])
    left = _inside(tree.left, level, rng)
    if tree.right is None:
        return f"-{blank}{left}", level
    return f"{left}{blank}{tree.operator}{blank}{_inside(tree.right, level + 1, rng)}", level


def _inside(tree: Tree, level: int, rng: Random) -> str:
    text, own_level = _written(tree, rng)
    return f"({text})" if own_level < level or rng.random() < 0.2 else text


def rearranged(tree: Tree, rng: Random) -> Tree:
    """The same sums and products in another order and grouping."""
    if isinstance(tree.left, int):
        return tree
    left = rearranged(tree.left, rng)
    if tree.right is None:
        return Tree("neg", left)
    right = rearranged(tree.right, rng)
    if tree.operator == "-":
        return rng.choice([Tree("-", left, right), Tree("+", Tree("neg", right), left)])
    if tree.operator == "/":
        return Tree("/", left, right)
    if rng.random() < 0.5:
        left, right = right, left
    if right.operator == tree.operator and right.right is not None and isinstance(right.left, Tree):
        return Tree(tree.operator, Tree(tree.operator, left, right.left), right.right)
    return Tree(tree.operator, left, right)


@pytest.mark.full
@given(TREES, st.randoms(use_true_random=False))
@PROPERTY
def test_value_and_numbers_are_those_of_the_tree(tree: Tree, rng: Random) -> None:
    expression = parse_expression(written(tree, rng))
    try:
        expected = value_of(tree)
    except ZeroDivisionError:
        assert expression is None
        return
    assert expression is not None
    assert expression.value == expected
    assert expression.numbers == tuple(sorted(numbers_of(tree)))


@given(TREES, st.randoms(use_true_random=False))
@PROPERTY
def test_order_and_grouping_do_not_change_the_canonical_text(tree: Tree, rng: Random) -> None:
    expression = parse_expression(written(tree, rng))
    other = parse_expression(written(rearranged(tree, rng), rng))
    assert (expression and expression.canonical) == (other and other.canonical)


@given(TREES, st.randoms(use_true_random=False))
@PROPERTY
def test_the_canonical_text_means_the_same_and_is_its_own_canonical_text(tree: Tree, rng: Random) -> None:
    expression = parse_expression(written(tree, rng))
    if expression is not None:
        assert parse_expression(expression.canonical) == expression


@given(st.text(alphabet="0123456789+-*/() x９^_.", max_size=40) | st.text())
@PROPERTY
def test_any_text_is_read_without_an_error(text: str) -> None:
    expression = parse_expression(text)
    if expression is not None:
        assert set(text) <= set("0123456789+-*/() \t\n\r\f\v")
        assert expression.numbers


def test_precedence_grouping_and_signs() -> None:
    for text, value in [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("10 - 4 - 3", 3),
        ("24 / 4 / 2", 3),
        ("24 / (4 / 2)", 12),
        ("-2 * 3", -6),
        ("2 * -3", -6),
        ("5 - -2", 7),
        ("- - 5", 5),
        ("24 / -4 / 2", -3),
        ("2 / -3 * 4", Fraction(-8, 3)),
        ("-(3 - 8)", 5),
        ("007", 7),
        ("((5))", 5),
        ("7 / 2", Fraction(7, 2)),
    ]:
        expression = parse_expression(text)
        assert expression is not None, (text, value)
        assert expression.value == value, (text, value)


def test_equal_arrangements_share_a_canonical_text() -> None:
    for texts, canonical in [
        (["(3+8)-2", "8 - 2 + 3", "8-(2-3)", "-2+(3+8)", "3 - (2 - 8)"], "3 + 8 - 2"),
        (["2*3*4", "4*(3*2)", "-2*-3*4", "-(2*-(3*4))"], "2 * 3 * 4"),
        (["6 / 3 * 2", "2 * 6 / 3", "6 / (3 / 2)"], "2 * 6 / 3"),
        (["(8 + 3) * 2", "2 * (3 + 8)"], "2 * (3 + 8)"),
        (["-(2 * 3)", "-2 * 3", "3 * -2"], "- 2 * 3"),
        (["10 + 9", "9 + 10"], "9 + 10"),
        (["-(2 + 3) + 8", "8 - 2 - 3"], "8 - 2 - 3"),
        (["-(2 + 3) * 4", "-((3 + 2) * 4)", "4 * -(2 + 3)"], "- 4 * (2 + 3)"),
    ]:
        expressions = [parse_expression(text) for text in texts]
        assert {expression and expression.canonical for expression in expressions} == {canonical}, (texts, canonical)


@pytest.mark.parametrize(("one", "other"), [("2 * 3 + 4", "2 * (3 + 4)"), ("2 + 7", "4 + 5"), ("6 - 3", "3 - 6")])
def test_different_expressions_have_different_canonical_texts(one: str, other: str) -> None:
    first, second = parse_expression(one), parse_expression(other)
    assert first is not None
    assert second is not None
    assert first.canonical != second.canonical


def test_what_is_not_arithmetic_is_no_expression() -> None:
    for text in [
        "",
        "   ",
        "+",
        "-",
        "5 +",
        "+ 5",
        "* 5",
        "5 5",
        "5 (3)",
        "(5",
        "5)",
        ")5(",
        "()",
        "5 + ()",
        "(5 + ) 3",
        "1/0",
        "1/(2-2)",
        "1/(3/(5-5))",
        "2 ** 3",
        "9**9**9",
        "7 // 2",
        "7 % 2",
        "2 ^ 3",
        "1_000",
        "1.5",
        "1e9",
        "0x10",
        "x + 1",
        "23 + 18 = 41",
        "23 + 18,",
        "__import__('os')",
        "__import__('os').system('true')",
        "().__class__",
        "lambda: 1",
        "1 if 1 else 2",
        "5\x00",
        "\uff15 + 3",  # a full-width digit
        "\u0665 + 3",  # an Arabic-Indic digit
        "\u00b2 + 3",  # a superscript
        "5 \uff0b 3",  # a full-width plus
        "5 \u2212 3",  # a typographic minus
        "5 \u00d7 3",  # a multiplication sign
        "5\u00a0+ 3",  # a no-break space
    ]:
        assert parse_expression(text) is None, text


def test_what_passes_a_limit_is_no_expression() -> None:
    for text in [
        "(" * 100_000,
        "(" * 100_000 + "5" + ")" * 100_000,
        "-" * 100_000 + "5",
        "9" * 1_000_000,
        "1+" * 100_000 + "1",
        "9*" * 100_000 + "9",
        " " * 100_000 + "5",
        "5" + " " * MAX_CHARS,
        "9" * (MAX_DIGITS + 1),
        "1" + "+1" * (MAX_TOKENS // 2),
        "-" * MAX_TOKENS + "5",
    ]:
        assert parse_expression(text) is None, text
        assert parse_integer(text) is None, text


def test_the_limits_themselves_are_allowed() -> None:
    depth = (MAX_TOKENS - 1) // 2
    deep = parse_expression("(" * depth + "5" + ")" * depth)
    assert deep is not None
    assert deep.canonical == "5"
    largest = "9" * MAX_DIGITS
    wide = parse_expression("*".join([largest] * (MAX_TOKENS // 2)))
    assert wide is not None
    assert wide.value == Fraction(largest) ** (MAX_TOKENS // 2)
    assert len(str(wide.value)) < 4_300
    assert parse_expression(wide.canonical) == wide


def test_integers_are_read() -> None:
    for text, number in [("14", 14), (" 14 ", 14), ("-5", -5), ("- 5", -5), ("+5", 5), ("007", 7), ("0", 0), ("-0", 0)]:
        assert parse_integer(text) == number, (text, number)


def test_what_is_not_one_ascii_integer_is_none() -> None:
    for text in ["", "-", "--5", "5.0", "1 4", "14 .", "five", "1_4", "1e3", "\uff15", "\u0665", "\u22125"]:
        assert parse_integer(text) is None, text
