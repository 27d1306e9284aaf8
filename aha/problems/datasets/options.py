"""Multiple choice: options with letters, and the letter of the right one.

Source: simple-evals (the layout of questions and options that MMLU and GPQA are asked in); MMLU, arXiv:2009.03300;
GPQA, arXiv:2311.12022.
"""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from aha.problems.datasets.fields import BadRow, Fields, find, id_field, level_field, text_field
from aha.runs.seeds import generator
from aha.types import Problem

__all__ = ["choice_row", "gpqa_row", "lettered"]


def lettered(question: str, options: Sequence[str]) -> str:
    """A question above its options, each on a line that starts with its letter: `A) first`.

    Line breaks within an option become blanks, so that the last lines are the options.
    """
    lines = [question.strip(), ""]
    for letter, option in zip(ascii_uppercase, options, strict=False):
        text = " ".join(option.split())
        lines.append(f"{letter}) {text}")
    return "\n".join(lines)


def choice_row(fields: Fields, seed: int | None = None) -> Problem:
    """A row with a list of options.

    Args:
        fields: question, choices or options (a list, or ARC's two lists of text and label), answer or answerkey (a
            letter, an index counted from 0, a label, or the text of the option).
        seed: draws the order of the options; None leaves it.

    Raises:
        BadRow: something is missing, two options are the same, or the answer names none of them or two.
    """
    question = text_field(fields, "question")
    options_field = find(fields, "choices" if "choices" in fields else "options")
    answer = find(fields, "answer" if "answer" in fields else "answerkey")

    options, labels = _options(options_field)
    right = _index_of(answer, options, labels)
    return _problem(fields, question, options, right, seed)


def gpqa_row(fields: Fields, seed: int = 0) -> Problem:
    """A row with the right answer and three wrong ones; their order is drawn, for each question its own.

    Raises:
        BadRow: something is missing, or two options are the same.
    """
    names = ("correct_answer", "incorrect_answer_1", "incorrect_answer_2", "incorrect_answer_3")
    options = [text_field(fields, name) for name in names]
    question = text_field(fields, "question")
    return _problem(fields, question, options, 0, seed)


def _problem(fields: Fields, question: str, options: Sequence[str], right: int, seed: int | None) -> Problem:
    different = {" ".join(option.split()) for option in options}
    if len(different) < len(options):
        raise BadRow("two options are the same")

    # The question seeds the draw: a row keeps its order wherever it stands in the file.
    order = list(range(len(options)))
    if seed is not None:
        generator(seed, "options", question).shuffle(order)

    return Problem(
        id=id_field(fields, "id", "record_id"),
        question=lettered(question, [options[index] for index in order]),
        answer=ascii_uppercase[order.index(right)],
        domain="choice",
        level=level_field(fields),
    )


def _options(options: Any) -> tuple[list[str], list[str]]:
    """The options and their labels, which are letters if the file gives no others."""
    # ARC writes the options as two lists, of texts and of labels.
    labels: Any = None
    if isinstance(options, Mapping):
        labels = options.get("label")
        options = options.get("text")

    if not isinstance(options, list) or not all(isinstance(option, str) and option.strip() for option in options):
        raise BadRow("the options are no list of texts")
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise BadRow(f"{len(options)} options; 2 to {len(ascii_uppercase)} are possible")

    if labels is None:
        labels = list(ascii_uppercase[: len(options)])
    if not isinstance(labels, list) or len(set(map(str, labels))) != len(options):
        raise BadRow("the labels are not one for each option")

    return options, [str(label) for label in labels]


def _index_of(answer: Any, options: Sequence[str], labels: Sequence[str]) -> int:
    """The index of the right option."""
    # A truth value is an integer in Python, but no index.
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < len(options):
            raise BadRow(f"the answer {answer} is no index of {len(options)} options, counted from 0")
        return answer

    if not isinstance(answer, str) or not answer.strip():
        raise BadRow("no answer: neither a letter nor an index")

    # The answer `B` may be the label of one option and the text of another: then nobody knows which is meant.
    text = answer.strip()
    matches = set()
    for index, (label, option) in enumerate(zip(labels, options, strict=True)):
        if text in (label, option.strip()):
            matches.add(index)

    if len(matches) != 1:
        raise BadRow(f"the answer {text[:40]!r} names {'several' if matches else 'none'} of the options")

    return matches.pop()
