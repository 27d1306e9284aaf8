"""The R1-Zero template, word for word."""

import jinja2
import pytest

from aha.prompts.templates import (
    CHAT_TEMPLATES,
    R1_ZERO,
    Template,
    bare,
    continuation,
    jinja_of,
    opening_of,
    r1,
    r1_zero,
    template_of,
)

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


@pytest.mark.parametrize("question", QUESTIONS)
def test_r1s_chat_template_says_what_its_template_says(question: str) -> None:
    render = jinja2.Environment().from_string(CHAT_TEMPLATES["r1"]).render
    messages = [{"role": "user", "content": question}]
    assert render(messages=messages, add_generation_prompt=True, eos_token="<eos>") == r1(question)


def test_of_earlier_turns_only_the_summary_is_kept() -> None:
    render = jinja2.Environment().from_string(CHAT_TEMPLATES["r1"]).render
    messages = [
        {"role": "user", "content": "1 + 1"},
        {"role": "assistant", "content": "<think> a </think> 2 ."},
        {"role": "user", "content": "2 + 2"},
    ]
    shown = render(messages=messages, add_generation_prompt=True, eos_token="<eos>")
    assert shown == "<｜User｜>1 + 1<｜Assistant｜> 2 .<eos><｜User｜>2 + 2<｜Assistant｜>"


@pytest.mark.parametrize("template", [r1_zero, r1, bare])
@pytest.mark.parametrize("beginning", ["", "<|begin_of_text|>"])
def test_a_checkpoint_is_prompted_as_it_was_trained(template: Template, beginning: str) -> None:
    jinja = jinja_of(template, beginning=beginning)
    assert jinja is not None
    assert template_of(jinja, beginning=beginning) is template
    shown = (
        jinja2.Environment()
        .from_string(jinja)
        .render(messages=[{"role": "user", "content": "1 + 1"}], add_generation_prompt=True, eos_token="<eos>")
    )
    assert shown == beginning + template("1 + 1")


def test_another_template_is_no_template_of_ours() -> None:
    assert template_of("something else") is None
    assert jinja_of(lambda question: question) is None


def test_a_prompt_may_open_the_thinking() -> None:
    for prompt, opening in [
        ("<｜User｜>1 + 1<｜Assistant｜><think>\n", "<think>\n"),
        ("<|im_start|>assistant\n<think>", "<think>"),
        ("<|im_start|>assistant\n", ""),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
        ("<｜User｜>what does <think> do?<｜Assistant｜>", ""),
        (r1_zero("1 + 1"), ""),
        (r1("1 + 1"), ""),
        ("", ""),
    ]:
        assert opening_of(prompt) == opening, (prompt, opening)
        whole = "<think> a </think> b"
        assert continuation(prompt, whole) == ("a </think> b" if opening.strip() == "<think>" else whole), (
            prompt,
            opening,
        )
        assert continuation(prompt, "a </think> b") == "a </think> b", (prompt, opening)
