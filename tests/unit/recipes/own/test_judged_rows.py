"""Rankings of a user's own: how they are divided, and what of a response a reward model reads."""

import random

import pytest

from aha.problems.responses.preferences import Judged, JudgedSet
from aha.problems.responses.reading import RowSet
from aha.prompts.templates import bare, r1
from aha.recipes.own.judged_rows import as_preferences, divided, without


def ranked(*rows: Judged) -> JudgedSet:
    return RowSet(items=rows, places=[f"rows.jsonl:{index + 1}" for index in range(len(rows))], says="some rankings")


def row(question: str, *responses: str, name: str = "") -> Judged:
    qualities = tuple(float(-index) for index in range(len(responses)))
    return Judged(id=name or question, question=question, responses=responses, qualities=qualities)


def rows_of(num_questions: int) -> list[Judged]:
    """Two rows for every question."""
    questions = [f"question {number}" for number in range(num_questions)]
    return [row(text, "yes", "no", name=f"{text} {turn}") for turn in "ab" for text in questions]


@pytest.mark.parametrize(
    ("num_questions", "most", "num_held_out"),
    [(2, 1000, 1), (4, 1000, 1), (14, 1000, 1), (16, 1000, 2), (40, 1000, 4), (40, 3, 3), (40, 1, 1)],
)
def test_a_tenth_of_the_questions_is_held_out_with_all_their_rows(
    num_questions: int, most: int, num_held_out: int
) -> None:
    learned, held_out = divided(ranked(*rows_of(num_questions)), most)
    questions = {each.question for each in held_out.items}
    assert (len(questions), len(held_out)) == (num_held_out, 2 * num_held_out)
    assert questions.isdisjoint(each.question for each in learned.items)
    assert len(learned) + len(held_out) == 2 * num_questions
    assert [int(place.split(":")[1]) for place in learned.places] == sorted(
        int(place.split(":")[1]) for place in learned.places
    )


def test_what_is_held_out_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = rows_of(40)
    _, held_out = divided(ranked(*rows), 1000)
    random.Random(0).shuffle(rows)
    _, again = divided(ranked(*rows), 1000)
    assert {each.id for each in held_out.items} == {each.id for each in again.items}
    # A hash picks them, so that they are not simply the first ones.
    assert {each.question for each in held_out.items} != {f"question {number}" for number in range(4)}


def test_one_question_alone_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match=r"^some rankings: they ask one question alone, and the model is examined on"):
        divided(ranked(*rows_of(1)), 1000)


def test_no_question_of_the_examination_is_learned() -> None:
    rows = ranked(*rows_of(3))
    rest = without(rows, ranked(row("question 1", "other", "responses")))
    assert [each.id for each in rest.items] == ["question 0 a", "question 2 a", "question 0 b", "question 2 b"]
    assert rest.places == ["rows.jsonl:1", "rows.jsonl:3", "rows.jsonl:4", "rows.jsonl:6"]
    with pytest.raises(ValueError, match=r"^every question of the training rows is asked by --held-out too"):
        without(rows, rows)


def test_of_a_response_the_summary_is_read_or_all_of_it() -> None:
    rows = ranked(
        row("one", "<think> a </think> first", "second", "<think> endless", "<think> b </think> <answer> 4 </answer>"),
        row("two", "<think> endless", "<think> too"),
    )
    (summaries,) = as_preferences(rows, r1, "summary", "learned from")
    assert (summaries.problem_id, summaries.prompt, summaries.source) == ("one", r1("one"), "given")
    # What is left out takes its label with it.
    assert tuple(text.strip() for text in summaries.responses) == ("first", "second", "4")
    assert summaries.qualities == (0.0, -1.0, -3.0)

    whole = as_preferences(rows, bare, "response", "learned from")
    assert [(each.prompt, each.responses, each.qualities) for each in whole] == [
        (each.question, each.responses, each.qualities) for each in rows.items
    ]


def test_rows_without_a_summary_are_refused_with_the_remedy() -> None:
    complaint = "^some rankings: of the rows examined on no response has a summary: --reads response takes all of it$"
    with pytest.raises(ValueError, match=complaint):
        as_preferences(ranked(row("two", "<think> endless", "<think> too")), r1, "summary", "examined on")
