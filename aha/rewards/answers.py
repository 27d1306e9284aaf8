"""The answer that a response to a problem of mathematics commits itself to, and the form under which it votes."""

import contextlib
import re
from collections.abc import Sequence

from aha.prompts.parsing import TAGS, last_boxed, parse_response
from aha.rewards.math.arithmetic import TooLargeError, exact
from aha.rewards.math.comparison import difference
from aha.rewards.math.grammar import read
from aha.rewards.math.nodes import Named, Quantity, Value, Words
from aha.rewards.math.quantities import is_literal
from aha.rewards.math.tokens import MAX_CHARS, plain_text

__all__ = ["boxes_differ", "final_answer", "normalised", "readable_value", "votes"]

_BOX = re.compile(r"\\boxed\s*\{")


def final_answer(text: str) -> tuple[str | None, str]:
    r"""The one answer that a response commits itself to.

    The content of the answer block outside of the thinking, or of its `\boxed{}`, or without such a block of the
    `\boxed{}` after the thinking. Several boxes count only if all hold the same.

    Args:
        text: a response.

    Returns:
        The answer, or None, and why there is none.
    """
    parsed = parse_response(text)
    if parsed.answer is None or parsed.summary is None:
        return None, f"no single final answer: {parsed.reason}"
    if any(tag in parsed.summary for tag in TAGS):
        return None, "thinking after the thinking"
    boxes = _boxes(parsed.summary)
    if not boxes:
        return parsed.answer, ""
    if _are_different(boxes):
        return None, "several boxes with different content"
    return boxes.pop(), "a box that never closes"


def boxes_differ(text: str) -> bool:
    r"""Whether a text holds several `\boxed{}` that do not all hold the same: it commits itself to none of them."""
    return _are_different(_boxes(text))


def _boxes(text: str) -> set[str | None]:
    """Contents of the boxes of a text, of nested ones the inner; None for one that never closes."""
    starts = [found.start() for found in _BOX.finditer(text)]
    ends = [*starts, len(text)][1:]
    return {last_boxed(text[start:end]) for start, end in zip(starts, ends, strict=True)}


def _are_different(boxes: set[str | None]) -> bool:
    return len({box if box is None else plain_text(box) for box in boxes}) > 1


def votes(texts: Sequence[str]) -> list[str | None]:
    """For each response to one problem of mathematics, the form of its answer; equal answers share the first one's.

    Answers are equal where the verifier takes each for the other: whatever their notation.

    Args:
        texts: the responses, in order.
    """
    forms: list[str | None] = []
    known: list[tuple[str, Value]] = []
    for text in texts:
        answer, _ = final_answer(text)
        form = None if answer is None else normalised(answer)
        value = None if answer is None else _value(answer)
        if form is None or value is None:
            forms.append(form)
            continue

        # Whoever comes first gives the name under which its equals are counted.
        equal = next((name for name, other in known if _are_same(other, value)), None)
        if equal is None:
            equal = f"{form} ({len(known)})" if any(form == name for name, _ in known) else form
            known.append((equal, value))
        forms.append(equal)
    return forms


def readable_value(answer: str) -> Value | None:
    """An answer as a value; None where it cannot be read."""
    try:
        return read(answer)
    except Exception:
        # Whatever a model wrote, it must not end a run: a fault of the reader costs this answer alone.
        return None


def _value(answer: str) -> Value | None:
    """An answer as a value, without the name that it gives itself."""
    value = readable_value(answer)
    return value.value if isinstance(value, Named) else value


def _are_same(left: Value, right: Value) -> bool:
    """Whether one of two answers would be right if the other were the reference."""
    try:
        return not difference(left, right) or not difference(right, left)
    except (TooLargeError, RecursionError):
        return False


def normalised(answer: str) -> str | None:
    """The form under which equal answers vote together; None where there is nothing to vote for.

    A number is its fraction; anything else is its text without what does not change its meaning.

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
            return plain if number is None else f"{number}{'%' if value.is_percent else ''}"
    if isinstance(value, Words):
        return value.text
    return re.sub(r"\s+(?![A-Za-z0-9])|(?<![A-Za-z0-9])\s+", "", plain)
