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

_PARTS = 1_000_000  # shares of a stream are whole parts of this, so that the counts of each set are exact


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

    ranked = _sort_by_hash(problems, str(seed))
    held_out = [replace(problem, split=split) for problem in ranked[:num]]
    held_out_ids = {problem.id for problem in held_out}
    rest = [problem for problem in problems if problem.id not in held_out_ids]

    # The faults are those of the file: they stay with the rest, and are not reported twice.
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

    sizes = []
    remainders = []
    for problem_set in sets:
        share, remainder = divmod(len(problem_set) * num, total)
        at_least = min(len(problem_set), 1)
        sizes.append(max(share, at_least))
        remainders.append(remainder)

    # The largest remainders get what rounding down leaves over. Nothing is left over where small sets got their one.
    left_over = max(num - sum(sizes), 0)
    by_remainder = sorted(range(len(sets)), key=lambda index: -remainders[index])
    for index in by_remainder[:left_over]:
        sizes[index] += 1

    samples = []
    for problem_set, size in zip(sets, sizes, strict=True):
        ranked = _sort_by_hash(problem_set, "sample")
        chosen = {problem.id for problem in ranked[:size]}
        sample = [problem for problem in problem_set if problem.id in chosen]
        samples.append(replace(problem_set, problems=sample))
    return samples


def exclude_questions(problems: ProblemSet, others: Iterable[Problem]) -> tuple[ProblemSet, list[Problem]]:
    """Removes the questions from a set that other problems ask too; case and blanks do not matter.

    Args:
        problems: the set.
        others: the problems whose questions are removed, such as those of the validation or test split.

    Returns:
        The rest of the set, and the problems removed.
    """
    questions = {_normal_question(problem) for problem in others}
    rest: list[Problem] = []
    removed: list[Problem] = []
    for problem in problems:
        side = removed if _normal_question(problem) in questions else rest
        side.append(problem)

    says = problems.says
    if removed:
        says = f"{says}, but {len(removed):,} that another split asks too"
    return replace(problems, problems=rest, says=says), removed


def _normal_question(problem: Problem) -> str:
    """The question without case and blanks; equal for questions that count as the same."""
    words = problem.question.casefold().split()
    return " ".join(words)


def _sort_by_hash(problems: Iterable[Problem], salt: str) -> list[Problem]:
    """Problems in the order of a hash of their questions, which neither their order nor other problems change."""

    def rank(problem: Problem) -> bytes:
        text = f"{salt}\0{_normal_question(problem)}"
        return hashlib.sha256(text.encode()).digest()

    return sorted(problems, key=rank)


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
        # A digest of the problems stands for the file, which may be renamed or moved between two runs.
        parts = []
        for weight, problems in zip(self.weights, self.sets, strict=True):
            parts.append(f"{weight} of {digest(problems)}")
        return f"problems of files, seed {self.seed}: {', '.join(parts)}"

    def __call__(self, start: int, count: int) -> list[Problem]:
        """Problems number `start` to `start + count`; each set has its share, up to rounding."""
        starts = self._shares(start)
        stops = self._shares(start + count)

        problems: list[Problem] = []
        for index in range(len(self.sets)):
            problems += self._part(index, starts[index], stops[index])
        return problems

    def _shares(self, total: int) -> list[int]:
        """How many of the first `total` problems belong to each set; no number ever falls as the total grows."""
        shares = []
        rest = total
        # Each set takes its share of what the sets before it have left, so that rounded shares still sum to the total.
        for index, weight in enumerate(self.weights):
            remaining_weight = sum(self.weights[index:])
            share = rest * weight // remaining_weight
            shares.append(share)
            rest -= share
        return shares

    def _part(self, index: int, start: int, stop: int) -> list[Problem]:
        """Problems number `start` to `stop` of the stream of a single set: one epoch after the other."""
        problems = self.sets[index]
        part = []
        while start < stop:
            epoch, offset = divmod(start, len(problems))
            order = _order(self.seed, index, epoch, len(problems))
            indices = order[offset : offset + stop - start]
            part += [problems[position] for position in indices]
            start += len(indices)
        return part


@lru_cache(maxsize=8)
def _order(seed: int, index: int, epoch: int, size: int) -> tuple[int, ...]:
    """The order of a set in an epoch: shuffled, and different at its start from the end of the epoch before.

    An iteration of up to a quarter of the set therefore has no problem twice where two epochs meet.
    """
    order = _shuffle(seed, index, epoch, size)
    if epoch == 0:
        return tuple(order)

    # Swaps never reach the last quarter: a plain shuffle tells how the epoch before ended.
    quarter = size // 4
    previous = _shuffle(seed, index, epoch - 1, size)
    recent = set(previous[size - quarter :])

    # The second and third quarter hold enough problems that are not recent, to swap with.
    middle = range(quarter, 3 * quarter)
    spares = iter([position for position in middle if order[position] not in recent])
    for position in range(quarter):
        if order[position] in recent:
            other = next(spares)
            order[position], order[other] = order[other], order[position]

    return tuple(order)


def _shuffle(seed: int, index: int, epoch: int, size: int) -> list[int]:
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
    sizes = [len(problem_set) for problem_set in sets]
    shares = [float(weight) for weight in weights or sizes]
    are_positive = all(0 < share < float("inf") for share in shares)
    if not sets or len(shares) != len(sets) or not are_positive:
        raise ValueError(f"{len(sets)} problem sets need a positive weight each, not {list(weights)}")

    empty = [problem_set.name for problem_set in sets if not len(problem_set)]
    if empty:
        raise ValueError(f"problem set {empty[0]!r} is empty")

    ids = [problem.id for problem_set in sets for problem in problem_set]
    if len(set(ids)) < len(ids):
        raise ValueError("two problem sets share problems: give each its own name, or leave one out")

    streams = []
    for problem_set in sets:
        streams.append(tuple(replace(problem, split=split) for problem in problem_set))

    # At least one part each: a set whose share rounds to zero would never be read.
    total = sum(shares)
    parts = [round(share / total * _PARTS) for share in shares]
    return FileProblems(sets=tuple(streams), weights=tuple(max(part, 1) for part in parts), seed=seed)
