"""Every drawn problem is what its family promises: in range, solvable, and answered rightly."""

import re
from random import Random

import pytest

from aha.problems.world.families import FAMILIES, LARGEST, Content, apply, compose
from aha.problems.world.questions import question
from aha.prompts.tokenizer import END
from aha.rewards.expression import parse_expression

LEVELS = [(name, level) for name, family in FAMILIES.items() for level in (*family.levels, *family.hard_levels)]


def levels_of(name: str) -> list[int]:
    return [level for family, level in LEVELS if family == name]


def drawn(name: str, level: int, count: int = 50) -> list[Content]:
    rng = Random(7)
    return [FAMILIES[name].draw(rng, level) for _ in range(count)]


def solves(content: Content, x: int) -> bool:
    """Whether a number solves an equation, by putting it in."""
    left, right = re.sub(r"(\d+) x", r"\1 * x", question(content, "en").removeprefix("solve ")).split(" = ")
    sides = [parse_expression(side.replace("x ^ 2", "x * x").replace("x", str(x))) for side in (left, right)]
    assert all(side is not None for side in sides), content
    return sides[0].value == sides[1].value  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_every_number_is_one_of_the_world(name: str, level: int) -> None:
    for content in drawn(name, level):
        assert (content.family, content.level) == (name, level)
        for language in ("en", "zh"):
            text = f"{question(content, language)} {content.answer}"
            assert all(0 <= int(number) <= LARGEST for number in re.findall(r"\d+", text)), text
            assert END not in text


@pytest.mark.parametrize("level", levels_of("arithmetic"))
def test_arithmetic_is_a_chain_that_never_leaves_the_world(level: int) -> None:
    for content in drawn("arithmetic", level):
        assert len(content.numbers) == level
        expression = parse_expression(question(content, "en").removeprefix("compute "))
        assert expression is not None
        assert expression.value == int(content.answer)
        value: int | None = content.numbers[0]
        for operator, number in zip(content.operators, content.numbers[1:], strict=True):
            assert value is not None
            value = apply(value, operator, number)
        assert value == int(content.answer)


@pytest.mark.parametrize("level", levels_of("pair"))
def test_a_list_has_exactly_one_pair(level: int) -> None:
    for content in drawn("pair", level):
        assert len(set(content.numbers)) == level
        fitting = [
            (a, b) for i, a in enumerate(content.numbers) for b in content.numbers[i + 1 :] if a + b == content.target
        ]
        assert [" + ".join(map(str, pair)) for pair in fitting] == [content.answer]


@pytest.mark.parametrize("level", levels_of("countdown"))
def test_countdown_can_be_solved_with_all_numbers(level: int) -> None:
    for content in drawn("countdown", level):
        expression = parse_expression(content.answer)
        assert expression is not None
        assert expression.value == content.target
        assert expression.numbers == tuple(sorted(content.numbers))
        assert content.target not in content.numbers


@pytest.mark.parametrize("level", levels_of("linear"))
def test_linear_equations_have_the_answer_as_their_root(level: int) -> None:
    for content in {one.key: one for one in drawn("linear", level)}.values():
        assert [x for x in range(LARGEST + 1) if solves(content, x)] == [int(content.answer)]


@pytest.mark.full
@pytest.mark.parametrize("level", levels_of("quadratic"))
def test_quadratic_equations_have_the_answer_as_their_roots(level: int) -> None:
    for content in {one.key: one for one in drawn("quadratic", level)}.values():
        assert [x for x in range(LARGEST + 1) if solves(content, x)] == [int(x) for x in content.answer.split(" , ")]


def test_levels_grow_harder_and_shares_are_shares() -> None:
    assert sum(family.share for family in FAMILIES.values()) == pytest.approx(1.0)
    for family in FAMILIES.values():
        assert max(family.levels) < min(family.hard_levels)
    assert {content.numbers[0] for content in drawn("quadratic", 3)} == {2, 3}
    assert {content.numbers[0] for content in drawn("quadratic", 1)} == {1}


def test_operations_stay_in_the_world() -> None:
    assert [apply(40, "+", 9), apply(40, "+", 10), apply(3, "-", 3), apply(3, "-", 4), apply(7, "*", 7)] == [
        49,
        None,
        0,
        None,
        49,
    ]


def test_expressions_are_composed_from_left_to_right() -> None:
    assert compose((3, 8, 2, 5), ("+", "-", "*")) == "( ( 3 + 8 ) - 2 ) * 5"
    assert compose((3,), ()) == "3"
