"""The verifier: rules around both paths, verdicts by kind, references that cannot be read, real data."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from aha.evaluation.metrics import majority
from aha.prompts.parsing import last_boxed
from aha.rewards.answers import final_answer, normal_form, votes
from aha.rewards.table import BatchedReward, Keyed, part_name
from aha.rewards.verifier import MathVerifier
from aha.types import Problem, Rollout

EQUAL = [
    (r"x^2+3x-1", r"3x + x^2 - 1"), (r"3\sqrt{13}", r"\sqrt{117}"), (r"\frac{\pi}{2}", r"0.5\pi"),
    ("x=5", "5"), ("5", "n = 5"),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"), (r"(0,9) \cup (9,36)", r"(9,36)\cup(0,9)"),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}", r"\begin{pmatrix} -\frac13 \\ \frac{4}{6} \end{pmatrix}"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"), ("y = 2x + 3", "y=3+2x"), ("y = 2x + 3", "2x+3"),
    (r"x \in [-2,7]", "[-2,7]"), (r"x \in [-2,7]", r"-2 \le x \le 7"), (r"(2,\infty)", "x>2"), (r"\pi", "3.141593"),
    (r"288 \pi", r"288\pi \text{ cm}^3"), (r"\frac{1}{2}", r"\frac{2}{4} = \frac{1}{2} = 0.5"), ("6+9i", "9i+6"),
    ("5x - 7y + 11z + 4 = 0", "-5x+7y-11z=4"), (r"\text{是}", r"\text{是}"), (r"2\sqrt{2}", r"\sqrt{8}=2\sqrt2"),
    (r"\frac{1}{3}", r"0.33333333"), (r"5", r"5 \approx 5.0"),
]  # fmt: skip

DIFFERENT = [
    (r"x^2+3x-1", r"x^2+3x+1"), (r"\frac{\pi}{2}", "1.57"), (r"\pi", "3.141592"), (r"1 \pm \sqrt{19}", r"1+\sqrt{19}"),
    (r"(0,9) \cup (9,36)", "(0,36)"), ("y = 2x + 3", "y = 2x"), ("x=5", "y=5"), (r"x \in [-2,7]", r"-2 < x < 7"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"), (r"2\sqrt{2}", r"4=2\sqrt2"),
    (r"(2,\infty)", r"x \ge 2"), ("6+9i", "6-9i"), (r"8\pi \text{ cm}", r"8\pi \text{ inches}"),
]  # fmt: skip


@pytest.fixture(scope="module")
def verifier() -> MathVerifier:
    return MathVerifier()


def problem(answer: str) -> Problem:
    return Problem(id="p", question="?", answer=answer, domain="math")


def rows(name: str) -> list[dict[str, str]]:
    folder = os.environ.get("AHA_DATA")
    if not folder or not (Path(folder) / name / "test.jsonl").exists():
        pytest.skip(f"AHA_DATA does not name a folder with {name}/test.jsonl")
    text = (Path(folder) / name / "test.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_equal_answers(verifier: MathVerifier) -> None:
    verdicts = verifier.compare_all(EQUAL)
    assert [pair for pair, verdict in zip(EQUAL, verdicts, strict=True) if verdict.kind != "correct"] == []


def test_different_answers(verifier: MathVerifier) -> None:
    verdicts = verifier.compare_all(DIFFERENT)
    assert [pair for pair, verdict in zip(DIFFERENT, verdicts, strict=True) if verdict.kind != "wrong"] == []


def test_it_is_a_reward_function(verifier: MathVerifier) -> None:
    assert isinstance(verifier, BatchedReward)
    assert isinstance(verifier, Keyed)
    assert part_name(verifier) == "accuracy"


def test_verdicts_are_counted() -> None:
    verifier = MathVerifier()
    assert [verdict.kind for verdict in verifier.compare_all([("5", "5.0"), ("5", "6"), ("5", "")])] == [
        "correct",
        "wrong",
        "unparsable",
    ]
    assert verifier.counts == Counter({"correct": 1, "wrong": 1, "unparsable": 1})


def test_responses_are_judged(verifier: MathVerifier, rollout: Callable[[str], Rollout]) -> None:
    texts = ["<think> t </think> <answer> 5 </answer>", r"so \boxed{5}", r"\boxed{6}", "5", ""]
    verdicts = verifier.judge_all([(problem("5"), rollout(text)) for text in texts])
    assert [verdict.kind for verdict in verdicts] == ["correct", "correct", "wrong", "unparsable", "unparsable"]
    assert [verdict.score for verdict in verdicts] == [1, 1, 0, 0, 0]
    assert verifier(problem("5"), rollout(texts[0])).score == 1


def test_a_fault_of_the_comparison_is_a_crash_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(gold: object, answer: object) -> str:
        raise RecursionError

    monkeypatch.setattr("aha.rewards.verifier.difference", broken)
    verdict = MathVerifier().compare("x+1", "1+x")
    assert (verdict.kind, verdict.score) == ("crash", 0.0)
    assert "RecursionError" in verdict.reason


def test_a_fault_of_the_reader_costs_a_vote_and_no_run(
    monkeypatch: pytest.MonkeyPatch, rollout: Callable[[str], Rollout]
) -> None:
    def broken(text: str) -> object:
        raise IndexError

    monkeypatch.setattr("aha.rewards.answers.read", broken)
    assert votes([r"\boxed{x+1}", r"\boxed{x+1}"]) == ["x+1", "x+1"]
    assert MathVerifier()(problem("x+1"), rollout(r"\boxed{x+1}")).kind == "correct"


def test_what_is_remembered_is_bounded() -> None:
    verifier = MathVerifier(max_remembered=2)
    for number in range(4):
        verifier.compare(r"\sqrt{8}", rf"{number}\sqrt{{2}}")
    assert len(verifier._cache) == 2


@pytest.mark.parametrize(
    ("gold", "answer", "kind"),
    [
        (r"\text{(C)}", "C", "correct"),
        (r"\text{(C)}", r"\text{C}", "correct"),
        ("C", "(C)", "correct"),
        (r"\text{(C)}", "(C) 12", "correct"),
        (r"\text{(C)}", "(D)", "wrong"),
        ("40, 200", "40,200", "correct"),
        ("1234", "1,234", "correct"),
        ("1234", "1, 234", "wrong"),
        (r"\begin{cases} x & x > 0 \\ 0 & x = 0 \end{cases}", r"\begin{cases}x&x>0\\0&x=0\end{cases}", "correct"),
        (r"\begin{cases} x & x > 0 \end{cases}", "x", "wrong"),
    ],
)
def test_choices_thousands_and_texts(gold: str, answer: str, kind: str, verifier: MathVerifier) -> None:
    assert verifier.compare(gold, answer).kind == kind


@pytest.mark.parametrize(
    ("question", "gold", "answer", "kind"),
    [
        (r"Simplify $\sqrt{12}$.", r"2\sqrt{3}", r"\sqrt{12}", "wrong"),
        (r"Simplify $\sqrt{12}$.", r"2\sqrt{3}", r"2\sqrt{3}", "correct"),
        (r"Expand $(x+1)^2$.", "x^2+2x+1", "(x+1)^2", "wrong"),
        (r"Expand $(x+1)^2$.", "x^2+2x+1", "2x+x^2+1", "correct"),
        (r"Which is larger, $2^{30}$ or $3^{20}$?", "3^{20}", "3^{20}", "correct"),
        (r"Write $\frac{3}{20}$ as a decimal.", "0.15", r"\frac{3}{20}", "wrong"),
        (r"Write $0.15$ as a fraction.", r"\frac{3}{20}", "0.15", "wrong"),
        (r"Add $0.05$ and $0.1$.", "0.15", r"\frac{3}{20}", "correct"),
        (r"Half of $\frac{1}{2} \cdot 4$?", "1", "1", "correct"),
        (r"A coat of \$5 and $\sqrt{12}$ more.", r"2\sqrt{3}", r"\sqrt{12}", "wrong"),
        # What a question says of something is a condition, whatever it is worth.
        (r"If $\frac{1}{p} + \frac{1}{q} = 1$, find $(p-1)(q-1)$.", "1", r"\frac1p + \frac1q = 1", "wrong"),
        (r"If $\frac{1}{p} + \frac{1}{q} = 1$, find $(p-1)(q-1)$.", "1", "1", "correct"),
        (r"Suppose $h(2)=10,$ $h(10)=1$ and $h(1)=2$. Find $f(f(10))$.", "1", "h(10)=1", "wrong"),
        ("Let $x = -1, y = 2$. Find $x^{2011}$.", "-1", "x=-1", "wrong"),
        ("Let $a > b$ with \\[ab = 8.\\] Find the minimum.", "8", "ab = 8", "wrong"),
        ("Solve $3 \\mathrm{x}+2 \\mathrm{y}=7$ for $\\mathrm{y}$.", r"y=\frac{7-3x}{2}", "3x + 2y = 7", "wrong"),
        ("Solve $3 \\mathrm{x}+2 \\mathrm{y}=7$ for $\\mathrm{y}$.", r"y=\frac{7-3x}{2}", "2y = 7 - 3x", "correct"),
        (
            r"Write $\{x \mid x \neq 5\}$ in interval notation.",
            r"(-\infty,5)\cup(5,\infty)",
            r"\{x \mid x\ne 5\}",
            "wrong",
        ),
        (
            "Common denominators: $\\frac{1}{x}, \\frac{1}{y}$",
            r"\frac{y}{xy}, \frac{x}{xy}",
            r"\frac1x, \frac1y",
            "wrong",
        ),
        ("A long story. " * 300 + "Simplify $\\sqrt{12}$.", r"2\sqrt{3}", r"\sqrt{12}", "wrong"),
        ("$M(2,5)$ and $N(6,5)$ are turned. Where is $N$?", "(2,5)", "M(2,5)", "wrong"),
        ("Which is farthest: $(1,4)$ or $(-6,0)$?", "(-6, 0)", "(-6,0)", "correct"),
        ("Which of $x=1$ and $x=2$ solves it?", "x = 2", "x=2", "correct"),
        # Its own text is the answer only where the reference says no more.
        (r"Approximate $\cos(-2.01)$.", r"\cos(-2.01) \approx -0.425", r"\cos (-2.01)", "wrong"),
    ],
)
def test_an_expression_of_the_question_is_no_answer(
    question: str, gold: str, answer: str, kind: str, verifier: MathVerifier, rollout: Callable[[str], Rollout]
) -> None:
    asked = Problem(id="p", question=question, answer=gold, domain="math")
    assert verifier(asked, rollout(rf"\boxed{{{answer}}}")).kind == kind


@pytest.mark.parametrize(
    ("gold", "answer", "kind"),
    [
        (r"\cos(-2.01) \approx -0.425", "-0.425", "correct"),
        (r"\cos(-2.01) \approx -0.425", r"\approx -0.425", "correct"),
        (r"\cos(-2.01) \approx -0.425", "-0.42", "wrong"),
        (r"\cos(-2.01) \approx -0.425", "0.425", "wrong"),
        (r"1, \pi \approx 3.14", "3.14", "wrong"),
        (r"\cos(-2.01)", "-0.425", "wrong"),
    ],
)
def test_the_approximation_that_a_reference_gives_of_itself_answers_it(
    gold: str, answer: str, kind: str, verifier: MathVerifier
) -> None:
    assert verifier.compare(gold, answer).kind == kind


@pytest.mark.parametrize("gold", ["", " ", "5" * 3_000, r"\frac{1}{", r"\sqrt{"])
def test_references_that_cannot_be_read_are_refused(gold: str, verifier: MathVerifier) -> None:
    with pytest.raises(ValueError, match=r"reference answer .* cannot be read"):
        verifier.check_gold(["5", gold])


def test_good_references_pass(verifier: MathVerifier) -> None:
    verifier.check_gold(gold for gold, _ in EQUAL)


def test_all_bad_references_are_named_at_once(verifier: MathVerifier) -> None:
    with pytest.raises(ValueError, match="cannot be read") as refused:
        verifier.check_named_gold([("a:1", "5"), ("a:2", r"\sqrt{"), ("a:3", "7"), ("a:4", "")])
    assert [line.partition(": ")[0] for line in str(refused.value).splitlines()] == ["a:2", "a:4"]


def test_the_final_answer_of_a_response() -> None:
    assert final_answer(r"<answer> so \boxed{5} </answer>")[0] == "5"
    assert final_answer(r"\boxed{5} and again \boxed{5.}")[0] in ("5", "5.")
    assert final_answer(r"\boxed{5} and \boxed{6}") == (None, "several boxes with different content")


def test_votes() -> None:
    assert normal_form("x = 0.50") == normal_form(r"\dfrac{1}{2}") == "1/2"
    assert normal_form(r"\sqrt{ 2 }") == r"\sqrt{2}"
    assert normal_form(" ") is None


@pytest.mark.full
def test_math_500(verifier: MathVerifier) -> None:
    data = rows("math500")
    golds, boxes = [row["answer"] for row in data], [last_boxed(row["solution"]) or "" for row in data]
    verifier.check_gold(golds)
    own = verifier.compare_all(list(zip(golds, boxes, strict=True)))
    assert sum(verdict.kind == "correct" for verdict in own) == len(data) == 500
    pairs = [(gold, boxes[(place + 7) % 500]) for place, gold in enumerate(golds)]
    other = [pair for pair in pairs if normal_form(pair[0]) != normal_form(pair[1])]
    assert [pair for pair, verdict in zip(other, verifier.compare_all(other), strict=True) if verdict.score] == []


@pytest.mark.full
def test_gsm8k(verifier: MathVerifier) -> None:
    golds = [row["answer"].split("####")[1].strip() for row in rows("gsm8k")]
    for form in ("{}", r"\${}", "{} dollars", "x = {}", r"${}$", r"{}\text{{ miles}}"):
        verdicts = verifier.compare_all([(gold, form.format(gold)) for gold in golds])
        assert sum(verdict.kind == "correct" for verdict in verdicts) == len(golds) == 1_319


def test_equal_answers_of_mathematics_vote_together_whatever_their_notation() -> None:
    right = [
        "<think> a </think> <answer> so it is \\boxed{\\frac{1}{2}} </answer>",
        "<think> a </think> <answer> 0.5 </answer>",
        "<think> a </think> <answer> the result: \\boxed{50\\%} </answer>",
        "<think> a </think> the end \\boxed{1/2}",
        "<think> a </think> <answer> 0.50 </answer>",
    ]
    wrong = ["<think> a </think> <answer> 7 </answer>"] * 2
    assert len(set(votes([*wrong, *right])[2:])) == 1
    assert majority(votes([*wrong, *right])) != "7"
    assert (
        votes(["<think> a </think> \\boxed{5 \\text{ cm}}", "<think> a </think> \\boxed{5 \\text{ kg}}"])[0] is not None
    )
    assert len(set(votes(["\\boxed{5 \\text{ cm}}", "\\boxed{5 \\text{ kg}}"]))) == 2
    assert votes(["nothing"]) == [None]


@pytest.mark.parametrize("num_chars", [199, 200, 201, 300])
def test_of_an_unreadable_reference_200_characters_are_told(num_chars: int, rollout: Callable[[str], Rollout]) -> None:
    gold = "(" * num_chars
    problem = Problem(id="p", question="?", answer=gold, domain="math")
    complaint = (
        rf"^the reference answer '\({{{min(num_chars, 200)}}}' cannot be read as mathematics: its brackets do not"
    )
    with pytest.raises(ValueError, match=complaint):
        MathVerifier()(problem, rollout(r"<think> a </think> \boxed{1}"))
