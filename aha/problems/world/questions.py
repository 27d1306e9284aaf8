"""The built-in world: problems in words, English and Chinese, split without overlap.

The split of a problem is a function of its content (`Content.key`), not of the draw that found it: a problem that is
ever trained on cannot be drawn for a test, in either language and in any wording.
"""

import hashlib
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from random import Random

from aha.problems.world.families import FAMILIES, Content
from aha.runs.seeds import generator
from aha.types import Problem

__all__ = ["SPLITS", "TrainingProblems", "draw_content", "draw_problem", "held_out_problems", "question", "split_of"]

SPLITS = ("train", "validation", "test", "hard")
"""`hard` lies beyond the training range; the other three share its levels and are disjoint."""

CHINESE_SHARE = 0.4
"""Share of problems asked in Chinese."""

_QUESTIONS = {
    ("arithmetic", "en"): "compute {problem}",
    ("arithmetic", "zh"): "计算 {problem}",
    ("linear", "en"): "solve {problem}",
    ("linear", "zh"): "解 {problem}",
    ("quadratic", "en"): "solve {problem}",
    ("quadratic", "zh"): "解 {problem}",
    ("pair", "en"): "find two of {numbers} that make {target}",
    ("pair", "zh"): "从 {numbers} 选两个得 {target}",
    ("countdown", "en"): "use {numbers} to make {target}",
    ("countdown", "zh"): "用 {numbers} 得 {target}",
}


def split_of(content: Content) -> str:
    """The split of a problem: 80 % train, 10 % validation, 10 % test by a hash of its key; harder levels are `hard`."""
    if content.level in FAMILIES[content.family].hard_levels:
        return "hard"
    bucket = int.from_bytes(hashlib.blake2b(content.key.encode(), digest_size=4).digest(), "little") % 10
    return {0: "test", 1: "validation"}.get(bucket, "train")


def draw_content(rng: Random, split: str, families: Sequence[str] = ()) -> Content:
    """Draws a problem of a split.

    Args:
        rng: the generator.
        split: one of `SPLITS`.
        families: the families to draw from, in proportion to their shares; empty for all.
    """
    names = list(families) or list(FAMILIES)
    name = rng.choices(names, weights=[FAMILIES[name].share for name in names])[0]
    family = FAMILIES[name]
    level = rng.choice(family.hard_levels if split == "hard" else family.levels)

    # Drawn again until its hash puts it into the split.
    while True:
        content = family.draw(rng, level)
        if split_of(content) == split:
            return content


def question(content: Content, language: str) -> str:
    """The problem in words."""
    numbers = " ".join(map(str, content.numbers))
    form = _QUESTIONS[content.family, language]
    return form.format(problem=_formula(content), numbers=numbers, target=content.target)


def _formula(content: Content) -> str:
    """The formula of an arithmetic problem or an equation; empty for other families."""
    numbers = content.numbers
    if content.family == "arithmetic":
        steps = [f"{operator} {number}" for operator, number in zip(content.operators, numbers[1:], strict=True)]
        return " ".join([str(numbers[0]), *steps])

    if content.family == "quadratic":
        lead = f"{numbers[0]} " if numbers[0] > 1 else ""
        return f"{lead}x ^ 2 - {numbers[1]} x + {numbers[2]} = 0"

    if content.family == "linear":
        return content.key.removeprefix("linear ")

    return ""


def draw_problem(rng: Random, split: str, *, families: Sequence[str] = ()) -> Problem:
    """Draws a problem of a split, in English or Chinese."""
    return _put_into_words(rng, draw_content(rng, split, families))


def _put_into_words(rng: Random, content: Content) -> Problem:
    """A problem in words, in a random language."""
    language = "zh" if rng.random() < CHINESE_SHARE else "en"
    text = question(content, language)
    return Problem(
        id=f"{content.family}/{language}/{text}",
        question=text,
        answer=content.answer,
        domain=content.family,
        language=language,
        level=content.level,
        split=split_of(content),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProblems:
    """The endless stream of training problems, which can be entered anywhere.

    Attributes:
        seed: run seed.
        families: the families to draw from; empty for all.
        is_shuffled: whether every problem gets the answer of another problem of its family: a control experiment, in
            which there is nothing to learn.
    """

    seed: int
    families: tuple[str, ...] = ()
    is_shuffled: bool = False

    @property
    def key(self) -> str:
        """Text that is equal for equal streams."""
        return repr(self)

    def __call__(self, start: int, count: int) -> list[Problem]:
        """Problems number `start` to `start + count`, every family with its share.

        One call is one draw: calls with another start or count give other problems.
        """
        rng = generator(self.seed, "training_problems", start)
        problems = [_put_into_words(rng, content) for content in _draw(rng, "train", count, self.families)]
        return _with_shuffled_answers(rng, problems) if self.is_shuffled else problems


def _draw(rng: Random, split: str, count: int, families: Sequence[str]) -> list[Content]:
    """Draws problems of a split; every family has its share, up to rounding."""
    names = list(families) or list(FAMILIES)
    ends = list(accumulate(FAMILIES[name].share for name in names))

    # Systematic sampling: evenly spaced points with one random offset.
    offset = rng.random()
    chosen = [names[bisect(ends, (position + offset) / count * ends[-1])] for position in range(count)]
    rng.shuffle(chosen)

    return [draw_content(rng, split, (name,)) for name in chosen]


def _with_shuffled_answers(rng: Random, problems: Sequence[Problem]) -> list[Problem]:
    """The same questions, each with the answer of a new random problem of its family."""
    shuffled = []
    for problem in problems:
        other = draw_content(rng, "train", (problem.domain,))
        shuffled.append(replace(problem, answer=other.answer))
    return shuffled


def held_out_problems(split: str, count: int, *, seed: int = 0, families: Sequence[str] = ()) -> list[Problem]:
    """A fixed set of different problems of a split; every family has its share, if it has that many problems.

    Args:
        split: `validation`, `test` or `hard` (or `train`, to look at overfitting).
        count: number of problems.
        seed: names the set; equal seeds give equal sets.
        families: the families to draw from; empty for all.

    Raises:
        ValueError: there is no such split, or it holds fewer different problems.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}: the built-in world has {', '.join(SPLITS)}")
    return list(_held_out(split, count, seed, tuple(families)))


# Every evaluation of a run asks for the same few sets.
@lru_cache(maxsize=32)
def _held_out(split: str, count: int, seed: int, families: tuple[str, ...]) -> tuple[Problem, ...]:
    """The problems of `held_out_problems`.

    Raises:
        ValueError: the split holds fewer different problems.
    """
    rng = generator(seed, "held_out_problems", split)
    problems: dict[str, Problem] = {}

    for _ in range(50):
        for content in _draw(rng, split, count, families):
            if content.key not in problems:
                problems[content.key] = _put_into_words(rng, content)
            if len(problems) == count:
                return tuple(problems.values())

    raise ValueError(
        f"the {split} split has fewer than {count} different problems of {', '.join(families) or 'all families'}"
    )
