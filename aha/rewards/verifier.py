r"""The accuracy reward for mathematics: is the final answer equal to the reference?

One grammar reads both into typed values (`aha.rewards.math.reading.grammar`), and each type has a rule of comparison
(`aha.rewards.math.comparison`). Python never evaluates what a model wrote, and prose is never searched for a number
that fits. Every computation has its own limits, none of them in wall-clock time: a verdict depends on two texts alone.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2: the final answer in a box, compared by rules.
"""

import re
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from aha.rewards.answers import final_answer, readable_value
from aha.rewards.math.arithmetic import TooLargeError
from aha.rewards.math.comparison import difference
from aha.rewards.math.nodes import Collection, Number, Quantity, Value
from aha.rewards.math.quantities import is_literal
from aha.rewards.math.reading.grammar import read
from aha.rewards.math.reading.tokens import MAX_CHARS, UnreadableError, is_balanced, plain_text
from aha.types import Problem, Rollout, Verdict, VerdictKind

__all__ = ["MathVerifier", "gold_fault", "is_compared_as_text"]

MAX_QUESTION_CHARS: Final = 20_000
"""Characters of a question that are searched for a copy of the answer."""

_CHOICE = re.compile(
    r"(?:\\(?:text|math)[a-z]{0,2}\s*\{\s*)?(?:\(([A-J])\)|([A-J])(?:[.:)](?!\S)|(?=\s*\}?$)))\s*\}?([^(),]{0,80})"
)
_OTHER_CHOICE = re.compile(r"(?<![A-Za-z])(?:[A-J]|and|or|not|nor|but|maybe)(?![A-Za-z])")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_FORMULA = re.compile(r"(?<!\\)\$((?:[^$\\]|\\.)+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_PLAIN_NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3}){1,6}|[0-9]{1,18})(?:\.[0-9]{1,18})?", re.ASCII)
_BLANKS = re.compile(r"\s+")
_SHOWN_CHARS = 60
_REASONS: Final[dict[str, str]] = {"correct": "equal to the reference", "unparsable": "no mathematics that can be read"}


@dataclass(eq=False)
class MathVerifier:
    """The accuracy reward for mathematics.

    Attributes:
        max_remembered: size of the cache of comparisons; equal answers of a group are compared once.
        counts: verdicts so far by kind.
        seconds: wall-clock time of all comparisons.
    """

    max_remembered: int = 1 << 16
    counts: Counter[str] = field(default_factory=Counter, init=False)
    seconds: float = field(default=0.0, init=False)
    _cache: OrderedDict[tuple[str, str], Verdict] = field(default_factory=OrderedDict, init=False, repr=False)

    @property
    def __name__(self) -> str:
        """The name of its part of the reward."""
        return "accuracy"

    @property
    def key(self) -> str:
        """The version of its rules, which enters the key of a stage."""
        return "math:3"

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        """The verdict on one rollout; see `judge_all`."""
        return self.judge_all([(problem, rollout)])[0]

    def judge_all(self, pairs: Sequence[tuple[Problem, Rollout]]) -> list[Verdict]:
        """Scores 1 where the final answer equals the reference answer, 0 elsewhere.

        An expression or a statement that is copied from the question is no answer, unless it is the reference as it
        stands.

        Args:
            pairs: problems, each with the rollout that is judged.

        Returns:
            A score of 0 or 1, its reason and its kind for each pair.

        Raises:
            ValueError: a reference answer cannot be read.
        """
        return [self._judge(problem, rollout) for problem, rollout in pairs]

    def _judge(self, problem: Problem, rollout: Rollout) -> Verdict:
        answer, reason = final_answer(rollout.text)
        if answer is None:
            self.counts["unparsable"] += 1
            return _verdict("unparsable", reason)

        # Only a right answer can be an echo that is paid; the counts of `compare` are put right.
        verdict = self.compare(problem.answer, answer)
        if verdict.kind == "correct" and _is_echo(problem.question, problem.answer, answer):
            self.counts["correct"] -= 1
            self.counts["wrong"] += 1
            verdict = _verdict("wrong", "right, but only copied from the question and not worked out")

        if verdict.kind == "correct":
            return verdict
        # Whoever asks why a response was not rewarded wants to see what was read as its answer.
        shown = answer if len(answer) <= _SHOWN_CHARS else f"{answer[:_SHOWN_CHARS]}..."
        return replace(verdict, reason=f"{shown!r}: {verdict.reason}")

    def compare_all(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Compares each answer with its reference; see `compare`."""
        return [self.compare(gold, answer) for gold, answer in pairs]

    def compare(self, gold: str, answer: str) -> Verdict:
        """Compares an answer with its reference.

        Args:
            gold: the reference, as text or LaTeX.
            answer: the answer of a model.

        Raises:
            ValueError: the reference cannot be read.
        """
        start_seconds = time.perf_counter()
        verdict = self._cache.get((gold, answer)) or _compare_texts(gold, answer)

        # The pair that was used least recently leaves a full cache.
        self._cache[gold, answer] = verdict
        self._cache.move_to_end((gold, answer))
        if len(self._cache) > self.max_remembered:
            self._cache.popitem(last=False)

        self.seconds += time.perf_counter() - start_seconds
        self.counts[verdict.kind] += 1
        return verdict

    def check_gold(self, answers: Iterable[str]) -> None:
        """Refuses reference answers that cannot be read.

        Args:
            answers: the reference answers of a data set.

        Raises:
            ValueError: an answer cannot be read; the message says which, and why.
        """
        # Each reference once: many problems of a data set share an answer.
        for answer in dict.fromkeys(answers):
            _read_gold(answer)

    def check_named_gold(self, golds: Iterable[tuple[str, str]]) -> None:
        """Refuses reference answers that cannot be read, and says where each of them comes from.

        Args:
            golds: pairs of the origin of a reference answer (such as `row 3, field gold`) and the answer.

        Raises:
            ValueError: some answers cannot be read; one line for each says where it comes from, and why.
        """
        faults = []
        for origin, answer in golds:
            fault = gold_fault(answer)
            if fault:
                faults.append(f"{origin}: {fault}")

        if faults:
            raise ValueError("\n".join(faults))


def gold_fault(gold: str) -> str:
    """The reason why a reference answer cannot be read; empty where it can."""
    # Most references of large files are plain numbers, which need no grammar.
    if _PLAIN_NUMBER.fullmatch(gold):
        return ""
    try:
        _read_gold(gold)
    except ValueError as error:
        return str(error)
    return ""


def is_compared_as_text(gold: str) -> bool:
    """Whether a reference is no mathematics, so that only an answer with the same text is right."""
    return _read_gold(gold) is None


def _read_gold(gold: str) -> Value | None:
    """The value of a reference; None where it is no mathematics, so that only the same text is right.

    Raises:
        ValueError: it is damaged: empty, too long, with brackets that do not match, or incomplete at its end.
    """
    plain = plain_text(gold)
    reason = ""

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


def _compare_texts(gold: str, answer: str) -> Verdict:
    """The verdict on an answer, from the cheapest comparison that decides it."""
    # Most comparisons are between two plain numbers, which need no grammar.
    if _PLAIN_NUMBER.fullmatch(gold) and _PLAIN_NUMBER.fullmatch(answer):
        gold_digits = gold.replace(",", "")
        answer_digits = answer.replace(",", "")
        is_same = gold_digits == answer_digits or Fraction(gold_digits) == Fraction(answer_digits)
        return _verdict("correct" if is_same else "wrong")

    reference = _read_gold(gold)
    plain_gold = plain_text(gold)
    plain_answer = plain_text(answer)

    if plain_gold is None or plain_answer is None:
        if " ".join(gold.split()) == " ".join(answer.split()):
            return _verdict("correct")
        return _verdict("unparsable" if plain_answer is None else "wrong")

    is_same = _BLANKS.sub("", plain_gold) == _BLANKS.sub("", plain_answer)
    if is_same and not _differs_by_blanks(plain_gold, plain_answer):
        return _verdict("correct")

    # `(B)` and `B. Paris` name the same choice; as mathematics they would be letters and words.
    gold_letter = _choice(plain_gold)
    answer_letter = _choice(plain_answer)
    if gold_letter and answer_letter:
        return _verdict("correct") if gold_letter == answer_letter else _verdict("wrong", "another choice")

    if reference is None:
        return _verdict("wrong", "the reference can only be compared as text, and the answer is another text")

    verdict = _compare_values(reference, answer)
    if verdict.kind != "wrong":
        return verdict

    # A reference such as `\cos 2 \approx -0.416` accepts either of its two sides.
    approximation = _approximation(reference, plain_gold)
    return verdict if approximation is None else _compare_values(approximation, answer)


def _approximation(reference: Value, plain: str) -> Value | None:
    r"""The rounded value in a reference such as `\cos 2 \approx -0.416`; None where it has none."""
    _, sign, rounded = plain.partition("\\approx")
    if not sign or not isinstance(reference, Quantity):
        return None

    value = readable_value(rounded)
    return value if isinstance(value, Quantity) and is_literal(value.node) else None


def _compare_values(reference: Value, answer: str) -> Verdict:
    """The verdict on an answer, read as a value; it is right in any of its readings."""
    reason = ""
    for text in _readings(reference, answer):
        try:
            reason = difference(reference, read(text))
        except UnreadableError as error:
            return _verdict("unparsable", str(error))
        except TooLargeError as error:
            return _verdict("unparsable", f"it is not computed: {error}")
        except Exception as error:
            # Whatever a model wrote, it must not end a training; a fault of the verifier shows in the counts.
            return _verdict("crash", f"the comparison failed: {type(error).__name__}")

        if not reason:
            return _verdict("correct")

    return _verdict("wrong", reason)


def _differs_by_blanks(left: str, right: str) -> bool:
    """Whether two texts differ in their blanks between digits or after commas, where `1 000` and `1, 2` need them."""
    between_digits = r"(?<=[0-9,]) (?=[0-9])"
    return re.findall(between_digits, left) != re.findall(between_digits, right)


def _choice(plain: str) -> str:
    """The letter of a choice such as `(B)` or `B. Paris`; empty where a text is no choice, or names a second letter."""
    match = _CHOICE.fullmatch(plain)
    if match is None or _OTHER_CHOICE.search(match[3]):
        return ""
    return match[1] or match[2]


def _readings(reference: Value, answer: str) -> list[str]:
    """The texts as which an answer is read: where the reference is a list, `1,234` is also read as two values."""
    is_list = isinstance(reference, Collection) and not reference.brackets
    if is_list and _THOUSANDS.search(answer):
        return [answer, _THOUSANDS.sub(", ", answer)]
    return [answer]


def _is_echo(question: str, gold: str, answer: str) -> bool:
    """Whether a right answer only copies an expression or a statement of the question.

    Where the reference itself is such a copy, it asks for it.
    """
    value = readable_value(answer)
    reference = readable_value(gold)
    if value is None or reference is None:
        return False

    # A reference that ends in its approximation asks for the approximation.
    if value == reference and "\\approx" not in gold:
        return False

    # A whole number may well be the answer and stand in the question too; a fraction or a formula is only copied.
    is_integer = isinstance(value, Quantity) and isinstance(value.node, Number) and value.node.places == 0
    answer_text = _BLANKS.sub("", plain_text(answer) or "")
    if is_integer or len(answer_text) <= 2:
        return False

    # Of the groups of a match, which stand for $...$, \(...\) and \[...\], one holds the formula.
    formulas = [next(filter(None, groups)) for groups in _FORMULA.findall(question[:MAX_QUESTION_CHARS])]
    if not isinstance(value, Quantity):
        # An equation is compared by its meaning: `x = 5` is no answer where the question says so in another notation.
        return any(value in _statements(formula) for formula in formulas)

    question_text = " ".join(_BLANKS.sub("", plain_text(formula) or "") for formula in formulas)
    return re.search(rf"(?<![\w^\\]){re.escape(answer_text)}(?![\w^])", question_text) is not None


def _statements(formula: str) -> tuple[Value, ...]:
    """The value of a formula, and where it is a list, each of its items."""
    value = readable_value(formula)
    if value is None:
        return ()
    if isinstance(value, Collection) and not value.brackets:
        return (value, *value.items)
    return (value,)


def _verdict(kind: VerdictKind, reason: str = "") -> Verdict:
    text = reason or _REASONS.get(kind, "not equal to the reference")
    return Verdict(score=float(kind == "correct"), reason=text, kind=kind)
