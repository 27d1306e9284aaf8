"""Every response that an audit makes of a few problems, and every change that makes a near miss, as tables."""

from pathlib import Path
from random import Random

import pytest
from tables import assert_as_in_table

from aha.rewards.audits.attacks import EXAMPLES, FORMS, HUGE_CHARS, attacks
from aha.rewards.math.near_misses import CHANGES, near_misses
from aha.types import Problem

HERE = Path(__file__).parent

REFERENCES = [
    "0", "7", "42", "-3", "3.14", r"\frac{3}{4}", r"2\sqrt{5}", r"\frac{\pi}{2}", "x^2 - 3x + 1", "(1, 2)", "[0, 5)",
    r"1, -2, 3", r"x \le 4", r"a_1 + b_2", r"15\text{ cm}", r"50\%", r"(-\infty, 2]", r"2 \cdot 3^{4}", r"\sin x",
    "x > 1", "2 + n", "C",
]  # fmt: skip


def shown(text: str) -> str:
    """A text, and what is left of one that is long."""
    return text if len(text) <= 200 else f"{text[:60]} ... {text[-60:]} ({len(text)} characters)"


def test_no_attack_changes_unnoticed() -> None:
    zero, r1 = FORMS[:2]
    number, _, _, expression, chinese, choice, _ = EXAMPLES
    asked = [(number, zero), (expression, zero), (chinese, zero), (choice, zero), (number, r1)]
    found = {
        f"{problem.id} as {form.name}": {
            f"{place} {attack.kind}": shown(attack.text) for place, attack in enumerate(attacks(problem, form))
        }
        for problem, form in asked
    }
    assert_as_in_table(found, HERE / "attacks.json")


def test_no_near_miss_changes_unnoticed() -> None:
    found = {
        kind: {reference: [change(reference, Random(seed)) for seed in range(6)] for reference in REFERENCES}
        for kind, change in CHANGES.items()
    }
    is_made = {kind: {name: made for name, made in row.items() if any(made)} for kind, row in found.items()}
    assert all(is_made.values())
    assert_as_in_table(is_made, HERE / "near_misses.json")


def test_as_many_near_misses_are_drawn_as_were_asked_for() -> None:
    for count in (0, 1, 5):
        assert len(list(near_misses(["42"], count, Random(0)))) == count
    drawn = list(near_misses(REFERENCES, 50, Random(0)))
    assert drawn == list(near_misses(REFERENCES, 50, Random(0))) != list(near_misses(REFERENCES, 50, Random(1)))
    assert all(reference != answer for _, reference, answer in drawn)
    with pytest.raises(ValueError, match="only 0 near misses can be made of 0 references"):
        list(near_misses([], 1, Random(0)))


def test_huge_attacks_have_the_length_that_they_say() -> None:
    problem = Problem(id="p", question="?", answer="abcd", domain="text")
    bare = FORMS[-1]
    texts = [attack.text for attack in attacks(problem, bare) if attack.kind == "huge"]
    assert [len(text) for text in texts[:3]] == [HUGE_CHARS] * 3
    assert len(texts[3]) == HUGE_CHARS // 7 * 7 + 4
