"""What counts as the answer, as the user chooses it, and that everybody judges the same text."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.prompts.parsing import TAGS
from aha.rewards.accuracy import COMPARERS, accuracy
from aha.rewards.code import DOMAINS as PROGRAMS
from aha.rewards.extraction.reader import AUTO, JudgeOfReadAnswers, Reading, answer_reader, reader_of
from aha.rewards.table import RULES, identities, identity, score
from aha.rewards.verifier import MathVerifier
from aha.types import Problem, Rollout, VerdictKind

Make = Callable[[str], Rollout]

CHOICES = ("auto", "tags", "box", "last-number", r"regex:is (\S+)")
SUM = Problem(id="p", question="How many?", answer="72", domain="math")
LETTER = Problem(id="c", question="Which?\nA) red\nB) blue", answer="B", domain="choice")
WORD = Problem(id="t", question="Who?", answer="bob", domain="text")
PROGRAM = Problem(id="s", question="Double it.", answer="", domain="stdio", tests=("{}",))


@pytest.mark.parametrize(
    ("choice", "text", "reading"),
    [
        ("tags", "<think> <answer> 5 </answer> </think> so <answer> 72 </answer>", Reading("72", "the answer block")),
        ("tags", r"<think> </think> \boxed{72}", Reading(None, "no single answer block")),
        ("tags", "<answer> 72 </answer> <answer> 7 </answer>", Reading(None, "no single answer block")),
        ("tags", "<think> it is <answer> 72 </answer>", Reading(None, "no single answer block")),
        ("box", r"<think> \boxed{5} </think> \boxed{7}, no, \boxed{72}.", Reading("72", "the last closed box")),
        (
            "box",
            r"<think> \boxed{72} </think> <answer> 72 </answer>",
            Reading(None, "no closed box after the thinking"),
        ),
        ("box", r"</think> <answer> \boxed{7} </answer> \boxed{72}", Reading("72", "the last closed box")),
        ("box", r"<think> \boxed{72}", Reading(None, "the thinking never ends")),
        ("box", r"<think> </think> \boxed{7} <think> \boxed{72} </think>", Reading("7", "the last closed box")),
        ("box", r"\boxed{72", Reading(None, "no closed box after the thinking")),
        ("last-number", "<think> 5 </think> of 80 there are 72.", Reading("72", "the last number")),
        ("last-number", "<think> </think> <answer> 72 </answer>", Reading("72", "the last number")),
        ("last-number", "<think> 72 </think> none", Reading(None, "no number after the thinking")),
        ("last-number", "80 <think> 5 </think> 7 <think> 1 </think> 2", Reading("2", "the last number")),
        (r"regex:is (\S+)", "it is 5 <think> </think> is 7, is 72", Reading("72", "the last match of the pattern")),
        ("regex:is .*", "</think> is 72 </answer>", Reading("is 72", "the last match of the pattern")),
        (r"regex:<answer>(.*?)</answer>", "<answer> 72 </answer>", Reading("72", "the last match of the pattern")),
        ("regex:[0-9]+", "none", Reading(None, "no match of the pattern after the thinking")),
    ],
)
def test_an_answer_is_read_where_the_user_says(choice: str, text: str, reading: Reading, rollout: Make) -> None:
    assert answer_reader(choice).read(SUM, rollout(text)) == reading


@pytest.mark.parametrize(
    ("problem", "text", "reading"),
    [
        (SUM, "<answer> 72 </answer>", Reading("72", "the answer block")),
        (SUM, r"<think> </think> so \boxed{72}", Reading("72", "the last box")),
        (SUM, "72", Reading(None)),
        (LETTER, "The answer is\nAnswer: B", Reading("The answer is\nAnswer: B", "all that follows the thinking")),
        (PROGRAM, "<think> x </think>\n```python\nprint(1)\n```", Reading("print(1)\n", "the program")),
    ],
)
def test_without_a_choice_it_is_what_the_judge_reads(
    problem: Problem, text: str, reading: Reading, rollout: Make
) -> None:
    assert AUTO.read(problem, rollout(text)) == reading


@pytest.mark.parametrize(
    ("choice", "text", "kind"),
    [
        ("auto", r"<think> </think> 5 \boxed{7} \boxed{72}", "unparsable"),
        ("box", r"<think> </think> 5 \boxed{7} \boxed{72}", "correct"),
        ("box", r"<think> </think> \boxed{72} \boxed{7}", "wrong"),
        ("box", r"<think> </think> <answer> 72 </answer>", "unparsable"),
        ("tags", r"<think> </think> \boxed{72}", "unparsable"),
        ("tags", r"<think> </think> <answer> 72 </answer>", "correct"),
        ("last-number", "so 72.", "correct"),
        ("last-number", "72 of 80", "wrong"),
        ("last-number", "none", "unparsable"),
        (r"regex:is (\S+)", "is 72", "correct"),
    ],
)
def test_the_verdict_is_on_what_was_read(choice: str, text: str, kind: VerdictKind, rollout: Make) -> None:
    judge = answer_reader(choice).judge(MathVerifier(), "math")
    verdict = judge(SUM, rollout(text))
    assert verdict is not None
    assert (verdict.kind, verdict.score) == (kind, float(kind == "correct"))


def test_a_response_without_an_answer_says_what_is_missing(rollout: Make) -> None:
    judge = answer_reader("box").judge(accuracy, "text")
    reward = score({"text": {judge: 1.0}}, WORD, rollout("<think> </think> bob"))
    assert reward.parts == {"accuracy": 0.0}
    assert reward.reasons == {"accuracy": "no closed box after the thinking"}


@pytest.mark.parametrize("choice", ["tags", "box", r"regex:option (.)"])
def test_letters_are_read_too(choice: str, rollout: Make) -> None:
    judge = answer_reader(choice).judge(accuracy, "choice")
    right = {"tags": "<answer> B </answer>", "box": r"\boxed{B}"}.get(choice, "option A, no, option B")
    verdict = judge(LETTER, rollout(f"A <think> </think> {right}"))
    assert verdict is not None
    assert verdict.kind == "correct"
    missing = judge(LETTER, rollout("<think> </think> Answer: B"))
    assert missing is not None
    assert missing.kind == "unparsable"


@pytest.mark.parametrize("domain", ["choice", "countdown", "pair", "quadratic"])
def test_the_last_number_is_refused_where_no_answer_is_a_number(domain: str) -> None:
    with pytest.raises(ValueError, match=f"--answer last-number: an answer of domain {domain} is no number"):
        answer_reader("last-number").judge(accuracy, domain)


@pytest.mark.parametrize("domain", PROGRAMS)
def test_programs_are_judged_as_they_are(domain: str) -> None:
    for choice in CHOICES:
        assert answer_reader(choice).judge(accuracy, domain) is accuracy


def test_without_a_choice_the_judge_is_the_same_and_so_is_every_key() -> None:
    assert answer_reader("auto") == AUTO
    table = {
        domain: {AUTO.judge(function, domain): weight for function, weight in row.items()}
        for domain, row in RULES.items()
    }
    assert table == RULES
    assert identities(table) == identities(RULES)


def test_each_choice_has_a_key_of_its_own() -> None:
    choices = [*CHOICES, r"regex:is (\d+)"]
    keys = {
        identity(answer_reader(choice).judge(judge, "math"))
        for choice in choices
        for judge in (accuracy, MathVerifier())
    }
    assert len(keys) == 2 * len(choices)
    assert identity(answer_reader("box").judge(accuracy, "text")) == "accuracy:box:1:accuracy.accuracy"


def test_the_reader_of_the_rewards_is_found() -> None:
    reader = answer_reader("box")
    assert reader_of({reader.judge(accuracy, "text"): 1.0}) is reader
    assert reader_of(RULES["pair"]) is AUTO
    assert reader_of({}) is AUTO


def test_votes_are_for_what_was_judged(rollout: Make) -> None:
    texts = [r"\boxed{5} or 1/2", r"\boxed{7} or 0.5", "none", r"\boxed{7} or 50\%"]
    rollouts = [rollout(text) for text in texts]
    by_number = answer_reader("last-number").votes(SUM, rollouts)
    assert by_number[0] == by_number[1] is not None
    assert by_number[2] is None
    assert answer_reader("box").votes(SUM, rollouts) == ["5", "7", None, "7"]
    assert AUTO.votes(SUM, rollouts) == ["5", "7", None, "7"]


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (
            "boxes",
            "--answer 'boxes' is unknown: what counts as the answer is auto, tags, box, last-number or regex:PATTERN",
        ),
        ("", "--answer '' is unknown"),
        ("regex", "--answer 'regex' is unknown"),
        ("regex:", "--answer: the pattern '' matches the empty text, which is no answer"),
        ("regex:(", r"--answer: the pattern '\(' cannot be searched for: missing \)"),
    ],
)
def test_an_unknown_choice_is_refused_in_one_line(choice: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        answer_reader(choice)
    assert "\n" not in str(refused.value)


PIECES = st.sampled_from([*TAGS, r"\boxed{", "}", "72", " ", "B", "is ", "\n", "{", ",", "-", "Answer: ", "x"])
TEXTS = st.one_of(st.lists(PIECES, max_size=24).map("".join), st.text(max_size=40))
PROBLEMS = (SUM, LETTER, WORD, Problem(id="l", question="?", answer="72", domain="linear"))


@given(text=TEXTS, choice=st.sampled_from(CHOICES), problem=st.sampled_from(PROBLEMS))
@settings(max_examples=800)
def test_whatever_a_model_writes_the_verdict_is_on_what_is_shown(text: str, choice: str, problem: Problem) -> None:
    reader = answer_reader(choice)
    if choice == "last-number" and problem.domain == "choice":
        return
    response = _rollout(text)
    function = MathVerifier() if problem.domain == "math" else accuracy
    judge = reader.judge(function, problem.domain)
    verdict = judge(problem, response)
    reading = reader.read(problem, response)
    assert verdict is not None

    if reading.answer is None:
        assert verdict.kind == "unparsable"
        assert reader.votes(problem, [response]) == [None]
    elif isinstance(judge, JudgeOfReadAnswers):
        assert not any(tag in reading.answer for tag in TAGS)
        assert verdict == function(problem, _rollout(f"<think> </think> <answer> {reading.answer} </answer>"))
    # No choice finds an answer in the thinking alone.
    inside = _rollout(f"<think> {text.replace('think>', '')}")
    assert reader.read(problem, inside).answer is None


def _rollout(text: str) -> Rollout:
    import torch

    tokens = torch.zeros(1, dtype=torch.int64)
    return Rollout(problem_id="p", prompt_tokens=tokens, tokens=tokens, logp=torch.zeros(1), text=text, finish="stop")


def test_every_domain_of_the_built_in_world_can_be_read_by_tags_box_and_pattern(rollout: Make) -> None:
    right = {"arithmetic": "72", "pair": "5 + 10", "countdown": "5 * 10", "linear": "3", "quadratic": "2 , 3"}
    assert right.keys() == COMPARERS.keys()
    texts = {"tags": "<answer> {} </answer>", "box": r"\boxed{{ {} }}", "regex:so (.*) [.]": "so {} ."}
    for domain, answer in right.items():
        problem = Problem(id=domain, question="numbers 5 10 make 15", answer=answer, domain=domain)
        for choice, form in texts.items():
            verdict = answer_reader(choice).judge(accuracy, domain)(problem, rollout(form.format(answer)))
            assert verdict is not None
            assert verdict.kind == "correct", (domain, choice, verdict)
