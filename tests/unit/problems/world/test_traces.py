"""A thought says `yes` exactly where two numbers are equal, and its arithmetic is right but for its slips."""

import re
from random import Random

import pytest

from aha.problems.world.families import FAMILIES, LARGEST
from aha.problems.world.questions import draw_content
from aha.problems.world.traces import WORDS, Thought, search_to_the_end, think
from aha.rewards.accuracy import COMPARERS
from aha.types import Problem

COMPARISON = re.compile(r"(\d+) \? (\d+) (\S+)")
STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
SEARCHES = ("pair", "countdown", "quadratic")
CHAINS = ("arithmetic", "linear")


def thoughts(family: str, count: int = 400) -> list[tuple[Problem, Thought]]:
    rng, found = Random(11), []
    for place in range(count):
        content = draw_content(rng, "train", (family,))
        problem = Problem(id="p", question="", answer=content.answer, domain=family)
        found.append((problem, think(rng, content, ("en", "zh")[place % 2])))
    return found


def is_true(left: str, operator: str, right: str, result: str) -> bool:
    a, b, c = int(left), int(right), int(result)
    return {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": b * c == a}[operator]


def is_right(problem: Problem, thought: Thought) -> bool:
    return COMPARERS[problem.domain](thought.answer, problem).score == 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_yes_is_said_exactly_where_the_numbers_are_equal(family: str) -> None:
    num_said = 0
    for _, thought in thoughts(family):
        comparisons = COMPARISON.findall(thought.text)
        for left, right, said in comparisons:
            assert said in WORDS["yes" if left == right else "no"], thought
        verdicts = [word for word in thought.text.split() if word in (*WORDS["yes"], *WORDS["no"])]
        assert len(verdicts) == len(comparisons) == thought.text.count("?"), thought
        num_said += len(comparisons)
    assert num_said > 100


@pytest.mark.parametrize("family", SEARCHES)
def test_a_search_computes_rightly_and_stops_at_what_fits(family: str) -> None:
    num_found = 0
    for problem, thought in thoughts(family):
        assert all(is_true(*step) for step in STEP.findall(thought.text)), thought
        said = [word for word in thought.text.split() if word in WORDS["yes"]]
        assert len(said) <= 1
        if said:
            assert thought.text.split()[-1] == said[0]
            assert is_right(problem, thought), (problem, thought)
            num_found += 1
    assert 20 < num_found < 380


@pytest.mark.parametrize("family", CHAINS)
def test_a_checked_chain_mends_its_slips(family: str) -> None:
    num_mended = 0
    for problem, thought in thoughts(family, 800):
        if thought.style == "checked":
            assert is_right(problem, thought), (problem, thought)
            num_mended += any(word in thought.text.split() for word in WORDS["no"])
        elif thought.style in ("bare", "worded") and all(is_true(*step) for step in STEP.findall(thought.text)):
            assert is_right(problem, thought), (problem, thought)
    assert num_mended > 10


@pytest.mark.parametrize("family", FAMILIES)
def test_writers_are_right_now_and_then(family: str) -> None:
    found = thoughts(family)
    share = sum(is_right(problem, thought) for problem, thought in found) / len(found)
    assert 0.1 < share < 0.95
    assert {thought.style for _, thought in found} >= {"guess", "bare", "worded"}
    assert all((thought.style == "guess") == (thought.text == "") for _, thought in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_thoughts_stay_in_the_world(family: str) -> None:
    for _, thought in thoughts(family):
        assert all(int(number) <= LARGEST for number in re.findall(r"\d+", f"{thought.text} {thought.answer}"))
        assert "  " not in thought.text


@pytest.mark.parametrize("family", SEARCHES)
def test_a_written_out_search_ends_where_it_fits(family: str) -> None:
    rng, num_found, given_up = Random(5), 0, set()
    for place in range(200):
        content = draw_content(rng, "train", (family,))
        text = search_to_the_end(rng, content, ("en", "zh")[place % 2])
        comparisons = COMPARISON.findall(text)
        assert all(is_true(*step) for step in STEP.findall(text))
        assert all(said in WORDS["yes" if left == right else "no"] for left, right, said in comparisons)
        assert all(left != right for left, right, _ in comparisons[:-1])
        if comparisons[-1][0] == comparisons[-1][1]:
            num_found += 1
        else:
            given_up.add(len(comparisons))
    assert num_found > 50
    assert len(given_up) <= 1, "who gives up does so after the same number of tries"


def test_a_writer_of_one_language_keeps_to_it_unless_he_switches() -> None:
    rng, mixed = Random(6), 0
    for _ in range(300):
        text = think(rng, draw_content(rng, "train"), "en").text
        mixed += any("\u4e00" <= character <= "\u9fff" for character in text)
    assert 10 < mixed < 150
    rng = Random(6)
    for _ in range(50):
        text = search_to_the_end(rng, draw_content(rng, "train", SEARCHES), "en")
        assert text.isascii()
