r"""The accuracy reward for mathematics: is the final answer equal to the reference?

Numbers, words and lists of numbers are compared here, exactly and at once (`aha.rewards.mathematics`); what needs
algebra is compared by `math_verify` in processes that can be killed (`aha.rewards.workers`). What a model wrote is
never evaluated by Python, and prose is never searched for something that fits.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2: the final answer in a box, compared by rules.
"""

import re
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from aha.rewards.answers import final_answer
from aha.rewards.mathematics import EVIDENT_DIGITS, Listing, Number, Words, compare_values, read_value
from aha.rewards.notation import (
    MAX_CHARS,
    MONEY,
    clean,
    fault,
    has_inequality,
    has_list,
    has_relation,
    is_balanced,
    members,
    without_name,
)
from aha.rewards.units import read_unit
from aha.rewards.workers import Outcome, Question, WorkerPool
from aha.types import Problem, Rollout, Verdict, VerdictKind

__all__ = ["MathVerifier"]

MAX_CHAIN: Final = 4
"""Most sides of a chain of equations that are checked."""

EXACT_PLACES: Final = 12
"""Decimals to which sums and products of decimals are compared."""

_OPERATION = re.compile(
    r"[+*!^/]|(?<=[\w)}])-|\\(?:times|cdot|div|pm|sqrt|binom|sum|prod|int|lim|log|ln|sin|cos|tan|frac)"
)
_LETTERS = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
_DECIMAL_ANSWER = re.compile(r"([+-]?)([0-9]*)\.([0-9]+)")
_MANY = re.compile(r",|\\pm|\\mp")
_RANGE = re.compile(r"^[(\[].*[)\]]$|\\cup|\\infty", re.DOTALL)
_REASONS: Final[dict[VerdictKind, str]] = {
    "correct": "equal to the reference",
    "wrong": "not equal to the reference",
    "unparsable": "no mathematics that can be read",
    "timeout": "the comparison passed its deadline",
    "crash": "the comparison passed its memory, or its process died",
}


@dataclass(eq=False)
class MathVerifier:
    """The accuracy reward for mathematics; its processes start with the first answer that needs them.

    Use it as a context manager, or call `close`.

    Attributes:
        num_workers: processes for what needs algebra.
        deadline_seconds: wall clock for one comparison.
        max_bytes: address space of one process.
        max_remembered: comparisons that are kept, so that equal answers of a group cost one.
        counts: verdicts so far by kind, and `fast` and `slow` by the way they took.
        seconds: wall clock spent on the two ways; the start of the processes is not counted.
    """

    num_workers: int = 2
    deadline_seconds: float = 5.0
    max_bytes: int = 1 << 30
    max_remembered: int = 1 << 16
    counts: Counter[str] = field(default_factory=Counter, init=False)
    seconds: dict[str, float] = field(default_factory=lambda: {"fast": 0.0, "slow": 0.0}, init=False)

    def __post_init__(self) -> None:
        """Make the pool; no process starts."""
        self.pool = WorkerPool(self.num_workers, self.deadline_seconds, self.max_bytes)
        self._remembered: OrderedDict[Question, Outcome] = OrderedDict()
        self._failed: set[Question] = set()

    @property
    def __name__(self) -> str:
        """Its name, as every reward function has one."""
        return "accuracy"

    @property
    def key(self) -> str:
        """What decides its verdicts, for the key of a stage."""
        return f"math:{self.deadline_seconds}:{self.max_bytes}"

    @property
    def overlaps_sampling(self) -> bool:
        """Asked while sampling goes on: what is not sure at once is decided by other processes, each answer alone."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        self.pool.close()

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        """The verdict on one rollout; see `judge_all`."""
        return self.judge_all([(problem, rollout)])[0]

    def judge_all(self, pairs: Sequence[tuple[Problem, Rollout]]) -> list[Verdict]:
        """1 where the final answer equals the reference answer, 0 elsewhere.

        Args:
            pairs: problems, each with the rollout that is judged.

        Returns:
            Scores of 0 or 1, why, and how the comparison ended.

        Raises:
            ValueError: a reference answer cannot be read.
        """
        answers = [final_answer(rollout.text) for _, rollout in pairs]
        places = [place for place, (answer, _) in enumerate(answers) if answer is not None]
        found = self.compare_all([(pairs[place][0].answer, answers[place][0] or "") for place in places])
        verdicts = [_verdict("unparsable", reason) for _, reason in answers]
        for place, verdict in zip(places, found, strict=True):
            verdicts[place] = verdict
        self.counts["unparsable"] += len(pairs) - len(places)
        return verdicts

    def compare_all(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """How each answer compares with its reference.

        Args:
            pairs: reference and final answer, as text or LaTeX.

        Raises:
            ValueError: a reference answer cannot be read.
        """
        start_seconds = time.perf_counter()
        rulings = [_rule(gold, answer) for gold, answer in pairs]
        self.seconds["fast"] += time.perf_counter() - start_seconds
        asked = [question for ruling in rulings if not isinstance(ruling, Verdict) for question in ruling]
        outcomes = self._outcomes(asked)
        verdicts = [
            ruling if isinstance(ruling, Verdict) else _together([outcomes[question] for question in ruling])
            for ruling in rulings
        ]
        self.counts.update(verdict.kind for verdict in verdicts)
        self.counts.update("fast" if isinstance(ruling, Verdict) else "slow" for ruling in rulings)
        return verdicts

    def check_gold(self, answers: Iterable[str]) -> None:
        """Refuse reference answers that cannot be read.

        Args:
            answers: the reference answers of a data set.

        Raises:
            ValueError: one of them cannot be read: which, and why.
        """
        texts = {answer: _clean_gold(answer) for answer in answers}
        slow = [Question(text, text) for text in texts.values() if text and read_value(without_name(text)[0]) is None]
        self._outcomes([_question(question.gold, question.answer) for question in slow])

    def check_named_gold(self, golds: Iterable[tuple[str, str]]) -> None:
        """Refuse reference answers that cannot be read, and say whose they are.

        Args:
            golds: for each reference answer whose it is, in words, and the answer.

        Raises:
            ValueError: one of them cannot be read: whose, which, and why.
        """
        pairs = list(golds)
        try:
            self.check_gold(answer for _, answer in pairs)
        except ValueError:
            for whose, answer in pairs:
                try:
                    self.check_gold([answer])
                except ValueError as error:
                    raise ValueError(f"{whose}: {error}") from None
            raise

    def _outcomes(self, questions: Sequence[Question]) -> dict[Question, Outcome]:
        """How comparisons end, each asked once; the latest are remembered."""
        found = {question: self._remembered[question] for question in questions if question in self._remembered}
        new = [question for question in dict.fromkeys(questions) if question not in found]
        if new:
            self.pool.start()
        start_seconds = time.perf_counter()
        answers = self.pool.ask(new)
        self.seconds["slow"] += time.perf_counter() - start_seconds
        for question, outcome in zip(new, answers, strict=True):
            if outcome == "gold":
                raise ValueError(
                    f"the reference answer {question.gold[:200]!r} cannot be read as mathematics: correct it in the "
                    "data set, or leave the problem out"
                )
            found[question] = outcome
            # A busy machine may have decided these; the second time it is the answer's doing.
            if outcome not in ("timeout", "crash") or question in self._failed:
                self._remembered[question] = outcome
            else:
                self._failed.add(question)
        if len(self._failed) > self.max_remembered:
            self._failed.clear()
        while len(self._remembered) > self.max_remembered:
            self._remembered.popitem(last=False)
        for question in found.keys() & self._remembered.keys():
            self._remembered.move_to_end(question)
        return found


def _clean_gold(gold: str) -> str | None:
    """Clean text of a reference; None where it is words in another script."""
    text = clean(gold)
    if not gold.strip() or len(gold) > MAX_CHARS or (text is not None and (wrong := fault(text, text))):
        reason = "empty" if not gold.strip() else f"longer than {MAX_CHARS} characters" if text is None else wrong
        raise ValueError(
            f"the reference answer {gold[:200]!r} cannot be read: it is {reason}; correct it in the data set"
        )
    return text


def _rule(gold: str, answer: str) -> Verdict | list[Question]:
    """The verdict on an answer, or what must be asked to know it."""
    reference, text = _clean_gold(gold), clean(answer)
    if reference is None or text is None:
        is_same = " ".join(gold.split()) == " ".join(answer.split())
        return _verdict("correct" if is_same else "unparsable" if text is None else "wrong")
    if reference == text:
        return _verdict("correct")
    if not is_balanced(text):
        return _verdict("unparsable", "its brackets do not match, or are too deep")
    gold_result, gold_name = without_name(reference)
    result, name = without_name(text)
    if has_relation(gold_result):
        return _rule_on_statement(reference, text)
    if has_inequality(result):
        is_range = isinstance(read_value(gold_result), Listing | None) and _RANGE.search(gold_result)
        return _asked(gold_result, text) if is_range else _verdict("wrong", "an inequality is no value")
    if gold_name and has_relation(result if name else text):
        return _rule_on_statement(reference, text) if len(members(text)) == 2 else _verdict("wrong")
    if gold_name and name and gold_name != name:
        return _verdict("wrong", f"it is about {name}, not {gold_name}")
    return _rule_on_sides(gold_result, members(result))


def _rule_on_statement(gold: str, answer: str) -> Verdict | list[Question]:
    """An equation or inequality must be answered by one of as many sides about the same unknowns."""
    if not has_relation(answer) or answer.count("=") != gold.count("="):
        return _verdict("wrong", "it is not the statement that was asked for")
    if not set(_LETTERS.findall(answer)) & set(_LETTERS.findall(gold)):
        return _verdict("wrong", "it is a statement about something else")
    return _asked(gold, answer)


def _rule_on_sides(gold: str, sides: Sequence[str]) -> Verdict | list[Question]:
    """A value must be answered by a value, or by a chain of equations whose sides are all right."""
    if len(sides) > MAX_CHAIN or not all(sides):
        return _verdict("unparsable", "a chain of equations without an end")
    questions: list[Question] = []
    for side in sides:
        ruling = _rule_on_value(gold, side)
        if isinstance(ruling, list):
            questions += ruling
        elif ruling.kind != "correct":
            return ruling
    return questions or _verdict("correct")


def _rule_on_value(gold: str, answer: str) -> Verdict | list[Question]:
    """One value against another."""
    reference, value = read_value(gold), read_value(answer)
    if reference is not None and value is not None:
        is_same = compare_values(reference, value)
        if is_same is not None:
            return _verdict("correct" if is_same else "wrong")
    if has_relation(answer):
        return _verdict("wrong", "a statement is no value")
    if isinstance(reference, Words) or (has_list(answer) and not _MANY.search(gold)):
        return _verdict("wrong")
    if isinstance(reference, Number) and _OPERATION.search(answer):
        return _verdict("wrong", "an expression that is not worked out; the reference is a number")
    gold, gold_unit = _without_unit(gold)
    answer, unit = _without_unit(answer)
    if gold_unit and unit and gold_unit != unit:
        return _verdict("wrong", "another unit")
    return _asked(gold, answer)


def _asked(gold: str, answer: str) -> Verdict | list[Question]:
    """A question for the workers, unless the answer is not for them to read."""
    wrong = fault(answer, gold)
    return _verdict("unparsable", wrong) if wrong else [_question(gold, answer)]


def _without_unit(text: str) -> tuple[str, tuple[str, ...]]:
    """Mathematics without the unit after it, and the unit where it is known."""
    start = text.find("\\text{")
    suffix = read_unit(text[start:], is_money=False) if start > 0 else None
    is_unit = suffix is not None and suffix.factor == 1 and not suffix.is_percent
    return (text[:start], suffix.name) if suffix is not None and is_unit else (text, ())


def _question(gold: str, answer: str) -> Question:
    r"""What is asked of the workers.

    An answer that is one decimal must agree to all decimals that it shows; with fewer than `EVIDENT_DIGITS` significant
    digits it is exact, so that 3.14 is not pi.
    """
    gold, answer, places = gold.replace(MONEY, ""), answer.replace(MONEY, ""), EXACT_PLACES
    found = _DECIMAL_ANSWER.fullmatch(answer)
    if found and len((found[2] + found[3]).lstrip("0")) < EVIDENT_DIGITS:
        answer = rf"{found[1]}\frac{{{found[2]}{found[3]}}}{{1{'0' * len(found[3])}}}"
    elif found:
        places = min(len(found[3]), EXACT_PLACES)
    return Question(gold, answer, places)


def _together(outcomes: Sequence[Outcome]) -> Verdict:
    """The verdict on a chain: the first side that is not right decides."""
    for outcome in outcomes:
        if outcome != "correct" and outcome != "gold":
            return _verdict(outcome)
    return _verdict("correct")


def _verdict(kind: VerdictKind, reason: str = "") -> Verdict:
    return Verdict(score=float(kind == "correct"), reason=reason or _REASONS[kind], kind=kind)
