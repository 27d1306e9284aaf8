"""Another model as judge: what it says is read with care, its bias for a place cancels out, lengths are balanced."""

import json
import random
import time
from collections.abc import Callable, Sequence
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.judge import (
    SCORES,
    Judgement,
    balance_lengths,
    is_clear_vote,
    judgements,
    length_gap,
    parse_comparison,
    parse_judgement,
    preference_votes,
)
from aha.types import Problem, Verdict

PROBLEM = Problem(id="p", question="Why is the sky blue?", answer="Rayleigh scattering", domain="general")
CORRECT = Judgement(outcome="correct", analysis="it agrees")
UNPARSABLE = Judgement(outcome="unparsable")
RIGHT = '{"analysis": "it agrees", "correctness": "correct"}'
WRONG = '{"analysis": "it differs", "correctness": "incorrect"}'


def votes_on(ask, question, a, b, **settings):
    """The votes on one pair by a judge that is asked once for each."""
    return preference_votes(lambda prompts: [ask(one) for one in prompts], question, [(a, b)], **settings)[0]


# Right or wrong


def judgement_of(reply: str | None) -> Judgement:
    """What comes of one reply of the judge."""
    return judgements(lambda prompts: [reply for _ in prompts], [(PROBLEM, "It scatters.")])[0]


def test_the_judge_sees_question_reference_and_summary_and_no_thinking() -> None:
    seen: list[str] = []

    def ask_all(prompts: Sequence[str]) -> list[str]:
        seen.extend(prompts)
        return [RIGHT]

    assert judgements(ask_all, [(PROBLEM, "<think> hm </think> It scatters.")]) == [CORRECT]
    assert all(text in seen[0] for text in (PROBLEM.question, PROBLEM.answer, "It scatters."))
    assert "hm" not in seen[0].split()


def test_the_judge_is_asked_once_for_all_that_differ() -> None:
    calls: list[int] = []

    def ask_all(prompts: Sequence[str]) -> list[str]:
        calls.append(len(prompts))
        return [RIGHT if "scatters" in prompt else WRONG for prompt in prompts]

    texts = ["It scatters.", "It paints.", "It scatters.", "It scatters", "It paints."]
    found = judgements(ask_all, [(PROBLEM, text) for text in texts])
    assert [one.outcome for one in found] == ["correct", "incorrect", "correct", "correct", "incorrect"]
    assert calls == [3]


def test_outcomes_and_their_scores() -> None:
    outcomes: dict[str | None, tuple[str, float | None]] = {
        RIGHT: ("correct", 1.0),
        WRONG: ("incorrect", 0.0),
        "I cannot say.": ("unparsable", None),
        None: ("no answer", None),
    }
    for reply, (outcome, score) in outcomes.items():
        judgement = judgement_of(reply)
        assert judgement.outcome == outcome
        assert (judgement.verdict and judgement.verdict.score) == score
    assert CORRECT.verdict == Verdict(score=1.0, reason="the judge: it agrees")


def test_verdicts_are_found() -> None:
    for reply in [
        RIGHT,
        f"```json\n{RIGHT}\n```",
        f"Here it is:\n\n```\n{RIGHT}\n```\nI hope this helps {{with}} it.",
        f"<think> {WRONG} or not? </think>\n{RIGHT}",
        f"no opening tag </think>{RIGHT}",
        '{ "correctness" : " Correct " , "analysis" : "it agrees", "more": [{"a": {}}] }',
        f"{RIGHT} {RIGHT}",
        f'{{"scratch": [1, 2]}} {RIGHT}',
    ]:
        assert parse_judgement(reply) == CORRECT, reply


@pytest.mark.parametrize(
    ("analysis", "read"),
    [
        (r"\( \frac{1}{2} \)", "\\( \frac{1}{2} \\)"),
        (r"\underline{x} \u00e9", r"\underline{x} é"),
        (r"a \\ b \"c\"", r'a \ b "c"'),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        (r"it says {\"correctness\": \"incorrect\"}", 'it says {"correctness": "incorrect"}'),
    ],
)
def test_analyses_need_not_be_proper_json(analysis: str, read: str) -> None:
    assert parse_judgement(f'{{"analysis": "{analysis}", "correctness": "correct"}}') == Judgement(
        outcome="correct", analysis=read
    )


def test_doubt_is_not_a_verdict() -> None:
    for reply in [
        "",
        "correct",
        '"correctness": "correct"',
        '{"correctness": true}',
        '{"correctness": "mostly correct"}',
        '{"correctness": ["correct"]}',
        '{"analysis": "fine"}',
        '{"result": {"correctness": "correct"}}',
        '[{"correctness": "correct", "correctness": "incorrect"}]',
        '{"analysis": "it says {"correctness": "correct"} but", "correctness": "incorrect"}',
        '{"analysis": "it says {"correctness": "correct"} but',
        '{"analysis": "cut off", "correctness": "cor',
        f"{RIGHT} no, wait: {WRONG}",
        f"<think> {RIGHT}",
        RIGHT[:-1],
    ]:
        assert parse_judgement(reply) == UNPARSABLE, reply


HOSTILE: list[Callable[[int], str]] = [
    lambda n: "{" * n,
    lambda n: '{"' * n,
    lambda n: '{"a":' * n,
    lambda n: '{"a":[' * n + RIGHT,
    lambda n: "[" * n + RIGHT + "]" * n,
    lambda n: '{"a": "' + "x" * n,
    lambda n: "{" + " " * n,
    lambda n: "{ " * n,
    lambda n: "\\" * n,
    lambda n: '{"a": "' + "\\" * n,
    lambda n: '{"a":' + "1" * n + "}",
    lambda n: '{"a":1}' * n,
    lambda n: "<think>" * n,
    lambda n: "</think>" * n,
    lambda n: "[[" * n,
    lambda n: "[[A>B" * n,
    lambda n: "[[ " * n,
]


@pytest.mark.parametrize("shape", HOSTILE)
def test_hostile_replies_take_linear_time(shape: Callable[[int], str]) -> None:
    for n in (10, 10_000, 195_000 // len(shape(1)), 2_000_000 // len(shape(1))):
        start = time.perf_counter()
        assert parse_judgement(shape(n)).outcome in ("unparsable", "correct")
        assert parse_comparison(shape(n)) is None
        assert time.perf_counter() - start < 2


def test_a_reply_too_long_to_read_says_nothing_but_its_thinking_may_be_long() -> None:
    assert parse_judgement(RIGHT + "x" * 200_000) == UNPARSABLE
    assert parse_judgement("x" * 1_000_000 + "</think>" + RIGHT) == CORRECT


@given(st.text() | st.text(st.sampled_from('{}[]":\\,u0 correctness')))
def test_no_reply_raises(reply: str) -> None:
    assert parse_judgement(reply).outcome in ("correct", "incorrect", "unparsable")
    parse_comparison(reply)


@given(analysis=st.text(), is_correct=st.booleans(), indent=st.none() | st.integers(0, 2))
def test_proper_json_is_read_as_it_is(analysis: str, is_correct: bool, indent: int | None) -> None:
    outcome = "correct" if is_correct else "incorrect"
    reply = json.dumps({"analysis": analysis, "correctness": outcome}, indent=indent)
    assert parse_judgement(reply) == Judgement(outcome=outcome, analysis=analysis)


# Which is better


@pytest.mark.parametrize(("verdict", "score"), SCORES.items())
def test_each_verdict_has_a_score(verdict: str, score: int) -> None:
    assert parse_comparison(f"Both are fine, but: [[{verdict}]]. So [[{verdict}]]") == score


@pytest.mark.parametrize("reply", ["", "A>B", "[A>B]", "[[A]]", "[[A>B]] or [[B>A]]", "[[A<B]]", "<think> [[A>B]]"])
def test_no_verdict_or_two_is_none(reply: str) -> None:
    assert parse_comparison(reply) is None


def shown(prompt: str) -> tuple[str, str]:
    """The two responses in the order in which a judge reads them."""
    lines = prompt.split("\n")
    return lines[lines.index("The response A:") + 2], lines[lines.index("The response B:") + 2]


def scorer(score: Callable[[str, str], int]) -> Callable[[str], str]:
    """A judge that scores the first response against the second."""
    words = {value: verdict for verdict, value in SCORES.items()}
    return lambda prompt: f"My answer, then: [[{words[score(*shown(prompt))]}]]"


@pytest.mark.parametrize("bias", SCORES.values())
@pytest.mark.parametrize("seed", range(5))
def test_bias_for_a_place_cancels(bias: int, seed: int) -> None:
    assert votes_on(scorer(lambda a, b: bias), "q", "x", "y", rng=random.Random(seed)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_judge_of_the_content_is_heard_from_both_places(seed: int) -> None:
    by_content = scorer(lambda a, b: 2 if a == "x" else -2)
    assert votes_on(by_content, "q", "x", "y", rng=random.Random(seed)) == 2
    assert votes_on(by_content, "q", "y", "x", rng=random.Random(seed)) == -2


def test_half_of_the_votes_are_swapped_in_a_drawn_order() -> None:
    orders = set()
    for seed in range(60):
        seen: list[str] = []

        def ask(prompt: str, seen: list[str] = seen) -> str:
            seen.append(shown(prompt)[0])
            return "[[A=B]]"

        votes_on(ask, "q", "x", "y", rng=random.Random(seed))
        assert sorted(seen) == ["x", "x", "y", "y"]
        orders.add("".join(seen))
    assert len(orders) == 6


def test_truth_is_recovered_from_noise() -> None:
    rng = random.Random(0)
    noisy = scorer(lambda a, b: max(-2, min(2, round((int(a) > int(b)) * 3 - 1.5 + 0.5 + rng.gauss(0, 1)))))
    right = kept = 0
    for _ in range(300):
        a, b = rng.sample(range(100), 2)
        mean = votes_on(noisy, "q", str(a), str(b), rng=rng)
        assert mean is not None
        if is_clear_vote(mean):
            kept += 1
            right += (mean > 0) == (a > b)
    assert kept > 150
    assert right / kept > 0.99


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("reply", [None, "no verdict"])
def test_a_missing_vote_leaves_no_mean(failing: int, reply: str | None) -> None:
    replies = cycle([*["[[A>B]]"] * failing, reply, *["[[A>B]]"] * (3 - failing)])
    assert votes_on(lambda _: next(replies), "q", "x", "y", rng=random.Random(0)) is None


@pytest.mark.parametrize("num_votes", [-2, 0, 1, 3])
def test_votes_come_in_twos(num_votes: int) -> None:
    with pytest.raises(ValueError, match="even"):
        votes_on(lambda _: "[[A=B]]", "q", "x", "y", num_votes=num_votes, rng=random.Random(0))


def test_the_margin_is_strict() -> None:
    assert [is_clear_vote(mean) for mean in (-2, -1.25, -1, 0, 1, 1.25)] == [True, True, False, False, False, True]
    assert is_clear_vote(0.75, margin=0.5)


# Lengths

LENGTHS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)))


def balanced(lengths: list[tuple[int, int]], tolerance: float = 0.02) -> list[int]:
    return balance_lengths(range(len(lengths)), lengths, tolerance=tolerance)


@given(LENGTHS, st.sampled_from([0.0, 0.02, 0.5, 10.0]))
def test_the_gap_never_grows_and_the_order_stays(lengths: list[tuple[int, int]], tolerance: float) -> None:
    kept = balanced(lengths, tolerance)
    assert kept == sorted(set(kept))
    assert bool(kept) == bool(lengths)
    gap, before = length_gap([lengths[i] for i in kept]), length_gap(lengths)
    assert abs(gap) <= abs(before)
    assert gap * before >= 0


@given(LENGTHS)
def test_chosen_and_rejected_may_change_places(lengths: list[tuple[int, int]]) -> None:
    if len({c - r for c, r in lengths}) == len(lengths):
        assert balanced(lengths) == balanced([(r, c) for c, r in lengths])


@given(LENGTHS)
def test_what_is_balanced_stays_whole(lengths: list[tuple[int, int]]) -> None:
    both = lengths + [(r, c) for c, r in lengths]
    assert balanced(both, tolerance=0) == list(range(len(both)))


def test_by_hand() -> None:
    """Differences 9, 1, -2, 4, -3 add up to 9: without the 9 the sum is 0, and nothing else need go.

    Of 9, 5, -6 the 9 would turn the sum of 8 round; without the 5 the mean is 3/2, not 8/3. Of 5, 5, -6 a mean of 4/3
    would turn into -1/2; of 5, 5, -4 one of 2 becomes 1/2, and of two equal pairs the later one goes.
    """
    assert balanced([(19, 10), (11, 10), (10, 12), (14, 10), (10, 13)]) == [1, 2, 3, 4]
    assert balanced([(9, 0), (5, 0), (0, 6)], tolerance=0) == [0, 2]
    assert balanced([(5, 0), (5, 0), (0, 6)], tolerance=0) == [0, 1, 2]
    assert balanced([(5, 0), (5, 0), (0, 4)], tolerance=0) == [0, 2]


def test_a_long_winded_judge_is_balanced_within_the_tolerance() -> None:
    rng = random.Random(0)
    lengths = [(rng.randint(50, 500), rng.randint(0, 450)) for _ in range(2000)]
    kept = balanced(lengths)
    mean = sum(map(sum, lengths)) / (2 * len(lengths))
    assert length_gap(lengths) > 0.15 * mean
    assert abs(length_gap([lengths[i] for i in kept])) <= 0.02 * mean
    assert len(kept) > 1600


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 pairs have 1 lengths"):
        balance_lengths("ab", [(1, 2)])
    with pytest.raises(ValueError, match="negative"):
        balanced([(1, -2)])
    for tolerance in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="tolerance"):
            balanced([(1, 2)], tolerance)
