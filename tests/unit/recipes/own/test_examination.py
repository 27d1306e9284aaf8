"""What a model is examined on is never learned."""

import pytest

from aha.problems.datasets.sets import ProblemSet
from aha.problems.responses.reading import RowSet
from aha.recipes.own.examination import without_overlaps
from aha.types import Demonstration, Problem

LONG = "how many of the seven red hens lay eggs on the first day of may"


def asked(*questions: str) -> RowSet[Demonstration]:
    items = [
        Demonstration(problem_id=str(index), question=one, response="7", domain="own", language="en", source="rows")
        for index, one in enumerate(questions)
    ]
    return RowSet(items=items, places=[f"rows.jsonl:{index + 1}" for index in range(len(items))], says="rows")


def held_out(*questions: str) -> list[ProblemSet]:
    problems = [Problem(id=one, question=one, answer="7", domain="text") for one in questions]
    return [ProblemSet(name="test", problems=problems)]


def test_ten_words_in_a_row_are_an_overlap() -> None:
    learned = asked("what is 3 + 4", f"say {LONG}", "what is 5 + 6")
    clean = without_overlaps(learned, held_out(f"{LONG}, and why?"))
    assert [one.question for one in clean.items] == ["what is 3 + 4", "what is 5 + 6"]
    assert clean.places == ["rows.jsonl:1", "rows.jsonl:3"]


def test_without_a_test_all_is_learned() -> None:
    learned = asked(LONG)
    assert without_overlaps(learned, []) is learned
    assert without_overlaps(learned, held_out("another question")).items == learned.items


def test_nothing_left_is_refused() -> None:
    with pytest.raises(ValueError, match="no demonstration is left beside the test problems"):
        without_overlaps(asked(LONG), held_out(LONG))
