"""Rows of the well-known problem files, each made a problem.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.1 (mathematics, code and logic with checkable answers).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aha.problems.datasets.conversations import question_of
from aha.problems.datasets.countdown import countdown_row
from aha.problems.datasets.fields import (
    BadRow,
    Fields,
    answer_field,
    boxed,
    final_number,
    find,
    id_field,
    level_field,
    text_field,
)
from aha.problems.datasets.gym import EXCLUDED, GYM_DOMAINS
from aha.types import Problem

__all__ = [
    "aime_row",
    "chat_row",
    "gsm8k_row",
    "humaneval_row",
    "math_row",
    "messages_row",
    "plain_row",
    "prompt_row",
    "puzzle_row",
    "stdio_row",
]

_AIME = re.compile(r"0*([0-9]{1,3})", re.ASCII)


def gsm8k_row(fields: Fields) -> Problem:
    """Question; the answer after `####` of answer. Raises `BadRow`, as all rows do that are no problem."""
    return Problem(
        id=id_field(fields, "id"),
        question=text_field(fields, "question"),
        answer=final_number(text_field(fields, "answer")),
        domain="math",
        level=level_field(fields),
    )


def math_row(fields: Fields) -> Problem:
    r"""Problem; answer, or else the last `\boxed{}` of solution."""
    has_answer = fields.get("answer") not in (None, "")
    return Problem(
        id=id_field(fields, "unique_id", "id"),
        question=text_field(fields, "problem"),
        answer=answer_field(fields, "answer") if has_answer else boxed(text_field(fields, "solution")),
        domain="math",
        level=level_field(fields),
    )


def aime_row(fields: Fields) -> Problem:
    """Problem; an integer of 0 to 999."""
    problem = math_row(fields)
    number = _AIME.fullmatch(problem.answer)
    if number is None:
        raise BadRow(f"the answer {problem.answer[:40]!r} is no integer of 0 to 999")
    return replace(problem, answer=number[1])


def plain_row(fields: Fields) -> Problem:
    """Question and answer, compared as text."""
    return Problem(
        id=id_field(fields, "id"),
        question=text_field(fields, "question"),
        answer=answer_field(fields, "answer"),
        domain="text",
        level=level_field(fields),
    )


def prompt_row(fields: Fields) -> Problem:
    """A question, and a reference answer where there is one: only rewards of the user's own judge the responses."""
    has_answer = fields.get("answer") not in (None, "")
    return Problem(
        id=id_field(fields, "id"),
        question=question_of(fields),
        answer=answer_field(fields, "answer") if has_answer else "",
        domain="own",
        level=level_field(fields),
    )


def humaneval_row(fields: Fields) -> Problem:
    """The code to complete, which is the question; its unit tests; the function's name for an answer."""
    prompt = text_field(fields, "prompt")
    name = text_field(fields, "entry_point")
    if not name.removeprefix("Solution().").isidentifier():
        raise BadRow(f"entry_point {name[:40]!r} is no name of a function, nor `Solution().NAME`")
    return Problem(
        id=id_field(fields, "task_id", "id"),
        question=prompt,
        answer=name,
        domain="code",
        starter=prompt,
        tests=(text_field(fields, "test"),),
    )


def stdio_row(fields: Fields) -> Problem:
    """Question; what a program reads and prints, instead of an answer."""
    given = fields.get("tests")
    tests = _tests(fields.get("input_output") if given in (None, "", []) else given)
    question = text_field(fields, "question" if "question" in fields else "problem")
    return Problem(id=id_field(fields, "id"), question=question, answer="", domain="stdio", tests=tests)


def _tests(given: Any) -> tuple[str, ...]:
    """Inputs and outputs, in the three ways in which data sets write them, as JSON of `stdin` and `stdout`."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise BadRow(f"the tests are no JSON: {error}") from error
    if isinstance(given, Mapping):
        if given.get("fn_name"):
            raise BadRow("the tests call a function; only programs that read and print can be tested so")
        pairs = (given.get(one) or given.get(f"{one}s") for one in ("input", "output"))
        inputs, outputs = (value if isinstance(value, list) else [] for value in pairs)
        if len(inputs) != len(outputs):
            raise BadRow(f"{len(inputs)} inputs, but {len(outputs)} outputs")
        given = [{"input": i, "output": o} for i, o in zip(inputs, outputs, strict=True)]
    if not isinstance(given, list) or not given:
        raise BadRow("no tests")
    return tuple(_test(one) for one in given)


def _test(one: Any) -> str:
    if isinstance(one, str):
        try:
            one = json.loads(one)
        except (ValueError, RecursionError) as error:
            raise BadRow(f"a test is no JSON: {error}") from error
    if not isinstance(one, Mapping):
        raise BadRow("a test is no object of input and output")
    if (one.get("testtype") or "stdin") != "stdin":
        raise BadRow(f"a test of type {str(one['testtype'])[:40]!r}; only stdin can be tested")
    stdin, stdout = one.get("stdin", one.get("input")), one.get("stdout", one.get("output"))
    if not isinstance(stdin, str) or not isinstance(stdout, str):
        raise BadRow("a test whose input or output is no text")
    return json.dumps({"stdin": stdin, "stdout": stdout}, ensure_ascii=False)


def puzzle_row(fields: Fields) -> Problem:
    """Question and answer of a family of reasoning-gym that can be compared."""
    family = str(find(fields, "metadata.source_dataset"))
    if family not in GYM_DOMAINS:
        raise BadRow(EXCLUDED.get(family, f"family {family[:40]!r} is not known to have one answer only"))
    return replace(plain_row(fields), domain=GYM_DOMAINS[family])


def messages_row(fields: Fields) -> Problem:
    """A conversation of one turn; the answer, or what follows `####` in it, compared as text."""
    answer = answer_field(fields, "answer")
    return Problem(
        id=id_field(fields, "id"),
        question=question_of(fields),
        answer=final_number(answer) if "####" in answer else answer,
        domain="text",
        level=level_field(fields),
    )


def chat_row(fields: Fields) -> Problem:
    """A conversation of one turn; the ground truth of a rule-based reward, which may be the task of a Countdown."""
    question = question_of({name: value for name, value in fields.items() if name != "question"})
    truth = find(fields, "reward_model.ground_truth")
    if isinstance(truth, Mapping) and "target" in truth:
        return countdown_row({**truth, "question": question})
    ability = str(fields.get("ability") or "math").lower()
    return Problem(
        id="",
        question=question,
        answer=answer_field(fields, "reward_model.ground_truth"),
        domain="math" if "math" in ability else "text",
    )
