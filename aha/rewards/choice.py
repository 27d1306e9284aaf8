r"""Multiple choice: the letter that a response chooses.

Source: simple-evals (a last line `Answer: $LETTER`); DeepSeek-R1, arXiv:2501.12948v2, appendix J. Ours: a response
that names two letters has none.
"""

import re

from aha.prompts.parsing import last_boxed
from aha.rewards.answers import boxes_differ
from aha.types import Problem, Verdict

__all__ = ["chosen_letter", "compare_choice"]

_MAX_CHARS = 100_000
_COMMAND = r"(?:\\(?:boxed|text|mathrm|mathbf|textbf)\s*\{\s*){0,2}"
_ALONE = re.compile(rf"""[\s*_`$(\[{{."']*{_COMMAND}\(?([A-Za-z])\)?[\s*_`$)\]}}.:"']*""", re.ASCII)
_WITH_TEXT = re.compile(r"[\s*_]{0,8}\(?([A-Z])[).:][\s*_]{1,8}(?![^\n]*\b[A-Z]\b)[^\n]*", re.ASCII)
_LINE = re.compile(r"^[\s*_#>-]{0,20}(?:the |final ){0,2}answer[\s*_]{0,20}:(.{0,400})$", re.ASCII | re.I | re.M)


def compare_choice(answer: str, problem: Problem) -> Verdict:
    """Whether an answer is the right letter.

    Args:
        answer: the text of an answer, or all that follows the thinking, as `chosen_letter` reads it.
        problem: its answer is a letter.

    Raises:
        ValueError: the reference is no letter.
    """
    if not re.fullmatch("[A-Z]", problem.answer):
        raise ValueError(f"problem {problem.id!r}: the reference answer {problem.answer!r} is no letter")

    letter = chosen_letter(answer)
    if letter is None:
        return Verdict(score=0.0, reason="the answer is not one letter", kind="unparsable")
    if letter == problem.answer:
        return Verdict(score=1.0, reason=f"the letter {letter} is right", kind="correct")
    return Verdict(score=0.0, reason=f"{letter} is not {problem.answer}", kind="wrong")


def chosen_letter(text: str) -> str | None:
    r"""The single letter that a text chooses: a letter alone, in a `\boxed{}`, or on lines `Answer: C`.

    The text of an option may follow its letter, as in `C) Paris`.

    Args:
        text: anything; longer than 100,000 characters is not read.

    Returns:
        The letter in upper case; None where there is none, or where two lines or boxes differ.
    """
    # Too long to be searched, or more than one answer: a response must not win by naming every letter.
    if len(text) > _MAX_CHARS or boxes_differ(text):
        return None

    candidates = _LINE.findall(text)
    box = last_boxed(text)
    if box is not None:
        candidates.append(box)

    # A text that marks nothing is an answer only as a whole.
    letters = {_letter(candidate) for candidate in candidates or [text]}
    if len(letters) != 1:
        return None
    return letters.pop()


def _letter(text: str) -> str | None:
    """The letter of a short text, alone or before its option (`C) Paris`); None where a second letter follows."""
    match = _ALONE.fullmatch(text) or _WITH_TEXT.fullmatch(text)
    return match[1].upper() if match else None
