"""Wordings: the instructions around a question, by the domain of the problem, so that its answer can be found.

A template puts a question into a conversation; a wording is part of the question itself. The R1-Zero template already
says where the answer stands, so that training from a base model needs no wording; evaluation by the papers' protocol
does.

Source: DeepSeek-R1, arXiv:2501.12948v2, appendix J, and the usage notes of the released models (mathematics);
simple-evals (multiple choice).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase

from aha.prompts.templates import Template, r1_zero
from aha.types import Problem

__all__ = ["MATH_INSTRUCTION", "WORDINGS", "add_instructions", "num_options", "wording_of"]

MATH_INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
"""The instruction after a question of mathematics."""

# The instruction after a Countdown question.
EXPRESSION_INSTRUCTION = (
    "Please reason step by step, and put your final answer, the expression alone, written with + - * / and parentheses"
    r", within \boxed{}."
)

# The instruction before a multiple-choice question.
CHOICE_INSTRUCTION = (
    "Answer the following multiple choice question. The last line of your response should be of the following format: "
    "'Answer: $LETTER' (without quotes) where LETTER is one of {letters}. Think step by step before answering."
)

# The instruction before a function to complete.
CODE_INSTRUCTION = (
    "Complete the following Python function. Write the whole function, with the imports that it needs, "
    "in one block that starts with ```python and ends with ```."
)

# The instruction after the task of a program.
PROGRAM_INSTRUCTION = (
    "Write a Python program that reads from standard input and writes to standard output, "
    "in one block that starts with ```python and ends with ```."
)

_OPTION = re.compile(r"[A-Z]\) ")


def _math(problem: Problem) -> str:
    return f"{problem.question}\n{MATH_INSTRUCTION}"


def _expression(problem: Problem) -> str:
    return f"{problem.question}\n{EXPRESSION_INSTRUCTION}"


def _choice(problem: Problem) -> str:
    letters = ascii_uppercase[: num_options(problem.question)]
    instruction = CHOICE_INSTRUCTION.format(letters=letters)
    return f"{instruction}\n\n{problem.question}"


def _code(problem: Problem) -> str:
    # Without code to complete, the question is a text that describes the function.
    if not problem.starter:
        instruction = CODE_INSTRUCTION.replace("Complete the following", "Write the")
        return f"{problem.question}\n\n{instruction}"
    return f"{CODE_INSTRUCTION}\n\n```python\n{problem.starter.strip()}\n```"


def _program(problem: Problem) -> str:
    return f"{problem.question}\n\n{PROGRAM_INSTRUCTION}"


def num_options(question: str) -> int:
    """The number of options in the last lines of a question, each after its letter: `A) first`."""
    # Counted upwards from the last line to the option A; any other line above it means that there are no options.
    for num, line in enumerate(reversed(question.splitlines()), start=1):
        if not _OPTION.match(line):
            return 0
        if line.startswith("A"):
            return num
    return 0


def wording_of(template: Template) -> Callable[[Sequence[Problem]], list[Problem]]:
    """What is said around questions before a template: nothing for R1-Zero's, which says itself how to answer."""
    return list if template is r1_zero else add_instructions


def add_instructions(problems: Iterable[Problem]) -> list[Problem]:
    """The problems with the instructions of an evaluation; those of domains without a wording are unchanged.

    Search for contamination before: words that all questions share would make them match each other.
    """
    result = []
    for problem in problems:
        wording = WORDINGS.get(problem.domain)
        if wording is not None:
            problem = replace(problem, question=wording(problem))
        result.append(problem)
    return result


WORDINGS: Mapping[str, Callable[[Problem], str]] = {
    "math": _math,
    "choice": _choice,
    "code": _code,
    "stdio": _program,
    "countdown": _expression,
}
"""The wording of each domain that has one. Ours: those of code, of which the papers only say that a block is taken, and
that of Countdown."""
