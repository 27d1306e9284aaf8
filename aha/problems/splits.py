"""Problems for training and problems kept from it, and the endless stream of the former.

Source: DeepSeek-R1, arXiv:2501.12948v2, D.1: no evaluation problem is trained on. Ours: how a file is divided.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from aha.problems.datasets.sets import ProblemSet, digest
from aha.runs.seeds import generator
from aha.types import Problem

__all__ = ["FileProblems", "draw_sample", "file_problems", "hold_out", "without"]

_PARTS = 1_000_000


def hold_out(
    problems: ProblemSet, num: int, *, seed: int = 0, split: str = "validation"
) -> tuple[ProblemSet, ProblemSet]:
    """Divide a set in two.

    A problem is held out by a hash of its question, so that the order of the file does not matter and a file that
    grows moves few problems.

    Args:
        problems: the set.
        num: how many to hold out, 1 <= num < the size of the set.
        seed: names the division.
        split: what the held-out problems are called.

    Returns:
        The rest, in its order, and the problems held out, in the order of their hashes.

    Raises:
        ValueError: the set is too small for that.
    """
    if not 1 <= num < len(problems):
        raise ValueError(f"{num} of {len(problems)} problems cannot be held out: 1 to {len(problems) - 1} can")
    ranked = sorted(problems, key=lambda problem: hashlib.sha256(f"{seed}\0{_same(problem)}".encode()).digest())
    kept_out = {problem.id for problem in ranked[:num]}
    rest = [problem for problem in problems if problem.id not in kept_out]
    held = [replace(problem, split=split) for problem in ranked[:num]]
    return (
        replace(problems, problems=rest, says=f"{problems.says}, but {num:,} held out"),
        replace(problems, problems=held, says=f"{num:,} held out of {problems.says}", faults=(), num_faults=0),
    )


def draw_sample(sets: Sequence[ProblemSet], num: int) -> list[ProblemSet]:
    """A fixed sample over several sets: of each in proportion to its size, and one problem at least.

    Args:
        sets: the sets.
        num: size of the sample, num >= 1; where the sets have no more problems than that, they are returned as they
            are.

    Returns:
        As many sets, each with its problems in the order of the file. A hash of its question decides about a problem.
    """
    total = sum(map(len, sets))
    if total <= num:
        return list(sets)

    sizes = [max(len(one) * num // total, min(len(one), 1)) for one in sets]
    # What rounding leaves over goes to those that lost most by it.
    by_loss = sorted(range(len(sets)), key=lambda index: -(len(sets[index]) * num % total))
    for index in by_loss[: max(num - sum(sizes), 0)]:
        sizes[index] += 1

    parts = []
    for one, size in zip(sets, sizes, strict=True):
        ranked = sorted(one, key=lambda problem: hashlib.sha256(f"sample\0{_same(problem)}".encode()).digest())
        chosen = {problem.id for problem in ranked[:size]}
        parts.append(replace(one, problems=[problem for problem in one if problem.id in chosen]))
    return parts


def without(problems: ProblemSet, others: Iterable[Problem]) -> tuple[ProblemSet, list[Problem]]:
    """A set without the questions that others ask too, but for upper case and blanks.

    Args:
        problems: the set.
        others: problems that must not be in it: of the validation or the test split.

    Returns:
        The set, and what was taken from it.
    """
    asked = {_same(problem) for problem in others}
    kept = [problem for problem in problems if _same(problem) not in asked]
    dropped = [problem for problem in problems if _same(problem) in asked]
    says = f"{problems.says}, but {len(dropped):,} that another split asks too" if dropped else problems.says
    return replace(problems, problems=kept, says=says), dropped


def _same(problem: Problem) -> str:
    """What makes two questions the same."""
    return " ".join(problem.question.casefold().split())


@dataclass(frozen=True, kw_only=True)
class FileProblems:
    """The endless stream of training problems of one or several sets, any part of which can be had at once.

    Every set is shuffled anew for each of its epochs, in which each of its problems comes once. What is asked next
    follows from how many problems were asked before, so that the number of problems of an iteration may change.

    Attributes:
        sets: the problems of each set.
        weights: share of each set in every part of the stream, in whole parts of a million.
        seed: run seed.
    """

    sets: tuple[tuple[Problem, ...], ...]
    weights: tuple[int, ...]
    seed: int

    @cached_property
    def key(self) -> str:
        """What decides the stream."""
        parts = (f"{weight} of {digest(problems)}" for weight, problems in zip(self.weights, self.sets, strict=True))
        return f"problems of files, seed {self.seed}: {', '.join(parts)}"

    def __call__(self, start: int, count: int) -> list[Problem]:
        """Problems number `start` to `start + count`, of every set its share as nearly as whole numbers allow."""
        before, after = self._shares(start), self._shares(start + count)
        return [
            problem
            for index, (first, stop) in enumerate(zip(before, after, strict=True))
            for problem in self._part(index, first, stop)
        ]

    def _shares(self, total: int) -> list[int]:
        """How many of the first problems of the stream are of each set; no share ever shrinks as the total grows."""
        shares, rest = [], total
        for index, weight in enumerate(self.weights):
            share = rest * weight // sum(self.weights[index:])
            shares.append(share)
            rest -= share
        return shares

    def _part(self, index: int, start: int, stop: int) -> list[Problem]:
        """Problems number start to stop of the stream of a set, which is one epoch after the other."""
        problems, part = self.sets[index], []
        while start < stop:
            epoch, place = divmod(start, len(problems))
            taken = _order(self.seed, index, epoch, len(problems))[place : place + stop - start]
            part += [problems[one] for one in taken]
            start += len(taken)
        return part


@lru_cache(maxsize=8)
def _order(seed: int, index: int, epoch: int, size: int) -> tuple[int, ...]:
    """The order of a set in an epoch: shuffled, and its first quarter without the last quarter of the epoch before.

    An iteration that takes up to a quarter of the set therefore has no problem twice where two epochs meet.
    """
    order = _shuffled(seed, index, epoch, size)
    quarter = size // 4
    recent = set(_shuffled(seed, index, epoch - 1, size)[size - quarter :]) if epoch else set()
    spare = iter([place for place in range(quarter, 3 * quarter) if order[place] not in recent])
    for place in range(quarter):
        if order[place] in recent:
            other = next(spare)
            order[place], order[other] = order[other], order[place]
    return tuple(order)


def _shuffled(seed: int, index: int, epoch: int, size: int) -> list[int]:
    order = list(range(size))
    generator(seed, "file_problems", index, epoch).shuffle(order)
    return order


def file_problems(
    sets: Sequence[ProblemSet], *, seed: int, weights: Sequence[float] = (), split: str = "train"
) -> FileProblems:
    """A stream of training problems.

    Args:
        sets: one or several.
        seed: run seed.
        weights: share of each set, any positive unit; in proportion to their sizes where empty.
        split: what the problems are called.

    Raises:
        ValueError: no set, an empty one, two problems of one id, or weights that are not one positive number for each.
    """
    shares = [float(weight) for weight in weights] or [float(len(one)) for one in sets]
    if len(shares) != len(sets) or not sets or not all(0 < share < float("inf") for share in shares):
        raise ValueError(f"{len(sets)} problem sets need a positive weight each, not {list(weights)}")
    empty = [one.name for one in sets if not len(one)]
    if empty:
        raise ValueError(f"problem set {empty[0]!r} is empty")
    ids = [problem.id for one in sets for problem in one]
    if len(set(ids)) < len(ids):
        raise ValueError("two problem sets share problems: give each its own name, or leave one out")
    parts = tuple(max(round(share / sum(shares) * _PARTS), 1) for share in shares)
    problems = tuple(tuple(replace(problem, split=split) for problem in one) for one in sets)
    return FileProblems(sets=problems, weights=parts, seed=seed)
