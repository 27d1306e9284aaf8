r"""Ways to a reward without the answer: none of them is rewarded.

Each row is a response as a model could learn to write it. An honest right answer gets 2, one for accuracy and one for
the format; no hack reaches that, and none gets accuracy.
"""

from collections.abc import Callable

import pytest

from aha.rewards import format as tags
from aha.rewards import summary
from aha.rewards.table import RewardTable, score_all
from aha.rewards.verifier import MathVerifier
from aha.types import Problem, Rollout

BOXES = {
    "several answers in one box": ("5", "4, 5"),
    "two answers with or": ("5", "4 or 5"),
    "two answers with or as text": ("5", r"4 \text{ or } 5"),
    "two answers with and": ("5", "5 and 6"),
    "listing all choices": (r"\text{(C)}", "(A) (B) (C) (D) (E)"),
    "listing all choices with commas": ("C", "A, B, C, D"),
    "two choices": (r"\text{(C)}", r"\text{(B) or (C)}"),
    "a choice and another": ("C", "(C) or D"),
    "a choice and a letter": ("C", "(C) D"),
    "a choice with another as its text": (r"\text{(C)}", "(C) 5 D 6"),
    "all numbers as a list": ("5", ", ".join(str(number) for number in range(50))),
    "all numbers as a set": ("5", r"\{1,2,3,4,5,6,7,8,9\}"),
    "the set of integers": ("5", r"\mathbb{Z}"),
    "a range with the answer": ("5", "[4,6]"),
    "a huge interval": ("5", r"(-\infty,\infty)"),
    "an inequality": ("5", "x>4"),
    "two inequalities": ("5", r"4<x<6"),
    "a closed inequality": ("5", r"5 \le x \le 5"),
    "a range with a dash": ("5", "4-6"),
    "plus or minus": ("5", r"\pm 5"),
    "plus or minus a lot": ("5", r"0 \pm 100"),
    "an approximation": ("5", r"4.9999999"),
    "an approximate sign": ("5", r"4 \approx 5"),
    "too few digits of pi": (r"\pi", "3.14"),
    "six digits of another number than pi": (r"\pi", "3.141583"),
    "a third with two digits": (r"\frac{1}{3}", "0.33"),
    "zero for a tiny number": (r"\frac{\pi}{100000000}", "0.000000"),
    "a false equation": ("5", "4 = 5"),
    "a false equation the other way": ("5", "5 = 4"),
    "a chain with one true side": ("5", "x = 1 = 2 = 5"),
    "a trivial equation": ("x=5", "0 = 0"),
    "an identity": ("x=5", "x = x"),
    "an unknown": ("5", "x"),
    "an unknown that is named": ("5", "x = y"),
    "the name of the answer": ("5", r"\text{answer}"),
    "any number": ("5", r"\text{any number}"),
    "all of the above": ("5", r"\text{all of the above}"),
    "the word correct": ("5", "correct"),
    "the word correct as text": ("5", r"\text{correct}"),
    "a verdict": ("5", '{"kind": "correct"}'),
    "a verdict on a line of its own": ("5", '\n{"kind": "correct"}\n'),
    "not a number": ("5", "nan"),
    "infinity": ("5", r"\infty"),
    "the word infinity": ("5", "inf"),
    "zero over zero": ("5", r"\frac{0}{0}"),
    "infinity less infinity": ("5", r"\infty-\infty"),
    "an empty box": ("5", ""),
    "a blank box": ("5", r"\,\; "),
    "an empty set": ("5", r"\{\}"),
    "a placeholder": ("5", r"\ldots"),
    "the question as a sum": ("46", "12+34"),
    "the question as a product": ("408", r"12 \times 34"),
    "the question as a power": ("1024", "2^{10}"),
    "the question as a call": ("12", r"\gcd(24,36)"),
    "the question as a long sum": ("55", r"\sum_{k=1}^{10} k"),
    "the question as an integral": ("9", r"\int_0^3 x^2 dx"),
    "the question as a long sum, symbolic": (r"\frac{\pi^2}{6}", r"\sum_{k=1}^{\infty} \frac{1}{k^2}"),
    "a sentence": ("5", r"\text{the answer is 5 or 6}"),
    "a sentence with the answer": ("5", r"the answer is 5"),
    "a negation": ("5", r"\text{not } 5"),
    "a negation behind": ("5", r"5 \text{ is wrong}"),
    "at least": ("5", r"5 \text{ or more}"),
    "another scale": ("5", r"5 \text{ million}"),
    "another unit": (r"5 \text{ cents}", r"5 \text{ dollars}"),
    "a fullwidth digit": ("5", "５"),
    "an Arabic digit": ("5", "٥"),
    "a letter that looks like another": (r"\text{A}", "\u0391"),
    "a zero-width space": ("5", "5\u200b"),
    "a zero-width space between digits": ("55", "5\u200b5"),
    "a right-to-left mark": ("12", "\u202e21"),
    "a null byte": ("5", "5\x00"),
    "code": ("5", "__import__('os').getpid()"),
    "code that prints": ("5", "print(5)"),
    "input of a file": ("5", r"\input{/etc/passwd}"),
    "digits far apart": ("12", "1 2"),
    "digits in another base": ("5", "5_{8}"),
    "a mixed order": ("(1,2)", "(2,1)"),
    "a set for a tuple": ("(1,2)", r"\{1,2\}"),
    "an interval that is closed": ("(1,2]", "[1,2]"),
    "one root of two": ("1,-2", "1"),
    "two roots and one more": ("1,-2", "1,-2,3"),
    "a percentage for one": ("1", r"1\%"),
    "the reference in a comment": ("5", "4 % 5"),
    "a tower": (r"\sqrt{5}", r"9^{9^{9^{9^{9}}}}"),
}
"""Reference, and what stands in the box."""

RESPONSES = {
    "the answer in the thinking only": r"<think> \boxed{5} </think> <answer> </answer>",
    "answer tags in the thinking": "<think> <answer> 5 </answer> </think> done",
    "a thinking that never ends": "<think> so <answer> 5 </answer>",
    "two answer blocks": "<think> t </think> <answer> 4 </answer> <answer> 5 </answer>",
    "nested answer blocks": "<think> t </think> <answer> 4 <answer> 5 </answer> </answer>",
    "nested thinking": "<think> <think> t </think> <answer> 5 </answer>",
    "an answer that never ends": "<think> t </think> <answer> 5",
    "an answer that never starts": "<think> t </think> 5 </answer>",
    "two boxes": r"<think> t </think> <answer> \boxed{4} or \boxed{5} </answer>",
    "a box in a box": r"<think> t </think> <answer> \boxed{4 \boxed{5}} </answer>",
    "boxes without end": r"<think> t </think> <answer> " + r"\boxed{" * 500 + "5" + " </answer>",
    "a hundred boxes": "<think> t </think> <answer> " + " ".join(rf"\boxed{{{n}}}" for n in range(6)) + " </answer>",
    "the question again": "<think> t </think> <answer> what is 2 + 3 ? </answer>",
    "tags in an answer": "<think> t </think> <answer> <think> 5 </think> </answer>",
    "an answer without thinking, twice": "<answer> 5 </answer> <answer> 5 </answer>",
    "tags in capitals": "<THINK> t </THINK> <ANSWER> 5 </ANSWER>",
    "tags with attributes": "<think> t </think> <answer x=1> 5 </answer>",
    "only the number": "5",
    "nothing": "",
    "blanks": " \n " * 100,
}
"""Whole responses to a problem whose answer is 5."""

SUMMARIES = {
    "two boxes in a summary": r"<think> t </think> \boxed{4} or \boxed{5}",
    "a box in the thinking only": r"<think> \boxed{5} </think> it is done .",
    "no summary": r"<think> \boxed{5} </think>",
    "a thinking that never ends": r"<think> so \boxed{5}",
    "thinking in the summary": r"<think> t </think> <think> \boxed{5}",
    "a list of boxes": r"<think> t </think> \boxed{1} \boxed{2} \boxed{3} \boxed{4} \boxed{5}",
    "an answer block that is empty": r"<think> t </think> \boxed{5} <answer> </answer>",
    "a box that never closes": r"<think> t </think> \boxed{5",
}
"""Responses in R1's format to a problem whose answer is 5."""


@pytest.fixture(scope="module")
def verifier() -> MathVerifier:
    return MathVerifier()


def problem(answer: str) -> Problem:
    return Problem(id="p", question="what is it ?", answer=answer, domain="math")


def boxed(answer: str) -> str:
    return rf"<think> t </think> <answer> \boxed{{{answer}}} </answer>"


def test_there_are_many() -> None:
    assert len(BOXES) + len(RESPONSES) + len(SUMMARIES) >= 100


def test_no_hack_in_a_box_is_rewarded(verifier: MathVerifier, rollout: Callable[[str], Rollout]) -> None:
    table: RewardTable = {"math": {verifier: 1.0, tags.format_reward: 1.0}}
    for name, (gold, answer) in BOXES.items():
        pairs = [(problem(gold), rollout(boxed(answer))), (problem(gold), rollout(boxed(gold)))]
        hack, honest = score_all(table, pairs)
        assert hack.parts["accuracy"] == 0, (name, hack.reasons)
        assert hack.total < honest.total == 2, name


@pytest.mark.parametrize("name", RESPONSES)
def test_no_hack_around_the_answer_is_rewarded(
    name: str, verifier: MathVerifier, rollout: Callable[[str], Rollout]
) -> None:
    table: RewardTable = {"math": {verifier: 1.0, tags.format_reward: 1.0}}
    hack, honest = score_all(table, [(problem("5"), rollout(RESPONSES[name])), (problem("5"), rollout(boxed("5")))])
    assert hack.parts["accuracy"] == 0, hack.reasons
    assert hack.total < honest.total == 2


@pytest.mark.parametrize("name", SUMMARIES)
def test_no_hack_of_a_summary_is_rewarded(name: str, verifier: MathVerifier, rollout: Callable[[str], Rollout]) -> None:
    table: RewardTable = {"math": {verifier: 1.0, summary.format_reward: 1.0}}
    honest_text = r"<think> t </think> so it is \boxed{5} ."
    hack, honest = score_all(table, [(problem("5"), rollout(SUMMARIES[name])), (problem("5"), rollout(honest_text))])
    assert hack.parts["accuracy"] == 0, hack.reasons
    assert hack.total < honest.total == 2
