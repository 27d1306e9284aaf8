"""Makes problems from the rows of the well-known problem files.

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

_AIME = re.compile(r"0*([0-9]{1,3})", re.ASCII)  # AIME's own sheets write 7 as 007


def gsm8k_row(fields: Fields) -> Problem:
    """A row of GSM8K: `question`, and the answer after `####` in `answer`.

    Raises:
        BadRow: the row is no problem; all functions of this module raise it.
    """
    return Problem(
        id=id_field(fields, "id"),
        question=text_field(fields, "question"),
        answer=final_number(text_field(fields, "answer")),
        domain="math",
        level=level_field(fields),
    )


def math_row(fields: Fields) -> Problem:
    r"""A row of MATH: `problem`, and `answer` or else the last `\boxed{}` of `solution`."""
    if fields.get("answer") in (None, ""):
        answer = boxed(text_field(fields, "solution"))
    else:
        answer = answer_field(fields, "answer")

    return Problem(
        id=id_field(fields, "unique_id", "id"),
        question=text_field(fields, "problem"),
        answer=answer,
        domain="math",
        level=level_field(fields),
    )


def aime_row(fields: Fields) -> Problem:
    """A row of AIME: `problem`, and an integer of 0 to 999 in `answer`."""
    problem = math_row(fields)
    number = _AIME.fullmatch(problem.answer)
    if number is None:
        raise BadRow(f"the answer {problem.answer[:40]!r} is no integer of 0 to 999")
    return replace(problem, answer=number[1])


def plain_row(fields: Fields) -> Problem:
    """A row with `question` and `answer`, which is compared as text."""
    return Problem(
        id=id_field(fields, "id"),
        question=text_field(fields, "question"),
        answer=answer_field(fields, "answer"),
        domain="text",
        level=level_field(fields),
    )


def prompt_row(fields: Fields) -> Problem:
    """A row with a question and perhaps a reference answer, for problems that only custom rewards judge."""
    has_answer = fields.get("answer") not in (None, "")
    return Problem(
        id=id_field(fields, "id"),
        question=question_of(fields),
        answer=answer_field(fields, "answer") if has_answer else "",
        domain="own",
        level=level_field(fields),
    )


def humaneval_row(fields: Fields) -> Problem:
    """A row of HumanEval: the question is the code to complete, the answer the name of the function under test."""
    prompt = text_field(fields, "prompt")
    name = text_field(fields, "entry_point")
    # LeetCode-like sets test a method of a class `Solution`.
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
    """A row with a question, and inputs and outputs of a program instead of an answer."""
    tests_field = fields.get("tests")
    if tests_field in (None, "", []):
        tests_field = fields.get("input_output")

    tests = _tests(tests_field)
    question = text_field(fields, "question" if "question" in fields else "problem")
    return Problem(id=id_field(fields, "id"), question=question, answer="", domain="stdio", tests=tests)


def _tests(tests: Any) -> tuple[str, ...]:
    """The inputs and outputs of a row as JSON objects with `stdin` and `stdout`.

    Data sets write them as a list of objects, as an object of two lists, or as the JSON text of either.
    """
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except (ValueError, RecursionError) as error:
            raise BadRow(f"the tests are no JSON: {error}") from error

    if isinstance(tests, Mapping):
        # So APPS marks the tests of a function.
        if tests.get("fn_name"):
            raise BadRow("the tests call a function; only programs that read and print can be tested so")
        inputs = _list_in(tests, "input")
        outputs = _list_in(tests, "output")
        if len(inputs) != len(outputs):
            raise BadRow(f"{len(inputs)} inputs, but {len(outputs)} outputs")
        tests = [{"input": stdin, "output": stdout} for stdin, stdout in zip(inputs, outputs, strict=True)]

    if not isinstance(tests, list) or not tests:
        raise BadRow("no tests")

    return tuple(_test(test) for test in tests)


def _list_in(tests: Mapping[str, Any], name: str) -> list[Any]:
    """The list under a name in singular or plural; empty where there is none."""
    values = tests.get(name) or tests.get(f"{name}s")
    return values if isinstance(values, list) else []


def _test(test: Any) -> str:
    if isinstance(test, str):
        try:
            test = json.loads(test)
        except (ValueError, RecursionError) as error:
            raise BadRow(f"a test is no JSON: {error}") from error

    if not isinstance(test, Mapping):
        raise BadRow("a test is no object of input and output")
    # LiveCodeBench says the type of each test; other sets have one type only.
    kind = test.get("testtype") or "stdin"
    if kind != "stdin":
        raise BadRow(f"a test of type {str(kind)[:40]!r}; only stdin can be tested")

    stdin = test.get("stdin", test.get("input"))
    stdout = test.get("stdout", test.get("output"))
    if not isinstance(stdin, str) or not isinstance(stdout, str):
        raise BadRow("a test whose input or output is no text")

    return json.dumps({"stdin": stdin, "stdout": stdout}, ensure_ascii=False)


def puzzle_row(fields: Fields) -> Problem:
    """A row of reasoning-gym: `question` and `answer` of a family whose answers can be compared."""
    family = str(find(fields, "metadata.source_dataset"))
    if family not in GYM_DOMAINS:
        raise BadRow(EXCLUDED.get(family, f"family {family[:40]!r} is not known to have one answer only"))
    return replace(plain_row(fields), domain=GYM_DOMAINS[family])


def messages_row(fields: Fields) -> Problem:
    """A row with a conversation of one turn, and an answer (or what follows `####` in it), compared as text."""
    answer = answer_field(fields, "answer")
    return Problem(
        id=id_field(fields, "id"),
        question=question_of(fields),
        answer=final_number(answer) if "####" in answer else answer,
        domain="text",
        level=level_field(fields),
    )


def chat_row(fields: Fields) -> Problem:
    """A row with a conversation of one turn, and the ground truth of a rule, which may be a Countdown task."""
    # The question is that of the conversation, also where the row has a column `question`.
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
