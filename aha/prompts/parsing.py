"""Parses responses: the thinking, the answer, the boxed result.

The text comes from a model and may be anything: every function here reads it once from left to right, in time
proportional to its length, and never raises an error.

Source: DeepSeek-R1, arXiv:2501.12948v1, Table 1 (the tags) and 2.2.2 (rewards that read them).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "KEPT",
    "TAGS",
    "Ending",
    "Parsed",
    "answer_block",
    "last_boxed",
    "outside_thinking",
    "parse_response",
]

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""The tags of the R1-Zero format, in the order in which a response uses them."""

Ending = Literal["answer", "summary"]
"""The part of a response that must follow the thinking."""

KEPT: Mapping[Ending, str] = {
    "answer": "each tag once, in order",
    "summary": "thinking in its tags, then a summary",
}
"""The reason of a response that has the format with this ending: what it is rewarded for."""

_THINK, _END_THINK, _ANSWER, _END_ANSWER = TAGS
_TAG = re.compile("|".join(TAGS))
# A backslash takes the next character with it, so that an escaped brace is none. The box also begins with a backslash,
# and therefore comes first.
_BOX_OR_BRACE = re.compile(r"(?P<box>\\boxed\s*\{)|\\.|[{}]", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The parts of a response.

    Attributes:
        thinking: the first thinking block without its tags; a block that is never closed runs to the end. None where
            there is none.
        answer: the final answer: the only answer block outside the thinking, without its tags. Where there is no
            answer tag outside the thinking, it is the last box; None where there is neither.
        summary: the text for a reader: the answer block, or else everything after the thinking (the whole text of a
            response that does not think). None where that is empty or the thinking never ends.
        is_well_formed: whether the response has the required format.
        reason: what breaks the format, in a few words; where nothing does, what was asked for and is there.
    """

    thinking: str | None
    answer: str | None
    summary: str | None
    is_well_formed: bool
    reason: str


def parse_response(text: str, *, ending: Ending = "answer") -> Parsed:
    r"""Parses a response, however badly it follows its format.

    Two formats exist. R1-Zero's is `<think> ... </think> <answer> ... </answer>`: each tag once, in this order, nothing
    but blanks around the two blocks. R1's is `<think> ... </think> summary`, with the final result in a `\boxed{}`:
    the two special tokens set the reasoning apart from the summary, which must not be empty. The thinking may be empty
    in both. Thinking blocks may be nested, and then close one by one: what follows an unclosed `<think>` is thinking,
    so no answer is read there. An answer block counts only if one `<answer>` and one `</answer>` stand outside the
    thinking, in this order and without another tag between them.

    Args:
        text: the decoded response, of any length and content.
        ending: what must follow the thinking: an `answer` block (R1-Zero) or a `summary` (R1). Decides the verdict on
            the format, never the parts.

    Returns:
        The parts, stripped of blanks, and the verdict on the format.

    Source: DeepSeek-R1, arXiv:2501.12948v1, Table 1 (R1-Zero) and 2.3.1 (reasoning and summary between special
    tokens). Ours: the papers do not say how strict their check is, nor whether it looks at `<answer>`.
    """
    tags = list(_TAG.finditer(text))
    fault = _answer_fault(text, tags) if ending == "answer" else _summary_fault(text, tags)

    answer = _answer(text, tags)
    rest = _after_thinking(text, tags)
    summary = answer if answer is not None else (rest or "").strip()

    # A box counts only where no answer tag says that the answer should be elsewhere.
    has_answer_tags = rest is not None and (_ANSWER in rest or _END_ANSWER in rest)
    if answer is None and rest is not None and not has_answer_tags:
        answer = last_boxed(rest)

    return Parsed(
        thinking=_thinking(text, tags),
        answer=answer,
        summary=summary or None,
        is_well_formed=not fault,
        reason=fault or KEPT[ending],
    )


def answer_block(text: str) -> str | None:
    """The content of the only answer block outside the thinking, stripped of blanks.

    Args:
        text: the decoded response, of any length and content.

    Returns:
        The content; None where there is no block, or several, or where the tags of one are out of order.
    """
    return _answer(text, list(_TAG.finditer(text)))


def outside_thinking(text: str) -> str | None:
    """All that follows the thinking, without thinking blocks that come later.

    Args:
        text: the decoded response, of any length and content.

    Returns:
        The text, with a line break where a later block stood; the whole text of a response that does not think. None
        where the thinking never ends.
    """
    pieces: list[str] = []
    depth = start = 0
    has_thought = False
    for tag in _TAG.finditer(text):
        if tag[0] == _THINK:
            # What stands before the first block is no answer: the thinking comes before it.
            if not depth and has_thought:
                pieces.append(text[start : tag.start()])
            depth += 1
        elif tag[0] == _END_THINK and depth:
            depth -= 1
            if not depth:
                has_thought = True
                start = tag.end()

    if not depth:
        pieces.append(text[start:])
    return "\n".join(pieces) if pieces else None


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` whose braces balance.

    The last one is the one that starts last, so of nested boxes it is the inner one. Escaped braces do not count as
    braces.

    Args:
        text: LaTeX or anything else.

    Returns:
        The content, stripped of blanks; None where no box is closed.
    """
    content = None
    last_start = -1

    # Of each open brace, where the content of its box starts; None for a brace that is no box.
    open_boxes: list[int | None] = []

    for mark in _BOX_OR_BRACE.finditer(text):
        if mark["box"]:
            open_boxes.append(mark.end())
        elif mark[0] == "{":
            open_boxes.append(None)
        elif mark[0] == "}" and open_boxes:
            start = open_boxes.pop()
            # Of nested boxes the outer one closes last, but the inner one has started last.
            if start is not None and start > last_start:
                last_start = start
                content = slice(start, mark.start())

    return None if content is None else text[content].strip()


def _answer_fault(text: str, tags: Sequence[re.Match[str]]) -> str:
    """What breaks the R1-Zero format; empty where nothing does."""
    names = [tag[0] for tag in tags]
    counts = Counter(names)
    faults = [f"{counts[tag] or 'no'} {tag}" for tag in TAGS if counts[tag] != 1]

    if faults:
        return ", ".join(faults)
    if tuple(names) != TAGS:
        return f"tags out of order: {' '.join(names)}"

    think, end_think, answer, end_answer = tags
    # Blanks are allowed around the blocks, other text is not.
    if text[: think.start()].strip():
        faults.append(f"text before {_THINK}")
    if text[end_think.end() : answer.start()].strip():
        faults.append(f"text between {_END_THINK} and {_ANSWER}")
    if text[end_answer.end() :].strip():
        faults.append(f"text after {_END_ANSWER}")
    return ", ".join(faults)


def _summary_fault(text: str, tags: Sequence[re.Match[str]]) -> str:
    """What breaks the R1 format; empty where nothing does."""
    names = [tag[0] for tag in tags]
    faults = []

    if names != [_THINK, _END_THINK]:
        counts = Counter(names)
        faults += [f"{counts[tag] or 'no'} {tag}" for tag in TAGS[:2] if counts[tag] != 1]
        faults += [f"{tag} in a summary" for tag in TAGS[2:] if counts[tag]]
        return ", ".join(faults) or f"tags out of order: {' '.join(names)}"

    # The thinking may be empty, for requests that need none; the summary may not.
    think, end_think = tags
    if text[: think.start()].strip():
        faults.append(f"text before {_THINK}")
    if not text[end_think.end() :].strip():
        faults.append("no summary")
    return ", ".join(faults)


def _after_thinking(text: str, tags: Sequence[re.Match[str]]) -> str | None:
    """The text after the first outermost thinking block: the whole text without one, None where it never closes."""
    # A `</think>` that closes nothing is text.
    depth = 0
    for tag in tags:
        if tag[0] == _THINK:
            depth += 1
        elif tag[0] == _END_THINK and depth:
            depth -= 1
            if not depth:
                return text[tag.end() :]

    return None if depth else text


def _thinking(text: str, tags: Sequence[re.Match[str]]) -> str | None:
    """The first outermost thinking block."""
    depth = 0
    start: int | None = None

    for tag in tags:
        if tag[0] == _THINK:
            start = tag.end() if start is None else start
            depth += 1
        elif tag[0] == _END_THINK and depth:
            depth -= 1
            if not depth:
                return text[start : tag.start()].strip()

    return None if start is None else text[start:].strip()


def _answer(text: str, tags: Sequence[re.Match[str]]) -> str | None:
    """The only answer block outside the thinking."""
    depth = 0
    outside: list[int] = []

    for index, tag in enumerate(tags):
        if tag[0] == _THINK:
            depth += 1
        elif tag[0] == _END_THINK:
            depth = max(depth - 1, 0)
        elif not depth:
            outside.append(index)

    # Two answers are none, whichever of them is right.
    names = [tags[index][0] for index in outside]
    if names != [_ANSWER, _END_ANSWER]:
        return None

    first, last = outside
    if last != first + 1:
        return None  # a tag of a thinking block stands between the two
    return text[tags[first].end() : tags[last].start()].strip()
