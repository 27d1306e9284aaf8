"""The accuracy reward: is the answer right? And the one form of an answer that votes with its equals.

Every domain of the built-in world has a comparer here, and so have multiple choice and plain text. Mathematics of the
user's own is judged by `aha.rewards.verifier`, programs by `aha.rewards.code`. Answers come from a model: they are read
within limits, never run, and an answer that cannot be read is a wrong answer.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2 and B.3.1.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from aha.problems.datasets.countdown import CountdownTask, parse_task
from aha.prompts.parsing import Parsed, last_boxed, parse_response
from aha.rewards.answers import boxes_differ, final_answer, normal_form, votes
from aha.rewards.choice import chosen_letter, compare_choice
from aha.rewards.expression import MAX_DIGITS, Expression, parse_expression, parse_integer
from aha.types import Problem, Rollout, Verdict

__all__ = [
    "COMPARERS",
    "FORMS",
    "Comparer",
    "accuracy",
    "has_rule",
    "normalised_answer",
    "read_answer",
    "votes_of",
]

T = TypeVar("T")
Comparer = Callable[[str, Problem], Verdict]
"""Compares the text of an answer with the reference of its problem."""

_UNKNOWN = re.compile(r"(?:\s*x\s*=)?", re.ASCII)
_SEPARATOR = re.compile(r",|or|and|和")
_DIGITS = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")
_QUOTED_CHARS = 60


def accuracy(problem: Problem, rollout: Rollout) -> Verdict:
    r"""1 where the final answer is right, 0 elsewhere.

    That is the only answer block outside the thinking or, without tags of an answer there, the last `\boxed{}`. A block
    or a text with boxes that differ commits itself to no answer.

    Args:
        problem: its domain picks the comparison, its answer is the reference.
        rollout: its text is judged, whatever the rest of it looks like; the format has a reward of its own.

    Returns:
        The score, 0.0 or 1.0, and why.

    Raises:
        ValueError: the reference answer of the problem is not of the form that its domain asks for.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2: the final answer in a fixed format, compared by rules.
    """
    parsed = parse_response(rollout.text)
    answer = _answer(problem, parsed)
    if answer is None:
        if boxes_differ(parsed.summary or ""):
            return _unparsable("several boxes with different content")
        return _unparsable(f"no single answer block and no closed box: {parsed.reason}")

    compare = _COMPARERS.get(problem.domain, _compare_text)
    return compare(answer, problem)


def has_rule(domain: str) -> bool:
    """Whether answers of a domain are compared by a rule of its own, rather than as text."""
    return domain in _COMPARERS


def normalised_answer(problem: Problem, rollout: Rollout) -> str | None:
    """The normal form of an answer, under which equal answers to one problem vote together.

    The reference is never looked at: a wrong answer votes like a right one.

    Args:
        problem: its domain picks the form.
        rollout: its text holds the answer.

    Returns:
        The form: an integer, the canonical text of an expression, the sorted roots, or the text itself. None where the
        response has no answer that can be read.
    """
    answer = read_answer(problem, rollout)
    if answer is None:
        return None
    to_form = _FORMS.get(problem.domain, _plain_text)
    return to_form(answer)


def read_answer(problem: Problem, rollout: Rollout) -> str | None:
    """The text that the judge of a domain reads as the answer of a response; None where there is none.

    Args:
        problem: its domain picks the judge.
        rollout: its text holds the answer.
    """
    if problem.domain == "math":
        answer, _ = final_answer(rollout.text)
        return answer
    return _answer(problem, parse_response(rollout.text))


def votes_of(problem: Problem, rollouts: Sequence[Rollout]) -> list[str | None]:
    """The answer that each response to a problem votes for; None where a response has none that can be read."""
    # Mathematics has no one text for all equal answers: they are compared with each other.
    if problem.domain == "math":
        return votes([rollout.text for rollout in rollouts])
    return [normalised_answer(problem, rollout) for rollout in rollouts]


def _answer(problem: Problem, parsed: Parsed) -> str | None:
    """The text of the answer; None where there is none, or where several boxes differ.

    A response to a multiple-choice question need not mark its answer: then it is all that follows the thinking.
    """
    if boxes_differ(parsed.summary or ""):
        return None
    if parsed.answer is None and problem.domain == "choice":
        return parsed.summary
    return parsed.answer


def _compare_arithmetic(answer: str, problem: Problem) -> Verdict:
    return _compare_integer(parse_integer(answer), answer, _reference(problem, parse_integer))


def _compare_linear(answer: str, problem: Problem) -> Verdict:
    return _compare_integer(_root(answer), answer, _reference(problem, _root))


def _compare_integer(number: int | None, answer: str, reference: int) -> Verdict:
    if number is None:
        return _unparsable(f"{_quote(answer)} is not one integer")
    if number != reference:
        return _wrong(f"{number} is not {reference}")
    return _right(f"the answer {number} is right")


def _compare_quadratic(answer: str, problem: Problem) -> Verdict:
    reference = _reference(problem, _roots)
    roots = _roots(answer)
    if roots is None:
        return _unparsable(f"{_quote(answer)} is not a list of one or two integers")

    extra = sorted(roots - reference)
    missing = sorted(reference - roots)

    if extra:
        return _wrong(f"{extra[0]} is not a root")
    if missing:
        return _wrong(f"the root {missing[0]} is missing")

    return _right(f"the answer {_list(roots)} has all the roots")


def _compare_pair(answer: str, problem: Problem) -> Verdict:
    reference = _reference(problem, _pair)
    pair = _pair(answer)
    if pair is None:
        return _unparsable(f"{_quote(answer)} is not a sum of two numbers")
    if pair.numbers == reference.numbers:
        return _right(f"the answer {_quote(answer)} makes {pair.value} from the list")
    if pair.value != reference.value:
        return _wrong(f"{_quote(answer)} makes {pair.value}, not {reference.value}")

    # The sum is right, so the numbers are at fault. The question holds the list and the sum that is asked for.
    numbers = Counter(int(number) for number in _DIGITS.findall(problem.question))
    available = numbers - Counter([int(reference.value)])
    fault = _misuse(pair.numbers, available) or "is not the pair of the list"
    return _wrong(f"{_quote(answer)} {fault}")


def _compare_countdown(answer: str, problem: Problem) -> Verdict:
    task = _reference(problem, _countdown_task)
    expression = parse_expression(answer)
    if expression is None:
        return _unparsable(f"{_quote(answer)} is not an arithmetic expression")

    # Which numbers are used comes first: with others, any target can be reached.
    misuse = _misuse(expression.numbers, Counter(task.numbers))
    if misuse:
        return _wrong(f"{_quote(answer)} {misuse}")

    unused = Counter(task.numbers) - Counter(expression.numbers)
    if unused:
        return _wrong(f"{_quote(answer)} leaves out {_list(unused)}")
    if expression.value != task.target:
        return _wrong(f"{_quote(answer)} makes {_quote(str(expression.value))}, not {task.target}")

    return _right(f"the answer {_quote(answer)} makes {task.target} from all the numbers")


def _countdown_task(answer: str) -> CountdownTask | None:
    """The task of a reference, which is either a solution or a statement of numbers and target."""
    solution = parse_expression(answer)
    if solution is None:
        return parse_task(answer)
    return CountdownTask(numbers=solution.numbers, target=solution.value)


def _compare_text(answer: str, problem: Problem) -> Verdict:
    reference = _reference(problem, _plain_text)
    text = _plain_text(answer)

    if text is None:
        return _unparsable("the answer is empty")
    if text != reference:
        return _wrong(f"{_quote(text)} is not {_quote(reference)}")
    return _right(f"the answer {_quote(text)} is right")


def _root(answer: str) -> int | None:
    """The integer of an answer such as `3` or `x = 3`."""
    return parse_integer(_UNKNOWN.sub("", answer, count=1))


def _roots(answer: str) -> frozenset[int] | None:
    """The roots of an answer with one or two integers; a double root may be written once or twice."""
    # Two splits suffice to see that there are too many parts, however long the answer is.
    parts = _SEPARATOR.split(answer, maxsplit=2)
    roots = [_root(part) for part in parts]
    if len(parts) > 2 or None in roots:
        return None
    return frozenset(root for root in roots if root is not None)


def _pair(answer: str) -> Expression | None:
    """An answer as the sum of two numbers, in either order; None where it is something else."""
    expression = parse_expression(answer)
    if expression is None or len(expression.numbers) != 2:
        return None

    # The canonical text is the same in either order, and says that the two are added.
    first, second = expression.numbers
    return expression if expression.canonical == f"{first} + {second}" else None


def _plain_text(answer: str) -> str | None:
    r"""The content of the last `\boxed{}`, or else the whole answer, with single blanks; None where it is empty.

    An integer is written without leading zeros.
    """
    boxed = last_boxed(answer)
    content = answer if boxed is None else boxed
    text = " ".join(content.split())

    number = parse_integer(text)
    if number is not None:
        return str(number)
    return text or None


def _form(parse: Callable[[str], T | None], show: Callable[[T], str]) -> Callable[[str], str | None]:
    """Makes the function from the text of an answer to its voting form: it parses the text and prints what it means."""

    def form(answer: str) -> str | None:
        meaning = parse(answer)
        return None if meaning is None else show(meaning)

    return form


def _reference(problem: Problem, parse: Callable[[str], T | None]) -> T:
    """The meaning of a problem's reference answer, which is parsed like the answers of a model.

    Raises:
        ValueError: the reference cannot be parsed.
    """
    meaning = parse(problem.answer)
    if meaning is None:
        raise ValueError(
            f"problem {problem.id!r}: the reference answer {problem.answer!r} is none for domain {problem.domain!r}"
        )
    return meaning


def _misuse(numbers: Iterable[int], available: Counter[int]) -> str:
    """Says which number is used without being available, or too often; empty where none is."""
    misused = Counter(numbers) - available
    if not misused:
        return ""

    number = next(iter(misused))
    if number in available:
        return f"uses {number} more often than given"
    return f"uses {number}, which is not given"


def _canonical(expression: Expression) -> str:
    return expression.canonical


def _list(numbers: Iterable[int]) -> str:
    return " , ".join(str(number) for number in sorted(numbers))


def _quote(text: str) -> str:
    """Model output, cut to a length that fits into the reason of a verdict."""
    short = text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]} ..."
    return short or "(nothing)"


def _right(reason: str) -> Verdict:
    return Verdict(score=1.0, reason=reason, kind="correct")


def _wrong(reason: str) -> Verdict:
    return Verdict(score=0.0, reason=reason, kind="wrong")


def _unparsable(reason: str) -> Verdict:
    return Verdict(score=0.0, reason=reason, kind="unparsable")


COMPARERS: Mapping[str, Comparer] = {
    "arithmetic": _compare_arithmetic,
    "pair": _compare_pair,
    "countdown": _compare_countdown,
    "linear": _compare_linear,
    "quadratic": _compare_quadratic,
}
"""The comparison of each domain of the built-in world."""

_COMPARERS: Mapping[str, Comparer] = {**COMPARERS, "choice": compare_choice}

FORMS: Mapping[str, Callable[[str], str | None]] = {
    "arithmetic": _form(parse_integer, str),
    "pair": _form(_pair, _canonical),
    "countdown": _form(parse_expression, _canonical),
    "linear": _form(_root, str),
    "quadratic": _form(_roots, _list),
}
"""The voting form of each domain of the built-in world."""

_FORMS: Mapping[str, Callable[[str], str | None]] = {**FORMS, "choice": chosen_letter, "math": normal_form}
