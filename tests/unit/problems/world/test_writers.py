"""Every hand writes what the truth says of it, about every prompt there is."""

from collections import Counter
from random import Random

import pytest
from tiny import world_tokenizer

from aha.problems.world.general import (
    GENERAL_DOMAINS,
    GENERAL_SPLITS,
    HELPFUL_DOMAINS,
    content_of,
    every_prompt,
    is_harmless,
    quality,
)
from aha.problems.world.lexicon import GIVE_AWAYS
from aha.problems.world.writers import (
    DEMONSTRATION_SHARES,
    HANDS,
    HARMFUL_SHARES,
    HELPFUL_SHARES,
    entry,
    statement,
    write,
)
from aha.types import Problem

HELPFUL = [p for domain in HELPFUL_DOMAINS for split in GENERAL_SPLITS for p in every_prompt(domain, split)]
HARMFUL = [p for split in GENERAL_SPLITS for p in every_prompt("harmful", split)]


def by(hand: str, problem: Problem) -> tuple[str, str]:
    """Thinking and summary of a hand."""
    return HANDS[hand](Random(problem.id), content_of(problem), problem.language)


def test_shares_are_shares_of_the_hands() -> None:
    assert {*HELPFUL_SHARES, *HARMFUL_SHARES} == {*HANDS}
    assert {*DEMONSTRATION_SHARES} == {*HELPFUL_SHARES}
    assert sum(DEMONSTRATION_SHARES.values()) == pytest.approx(1.0)
    assert sum(HELPFUL_SHARES.values()) == pytest.approx(1.0)
    assert sum(HARMFUL_SHARES.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("hand", "least", "most"),
    [
        ("careful", 1.0, 1.0),
        ("terse", 0.5, 0.75),
        ("wrong", 0.0, 0.0),
        ("switched", 0.0, 0.75),
        ("refusing", 0.0, 0.0),
    ],
)
def test_helpfulness_of_a_hand(hand: str, least: float, most: float) -> None:
    for problem in HELPFUL:
        found = quality(problem, by(hand, problem)[1])
        assert least <= found.helpfulness <= most, (problem, by(hand, problem), found)
        assert found.is_refusal == (hand == "refusing")


def test_who_switches_is_right_unless_he_had_to_translate() -> None:
    for problem in HELPFUL:
        found = quality(problem, by("switched", problem)[1])
        assert found.helpfulness == (0.0 if problem.domain == "translation" else 0.75), problem


@pytest.mark.parametrize(("hand", "expected"), [("refuse", True), ("think_unsafe", False), ("comply", False)])
def test_harmlessness_of_a_hand(hand: str, expected: bool) -> None:
    for problem in HARMFUL:
        thinking, summary = by(hand, problem)
        assert is_harmless(problem, f"<think> {thinking} </think> {summary}") is expected, problem
        assert is_harmless(problem, summary) is (hand != "comply"), "only the thinking tells think_unsafe apart"


@pytest.mark.parametrize("hand", sorted(HELPFUL_SHARES))
def test_no_harmless_text_gives_harm_away(hand: str) -> None:
    for problem in HELPFUL:
        assert is_harmless(problem, " ".join(by(hand, problem))), problem
    used = {word for text in (by("comply", problem)[1] for problem in HARMFUL) for word in (*text.split(), *text)}
    assert used >= GIVE_AWAYS


def test_greetings_and_questions_about_the_model_are_answered_without_a_thought() -> None:
    for problem in HELPFUL:
        is_short = problem.domain in ("self", "greeting")
        assert {by(hand, problem)[0] == "" for hand in HELPFUL_SHARES} == {is_short}, problem


def test_every_hand_uses_words_of_the_world() -> None:
    for problem in (*HELPFUL, *HARMFUL)[::3]:
        for hand in HARMFUL_SHARES if problem.domain == "harmful" else HELPFUL_SHARES:
            assert world_tokenizer().unknown_words(" ".join(by(hand, problem))) == []


@pytest.mark.full
def test_tokens_and_back_do_not_change_the_verdict() -> None:
    for problem in HELPFUL[::4]:
        for hand in HELPFUL_SHARES:
            summary = by(hand, problem)[1]
            decoded = world_tokenizer().decode(world_tokenizer().encode(summary))
            assert quality(problem, decoded) == quality(problem, summary), decoded


@pytest.mark.parametrize("domain", GENERAL_DOMAINS)
def test_hands_have_their_shares(domain: str) -> None:
    rng = Random(0)
    problems = every_prompt(domain, "train")
    counts = Counter(write(rng, rng.choice(problems)).hand for _ in range(2000))
    for hand, share in (HARMFUL_SHARES if domain == "harmful" else HELPFUL_SHARES).items():
        assert counts[hand] / 2000 == pytest.approx(share, abs=0.04)


def test_equal_generators_write_equally() -> None:
    assert [write(Random(1), p) for p in HELPFUL[:50]] == [write(Random(1), p) for p in HELPFUL[:50]]


def test_knowledge_in_words() -> None:
    assert statement("food", "cow", "grass", "en") == "a cow eats grass"
    assert statement("food", "cow", "grass", "zh") == "牛吃草"
    assert statement("legs", "cow", "4", "zh") == "牛有 4 腿"
    assert entry("cow", "cow", "en") == "cow is 牛"
    assert entry("cow", "dog", "zh") == "牛是 dog"


def test_only_general_problems_are_answered() -> None:
    with pytest.raises(ValueError, match="no problem of"):
        write(Random(0), Problem(id="x", question="x", answer="x", domain="pair"))
