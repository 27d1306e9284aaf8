"""The R1-Zero template, word for word."""

import jinja2
import pytest

from aha.prompts.templates import CHAT_TEMPLATES, R1_ZERO, bare, r1_zero

TABLE_1 = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> "
    "reasoning process here </think> <answer> answer here </answer>. User: 1 + 1. Assistant:"
)
QUESTIONS = ("1 + 1", "从 7 23 选两个得 30", "what is {question} in {0}?", "{{ x }} {% y %} \\ \" ' <think>", "")


def test_the_template_of_table_1() -> None:
    assert r1_zero("1 + 1") == TABLE_1


@pytest.mark.parametrize("question", QUESTIONS)
def test_only_the_question_is_put_in(question: str) -> None:
    before, after = R1_ZERO.split("{question}")
    assert r1_zero(question) == before + question + after
    assert bare(question) == question


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_chat_template_says_the_same(question: str) -> None:
    render = jinja2.Environment().from_string(CHAT_TEMPLATES["r1_zero"]).render
    messages = [{"role": "system", "content": "not shown"}, {"role": "user", "content": question}]
    assert render(messages=messages, add_generation_prompt=True) == r1_zero(question)
    assert render(messages=messages, add_generation_prompt=False) + "Assistant:" == r1_zero(question)
