"""Reference answers of files that the verifier of mathematics cannot read: named all at once, or left out."""

from dataclasses import replace
from typing import Literal

from aha.problems.datasets.sets import Fault, ProblemSet
from aha.rewards.verifier import gold_fault

__all__ = ["MATHEMATICS", "with_readable_references"]

MATHEMATICS = ("math",)
"""Domains that the verifier of mathematics judges."""

NUM_NAMED = 50
"""Most rows that an error names."""


def with_readable_references(read: ProblemSet, on_bad: Literal["stop", "skip"]) -> ProblemSet:
    """Problems whose reference answer can be compared with.

    Args:
        read: problems of a file.
        on_bad: whether a reference that cannot be read stops the reading, or its problem is left out and counted.

    Raises:
        ValueError: some cannot be read and rows are not skipped, or none can: each with its file and line.
    """
    reasons: dict[str, str] = {}
    for problem in read.problems:
        reason = gold_fault(problem.answer) if problem.domain in MATHEMATICS else None
        if reason:
            reasons[problem.id] = reason
    if not reasons:
        return read

    # Problems that were generated have no place in a file.
    faults = [Fault(place=read.places.get(id, id), reason=reason) for id, reason in reasons.items()]
    readable = [problem for problem in read.problems if problem.id not in reasons]
    if on_bad == "stop" or not readable:
        named = "\n".join(map(str, faults[:NUM_NAMED]))
        more = f"\nand {len(faults) - NUM_NAMED:,} more" if len(faults) > NUM_NAMED else ""
        remedy = "\n--bad-rows skip leaves them out" if readable else ""
        raise ValueError(f"{read.name}: {len(faults):,} reference answers cannot be read\n{named}{more}{remedy}")

    return replace(
        read,
        problems=readable,
        says=f"{read.says} ({len(faults):,} with reference answers that cannot be read left out)",
        faults=(*read.faults, *faults),
        num_faults=read.num_faults + len(faults),
    )
