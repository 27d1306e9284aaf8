"""The answer that a response to a problem of mathematics commits itself to, and the form under which it votes."""

import contextlib
import re
from collections.abc import Sequence

from aha.prompts.parsing import TAGS, last_boxed, parse_response
from aha.rewards.math.arithmetic import TooLargeError, exact
from aha.rewards.math.comparison import difference
from aha.rewards.math.nodes import Named, Quantity, Value, Words
from aha.rewards.math.quantities import is_literal
from aha.rewards.math.reading.grammar import read
from aha.rewards.math.reading.tokens import MAX_CHARS, plain_text

__all__ = ["boxes_differ", "final_answer", "normal_form", "readable_value", "votes"]

_BOX = re.compile(r"\\boxed\s*\{")


def final_answer(text: str) -> tuple[str | None, str]:
    r"""The single final answer of a response.

    Where there is an answer block, it is the `\boxed{}` inside the block, or else all of the block. Without answer tags
    it is the `\boxed{}` after the thinking. Several boxes count only if all of them hold the same answer.

    Args:
        text: a response.

    Returns:
        The answer, or None, and the reason why there is none.
    """
    parsed = parse_response(text)
    if parsed.answer is None or parsed.summary is None:
        # In a response of the right form the answer is there, but may be empty.
        fault = "it is empty" if parsed.is_well_formed else parsed.reason
        if not any(tag in text for tag in TAGS):
            fault = r"neither an answer block nor a \boxed{}"
        return None, f"no single final answer: {fault}"
    if any(tag in parsed.summary for tag in TAGS):
        return None, "thinking after the thinking"

    boxes = _boxes(parsed.summary)
    if not boxes:
        return parsed.answer, ""
    if _are_different(boxes):
        return None, "several boxes with different content"

    box = boxes.pop()
    return (box, "") if box is not None else (None, "a box that never closes")


def boxes_differ(text: str) -> bool:
    r"""Whether a text has several `\boxed{}` with different answers, so that it gives no single one."""
    return _are_different(_boxes(text))


def _boxes(text: str) -> set[str | None]:
    """The contents of the boxes of a text; of nested boxes the inner one, None for a box that never closes."""
    starts = [match.start() for match in _BOX.finditer(text)]

    # Each piece begins with a box and ends before the next one, so that its last box is its only one.
    ends = [*starts, len(text)][1:]
    return {last_boxed(text[start:end]) for start, end in zip(starts, ends, strict=True)}


def _are_different(boxes: set[str | None]) -> bool:
    # Without notation that means nothing: the same answer may be boxed twice, in two spellings.
    contents = {box if box is None else plain_text(box) for box in boxes}
    return len(contents) > 1


def votes(texts: Sequence[str]) -> list[str | None]:
    """The answer that each response to one problem of mathematics votes for, as a text.

    Answers vote together where the verifier takes one for the other, whatever their notation; the first of them gives
    the text.

    Args:
        texts: the responses, in order.

    Returns:
        One text for each response; None where it has no answer.
    """
    forms: list[str | None] = []
    candidates: list[tuple[str, Value]] = []

    for text in texts:
        answer, _ = final_answer(text)
        form = None if answer is None else normal_form(answer)
        value = None if answer is None else _value(answer)

        # What is no mathematics votes by its text.
        if form is None or value is None:
            forms.append(form)
            continue

        vote = next((name for name, candidate in candidates if _are_same(candidate, value)), None)
        if vote is None:
            # Two different answers may have the same form; a number then tells them apart.
            is_taken = any(form == name for name, _ in candidates)
            vote = f"{form} ({len(candidates)})" if is_taken else form
            candidates.append((vote, value))

        forms.append(vote)

    return forms


def readable_value(answer: str) -> Value | None:
    """An answer as a mathematical value; None where it cannot be read."""
    try:
        return read(answer)
    except Exception:
        # Whatever a model wrote, it must not end a run: a fault of the reader costs this answer alone.
        return None


def _value(answer: str) -> Value | None:
    """An answer as a value: of `x = 5` it is 5."""
    value = readable_value(answer)
    return value.value if isinstance(value, Named) else value


def _are_same(left: Value, right: Value) -> bool:
    """Whether one of two answers would be right if the other were the reference."""
    try:
        # The comparison is not symmetric, so it is made in both directions.
        return not difference(left, right) or not difference(right, left)
    except (TooLargeError, RecursionError):
        return False


def normal_form(answer: str) -> str | None:
    """The normal form of an answer, in which equal answers vote together; None where the answer is empty.

    A number becomes its exact fraction, anything else its text without blanks and notation that mean nothing.

    Args:
        answer: a final answer.
    """
    plain = plain_text(answer)
    if plain is None:
        return " ".join(answer.split())[:MAX_CHARS] or None

    value = _value(answer)
    if isinstance(value, Quantity) and is_literal(value.node):
        with contextlib.suppress(TooLargeError):
            number = exact(value.node)
            percent = "%" if value.is_percent else ""
            return plain if number is None else f"{number}{percent}"

    if isinstance(value, Words):
        return value.text

    # Blanks are dropped except between two letters or digits, which they keep apart.
    return re.sub(r"\s+(?![A-Za-z0-9])|(?<![A-Za-z0-9])\s+", "", plain)
