r"""The accuracy reward for mathematics: is the final answer equal to the reference?

Both are read into typed values by one grammar (`aha.rewards.math.grammar`) and compared by a rule for each type
(`aha.rewards.math.comparison`). What a model wrote is never evaluated by Python, prose is never searched for something
that fits, and every computation has limits of its own, so that a verdict depends on the two texts and on nothing else.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2: the final answer in a box, compared by rules.
"""

import re
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from aha.rewards.answers import final_answer, readable_value
from aha.rewards.math.arithmetic import TooLargeError
from aha.rewards.math.comparison import difference
from aha.rewards.math.grammar import read
from aha.rewards.math.nodes import Number, Quantity, Several, Value
from aha.rewards.math.quantities import is_literal
from aha.rewards.math.tokens import MAX_CHARS, UnreadableError, is_balanced, plain_text
from aha.types import Problem, Rollout, Verdict, VerdictKind

__all__ = ["MathVerifier", "gold_fault", "is_compared_as_text"]

MAX_QUESTION_CHARS: Final = 20_000
"""How far a question is searched for what an answer repeats."""

_CHOICE = re.compile(
    r"(?:\\(?:text|math)[a-z]{0,2}\s*\{\s*)?(?:\(([A-J])\)|([A-J])(?:[.:)](?!\S)|(?=\s*\}?$)))\s*\}?([^(),]{0,80})"
)
_OTHER_CHOICE = re.compile(r"(?<![A-Za-z])(?:[A-J]|and|or|not|nor|but|maybe)(?![A-Za-z])")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_FORMULA = re.compile(r"(?<!\\)\$((?:[^$\\]|\\.)+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_PLAIN_NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3}){1,6}|[0-9]{1,18})(?:\.[0-9]{1,18})?", re.ASCII)
_BLANKS = re.compile(r"\s+")
_REASONS: Final[dict[str, str]] = {"correct": "equal to the reference", "unparsable": "no mathematics that can be read"}


@dataclass(eq=False)
class MathVerifier:
    """The accuracy reward for mathematics.

    Attributes:
        max_remembered: comparisons that are kept, so that equal answers of a group cost one.
        counts: verdicts so far by kind.
        seconds: wall clock that they took.
    """

    max_remembered: int = 1 << 16
    counts: Counter[str] = field(default_factory=Counter, init=False)
    seconds: float = field(default=0.0, init=False)
    _remembered: OrderedDict[tuple[str, str], Verdict] = field(default_factory=OrderedDict, init=False, repr=False)

    @property
    def __name__(self) -> str:
        """Its name, as every reward function has one."""
        return "accuracy"

    @property
    def key(self) -> str:
        """What decides its verdicts, for the key of a stage."""
        return "math:3"

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        """The verdict on one rollout; see `judge_all`."""
        return self.judge_all([(problem, rollout)])[0]

    def judge_all(self, pairs: Sequence[tuple[Problem, Rollout]]) -> list[Verdict]:
        """1 where the final answer equals the reference answer, 0 elsewhere.

        An expression or a statement that is copied from the question is no answer, unless it is the reference as it
        stands.

        Args:
            pairs: problems, each with the rollout that is judged.

        Returns:
            Scores of 0 or 1, why, and how the comparison ended.

        Raises:
            ValueError: a reference answer cannot be read.
        """
        return [self._judged(problem, rollout) for problem, rollout in pairs]

    def _judged(self, problem: Problem, rollout: Rollout) -> Verdict:
        answer, reason = final_answer(rollout.text)
        if answer is None:
            self.counts["unparsable"] += 1
            return _verdict("unparsable", reason)
        verdict = self.compare(problem.answer, answer)
        if verdict.kind == "correct" and _is_echo(problem.question, problem.answer, answer):
            self.counts["correct"] -= 1
            self.counts["wrong"] += 1
            return _verdict("wrong", "an expression of the question, which is not worked out")
        return verdict

    def compare_all(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """How each answer compares with its reference; see `compare`."""
        return [self.compare(gold, answer) for gold, answer in pairs]

    def compare(self, gold: str, answer: str) -> Verdict:
        """How an answer compares with its reference.

        Args:
            gold: the reference, as text or LaTeX.
            answer: what a model wrote.

        Raises:
            ValueError: the reference cannot be read.
        """
        start_seconds = time.perf_counter()
        verdict = self._remembered.get((gold, answer)) or _compared(gold, answer)
        self._remembered[gold, answer] = verdict
        self._remembered.move_to_end((gold, answer))
        if len(self._remembered) > self.max_remembered:
            self._remembered.popitem(last=False)
        self.seconds += time.perf_counter() - start_seconds
        self.counts[verdict.kind] += 1
        return verdict

    def check_gold(self, answers: Iterable[str]) -> None:
        """Refuse reference answers that cannot be read.

        Args:
            answers: the reference answers of a data set.

        Raises:
            ValueError: one of them cannot be read: which, and why.
        """
        for answer in dict.fromkeys(answers):
            _read_gold(answer)

    def check_named_gold(self, golds: Iterable[tuple[str, str]]) -> None:
        """Refuse reference answers that cannot be read, and say whose they are.

        Args:
            golds: for each reference answer whose it is, in words, and the answer.

        Raises:
            ValueError: some of them cannot be read: whose, which, and why, all at once.
        """
        faults = [f"{whose}: {fault}" for whose, answer in golds if (fault := gold_fault(answer))]
        if faults:
            raise ValueError("\n".join(faults))


def gold_fault(gold: str) -> str:
    """Why a reference answer cannot be read; empty where it can."""
    # Most references of large files are plain numbers, which need no grammar.
    if _PLAIN_NUMBER.fullmatch(gold):
        return ""
    try:
        _read_gold(gold)
    except ValueError as error:
        return str(error)
    return ""


def is_compared_as_text(gold: str) -> bool:
    """Whether a readable reference is no mathematics, so that only the same text answers it."""
    return _read_gold(gold) is None


def _read_gold(gold: str) -> Value | None:
    """A reference as a value; None where it is a text that only the same text answers.

    Raises:
        ValueError: it is torn: empty, too long, with brackets that do not match, or an end where more must follow.
    """
    reason = ""
    plain = plain_text(gold)
    if not gold.strip():
        reason = "it is empty"
    elif len(gold) > MAX_CHARS:
        reason = f"it is longer than {MAX_CHARS} characters"
    elif plain is not None and not is_balanced(plain):
        reason = "its brackets do not match"
    elif plain is not None:
        try:
            return read(gold)
        except UnreadableError as error:
            reason = str(error) if error.is_torn else ""
    if reason:
        raise ValueError(
            f"the reference answer {gold[:200]!r} cannot be read as mathematics: {reason}; correct it in the data "
            "set, or leave the problem out"
        )
    return None


def _compared(gold: str, answer: str) -> Verdict:
    """The verdict on an answer."""
    # Most verdicts are about two plain numbers.
    numbers = [text.replace(",", "") for text in (gold, answer) if _PLAIN_NUMBER.fullmatch(text)]
    if len(numbers) == 2:
        is_same = numbers[0] == numbers[1] or Fraction(numbers[0]) == Fraction(numbers[1])
        return _verdict("correct" if is_same else "wrong")

    reference = _read_gold(gold)
    golds, answers = plain_text(gold), plain_text(answer)
    if golds is None or answers is None:
        is_same = " ".join(gold.split()) == " ".join(answer.split())
        return _verdict("correct" if is_same else "unparsable" if answers is None else "wrong")
    if _BLANKS.sub("", golds) == _BLANKS.sub("", answers) and not _differs_by_blanks(golds, answers):
        return _verdict("correct")

    choices = [_choice(text) for text in (golds, answers)]
    if choices[0] and choices[1]:
        return _verdict("correct") if choices[0] == choices[1] else _verdict("wrong", "another choice")
    if reference is None:
        return _verdict("wrong", "the reference can only be compared as text, and the answer is another text")

    verdict = _compared_values(reference, answer)
    approximation = _approximation(reference, golds) if verdict.kind == "wrong" else None
    return verdict if approximation is None else _compared_values(approximation, answer)


def _approximation(reference: Value, plain: str) -> Value | None:
    r"""The rounded value that a reference gives of itself, as in `\cos 2 \approx -0.416`; None where it gives none."""
    _, sign, rounded = plain.partition("\\approx")
    value = readable_value(rounded) if sign and isinstance(reference, Quantity) else None
    return value if isinstance(value, Quantity) and is_literal(value.node) else None


def _compared_values(reference: Value, answer: str) -> Verdict:
    """The verdict on an answer that is no plain text."""
    reason = ""
    for text in _readings(reference, answer):
        try:
            reason = difference(reference, read(text))
        except UnreadableError as error:
            return _verdict("unparsable", str(error))
        except TooLargeError as error:
            return _verdict("unparsable", f"it is not computed: {error}")
        except Exception as error:
            # Whatever a model wrote, it must not end a training; a fault of ours is counted and seen.
            return _verdict("crash", f"the comparison failed: {type(error).__name__}")
        if not reason:
            return _verdict("correct")
    return _verdict("wrong", reason)


def _differs_by_blanks(left: str, right: str) -> bool:
    """Whether blanks between digits or after commas, which mean something, stand in one text alone."""
    return re.findall(r"(?<=[0-9,]) (?=[0-9])", left) != re.findall(r"(?<=[0-9,]) (?=[0-9])", right)


def _choice(plain: str) -> str:
    """The letter of a choice, which its text may follow; empty where a text is none, or goes on to another letter."""
    match = _CHOICE.fullmatch(plain)
    if match is None or _OTHER_CHOICE.search(match[3]):
        return ""
    return match[1] or match[2]


def _readings(reference: Value, answer: str) -> list[str]:
    """An answer, and where the reference is a list, `1,234` also as two values."""
    is_list = isinstance(reference, Several) and not reference.brackets
    return [answer, _THOUSANDS.sub(", ", answer)] if is_list and _THOUSANDS.search(answer) else [answer]


def _is_echo(question: str, gold: str, answer: str) -> bool:
    """Whether a right answer is an expression or a statement of the question, and the reference is another one."""
    value, reference = readable_value(answer), readable_value(gold)
    if value is None or reference is None:
        return False

    # A reference that ends in its approximation asks for the approximation.
    if value == reference and "\\approx" not in gold:
        return False

    # A number of the question may well be its answer; a fraction or a formula of it is only copied.
    is_integer = isinstance(value, Quantity) and isinstance(value.node, Number) and value.node.places == 0
    written = _BLANKS.sub("", plain_text(answer) or "")
    if is_integer or len(written) <= 2:
        return False

    formulas = [next(filter(None, found)) for found in _FORMULA.findall(question[:MAX_QUESTION_CHARS])]
    if not isinstance(value, Quantity):
        # An equation says what is given, however it is spelled: `x = 5` is no answer where the question says so.
        return any(value in _statements(formula) for formula in formulas)
    asked = " ".join(_BLANKS.sub("", plain_text(formula) or "") for formula in formulas)
    return re.search(rf"(?<![\w^\\]){re.escape(written)}(?![\w^])", asked) is not None


def _statements(formula: str) -> tuple[Value, ...]:
    """What a formula says, as a whole and item by item."""
    value = readable_value(formula)
    items = value.items if isinstance(value, Several) and not value.brackets else ()
    return () if value is None else (value, *items)


def _verdict(kind: VerdictKind, reason: str = "") -> Verdict:
    text = reason or _REASONS.get(kind, "not equal to the reference")
    return Verdict(score=float(kind == "correct"), reason=text, kind=kind)
