"""The accuracy reward: is the answer right? And the one form of an answer that votes with its equals.

Every domain of the built-in world has a comparer here; any other domain is compared as text. Answers come from a
model: they are read within limits, never run, and an answer that cannot be read is a wrong answer.

Source: DeepSeek-R1, arXiv:2501.12948v2, 2.2 and B.3.1.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from aha.problems.datasets.countdown import CountdownTask, parse_task
from aha.prompts.parsing import Parsed, last_boxed, parse_response
from aha.rewards.answers import boxes_differ, final_answer, normalised, votes
from aha.rewards.choice import chosen_letter, compare_choice
from aha.rewards.expression import MAX_DIGITS, Expression, parse_expression, parse_integer
from aha.types import Problem, Rollout, Verdict

__all__ = ["COMPARERS", "FORMS", "Comparer", "accuracy", "has_rule", "normalised_answer", "votes_of"]

T = TypeVar("T")
Comparer = Callable[[str, Problem], Verdict]
"""Compares the text of an answer with the reference of its problem."""

_UNKNOWN = re.compile(r"(?:\s*x\s*=)?", re.ASCII)
_SEPARATOR = re.compile(r",|or|and|和")
_DIGITS = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")
_QUOTED_CHARS = 60


def accuracy(problem: Problem, rollout: Rollout) -> Verdict:
    """1 where the only answer block outside the thinking is right, 0 elsewhere.

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
        is_undecided = boxes_differ(parsed.summary or "")
        return _unparsable(
            "several boxes with different content" if is_undecided else f"no single answer block: {parsed.reason}"
        )
    return _COMPARERS.get(problem.domain, _compare_text)(answer, problem)


def has_rule(domain: str) -> bool:
    """Whether answers of a domain are compared by a rule of its own, rather than as text."""
    return domain in _COMPARERS


def normalised_answer(problem: Problem, rollout: Rollout) -> str | None:
    """The form under which equal answers of one problem vote together; None where there is nothing to vote for.

    It never looks at the reference: a wrong answer votes like a right one.

    Args:
        problem: its domain picks the form.
        rollout: its text holds the answer.

    Returns:
        The form: an integer, the canonical text of an expression, the sorted roots, or the text itself.
    """
    if problem.domain == "math":
        answer, _ = final_answer(rollout.text)
    else:
        answer = _answer(problem, parse_response(rollout.text))
    return None if answer is None else _FORMS.get(problem.domain, _plain_text)(answer)


def votes_of(problem: Problem, rollouts: Sequence[Rollout]) -> list[str | None]:
    """For each response to a problem, what it votes for; None where there is nothing to vote for."""
    if problem.domain == "math":
        return votes([rollout.text for rollout in rollouts])
    return [normalised_answer(problem, rollout) for rollout in rollouts]


def _answer(problem: Problem, parsed: Parsed) -> str | None:
    """The answer; of multiple choice, where none is marked, all that follows the thinking. None if boxes differ."""
    if boxes_differ(parsed.summary or ""):
        return None
    return parsed.summary if parsed.answer is None and problem.domain == "choice" else parsed.answer


def _compare_arithmetic(answer: str, problem: Problem) -> Verdict:
    return _compare_integer(parse_integer(answer), answer, _reference(problem, parse_integer))


def _compare_linear(answer: str, problem: Problem) -> Verdict:
    return _compare_integer(_root(answer), answer, _reference(problem, _root))


def _compare_integer(number: int | None, answer: str, reference: int) -> Verdict:
    if number is None:
        return _unparsable(f"{_quote(answer)} is not one integer")
    return _right(f"the answer {number} is right") if number == reference else _wrong(f"{number} is not {reference}")


def _compare_quadratic(answer: str, problem: Problem) -> Verdict:
    reference = _reference(problem, _roots)
    roots = _roots(answer)
    if roots is None:
        return _unparsable(f"{_quote(answer)} is not a list of one or two integers")
    strangers, missing = sorted(roots - reference), sorted(reference - roots)
    if strangers:
        return _wrong(f"{strangers[0]} is not a root")
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
    given = Counter(int(number) for number in _DIGITS.findall(problem.question)) - Counter([int(reference.value)])
    return _wrong(f"{_quote(answer)} {_misuse(pair.numbers, given) or 'is not the pair of the list'}")


def _compare_countdown(answer: str, problem: Problem) -> Verdict:
    task = _reference(problem, _countdown_task)
    expression = parse_expression(answer)
    if expression is None:
        return _unparsable(f"{_quote(answer)} is not an arithmetic expression")
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
    """What is asked for, from a reference that solves it or that only says it."""
    solution = parse_expression(answer)
    return parse_task(answer) if solution is None else CountdownTask(numbers=solution.numbers, target=solution.value)


def _compare_text(answer: str, problem: Problem) -> Verdict:
    reference = _reference(problem, _plain_text)
    text = _plain_text(answer)
    if text is None:
        return _unparsable("the answer is empty")
    return (
        _right(f"the answer {_quote(text)} is right")
        if text == reference
        else _wrong(f"{_quote(text)} is not {_quote(reference)}")
    )


def _root(answer: str) -> int | None:
    """An integer, which `x =` may introduce."""
    return parse_integer(_UNKNOWN.sub("", answer, count=1))


def _roots(answer: str) -> frozenset[int] | None:
    """One or two integers; a double root may be written once or twice."""
    parts = _SEPARATOR.split(answer, maxsplit=2)
    roots = [_root(part) for part in parts]
    return None if len(parts) > 2 or None in roots else frozenset(root for root in roots if root is not None)


def _pair(answer: str) -> Expression | None:
    """The sum of two numbers, in either order."""
    expression = parse_expression(answer)
    is_pair = (
        expression is not None
        and len(expression.numbers) == 2
        and expression.canonical == "{} + {}".format(*expression.numbers)
    )
    return expression if is_pair else None


def _plain_text(answer: str) -> str | None:
    r"""The content of the last `\boxed{}`, or else the whole answer, with single blanks; integers without padding."""
    boxed = last_boxed(answer)
    text = " ".join((answer if boxed is None else boxed).split())
    number = parse_integer(text)
    return (text or None) if number is None else str(number)


def _form(parse: Callable[[str], T | None], show: Callable[[T], str]) -> Callable[[str], str | None]:
    """From the text of an answer to its voting form, by way of what the text means."""

    def form(answer: str) -> str | None:
        meaning = parse(answer)
        return None if meaning is None else show(meaning)

    return form


def _reference(problem: Problem, parse: Callable[[str], T | None]) -> T:
    """What the reference answer of a problem means, read as its answers are."""
    meaning = parse(problem.answer)
    if meaning is None:
        raise ValueError(
            f"problem {problem.id!r}: the reference answer {problem.answer!r} is none for domain {problem.domain!r}"
        )
    return meaning


def _misuse(numbers: Iterable[int], given: Counter[int]) -> str:
    """Which number is used without being given; empty where none is."""
    for number in Counter(numbers) - given:
        return f"uses {number}, which is not given" if number not in given else f"uses {number} more often than given"
    return ""


def _canonical(expression: Expression) -> str:
    return expression.canonical


def _list(numbers: Iterable[int]) -> str:
    return " , ".join(str(number) for number in sorted(numbers))


def _quote(text: str) -> str:
    """A piece of model output that is short enough for a reason."""
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

_FORMS: Mapping[str, Callable[[str], str | None]] = {**FORMS, "choice": chosen_letter, "math": normalised}
