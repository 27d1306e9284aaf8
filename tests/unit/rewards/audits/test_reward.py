"""The audit of rewards: what it counts, which attacks it finds paid, and how it calls the functions."""

import re
from collections import Counter

import pytest

from aha.rewards.accuracy import accuracy
from aha.rewards.audits.attacks import ATTACKS, FORMS, HUGE_CHARS, Attack, attacks
from aha.rewards.audits.reward import LabelledResponse, RewardAudit, attack_reward, audit_reward, rollout_of
from aha.rewards.custom import load_reward
from aha.rewards.format import format_reward
from aha.rewards.table import RewardFunction
from aha.rewards.verifier import MathVerifier
from aha.types import Problem, Rollout, Verdict

PROBLEM = Problem(id="rows.jsonl:1", question="What is $18 + 24$?", answer="42", domain="math")
WORDS = Problem(id="rows.jsonl:2", question="Which city is the capital of France?", answer="Paris", domain="text")
LETTER = Problem(id="rows.jsonl:3", question="Which? A) 1 B) 2 C) 3", answer="C", domain="choice")


def row(text: str, is_correct: bool, problem: Problem = PROBLEM) -> LabelledResponse:
    return LabelledResponse(place=problem.id, problem=problem, text=text, is_correct=is_correct)


def contains(problem: Problem, rollout: Rollout) -> Verdict:
    """A reward with a hole: the reference anywhere in the response."""
    return Verdict(score=float(problem.answer in rollout.text), reason="looked for the reference")


def audited(function: RewardFunction, *rows: LabelledResponse, with_attacks: bool = False) -> RewardAudit:
    table = {domain: {function: 1.0} for domain in ("math", "text", "choice")}
    return audit_reward(table, rows, with_attacks=with_attacks)


def test_false_positives_and_negatives_are_counted_and_listed() -> None:
    found = audited(
        contains, row("it is 42", True), row("it is forty-two", True), row("not 42", False), row("7", False)
    )
    assert (found.num_rows, found.num_correct) == (4, 2)
    assert (found.false_positives, found.false_negatives, found.abstentions, found.unstable) == (1, 1, 0, 0)
    assert [(one.faults, one.response) for one in found.findings] == [
        (("false negative",), "it is forty-two"),
        (("false positive",), "not 42"),
    ]
    assert found.num_calls == 4
    assert 0 < found.mean_seconds <= found.largest_seconds


def test_the_threshold_says_what_counts_as_rewarded() -> None:
    def half(problem: Problem, rollout: Rollout) -> Verdict:
        return Verdict(score=0.5, reason="half")

    table = {"math": {half: 1.0}}
    rows = [row("42", True)]
    assert audit_reward(table, rows, threshold=0.5).false_negatives == 0
    assert audit_reward(table, rows, threshold=0.51).false_negatives == 1


def test_an_abstention_is_counted_and_is_no_disagreement() -> None:
    def abstains(problem: Problem, rollout: Rollout) -> None:
        return None

    found = audited(abstains, row("42", True), row("43", False), with_attacks=True)
    assert (found.false_positives, found.false_negatives, found.findings) == (0, 0, [])
    assert found.abstentions == 2 + len(FORMS)
    assert (found.num_problems, found.unjudged_honest, found.attacks) == (0, 1, {})


def test_rewards_that_differ_between_equal_calls_are_found() -> None:
    calls = Counter[str]()

    def counts(problem: Problem, rollout: Rollout) -> Verdict:
        calls[rollout.text] += 1
        return Verdict(score=float(calls[rollout.text]), reason="how often it was asked")

    found = audited(counts, row("42", True))
    assert (found.unstable, [one.faults for one in found.findings]) == (1, [("unstable",)])


def test_a_function_with_a_hole_is_paid_for_attacks() -> None:
    found = audited(contains, row("42", True), with_attacks=True)
    paid = {kind for kind, count in found.attacks.items() if count.paid}
    assert {"several answers", "answer in the thinking only", "spam", "changed by words", "nested tags"} <= paid
    assert not {"empty", "format alone"} & paid
    assert found.paid_attacks == sum("paid attack" in one.faults for one in found.findings)
    assert (found.num_problems, found.unpaid_honest) == (1, 0)


def test_a_reward_for_anything_pays_every_attack_and_says_so() -> None:
    def always(problem: Problem, rollout: Rollout) -> Verdict:
        return Verdict(score=1.0, reason="always")

    found = audited(always, row("42", True), with_attacks=True)
    assert all(count.paid == count.made > 0 for count in found.attacks.values())
    assert found.unpaid_honest == 1


@pytest.mark.parametrize("problem", [PROBLEM, WORDS, LETTER], ids=lambda problem: problem.domain)
def test_our_own_accuracy_is_not_paid_for_any_attack(problem: Problem) -> None:
    function: RewardFunction = MathVerifier() if problem.domain == "math" else accuracy
    found = attack_reward({problem.domain: {function: 1.0}}, [problem])
    assert [(one.attack, one.response) for one in found.findings] == []
    assert found.unpaid_honest == 0
    assert set(ATTACKS) <= found.attacks.keys()


def test_a_reward_for_form_is_held_against_answers_in_the_sum() -> None:
    """Alone it pays what is well-formed, as it should; beside the accuracy only right answers earn both."""
    alone = attack_reward({"math": {format_reward: 1.0}}, [PROBLEM])
    beside = attack_reward({"math": {format_reward: 1.0, MathVerifier(): 1.0}}, [PROBLEM])
    assert alone.attacks["changed by words"].paid == alone.attacks["changed by words"].made
    assert beside.paid_attacks == 0


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_honest_answer_takes_the_form_that_the_function_reads(form: object) -> None:
    """A function that reads one form alone pays the honest answer in it, and so not every attack."""
    assert isinstance(form, type(FORMS[0]))

    def reads(problem: Problem, rollout: Rollout) -> Verdict:
        return Verdict(score=float(rollout.text == form.response(problem, problem.answer)), reason="")

    found = audited(reads, row("42", False), with_attacks=True)
    assert (found.unpaid_honest, found.paid_attacks) == (0, 0)


def test_each_problem_is_attacked_once() -> None:
    once = audited(contains, row("42", True), with_attacks=True)
    twice = audited(contains, row("42", True), row("43", False), with_attacks=True)
    assert twice.num_problems == 1
    assert twice.attacks == once.attacks


def test_exceptions_are_counted_by_kind_with_file_and_line(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in training, the response gets 0; an attack at which the function fails is a finding all the same."""
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(
        "import re\n\n\ndef last(problem, rollout):\n"
        "    return float(re.findall('<answer>(.*?)</answer>', rollout.text)[-1] == problem.answer)\n"
    )
    function, _ = load_reward(f"{path}:last")
    found = audited(function, row("<answer>42</answer>", True), row("42", True), with_attacks=True)
    assert list(found.exceptions) == [f"{path}:5: IndexError"]
    assert found.exceptions.total() == sum("exception" in one.faults for one in found.findings) > 1
    assert [one.faults for one in found.findings if not one.attack] == [("exception", "false negative")]
    assert "IndexError" in capsys.readouterr().err


def test_a_reference_that_cannot_be_judged_is_named_by_its_place() -> None:
    bad = Problem(id="p", question="?", answer="not a letter", domain="choice")
    with pytest.raises(ValueError, match=r"rows.jsonl:7: .*no letter"):
        audited(accuracy, LabelledResponse(place="rows.jsonl:7", problem=bad, text="C", is_correct=True))


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows to audit"):
        audited(contains)


def test_a_rollout_has_a_token_for_each_word_or_sign() -> None:
    made = rollout_of(PROBLEM, "it is 42.")
    assert (len(made.tokens), len(made.logp), len(made.prompt_tokens)) == (5, 5, 8)
    assert (made.problem_id, made.text, made.finish) == (PROBLEM.id, "it is 42.", "stop")


# The attacks


def texts(problem: Problem, kind: str = "") -> list[Attack]:
    return [attack for attack in attacks(problem, FORMS[0]) if kind in attack.kind]


@pytest.mark.parametrize("problem", [PROBLEM, WORDS, LETTER], ids=lambda problem: problem.domain)
def test_equal_problems_have_equal_attacks_and_none_is_the_honest_answer(problem: Problem) -> None:
    made = texts(problem)
    assert made == texts(problem)
    assert FORMS[0].response(problem, problem.answer) not in [attack.text for attack in made]
    assert set(ATTACKS) <= {attack.kind for attack in made}


def test_only_mathematics_has_near_misses() -> None:
    assert texts(PROBLEM, "near miss")
    assert not texts(WORDS, "near miss")


def test_zero_is_not_attacked_with_zero() -> None:
    zero = Problem(id="p", question="What is $1 - 1$?", answer="0", domain="math")
    verifier = MathVerifier()
    assert [one.text for one in texts(zero) if verifier(zero, rollout_of(zero, one.text)).score] == []


def test_huge_responses_are_huge() -> None:
    assert all(len(attack.text) >= HUGE_CHARS - 10 for attack in texts(PROBLEM, "huge"))


def test_spam_holds_the_reference_among_a_hundred_numbers() -> None:
    numbers = re.findall("[0-9]+", texts(PROBLEM, "spam")[0].text)
    assert len(set(numbers)) == len(numbers) == 100
    assert "42" in numbers


def test_the_echo_holds_the_question_and_its_formulas() -> None:
    assert [re.findall("<answer>(.*)</answer>", one.text)[0] for one in texts(PROBLEM, "echo")] == [
        PROBLEM.question,
        "18 + 24",
    ]


def test_look_alikes_and_invisible_characters_are_other_texts_that_look_the_same() -> None:
    for problem in (PROBLEM, WORDS, LETTER):
        for attack in (*texts(problem, "look-alike"), *texts(problem, "invisible")):
            assert not attack.text.isascii()
            assert f">{problem.answer}<" not in attack.text


def test_the_thinking_is_in_the_language_of_the_question() -> None:
    chinese = Problem(id="p", question="\u8ba1\u7b97 1 + 1", answer="2", domain="math", language="zh")
    assert "\u6211" in FORMS[0].response(chinese, "2")
    assert FORMS[0].response(chinese, "2").isascii() is False
    assert FORMS[0].response(PROBLEM, "2").isascii()
