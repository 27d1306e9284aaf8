"""Prompt templates: the text around a question.

Source: DeepSeek-R1, arXiv:2501.12948v1, Table 1 (the R1-Zero template); only the question is put in, and nothing in
it asks for reflection or for any strategy. The chat template is that of the released DeepSeek-R1 models.
"""

import re
from collections.abc import Callable
from typing import Protocol, runtime_checkable

__all__ = [
    "CHAT_TEMPLATES",
    "R1",
    "R1_ZERO",
    "Template",
    "bare",
    "continuation",
    "jinja_of",
    "opening_of",
    "r1",
    "r1_zero",
    "template_of",
]

Template = Callable[[str], str]
"""Makes the text of a prompt from a question."""

R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, "
    "i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: {question}. Assistant:"
)
"""The R1-Zero template, word for word."""

R1 = "<｜User｜>{question}<｜Assistant｜>"
"""The chat template of R1; special tokens set the turns apart."""

CHAT_TEMPLATES = {
    "r1_zero": R1_ZERO.split("{question}")[0]
    + "{{ messages[-1]['content'] }}"
    + R1_ZERO.split("{question}")[1].replace("Assistant:", "{% if add_generation_prompt %}Assistant:{% endif %}"),
    "r1": (
        "{% for message in messages %}{% if message['role'] == 'user' %}<｜User｜>{{ message['content'] }}"
        "{% elif message['role'] == 'assistant' %}<｜Assistant｜>{{ message['content'].split('</think>')[-1] }}"
        "{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
    ),
    "bare": "{{ messages[-1]['content'] }}",
}
"""The templates in Jinja, as written into a checkpoint's `chat_template.jinja`; R1's keeps of earlier turns only what
follows their thinking."""


def r1_zero(question: str) -> str:
    """The question inside the R1-Zero template.

    Source: DeepSeek-R1, arXiv:2501.12948v1, Table 1.
    """
    return R1_ZERO.format(question=question)


def r1(question: str) -> str:
    """The question as a user's turn, after which R1 thinks and then sums up.

    Source: DeepSeek-R1, the chat template of the released models.
    """
    return R1.format(question=question)


def bare(question: str) -> str:
    """The question alone, for models that are prompted without a template."""
    return question


@runtime_checkable
class HasSource(Protocol):
    """A template that was read from Jinja."""

    @property
    def source(self) -> str:
        """The Jinja, with the beginning of every prompt if it has one."""
        ...


_BY_NAME: dict[str, Template] = {"r1_zero": r1_zero, "r1": r1, "bare": bare}


def jinja_of(template: Template, *, beginning: str = "") -> str | None:
    """A template in Jinja, for the checkpoint of a model that was trained with it.

    Args:
        template: a template of this module, or one in Jinja.
        beginning: text that the tokenizer of the model puts before every prompt. A program that renders the chat
            template does not put it there again, so that it must be part of the template.

    Returns:
        The Jinja; None for any other function.
    """
    for name, function in _BY_NAME.items():
        if function is template:
            return beginning + CHAT_TEMPLATES[name]
    return template.source if isinstance(template, HasSource) else None


def template_of(chat_template: str, *, beginning: str = "") -> Template | None:
    """The template of this module that a checkpoint holds in Jinja; None where it is another one.

    Args:
        chat_template: the Jinja of the checkpoint.
        beginning: as in `jinja_of`.
    """
    text = chat_template.removeprefix(beginning)
    for name, jinja in CHAT_TEMPLATES.items():
        if jinja == text:
            return _BY_NAME[name]
    return None


_OPENING = re.compile(r"<think>\s*(?:</think>\s*)?\Z")


def opening_of(prompt: str) -> str:
    """The beginning of the response at the end of a prompt: an opened `<think>`, an empty thinking block, or nothing.

    The templates of the distilled R1 models, of QwQ and of Qwen3 end like that. The sampled tokens continue from there,
    and a reader of the response must put this text before them.
    """
    match = _OPENING.search(prompt)
    return match[0] if match else ""


def continuation(prompt: str, response: str) -> str:
    """The rest of a whole response after a prompt that may have opened its thinking."""
    opening = opening_of(prompt).strip()
    text = response.lstrip()
    if not opening or not text.startswith(opening):
        return response
    return text.removeprefix(opening).lstrip()
