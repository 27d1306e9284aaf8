"""Formats of problem files: the fields of a row, and the problem that is made of them.

The well-known formats are recognised by their fields. If none of them fits a file, or several do, the file is refused
with a list of its columns: a mapping must then name them (`question=prompt,answer=gold`).

Source: DeepSeek-R1, arXiv:2501.12948v2, B.1 (mathematics, code and logic with checkable answers) and D.1 (GSM8K-like
sets, MATH, AIME, HumanEval-like sets, GPQA and MMLU).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.problems.datasets.conversations import has_messages
from aha.problems.datasets.countdown import countdown_row
from aha.problems.datasets.fields import Fields
from aha.problems.datasets.options import choice_row, gpqa_row
from aha.problems.datasets.rows import (
    aime_row,
    chat_row,
    gsm8k_row,
    humaneval_row,
    math_row,
    messages_row,
    plain_row,
    prompt_row,
    puzzle_row,
    stdio_row,
)
from aha.types import Problem

__all__ = ["DOMAINS", "OWN", "PLAIN", "PROMPTS", "Format", "formats"]

OWN = "own"
"""The domain of problems that only custom rewards judge; they need no reference answer."""

DOMAINS = ("math", "choice", "code", "stdio", "text", "countdown", OWN)
"""How an answer may be compared: by the verifier of mathematics, as a letter, by unit tests, by what a program prints,
as text, as an expression that makes a number from the numbers of a list, or by rewards of the user's own alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of problem files.

    Attributes:
        name: name on the command line.
        says: the fields that are read, in words.
        columns: fields that every row needs; `a|b` needs one of the two.
        build: makes the problem of a row; its id is the row's own or empty.
        optional: fields that are read if a row has them.
        fits: whether rows with these columns are really of this format.
        is_generated: whether a program made the questions from a single form.
    """

    name: str
    says: str
    columns: tuple[str, ...]
    build: Callable[[Fields], Problem]
    optional: tuple[str, ...] = ("id", "level")
    fits: Callable[[Sequence[Fields]], bool] = lambda rows: True
    is_generated: bool = False

    def has_columns(self, columns: Collection[str]) -> bool:
        """Whether the columns of a file include all the fields that the format needs."""
        for alternatives in self.columns:
            # Of `reward_model.ground_truth` only the first part is a column.
            names = [name.split(".")[0] for name in alternatives.split("|")]
            if not any(name in columns for name in names):
                return False
        return True

    @property
    def reads(self) -> set[str]:
        """All the columns that the format reads."""
        names: set[str] = set()
        for alternatives in (*self.columns, *self.optional):
            names |= {name.split(".")[0] for name in alternatives.split("|")}
        return names


def _is_puzzle(metadata: Any) -> bool:
    return isinstance(metadata, Mapping) and "source_dataset" in metadata


def _is_conversation(rows: Sequence[Fields]) -> bool:
    """Whether the questions of rows stand in their messages alone."""
    # Some rows have a field that others lack: the columns are those of all rows.
    columns: set[str] = set().union(*rows)
    if columns & {"question", "problem", "reward_model"}:
        return False
    return any(map(has_messages, rows))


def _is_countdown(rows: Sequence[Fields]) -> bool:
    """Whether rows have a list of numbers, and nothing that another format takes for their answer."""
    columns: set[str] = set().union(*rows)
    asks = not columns.isdisjoint(("question", "problem"))
    if "reward_model" in columns or (asks and "answer" in columns):
        return False

    values = [row.get("nums", row.get("numbers")) for row in rows]
    return any(isinstance(value, list) for value in values)


def formats(options_seed: int | None = None) -> dict[str, Format]:
    """All formats by name.

    Args:
        options_seed: draws the order of the options of multiple choice; None leaves it as it is in the file.
    """
    # These two need the seed of the options, and are therefore made for each call.
    choices = (
        Format(
            name="choice",
            says="multiple choice from question, choices (or options) and answer (or answerkey): a letter or an index",
            columns=("question", "choices|options", "answer|answerkey"),
            build=lambda fields: choice_row(fields, options_seed),
        ),
        Format(
            name="gpqa",
            says="multiple choice from question, correct_answer and incorrect_answer_1 to _3, in a drawn order",
            columns=("question", "correct_answer", "incorrect_answer_1", "incorrect_answer_2", "incorrect_answer_3"),
            # The right answer stands first in the file: the order is always drawn.
            build=lambda fields: gpqa_row(fields, options_seed or 0),
            optional=("record_id", "id"),
        ),
    )
    return {each_format.name: each_format for each_format in (*_FORMATS, *choices, _AIME, PLAIN, PROMPTS)}


_FORMATS = (
    Format(
        name="humaneval",
        says="code to complete from prompt, unit tests from test, the function's name from entry_point",
        columns=("prompt", "test", "entry_point"),
        build=humaneval_row,
        optional=("task_id", "id"),
    ),
    Format(
        name="stdio",
        says="a program from question, its inputs and outputs from tests (or input_output)",
        columns=("question|problem", "tests|input_output"),
        build=stdio_row,
    ),
    Format(
        name="puzzle",
        says="a logic puzzle of reasoning-gym from question and answer, its family from metadata.source_dataset",
        columns=("question", "answer", "metadata"),
        build=puzzle_row,
        fits=lambda rows: all(_is_puzzle(row.get("metadata")) for row in rows),
        is_generated=True,
    ),
    Format(
        name="chat",
        says="the question from the messages of prompt (or messages), the answer from reward_model.ground_truth",
        columns=("prompt|messages", "reward_model"),
        build=chat_row,
        optional=("ability", "extra_info"),
    ),
    Format(
        name="messages",
        says="the question from the messages of prompt (or messages, or conversations), and answer, compared as text",
        columns=("prompt|messages|conversations", "answer"),
        build=messages_row,
        fits=_is_conversation,
    ),
    Format(
        name="countdown",
        says="an expression that makes target from nums (or numbers), with each number exactly once",
        columns=("nums|numbers", "target"),
        build=countdown_row,
        optional=("question", "prompt", "messages", "id", "level"),
        fits=_is_countdown,
    ),
    Format(
        name="math",
        says=r"mathematics from problem, the answer from answer, or else the last \boxed{} of solution",
        columns=("problem", "answer|solution"),
        build=math_row,
        optional=("solution", "id", "unique_id", "level"),
    ),
    Format(
        name="gsm8k",
        says="mathematics from question, the answer from what follows '####' in answer",
        columns=("question", "answer"),
        build=gsm8k_row,
        fits=lambda rows: any("####" in str(row.get("answer")) for row in rows),
    ),
)
_AIME = Format(
    name="aime",
    says="mathematics from problem, an integer of 0 to 999 from answer",
    columns=("problem", "answer"),
    build=aime_row,
)
PLAIN = Format(
    name="plain",
    says="question and answer, compared as text",
    columns=("question", "answer"),
    build=plain_row,
)
"""Question and answer: the format of a file that has only these, once the domain is known."""

PROMPTS = Format(
    name="prompts",
    says="the question from question (or prompt, messages or conversations), to be judged by rewards of your own alone",
    columns=("question|prompt|messages|conversations",),
    build=prompt_row,
    optional=("answer", "id", "level"),
)
"""Questions that need no answer: the format of a file whose domain is declared to be `own`."""
