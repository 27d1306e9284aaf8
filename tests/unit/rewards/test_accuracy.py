"""The accuracy reward and the voting form, domain by domain, with the answers that try to cheat."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aha.rewards.accuracy import COMPARERS, FORMS, accuracy, has_rule, normalised_answer, votes_of
from aha.types import Problem, Rollout, Verdict, VerdictKind

PROBLEMS = {
    "arithmetic": Problem(id="a", question="compute 17 + 5 - 8", answer="14", domain="arithmetic"),
    "linear": Problem(id="l", question="solve 3 x + 4 = 19", answer="5", domain="linear"),
    "quadratic": Problem(id="q", question="solve x ^ 2 - 5 x + 6 = 0", answer="2 , 3", domain="quadratic"),
    "double": Problem(id="d", question="solve x ^ 2 - 6 x + 9 = 0", answer="3", domain="quadratic"),
    "pair": Problem(id="p", question="find two of 7 23 16 18 that make 41", answer="23 + 18", domain="pair"),
    "countdown": Problem(id="c", question="use 3 8 2 to make 9", answer="( 3 + 8 ) - 2", domain="countdown"),
    "text": Problem(id="t", question="which one ?", answer="B", domain="names"),
}
Make = Callable[[str], Rollout]


def respond(make: Make, answer: str) -> Rollout:
    """A response in the right format with a given answer."""
    return make(f"<think> hmm </think> <answer> {answer} </answer>")


@pytest.mark.parametrize(
    ("problem", "answer"),
    [
        ("arithmetic", "14"),
        ("arithmetic", "+14"),
        ("arithmetic", "0014"),
        ("linear", "5"),
        ("linear", "x = 5"),
        ("linear", "x=5"),
        ("linear", "x = 05"),
        ("quadratic", "2 , 3"),
        ("quadratic", "3,2"),
        ("quadratic", "x = 2 or x = 3"),
        ("quadratic", "x = 2 , 3"),
        ("quadratic", "2和3"),
        ("quadratic", "3 and 2"),
        ("double", "3"),
        ("double", "3 , 3"),
        ("pair", "23 + 18"),
        ("pair", "18+23"),
        ("pair", "( 18 + 23 )"),
        ("countdown", "( 3 + 8 ) - 2"),
        ("countdown", "8-2+3"),
        ("countdown", "3 - (2 - 8)"),
        ("text", "B"),
        ("text", "\\boxed{ B }"),
    ],
)
def test_right_answers_score_one(problem: str, answer: str, rollout: Make) -> None:
    verdict = accuracy(PROBLEMS[problem], respond(rollout, answer))
    assert verdict.score == 1.0, verdict.reason


@pytest.mark.parametrize(
    ("problem", "answer", "reason"),
    [
        ("arithmetic", "15", "15 is not 14"),
        ("arithmetic", "-14", "-14 is not 14"),
        ("arithmetic", "", "(nothing) is not one integer"),
        ("arithmetic", "14 15", "14 15 is not one integer"),
        ("arithmetic", "14.0", "14.0 is not one integer"),
        ("arithmetic", "17 + 5 - 8", "17 + 5 - 8 is not one integer"),
        ("arithmetic", "x = 14", "x = 14 is not one integer"),
        ("arithmetic", "\uff11\uff14", "\uff11\uff14 is not one integer"),
        ("arithmetic", "\u0661\u0664", "\u0661\u0664 is not one integer"),
        ("arithmetic", "1_4", "1_4 is not one integer"),
        ("linear", "6", "6 is not 5"),
        ("linear", "y = 5", "y = 5 is not one integer"),
        ("linear", "x = x = 5", "x = x = 5 is not one integer"),
        ("linear", "x = 5 or x = 6", "x = 5 or x = 6 is not one integer"),
        ("text", "\\boxed{C} \\boxed{B}", "several boxes with different content"),
        ("quadratic", "2 , 4", "4 is not a root"),
        ("quadratic", "2", "the root 3 is missing"),
        ("quadratic", "2 , 2", "the root 3 is missing"),
        ("quadratic", "2 , 3 , 4", "2 , 3 , 4 is not a list of one or two integers"),
        ("quadratic", "2 , 3 , 3", "2 , 3 , 3 is not a list of one or two integers"),
        ("quadratic", "2 3", "2 3 is not a list of one or two integers"),
        ("quadratic", "2 ,", "2 , is not a list of one or two integers"),
        ("quadratic", "2 - 3", "2 - 3 is not a list of one or two integers"),
        ("double", "3 , 4", "4 is not a root"),
        ("pair", "7 + 23", "7 + 23 makes 30, not 41"),
        ("pair", "38 + 3", "38 + 3 uses 3, which is not given"),
        ("pair", "41 + 0", "41 + 0 uses 0, which is not given"),
        ("pair", "20 + 21", "20 + 21 uses 20, which is not given"),
        ("pair", "23 - 18", "23 - 18 is not a sum of two numbers"),
        ("pair", "41", "41 is not a sum of two numbers"),
        ("pair", "7 + 16 + 18", "7 + 16 + 18 is not a sum of two numbers"),
        ("pair", "-23 + 18", "-23 + 18 is not a sum of two numbers"),
        ("pair", "23 18", "23 18 is not a sum of two numbers"),
        ("pair", "23 + 18 = 41", "23 + 18 = 41 is not a sum of two numbers"),
        ("pair", "\uff12\uff13 + 18", "\uff12\uff13 + 18 is not a sum of two numbers"),
        ("countdown", "9", "9 uses 9, which is not given"),
        ("countdown", "3 + 9 - 3", "3 + 9 - 3 uses 3 more often than given"),
        ("countdown", "3 * 3", "3 * 3 uses 3 more often than given"),
        ("countdown", "8 + 3", "8 + 3 leaves out 2"),
        ("countdown", "8 + 3 + 2", "8 + 3 + 2 makes 13, not 9"),
        ("countdown", "8 + 3 - 2 + 0", "8 + 3 - 2 + 0 uses 0, which is not given"),
        ("countdown", "8 + 3 - 2 = 9", "8 + 3 - 2 = 9 is not an arithmetic expression"),
        ("countdown", "8 / ( 3 - 3 )", "8 / ( 3 - 3 ) is not an arithmetic expression"),
        ("countdown", "1/0", "1/0 is not an arithmetic expression"),
        ("countdown", "9**9**9", "9**9**9 is not an arithmetic expression"),
        ("countdown", "__import__('os')", "__import__('os') is not an arithmetic expression"),
        ("countdown", "82 / 3 ", "82 / 3 uses 82, which is not given"),
        ("text", "A", "A is not B"),
        ("text", "b", "b is not B"),
        ("text", "", "the answer is empty"),
        ("text", "A or B", "A or B is not B"),
    ],
)
def test_wrong_answers_score_zero_and_say_why(problem: str, answer: str, reason: str, rollout: Make) -> None:
    is_read = not any(
        said in reason
        for said in ("is not one integer", "is not a list", "is not a sum", "is not an", "empty", "several boxes")
    )
    kind: VerdictKind = "wrong" if is_read else "unparsable"
    assert accuracy(PROBLEMS[problem], respond(rollout, answer)) == Verdict(score=0.0, reason=reason, kind=kind)


@pytest.mark.parametrize(
    ("problem", "answer", "reason"),
    [
        ("arithmetic", "014", "the answer 14 is right"),
        ("quadratic", "3 , 2", "the answer 2 , 3 has all the roots"),
        ("pair", "23 + 18", "the answer 23 + 18 makes 41 from the list"),
        ("countdown", "8 - 2 + 3", "the answer 8 - 2 + 3 makes 9 from all the numbers"),
        ("text", "B", "the answer B is right"),
    ],
)
def test_right_answers_say_why(problem: str, answer: str, reason: str, rollout: Make) -> None:
    given = accuracy(PROBLEMS[problem], respond(rollout, answer))
    assert given == Verdict(score=1.0, reason=reason, kind="correct")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("14", "no single answer block and no closed box: no <think>, no </think>, no <answer>, no </answer>"),
        ("<think> 14 </think> <answer> 14", "no single answer block and no closed box: no </answer>"),
        ("<think> <answer> 14 </answer>", "no single answer block and no closed box: no </think>"),
        ("<think> a </think> \\boxed{15} \\boxed{14}", "several boxes with different content"),
        (
            "<think> <answer> 14 </answer> </think>",
            "no single answer block and no closed box: tags out of order: <think> <answer> </answer> </think>",
        ),
        (
            "<think> a </think> <answer> 13 </answer> <answer> 14 </answer>",
            "no single answer block and no closed box: 2 <answer>, 2 </answer>",
        ),
        (
            "<think> a </think> <answer> 14 </answer> <answer> 14 </answer>",
            "no single answer block and no closed box: 2 <answer>, 2 </answer>",
        ),
        (
            "<think> a </think> <answer> <answer> 14 </answer> </answer>",
            "no single answer block and no closed box: 2 <answer>, 2 </answer>",
        ),
    ],
)
def test_without_a_single_answer_block_there_is_neither_score_nor_vote(text: str, reason: str, rollout: Make) -> None:
    problem = PROBLEMS["arithmetic"]
    assert accuracy(problem, rollout(text)) == Verdict(score=0.0, reason=reason, kind="unparsable")
    assert normalised_answer(problem, rollout(text)) is None


def test_accuracy_does_not_ask_for_the_format(rollout: Make) -> None:
    assert accuracy(PROBLEMS["arithmetic"], rollout("so <answer> 14 </answer> yes")).score == 1.0


def test_a_pair_may_not_use_one_number_twice(rollout: Make) -> None:
    problem = Problem(id="p", question="find two of 7 5 9 3 that make 14", answer="5 + 9", domain="pair")
    assert accuracy(problem, respond(rollout, "7 + 7")).reason == "7 + 7 uses 7 more often than given"


def test_the_sum_asked_for_is_not_a_number_of_the_list(rollout: Make) -> None:
    problem = Problem(id="p", question="find two of 0 23 18 that make 41", answer="23 + 18", domain="pair")
    assert accuracy(problem, respond(rollout, "41 + 0")).reason == "41 + 0 uses 41, which is not given"


def test_a_pair_is_judged_by_the_reference_where_the_question_does_not_list_the_numbers(rollout: Make) -> None:
    problem = Problem(id="p", question="20 21 5 9", answer="5 + 36", domain="pair")
    assert accuracy(problem, respond(rollout, "20 + 21")) == Verdict(
        score=0.0, reason="20 + 21 is not the pair of the list", kind="wrong"
    )


@pytest.mark.parametrize("bait", ["9" * 100_000, "(" * 100_000, "2 , " * 100_000, "x = " * 50_000, " " * 100_000 + "7"])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_floods_are_wrong_answers_with_short_reasons(problem: Problem, bait: str, rollout: Make) -> None:
    verdict = accuracy(problem, respond(rollout, bait))
    assert verdict.score == 0.0
    assert len(verdict.reason) < 200


def test_long_values_are_cut_in_reasons(rollout: Make) -> None:
    reference = "+".join(["999999999999999999"] * 20)
    problem = Problem(id="c", question="", answer=reference, domain="countdown")
    verdict = accuracy(problem, respond(rollout, reference.replace("+", "*")))
    assert verdict.score == 0.0
    assert len(verdict.reason) < 200


@given(text=st.text(alphabet="0123456789+-*/(),x= orand和B<>/thinkswe", max_size=60) | st.text())
@pytest.mark.parametrize("name", PROBLEMS)
@settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_answer_gets_a_verdict_and_equal_votes_get_equal_verdicts(name: str, text: str, rollout: Make) -> None:
    problem, response = PROBLEMS[name], respond(rollout, text)
    verdict = accuracy(problem, response)
    form = normalised_answer(problem, response)
    assert verdict.score in (0.0, 1.0)
    assert verdict.reason
    if form is None:
        assert verdict.score == 0.0
    else:
        assert normalised_answer(problem, respond(rollout, form)) == form
        assert accuracy(problem, respond(rollout, form)).score == verdict.score


@pytest.mark.parametrize(
    ("problem", "answers", "form"),
    [
        ("arithmetic", ["14", "+14", " 014 "], "14"),
        ("arithmetic", ["-3", "- 3"], "-3"),
        ("linear", ["5", "x = 5", "x=05"], "5"),
        ("quadratic", ["2 , 3", "3,2", "x = 3 or x = 2", "3和2"], "2 , 3"),
        ("quadratic", ["10 , 9", "9 and 10"], "9 , 10"),
        ("double", ["3", "3 , 3"], "3"),
        ("pair", ["23 + 18", "18+23"], "18 + 23"),
        ("pair", ["7 + 23", "23 + 7"], "7 + 23"),
        ("countdown", ["(3+8)-2", "8 - 2 + 3", "3 - (2 - 8)"], "3 + 8 - 2"),
        ("text", ["B", " B ", "\\boxed{B}"], "B"),
        ("text", ["a  b", "a b"], "a b"),
        ("text", ["07", "7"], "7"),
    ],
)
def test_equal_answers_vote_together(problem: str, answers: list[str], form: str, rollout: Make) -> None:
    assert {normalised_answer(PROBLEMS[problem], respond(rollout, answer)) for answer in answers} == {form}


@pytest.mark.parametrize(
    ("problem", "answer"),
    [
        ("arithmetic", "fourteen"),
        ("linear", "x"),
        ("quadratic", "no roots"),
        ("pair", "23 * 18"),
        ("countdown", "1/0"),
        ("text", " "),
    ],
)
def test_what_cannot_be_read_does_not_vote(problem: str, answer: str, rollout: Make) -> None:
    assert normalised_answer(PROBLEMS[problem], respond(rollout, answer)) is None


def test_the_vote_does_not_know_the_reference(rollout: Make) -> None:
    other = Problem(id="c", question="use 3 8 2 to make 13", answer="3 + 8 + 2", domain="countdown")
    response = respond(rollout, "8 - 2 + 3")
    assert normalised_answer(other, response) == normalised_answer(PROBLEMS["countdown"], response)


@pytest.mark.parametrize(
    ("domain", "answer"),
    [("arithmetic", "a"), ("linear", ""), ("quadratic", "a, b"), ("pair", "41"), ("countdown", "1/0"), ("names", " ")],
)
def test_a_broken_reference_is_the_callers_error(domain: str, answer: str, rollout: Make) -> None:
    problem = Problem(id="broken-7", question="", answer=answer, domain=domain)
    with pytest.raises(ValueError, match=f"broken-7.*{domain}"):
        accuracy(problem, respond(rollout, "14"))


def test_every_domain_has_both_a_comparison_and_a_voting_form() -> None:
    assert list(COMPARERS) == list(FORMS) == ["arithmetic", "pair", "countdown", "linear", "quadratic"]


@pytest.mark.parametrize("domain", ["arithmetic", "choice", "code", "linear", "math", "names", "text"])
def test_only_answers_of_mathematics_vote_together_whatever_their_notation(domain: str, rollout: Make) -> None:
    """Elsewhere an answer votes with what is the same in the form of its domain."""
    problem = Problem(id="v", question="", answer="x", domain=domain)
    rollouts = [respond(rollout, answer) for answer in (r"\frac{1}{2} x", r"x / 2", "0.5 x")]
    votes = votes_of(problem, rollouts)
    if domain == "math":
        assert len({*votes}) == 1
        assert None not in votes
    else:
        assert votes == [normalised_answer(problem, each) for each in rollouts]
        assert len({*votes}) == (1 if domain in {"arithmetic", "choice", "linear"} else 3)


@pytest.mark.parametrize(
    ("text", "votes"),
    [
        ("<think> a </think> <answer> 1/2 </answer>", {"math": "1/2", "code": "1/2", "text": "1/2"}),
        (
            "<think> a </think> <answer> 0.50 </answer>",
            {"math": "1/2", "code": "0.50", "text": "0.50"},
        ),
        ("<think> a </think> C", {"choice": "C"}),
    ],
)
def test_a_response_votes_in_the_form_of_its_domain(text: str, votes: dict[str, str], rollout: Make) -> None:
    """Only an answer to a multiple-choice question need not be marked."""
    for domain in ("arithmetic", "choice", "code", "linear", "math", "text"):
        problem = Problem(id="v", question="", answer="C", domain=domain)
        assert normalised_answer(problem, rollout(text)) == votes.get(domain), domain


@pytest.mark.parametrize(("domain", "score"), [("choice", 1.0), ("code", 0.0), ("text", 0.0)])
def test_what_follows_the_thinking_is_the_answer_to_a_choice_alone(domain: str, score: float, rollout: Make) -> None:
    problem = Problem(id="c", question="", answer="C", domain=domain)
    verdict = accuracy(problem, rollout("<think> a </think> C"))
    assert (verdict.score, verdict.kind) == (score, "correct" if score else "unparsable")


def test_which_domains_have_a_rule_of_their_own() -> None:
    assert [domain for domain in (*COMPARERS, "choice", "math", "text") if has_rule(domain)] == [*COMPARERS, "choice"]


@pytest.mark.parametrize("num_chars", [59, 60, 61, 100])
def test_sixty_characters_of_an_answer_are_quoted(num_chars: int, rollout: Make) -> None:
    answer = "a" * num_chars
    quoted = answer if num_chars <= 60 else "a" * 60 + " ..."
    assert accuracy(PROBLEMS["text"], respond(rollout, answer)).reason == f"{quoted} is not B"
