"""What is said around a question."""

import pytest

from aha.prompts.questions import add_instructions, num_options
from aha.types import Problem


def asked(domain: str, question: str, starter: str = "") -> str:
    problem = Problem(id="a", question=question, answer="b", domain=domain, starter=starter)
    (found,) = add_instructions([problem])
    assert (found.id, found.answer) == ("a", "b")
    return found.question


def test_mathematics_is_asked_as_in_the_papers() -> None:
    expected = "What is 2?\nPlease reason step by step, and put your final answer within \\boxed{}."
    assert asked("math", "What is 2?") == expected


def test_multiple_choice_is_asked_as_in_simple_evals() -> None:
    assert asked("choice", "Which?\n\nA) red\nB) blue\nC) none") == (
        "Answer the following multiple choice question. The last line of your response should be of the following "
        "format: 'Answer: $LETTER' (without quotes) where LETTER is one of ABC. Think step by step before answering."
        "\n\nWhich?\n\nA) red\nB) blue\nC) none"
    )


def test_code_stands_in_a_block() -> None:
    text = asked("code", "def f():\n", "def f():\n")
    assert text.endswith("\n\n```python\ndef f():\n```")
    assert "one block that starts with ```python" in text
    assert asked("code", "Sort a list.").startswith("Sort a list.\n\nWrite the Python function.")
    assert "standard output" in asked("stdio", "Double it.")


def test_an_expression_is_asked_for_where_the_rule_reads_it() -> None:
    """Without a tag or a box around the answer no response to a chat model's prompt could be right."""
    text = asked("countdown", "Make 9 from 3, 8, 2.")
    assert text.startswith("Make 9 from 3, 8, 2.\nPlease reason step by step")
    assert text.endswith("the expression alone, written with + - * / and parentheses, within \\boxed{}.")


def test_other_questions_are_asked_as_they_are() -> None:
    assert asked("text", "Who?") == "Who?"


@pytest.mark.parametrize(
    ("question", "num"),
    [
        ("Which?\n\nA) x\nB) y", 2),
        ("A) x\nB) y\nWhich?", 0),
        ("Which of A) and B)?\n\nA) A) x\nB) y\nC) z", 3),
        ("", 0),
    ],
)
def test_options_are_counted_from_the_end(question: str, num: int) -> None:
    assert num_options(question) == num
