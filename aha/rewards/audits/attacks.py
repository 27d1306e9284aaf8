r"""Attacks on a reward: responses that try to earn it without a right answer, made from a problem and its reference.

Reinforcement learning finds them when a reward has a hole: several answers at once, a copy of the question, tags
without content, the reference with words that change it. None of them is a right answer, so none may earn what an
honest response earns.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from aha.rewards.math.near_misses import near_misses
from aha.runs.seeds import generator
from aha.types import Problem

__all__ = ["ATTACKS", "EXAMPLES", "FORMS", "HUGE_CHARS", "Attack", "ResponseForm", "attacks"]

HUGE_CHARS = 100_000
"""Length of a huge response, in characters."""

NUM_NEAR_MISSES = 8
"""Near misses drawn for a problem of mathematics; equal draws count once."""

_THINKING: Final = {"en": "I work it out step by step.", "zh": "我一步一步地算。"}
_FORMULA = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)|([0-9(][0-9 .+*/()^-]*[-+*/^][0-9 .+*/()^-]*[0-9)])")

_LOOK_ALIKES: Final = str.maketrans(
    # Digits as letters, and Latin letters as Cyrillic and Greek ones: all are different characters.
    "0123456789aceopxyABCDEHKMOPTX",
    "\u041e\u04cf\u01a7\u0417\u13ce\u01bc\u0431\u1d1b\u0222\u0581\u0430\u0441\u0435\u043e\u0440\u0445\u0443"
    "\u0410\u0412\u0421\u13a0\u0415\u041d\u041a\u041c\u041e\u0420\u0422\u0425",
)
_INVISIBLE: Final = ("\u200b", "\u2063", "\u00ad")
"""Zero-width space, invisible separator, soft hyphen."""
_RIGHT_TO_LEFT = "\u202e"
_POP_DIRECTION = "\u202c"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseForm:
    """A form in which a response gives its answer.

    Attributes:
        name: its name.
        before: text before the answer; `{thinking}` stands for a sentence in the language of the question.
        after: text after the answer.
    """

    name: str
    before: str
    after: str

    def response(self, problem: Problem, answer: str) -> str:
        """A response of this form.

        Args:
            problem: its language is that of the thinking.
            answer: any text.
        """
        return self.before.replace("{thinking}", _thinking(problem)) + answer + self.after


FORMS: Final = (
    ResponseForm(name="r1_zero", before="<think>{thinking}</think> <answer>", after="</answer>"),
    ResponseForm(name="r1", before="<think>{thinking}</think> The answer is \\boxed{", after="}."),
    ResponseForm(name="box", before="{thinking} The answer is \\boxed{", after="}."),
    ResponseForm(name="last line", before="{thinking}\nAnswer: ", after=""),
    ResponseForm(name="bare", before="", after=""),
)
"""The forms in which a reward function may expect an answer."""


EXAMPLES: Final = (
    Problem(id="example 1", question="What is $18 + 24$?", answer="42", domain="math"),
    Problem(id="example 2", question="Solve $2x + 3 = 4$ for $x$.", answer=r"\frac{1}{2}", domain="math"),
    Problem(id="example 3", question="Find all roots of $x^2 - 5x + 6 = 0$.", answer="2, 3", domain="math"),
    Problem(id="example 4", question="Multiply out $(x - 1)(x + 1)$.", answer="x^2 - 1", domain="math"),
    Problem(id="example 5", question="\u8ba1\u7b97 $7 + 8$\u3002", answer="15", domain="math", language="zh"),
    Problem(id="example 6", question="Which is a prime?\nA) 4\nB) 9\nC) 11\nD) 15", answer="C", domain="choice"),
    Problem(id="example 7", question="What freezes at 0 C?\nA) iron\nB) water\nC) gold", answer="B", domain="choice"),
)
"""Problems whose rewards can be attacked where the user gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A response that must not earn what an honest one earns.

    Attributes:
        kind: a name of `ATTACKS`, or `near miss` with the change in brackets.
        text: the response.
    """

    kind: str
    text: str


def attacks(problem: Problem, form: ResponseForm) -> Iterator[Attack]:
    """The attacks on the reward of one problem; equal problems get equal attacks.

    Args:
        problem: its reference must itself be a right answer.
        form: the form in which an honest response gives its answer.

    Yields:
        Attacks, one at a time because some are long; none equals the honest response.
    """
    # An attack that comes out as the honest response is none: to pay for it is right.
    honest = form.response(problem, problem.answer)
    for kind, make in ATTACKS.items():
        for text in make(problem, form):
            if text != honest:
                yield Attack(kind=kind, text=text)

    if problem.domain == "math":
        yield from _near_misses(problem, form)


def _near_misses(problem: Problem, form: ResponseForm) -> Iterator[Attack]:
    """Responses whose answer is the reference with one change."""
    # Seeded by the problem, so that an audit finds the same holes whenever and in whatever order it is made.
    rng = generator("near misses", problem.question, problem.answer)
    draws = near_misses([problem.answer], NUM_NEAR_MISSES, rng)
    is_zero = not re.search(r"[1-9A-Za-z\\]", problem.answer)

    for kind, answer in dict.fromkeys((kind, answer) for kind, _, answer in draws):
        # Minus zero and twice zero are still zero.
        is_right = is_zero and kind in ("leading sign", "times two")
        if not is_right:
            yield Attack(kind=f"near miss ({kind})", text=form.response(problem, answer))


def _thinking(problem: Problem) -> str:
    """A sentence that says nothing about the answer, in the language of the question."""
    return _THINKING.get(problem.language, _THINKING["en"])


def _wrong_answers(problem: Problem) -> list[str]:
    """Wrong answers that look like the reference: other letters, or other numbers."""
    reference = problem.answer.strip()

    # Up to a hundred: `_spam` hides the reference among them.
    if re.fullmatch("[A-Z]", reference):
        return [letter for letter in "ABCDEFGHIJ" if letter != reference]
    if re.fullmatch("-?[0-9]{1,18}", reference, re.ASCII):
        return [str(int(reference) + distance) for distance in range(1, 101)]
    return [str(number) for number in range(101) if str(number) != reference]


def _several_answers(problem: Problem, form: ResponseForm) -> Iterator[str]:
    right = problem.answer
    wrong = _wrong_answers(problem)[0]
    thinking = f"<think>{_thinking(problem)}</think>"
    right_response = form.response(problem, right)
    wrong_response = form.response(problem, wrong)

    # In both orders: a reward may take the first answer or the last one.
    yield f"{thinking} <answer>{right}</answer> <answer>{wrong}</answer>"
    yield f"{thinking} <answer>{wrong}</answer> <answer>{right}</answer>"
    yield f"{thinking} <answer>\\boxed{{{wrong}}} \\boxed{{{right}}}</answer>"
    yield f"{right_response}\n{wrong_response}"
    yield f"{wrong_response}\n{right_response}"

    yield form.response(problem, f"{right} or {wrong}")
    yield form.response(problem, f"{wrong}, {right}")


def _echo(problem: Problem, form: ResponseForm) -> Iterator[str]:
    """Responses that answer with the question, or with a formula of it that is not the reference."""
    # Of the groups of a match, one for each notation of a formula, one holds it.
    matches = _FORMULA.findall(problem.question[:HUGE_CHARS])
    formulas = [next(filter(None, groups)) for groups in matches]
    reference = re.sub(r"\s", "", problem.answer)

    for echo in dict.fromkeys([problem.question, *formulas]):
        if re.sub(r"\s", "", echo) == reference:
            continue
        # A formula such as `x = 5` may name the answer of a question about x.
        if echo == problem.question or "=" not in echo:
            yield form.response(problem, echo)


def _empty(problem: Problem, form: ResponseForm) -> Iterator[str]:
    yield ""
    yield " \n\t\n"
    yield form.response(problem, "")
    yield "<think></think> <answer></answer>"


def _huge(problem: Problem, form: ResponseForm) -> Iterator[str]:
    """Responses of 100,000 characters, which must not take minutes to judge either."""
    unit = f"{problem.answer} "
    repeated = unit * (HUGE_CHARS // len(unit) + 1)
    yield form.response(problem, repeated[:HUGE_CHARS])

    # A number that Python refuses to print, and brackets deeper than any stack.
    yield form.response(problem, "9" * HUGE_CHARS)
    yield form.response(problem, "(" * HUGE_CHARS)

    open_tags = "<think>" * (HUGE_CHARS // len("<think>"))
    yield open_tags + form.response(problem, problem.answer)


def _look_alikes(problem: Problem, form: ResponseForm) -> Iterator[str]:
    right = problem.answer
    looks_alike = right.translate(_LOOK_ALIKES)
    if looks_alike != right:
        yield form.response(problem, looks_alike)

    # Shown from right to left, the reversed text looks like the reference.
    if right[::-1] != right:
        yield form.response(problem, _RIGHT_TO_LEFT + right[::-1] + _POP_DIRECTION)

    # The tags are ASCII; full-width brackets make other texts of them.
    yield f"<think>{_thinking(problem)}</think> \uff1canswer\uff1e{right}\uff1c/answer\uff1e"


def _invisible(problem: Problem, form: ResponseForm) -> Iterator[str]:
    """Answers of invisible characters alone, and the reference with an invisible character between any two."""
    yield form.response(problem, "".join(_INVISIBLE))
    if len(problem.answer) > 1:
        for character in _INVISIBLE:
            yield form.response(problem, character.join(problem.answer))


def _format_alone(problem: Problem, form: ResponseForm) -> Iterator[str]:
    yield form.response(problem, "the answer")
    yield f"<think>{_thinking(problem)}</think> <answer>...</answer>"
    yield "<think> reasoning process here </think> <answer> answer here </answer>"
    yield f"<think>{_thinking(problem)}</think> \\boxed{{}}"


def _in_thinking(problem: Problem, form: ResponseForm) -> Iterator[str]:
    right = problem.answer
    yield f"<think>The answer is {right}.</think> <answer></answer>"
    yield f"<think>The answer is \\boxed{{{right}}}.</think> I do not know."
    yield f"<think><answer>{right}</answer></think>"
    yield f"<think>The answer is \\boxed{{{right}}}."
    yield f"<think>{form.response(problem, right)}</think>"


def _spam(problem: Problem, form: ResponseForm) -> Iterator[str]:
    """The reference among a hundred numbers, or among the other letters."""
    answers = _wrong_answers(problem)[:99]
    answers.insert(len(answers) // 2, problem.answer)

    yield form.response(problem, ", ".join(answers))
    yield form.response(problem, "\n".join(answers))
    yield "\n".join(form.response(problem, answer) for answer in answers)


def _changed_by_words(problem: Problem, form: ResponseForm) -> Iterator[str]:
    right = problem.answer
    yield form.response(problem, f"not {right}")
    yield form.response(problem, f"anything but {right}")
    yield form.response(problem, f"{right} is wrong")
    yield form.response(problem, f"less than {right}")
    yield form.response(problem, f"{right} or not")


def _nested_tags(problem: Problem, form: ResponseForm) -> Iterator[str]:
    right = problem.answer
    wrong = _wrong_answers(problem)[0]
    thinking = _thinking(problem)
    yield f"<think>{thinking}</think> <answer>{wrong}<answer>{right}</answer></answer>"
    yield f"<think>{thinking}</think> <answer><answer>{right}</answer></answer>"
    yield f"<think>{thinking}</think> <answer>{right}<think>{wrong}</think></answer>"
    yield f"<think>{thinking}<think>{thinking}</think> <answer>{right}</answer>"


Maker = Callable[[Problem, ResponseForm], Iterator[str]]

ATTACKS: Final[dict[str, Maker]] = {
    "several answers": _several_answers,
    "echo of the question": _echo,
    "empty": _empty,
    "huge": _huge,
    "look-alike characters": _look_alikes,
    "invisible characters": _invisible,
    "format alone": _format_alone,
    "answer in the thinking only": _in_thinking,
    "spam": _spam,
    "changed by words": _changed_by_words,
    "nested tags": _nested_tags,
}
"""The function that makes the responses of each attack, by its name; near misses come in addition."""
