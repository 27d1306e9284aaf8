"""Splits of problem files: training problems as an endless stream, and problems held out from training.

Source: DeepSeek-R1, arXiv:2501.12948v2, D.1: no evaluation problem is trained on. Ours: how a file is divided.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from aha.problems.datasets.sets import ProblemSet, digest
from aha.runs.seeds import generator
from aha.types import Problem

__all__ = ["FileProblems", "draw_sample", "exclude_questions", "file_problems", "hold_out"]

_PARTS = 1_000_000


def hold_out(
    problems: ProblemSet, num: int, *, seed: int = 0, split: str = "validation"
) -> tuple[ProblemSet, ProblemSet]:
    """Divides a set in two.

    A hash of its question decides whether a problem is held out, so that the order of the file does not matter, and few
    problems change sides when a file grows.

    Args:
        problems: the set.
        num: number of problems to hold out, 1 <= num < the size of the set.
        seed: names the division.
        split: the split of the problems held out.

    Returns:
        The rest, in the order of the set, and the problems held out, in the order of their hashes.

    Raises:
        ValueError: num is out of range.
    """
    if not 1 <= num < len(problems):
        raise ValueError(f"{num} of {len(problems)} problems cannot be held out: 1 to {len(problems) - 1} can")

    ranked = sorted(problems, key=lambda problem: hashlib.sha256(f"{seed}\0{_same(problem)}".encode()).digest())
    held_out = [replace(problem, split=split) for problem in ranked[:num]]
    held_out_ids = {problem.id for problem in held_out}
    rest = [problem for problem in problems if problem.id not in held_out_ids]

    rest_says = f"{problems.says}, but {num:,} held out"
    held_out_says = f"{num:,} held out of {problems.says}"
    return (
        replace(problems, problems=rest, says=rest_says),
        replace(problems, problems=held_out, says=held_out_says, faults=(), num_faults=0),
    )


def draw_sample(sets: Sequence[ProblemSet], num: int) -> list[ProblemSet]:
    """Draws a fixed sample over several sets: of each in proportion to its size, and at least one problem.

    Args:
        sets: the sets.
        num: size of the sample, num >= 1; if the sets have no more problems than that, they are returned unchanged.

    Returns:
        One set for each, with its problems in the order of the file. A hash of its question decides whether a problem
        is drawn.
    """
    total = sum(map(len, sets))
    if total <= num:
        return list(sets)

    sizes = [max(len(problem_set) * num // total, min(len(problem_set), 1)) for problem_set in sets]
    # The largest remainders get what rounding down leaves over.
    by_loss = sorted(range(len(sets)), key=lambda index: -(len(sets[index]) * num % total))
    for index in by_loss[: max(num - sum(sizes), 0)]:
        sizes[index] += 1

    parts = []
    for problem_set, size in zip(sets, sizes, strict=True):
        ranked = sorted(problem_set, key=lambda problem: hashlib.sha256(f"sample\0{_same(problem)}".encode()).digest())
        chosen = {problem.id for problem in ranked[:size]}
        parts.append(replace(problem_set, problems=[problem for problem in problem_set if problem.id in chosen]))

    return parts


def exclude_questions(problems: ProblemSet, others: Iterable[Problem]) -> tuple[ProblemSet, list[Problem]]:
    """Removes the questions from a set that other problems ask too; case and blanks do not matter.

    Args:
        problems: the set.
        others: the problems whose questions are removed, such as those of the validation or test split.

    Returns:
        The rest of the set, and the problems removed.
    """
    questions = {_same(problem) for problem in others}
    rest = [problem for problem in problems if _same(problem) not in questions]
    removed = [problem for problem in problems if _same(problem) in questions]

    says = problems.says
    if removed:
        says = f"{says}, but {len(removed):,} that another split asks too"
    return replace(problems, problems=rest, says=says), removed


def _same(problem: Problem) -> str:
    """The question without case and blanks; equal for questions that count as the same."""
    return " ".join(problem.question.casefold().split())


@dataclass(frozen=True, kw_only=True)
class FileProblems:
    """The endless stream of training problems of one or several sets, with random access.

    Each set is shuffled for each of its epochs, in which each of its problems occurs once. A problem depends only on
    its number in the stream, so that the number of problems of an iteration may change in the middle of a run.

    Attributes:
        sets: the problems of each set.
        weights: share of each set in every part of the stream, in whole parts per million.
        seed: run seed.
    """

    sets: tuple[tuple[Problem, ...], ...]
    weights: tuple[int, ...]
    seed: int

    @cached_property
    def key(self) -> str:
        """Text that is equal for equal streams."""
        parts = (f"{weight} of {digest(problems)}" for weight, problems in zip(self.weights, self.sets, strict=True))
        return f"problems of files, seed {self.seed}: {', '.join(parts)}"

    def __call__(self, start: int, count: int) -> list[Problem]:
        """Problems number `start` to `start + count`; each set has its share, up to rounding."""
        before = self._shares(start)
        after = self._shares(start + count)

        problems: list[Problem] = []
        for index, (first, stop) in enumerate(zip(before, after, strict=True)):
            problems += self._part(index, first, stop)
        return problems

    def _shares(self, total: int) -> list[int]:
        """How many of the first `total` problems belong to each set; no number ever falls as the total grows."""
        shares = []
        rest = total
        for index, weight in enumerate(self.weights):
            share = rest * weight // sum(self.weights[index:])
            shares.append(share)
            rest -= share
        return shares

    def _part(self, index: int, start: int, stop: int) -> list[Problem]:
        """Problems number `start` to `stop` of the stream of a single set: one epoch after the other."""
        problems = self.sets[index]
        part = []
        while start < stop:
            epoch, offset = divmod(start, len(problems))
            indices = _order(self.seed, index, epoch, len(problems))[offset : offset + stop - start]
            part += [problems[position] for position in indices]
            start += len(indices)
        return part


@lru_cache(maxsize=8)
def _order(seed: int, index: int, epoch: int, size: int) -> tuple[int, ...]:
    """The order of a set in an epoch: shuffled, and different at its start from the end of the epoch before.

    An iteration of up to a quarter of the set therefore has no problem twice where two epochs meet.
    """
    order = _shuffled(seed, index, epoch, size)
    quarter = size // 4
    recent = set(_shuffled(seed, index, epoch - 1, size)[size - quarter :]) if epoch else set()
    # The second and third quarter hold enough problems that are not recent, to swap with.
    spares = iter([position for position in range(quarter, 3 * quarter) if order[position] not in recent])
    for position in range(quarter):
        if order[position] in recent:
            other = next(spares)
            order[position], order[other] = order[other], order[position]

    return tuple(order)


def _shuffled(seed: int, index: int, epoch: int, size: int) -> list[int]:
    order = list(range(size))
    generator(seed, "file_problems", index, epoch).shuffle(order)
    return order


def file_problems(
    sets: Sequence[ProblemSet], *, seed: int, weights: Sequence[float] = (), split: str = "train"
) -> FileProblems:
    """Makes a stream of training problems.

    Args:
        sets: one or several sets.
        seed: run seed.
        weights: share of each set, in any positive unit; empty for shares in proportion to their sizes.
        split: the split of the problems.

    Raises:
        ValueError: there is no set, a set is empty, two problems have the same id, or the weights are not one positive
            number for each set.
    """
    shares = [float(weight) for weight in weights] or [float(len(problem_set)) for problem_set in sets]
    if len(shares) != len(sets) or not sets or not all(0 < share < float("inf") for share in shares):
        raise ValueError(f"{len(sets)} problem sets need a positive weight each, not {list(weights)}")

    empty = [problem_set.name for problem_set in sets if not len(problem_set)]
    if empty:
        raise ValueError(f"problem set {empty[0]!r} is empty")

    ids = [problem.id for problem_set in sets for problem in problem_set]
    if len(set(ids)) < len(ids):
        raise ValueError("two problem sets share problems: give each its own name, or leave one out")

    parts = tuple(max(round(share / sum(shares) * _PARTS), 1) for share in shares)
    problems = tuple(tuple(replace(problem, split=split) for problem in problem_set) for problem_set in sets)
    return FileProblems(sets=problems, weights=parts, seed=seed)
