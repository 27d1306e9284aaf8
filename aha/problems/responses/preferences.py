"""Preferences from files: responses to one question that are ranked, or labelled as safe or not.

| ranked rows | as in |
|---|---|
| a question, `chosen`, `rejected` | most data sets of pairs; UltraFeedback (binarised) has messages in them |
| `chosen`, `rejected`, each a whole conversation | HH-RLHF, as text or as messages |
| a question, `responses`, and `scores` (higher is better) or `ranks` (1 is best) | rankings of any length |
| a question, `completions` of `response` and `overall_score` | UltraFeedback |
| a question, `answers` of `answer` and `rank` | Nectar |
| a question, `response_0`, `response_1`, `better_response_id` | PKU-SafeRLHF |

| labelled rows | as in |
|---|---|
| a question, a response, and `is_safe` or `label` | true or false, 1 or 0, `safe` or `unsafe` |
| a question, a response, and `is_unsafe` | the contrary: true or 1 for a response that does harm |
| a question, `response_0`, `response_1`, `is_response_0_safe`, `is_response_1_safe` | PKU-SafeRLHF |

[reading.py](reading.py) has where the question may stand. Of a conversation of several turns, all but the last response
is the question, each turn after the name of who says it.

Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1 (pairs for helpfulness, labels for safety); InstructGPT, arXiv:2203.02155,
3.2 (rankings of K responses).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aha.problems.datasets.conversations import Turn, turns_of, with_thinking
from aha.problems.datasets.fields import BadRow, Fields, find, text_field
from aha.problems.datasets.mapping import parse_pairs
from aha.problems.datasets.sets import OnBad
from aha.problems.responses.demonstrations import response_in
from aha.problems.responses.reading import (
    RowSet,
    check_texts,
    columns_of,
    question_in,
    read_row_set,
    row_id,
)

__all__ = ["Judged", "JudgedSet", "read_labelled", "read_ranked"]

MAX_RESPONSES = 64
"""Most responses to one question: their pairs grow with the square."""

# How HH-RLHF writes the turns of a conversation into one text.
_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"

_NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}
_SAFE = {"safe": 1.0, "unsafe": 0.0, "true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}

_FIELDS = (
    "question",
    "chosen",
    "rejected",
    "responses",
    "scores",
    "ranks",
    "response",
    "is_safe",
    "is_unsafe",
    "system",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Responses to a question with a label each.

    Attributes:
        id: name of the file, and a digest of the contents.
        question: the question, before any template.
        responses: the responses, with their thinking; two or more where they are ranked.
        qualities: of each: a score of which only the order counts, or 1.0 for safe and 0.0 for unsafe.
    """

    id: str
    question: str
    responses: tuple[str, ...]
    qualities: tuple[float, ...]


JudgedSet = RowSet[Judged]


def read_ranked(addresses: Sequence[str], *, mapping: str = "", on_bad: OnBad = "stop") -> JudgedSet:
    """Reads rankings of responses.

    Args:
        addresses: as in `read_demonstrations`.
        mapping: which columns hold what, as in `question=ask,chosen=better,rejected=worse`.
        on_bad: whether a row that is no ranking stops the reading, or is left out and counted.

    Raises:
        ValueError: as in `read_demonstrations`. A row whose responses are equally good is bad: it teaches nothing.
        RuntimeError: the extra that a file needs is not installed.
    """
    columns = parse_pairs(mapping, _FIELDS)
    return read_row_set(addresses, _ranked, noun="rankings", columns=columns, on_bad=on_bad)


def read_labelled(addresses: Sequence[str], *, mapping: str = "", on_bad: OnBad = "stop") -> JudgedSet:
    """Reads responses that are labelled as safe or not.

    Args:
        addresses: as in `read_demonstrations`.
        mapping: which columns hold what, as in `question=ask,response=said,is_safe=verdict`, or `is_unsafe=harmful`
            where the column says the contrary.
        on_bad: whether a row without a label stops the reading, or is left out and counted.

    Raises:
        ValueError: as in `read_demonstrations`.
        RuntimeError: the extra that a file needs is not installed.
    """
    columns = parse_pairs(mapping, _FIELDS)
    labelled = read_row_set(addresses, _labelled, noun="labelled responses", columns=columns, on_bad=on_bad)
    # A column that means the contrary is noticed here, before anything is learned from it.
    num_safe = sum(int(quality) for row in labelled.items for quality in row.qualities)
    num_unsafe = sum(len(row.qualities) for row in labelled.items) - num_safe
    return replace(labelled, says=f"{labelled.says}: {num_safe:,} safe, {num_unsafe:,} unsafe")


def _ranked(fields: Fields, name: str) -> Judged:
    """The ranking of a row."""
    for columns, read in _RANKED_FORMS.items():
        if all(column in fields for column in columns):
            question, responses, qualities = read(fields)
            judged = _judged(name, question, responses, qualities)
            if len(set(responses)) < 2 or len(set(qualities)) < 2:
                raise BadRow("all responses are the same or equally good, so that it teaches nothing")
            return judged
    raise BadRow(
        "it needs a question with chosen and rejected, or with responses and scores or ranks; "
        f"it has {columns_of(fields)}: --preference-fields says which columns hold them"
    )


def _labelled(fields: Fields, name: str) -> Judged:
    """The labelled responses of a row."""
    if "is_response_0_safe" in fields:
        responses = [text_field(fields, f"response_{number}") for number in (0, 1)]
        labels = [_label(fields, f"is_response_{number}_safe") for number in (0, 1)]
        return _judged(name, question_in(fields), responses, labels)

    for column in ("is_safe", "label", "is_unsafe"):
        if column in fields:
            label = _label(fields, column)
            quality = 1.0 - label if column == "is_unsafe" else label
            return _judged(name, question_in(fields), [response_in(fields)], [quality])
    raise BadRow(
        f"it needs a question, a response and is_safe (or label), or is_unsafe; it has {columns_of(fields)}: "
        "--safety-fields says which columns hold them"
    )


def _label(fields: Fields, name: str) -> float:
    """1.0 for safe or true, 0.0 for unsafe or false."""
    value = find(fields, name)
    text = str(value).strip().lower()
    if isinstance(value, float) and value.is_integer():
        text = str(int(value))
    if text not in _SAFE:
        raise BadRow(f"the label in field {name!r} is {text[:40]!r}; true or false, 1 or 0, safe or unsafe is needed")
    return _SAFE[text]


def _judged(name: str, question: str, responses: Sequence[str], qualities: Sequence[float]) -> Judged:
    """The responses with their labels, after the checks that all forms share."""
    check_texts(question=question)
    for response in responses:
        check_texts(response=response)
    if len(responses) != len(qualities):
        raise BadRow(f"{len(responses)} responses with {len(qualities)} labels")
    if len(responses) > MAX_RESPONSES:
        raise BadRow(f"{len(responses)} responses; {MAX_RESPONSES} are possible")

    return Judged(
        id=row_id(name, question, *responses, *map(str, qualities)),
        question=question,
        responses=tuple(responses),
        qualities=tuple(qualities),
    )


Ranking = tuple[str, Sequence[str], Sequence[float]]
"""A question, its responses, and how good each is."""


def _pair(fields: Fields) -> Ranking:
    """A chosen and a rejected response, or two conversations that end with them."""
    chosen, rejected = fields["chosen"], fields["rejected"]
    best_first = (1.0, 0.0)
    if isinstance(chosen, list) and isinstance(rejected, list):
        question, responses = _last_turns(fields, turns_of(chosen, "chosen"), turns_of(rejected, "rejected"))
        return question, responses, best_first

    # Beside a question of its own even a text that looks like a transcript is a response.
    chosen, rejected = text_field(fields, "chosen"), text_field(fields, "rejected")
    if _is_transcript(chosen) and _is_transcript(rejected) and not _has_question(fields):
        question, responses = _last_turns(fields, _transcript(chosen), _transcript(rejected))
        return question, responses, best_first

    return question_in(fields), (chosen, rejected), best_first


def _is_transcript(text: str) -> bool:
    """Whether a text is a conversation in the form of HH-RLHF."""
    return text.lstrip("\n").startswith(_HUMAN.strip())


def _has_question(fields: Fields) -> bool:
    return any(name in fields for name in ("question", "problem", "prompt", "instruction"))


def _last_turns(fields: Fields, chosen: Sequence[Turn], rejected: Sequence[Turn]) -> tuple[str, list[str]]:
    """The question of two conversations that differ in their last turn, and the two responses."""
    for turns in (chosen, rejected):
        if not turns or turns[-1].role != "assistant":
            raise BadRow("the last turn of a conversation is not the assistant's")
    responses = [chosen[-1].text, rejected[-1].text]

    # One message of the assistant each: the question stands in a column of its own.
    if len(chosen) == len(rejected) == 1:
        return question_in(fields), responses
    if chosen[:-1] != rejected[:-1]:
        raise BadRow("the two conversations differ before their last turn")
    return _as_question(chosen[:-1]), responses


def _as_question(turns: Sequence[Turn]) -> str:
    """Turns as one question: a single one of the user as it is, after what the system says; more with their names."""
    said = [turn for turn in turns if turn.text.strip()]
    if [turn.role for turn in said] in (["user"], ["system", "user"]):
        return "\n\n".join(turn.text.strip() for turn in said)
    return "\n\n".join(f"{_NAMES[turn.role]}: {turn.text.strip()}" for turn in said)


def _transcript(text: str) -> list[Turn]:
    """The turns of a text in the form of HH-RLHF."""
    turns: list[Turn] = []
    # What stands before the first turn of the human is nothing.
    for part in f"\n\n{text.strip()}".split(_HUMAN)[1:]:
        question, *replies = part.split(_ASSISTANT)
        turns.append(Turn("user", question.strip()))
        turns += [Turn("assistant", reply.strip()) for reply in replies]
    return turns


def _scored_list(fields: Fields) -> Ranking:
    """A list of responses, and a list of scores or ranks."""
    texts = _texts(fields["responses"], "responses")
    if "scores" in fields:
        return question_in(fields), texts, _numbers(fields["scores"], "scores")
    ranks = _numbers(fields["ranks"], "ranks")
    return question_in(fields), texts, [-rank for rank in ranks]


def _ultrafeedback(fields: Fields) -> Ranking:
    """Completions with an overall score each."""
    return question_in(fields), *_columns_of_list(fields, "completions", "response", "overall_score")


def _nectar(fields: Fields) -> Ranking:
    """Answers with a rank each."""
    texts, ranks = _columns_of_list(fields, "answers", "answer", "rank")
    question = question_in(fields)
    # Nectar's prompts are conversations in the form of HH-RLHF.
    if _is_transcript(question):
        question = _as_question([turn for turn in _transcript(question) if turn.text])
    return question, texts, [-rank for rank in ranks]


def _safe_rlhf(fields: Fields) -> Ranking:
    """Two responses, and the number of the better one."""
    better = fields["better_response_id"]
    if better not in (0, 1):
        raise BadRow(f"better_response_id is {str(better)[:40]!r}, neither 0 nor 1")
    responses = [text_field(fields, f"response_{number}") for number in (0, 1)]
    return question_in(fields), responses, [float(number == better) for number in (0, 1)]


_RANKED_FORMS: Mapping[tuple[str, ...], Callable[[Fields], Ranking]] = {
    ("chosen", "rejected"): _pair,
    ("responses", "scores"): _scored_list,
    ("responses", "ranks"): _scored_list,
    ("completions",): _ultrafeedback,
    ("answers",): _nectar,
    ("response_0", "response_1", "better_response_id"): _safe_rlhf,
}
"""The columns by which a form is told, and what reads it."""


def _columns_of_list(fields: Fields, name: str, text: str, number: str) -> tuple[list[str], list[float]]:
    """Of a list of objects, one field as texts and another one as numbers."""
    items = fields[name]
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise BadRow(f"field {name!r} is no list of objects")
    texts = [with_thinking(item, text_field(item, text)) for item in items]
    return texts, _numbers([item.get(number) for item in items], f"{name}.{number}")


def _texts(values: Any, name: str) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadRow(f"field {name!r} is no list of texts")
    return values


def _numbers(values: Any, name: str) -> list[float]:
    """Numbers that can be compared."""
    if not isinstance(values, list):
        raise BadRow(f"field {name!r} is no list of numbers")
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise BadRow(f"field {name!r} holds {str(value)[:40]!r}, which is no number")
    return [float(value) for value in values]
