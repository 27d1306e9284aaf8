"""The answer that a response to a problem of mathematics commits itself to, and the form under which it votes."""

import re
from collections.abc import Sequence

from aha.prompts.parsing import TAGS, last_boxed, parse_response
from aha.rewards.mathematics import Value, compare_values, form_of, read_value
from aha.rewards.notation import MAX_CHARS, clean, without_name

__all__ = ["final_answer", "normalised", "votes"]

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
    starts = [found.start() for found in _BOX.finditer(parsed.summary)]
    if not starts:
        return parsed.answer, ""
    ends = [*starts[1:], len(parsed.summary)]
    boxes = {last_boxed(parsed.summary[start:end]) for start, end in zip(starts, ends, strict=True)}
    if len({box if box is None else clean(box) for box in boxes}) > 1:
        return None, "several boxes with different content"
    return boxes.pop(), "a box that never closes"


def votes(texts: Sequence[str]) -> list[str | None]:
    """For each response to one problem of mathematics, the form of its answer; equal answers share the first one's.

    Answers are equal where the verifier takes one for the other: whatever their notation, and as to percents and
    units as `same_number` reads them.

    Args:
        texts: the responses, in order.
    """
    first: list[tuple[str, Value]] = []
    found: list[str | None] = []
    for text in texts:
        answer, _ = final_answer(text)
        form = normalised(answer) if answer is not None else None
        clean_text = clean(answer) if answer is not None else None
        value = read_value(without_name(clean_text)[0]) if clean_text is not None else None

        # Whoever comes first gives the name under which its equals are counted.
        if form is not None and value is not None:
            equal = next((name for name, other in first if compare_values(other, value)), None)
            if equal is None:
                form = f"{form} ({len(first)})" if any(form == name for name, _ in first) else form
                first.append((form, value))
            else:
                form = equal
        found.append(form)
    return found


def normalised(answer: str) -> str | None:
    """The form under which equal answers vote together; None where there is nothing to vote for.

    Numbers, words and lists have one form each, whatever their notation; other mathematics is its clean text.

    Args:
        answer: a final answer.
    """
    text = clean(answer)
    if text is None:
        return " ".join(answer.split())[:MAX_CHARS] or None
    result, _ = without_name(text)
    value = read_value(result)
    return form_of(value) if value is not None else result or None
