"""References that the verifier cannot read: named with their rows, or left out and counted."""

import pytest

from aha.problems.datasets.sets import Fault, ProblemSet
from aha.recipes.own.references import NUM_NAMED, with_readable_references
from aha.types import Problem

TORN = r"\frac{3}{"


def read(*answers: str, domain: str = "math") -> ProblemSet:
    """A file of two faulty rows and these answers, the first of them in line 10."""
    problems = [
        Problem(id=f"p{number}", question="?", answer=answer, domain=domain) for number, answer in enumerate(answers)
    ]
    places = {problem.id: f"rows.jsonl:{10 + number}" for number, problem in enumerate(problems)}
    before = (Fault(place="rows.jsonl:1", reason="no question"), Fault(place="rows.jsonl:2", reason="no question"))
    return ProblemSet(name="rows", problems=problems, says="read", faults=before, num_faults=2, places=places)


def test_readable_references_and_other_domains_are_left_as_they_are() -> None:
    for given in (read("3", r"\frac12"), read(TORN, domain="code")):
        assert with_readable_references(given, "stop") is given


def test_each_row_is_named_and_the_way_out() -> None:
    with pytest.raises(ValueError, match="cannot be read") as failure:
        with_readable_references(read("3", TORN, "4", TORN), "stop")
    first, *rows, last = str(failure.value).splitlines()
    assert first == "rows: 2 reference answers cannot be read"
    assert [row.split(": ")[0] for row in rows] == ["rows.jsonl:11", "rows.jsonl:13"]
    assert last == "--bad-rows skip leaves them out"


def test_no_more_rows_are_named_than_can_be_read_and_the_rest_is_counted() -> None:
    with pytest.raises(ValueError, match="cannot be read") as failure:
        with_readable_references(read("3", *[TORN] * (NUM_NAMED + 7)), "stop")
    lines = str(failure.value).splitlines()
    assert sum(line.startswith("rows.jsonl:") for line in lines) == NUM_NAMED
    assert lines[-2] == "and 7 more"
    with pytest.raises(ValueError, match="cannot be read") as failure:
        with_readable_references(read("3", *[TORN] * NUM_NAMED), "stop")
    assert "more" not in str(failure.value)


def test_where_none_can_be_read_skipping_is_no_way_out() -> None:
    for on_bad in ("stop", "skip"):
        with pytest.raises(ValueError, match="rows: 2 reference") as failure:
            with_readable_references(read(TORN, TORN), on_bad)
        assert "skip" not in str(failure.value)


def test_problems_that_are_skipped_are_counted_with_the_rows_before() -> None:
    kept = with_readable_references(read("3", TORN, "4"), "skip")
    assert [problem.id for problem in kept.problems] == ["p0", "p2"]
    assert kept.num_faults == 3
    assert [fault.place for fault in kept.faults] == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:11"]
    assert kept.says == "read (1 with reference answers that cannot be read left out)"
