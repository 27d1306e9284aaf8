"""How files are divided into what is trained on, watched and examined, by numbers at their limits."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from aha.problems.datasets.sets import ProblemSet
from aha.prompts.templates import Template, bare, r1, r1_zero
from aha.recipes.base_model import open_base
from aha.recipes.own.assignment import NUM_SHOWN, _divided, _named_suites, apart, assigned
from aha.recipes.own.judging import judges, rules_of
from aha.recipes.own.own_data import OwnData
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig
from aha.rewards.format import format_reward as zero_format
from aha.rewards.summary import format_reward
from aha.types import Problem


def numbered(name: str, count: int) -> ProblemSet:
    problems = [
        Problem(id=f"{name}/{n}", question=f"{name} number {n}", answer="1", domain="text") for n in range(count)
    ]
    return ProblemSet(name=name, problems=problems)


def test_each_set_gives_its_share_and_a_fifth_at_most() -> None:
    for sizes, num, shares in [
        ((100,), 20, (20,)),
        ((100,), 21, (20,)),
        ((100,), 1, (1,)),
        ((100, 50), 15, (10, 5)),
        ((100, 50), 16, (11, 6)),
        ((100, 4), 3, (3, 0)),
        ((5, 5), 1, (1, 1)),
        ((4, 9, 10), 200, (0, 1, 2)),
        ((0, 10), 1, (0, 1)),
    ]:
        sets = [numbered(f"set{place}", size) for place, size in enumerate(sizes)]
        train, held = _divided(sets, num, "test")
        assert tuple(map(len, held)) == shares, (sizes, num, shares)
        for one, rest, out in zip(sets, train, held, strict=True):
            assert {problem.id for problem in one} == {problem.id for problem in (*rest, *out)}
            assert len(rest) + len(out) == len(one)
            assert {problem.split for problem in out} <= {"test"}


@pytest.mark.parametrize(
    ("names", "suites"),
    [
        (["a"], ["a"]),
        (["a", "b"], ["a", "b"]),
        (["a", "a", "b", "a"], ["a", "a_2", "b", "a_3"]),
        (["b", "a", "c", "b"], ["b", "a", "c", "b_2"]),
        (["b", "b", "a"], ["b", "b_2", "a"]),
        (["ab", "a", "abc"], ["ab", "a", "abc"]),
    ],
)
def test_a_second_set_of_a_name_has_a_number(names: list[str], suites: list[str]) -> None:
    sets = [numbered(name, 1 + place) for place, name in enumerate(names)]
    found = _named_suites(sets)
    assert list(found) == suites
    assert [len(problems) for problems in found.values()] == [len(one) for one in sets]


WORDS = "one two three four five six seven eight nine ten eleven twelve"


def test_what_overlaps_is_counted_by_its_set() -> None:
    """A question that is asked, too, and one that has ten words in a row with it; nine are no overlap."""
    held_out = ProblemSet(name="test", problems=[Problem(id="t", question=WORDS, answer="1", domain="text")])
    nine, ten = (" ".join(["and", *WORDS.split()[:count], "then"]) for count in (9, 10))
    texts = [WORDS, nine, ten, "something else"]
    problems = [Problem(id=f"p{n}", question=text, answer="1", domain="text") for n, text in enumerate(texts)]
    kept, notes = apart([ProblemSet(name="own", problems=problems), numbered("clean", 3)], [held_out])
    assert [[problem.id for problem in one] for one in kept] == [["p1", "p3"], ["clean/0", "clean/1", "clean/2"]]
    assert notes == ["own: 2 training problems left out that overlap with held-out ones"]

    # What a program made from one form shares its words anyway: only the same question is left out.
    generated = ProblemSet(name="own", problems=problems, is_generated=True)
    kept, notes = apart([generated], [held_out])
    assert [problem.id for problem in kept[0]] == ["p1", "p2", "p3"]
    assert notes == ["own: 1 training problems left out that overlap with held-out ones"]


def thinking(question: str) -> str:
    """A chat template that opens the thinking."""
    return f"[{question}]<think>\n"


@pytest.mark.parametrize(
    ("template", "form"), [(r1_zero, zero_format), (r1, format_reward), (bare, None), (thinking, format_reward)]
)
def test_accuracy_and_the_format_of_the_template_weigh_the_same(template: Template, form: object) -> None:
    with ExitStack() as stack:
        functions = judges(["text", "own"], stack)
    table = rules_of(functions, template, ["text", "own"])
    form_alone = {form: 1.0} if form else {}
    assert table == {"text": {functions["text"]: 1.0, **form_alone}, "own": form_alone}


def rows(path: Path, count: int, *, num_long: int = 0) -> str:
    """A file whose last problems are too long for the built-in model."""
    questions = [f"What is {n} times {n * n}?" for n in range(count)]
    for place in range(count - num_long, count):
        questions[place] += " and one more" * 700
    lines = [json.dumps({"question": text, "answer": f"#### {n}"}) for n, text in enumerate(questions)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def scale(num_test: int, num_watched: int) -> R1ZeroConfig:
    tiny = R1_ZERO_SCALES["tiny"]
    counts = {"evaluation": num_test, "validation": num_watched}
    return tiny.model_copy(
        update={name: dict(tiny)[name].model_copy(update={"num_problems": num}) for name, num in counts.items()}
    )


@pytest.mark.parametrize(("num_long", "ending"), [(NUM_SHOWN, ""), (NUM_SHOWN + 1, " and others")])
def test_the_first_places_that_are_left_out_are_shown(num_long: int, ending: str, tmp_path: Path) -> None:
    path = rows(tmp_path / "own.jsonl", 100, num_long=num_long)
    test = rows(tmp_path / "test.jsonl", 10)
    own = OwnData(problems=(path,), test=(test,), long_prompts="skip")
    with assigned(own, open_base(), scale(5, 5), seed=0) as assignment:
        (note,) = [note for note in assignment.notes if "too long" in note]
        places = assignment.left_out
    assert len(places) == num_long
    shown = ", ".join(places[:NUM_SHOWN]) + ending
    assert note == f"{num_long} prompts left out that are too long for the model and the caps: {shown}"


def test_what_is_evaluated_on_only_in_part_is_told(tmp_path: Path) -> None:
    own = OwnData(problems=(rows(tmp_path / "own.jsonl", 100),), test=(rows(tmp_path / "test.jsonl", 12),))
    for num_test, expected in (
        (11, ["test: evaluated on 11 of 12 problems, drawn by a hash of each question"]),
        (12, []),
    ):
        with assigned(own, open_base(), scale(num_test, 5), seed=0) as assignment:
            assert [note for note in assignment.notes if "evaluated on" in note] == expected
            assert list(assignment.suites) == [""]
            assert (len(assignment.suites[""]), len(assignment.watched)) == (num_test, 5)


def test_the_built_in_world_is_held_out_in_the_numbers_of_the_scale() -> None:
    with assigned(OwnData(), open_base(), scale(7, 4), seed=2) as assignment:
        sizes = {name: len(problems) for name, problems in assignment.suites.items()}
        assert (sizes, len(assignment.watched)) == ({"": 7, "hard": 4}, 4)
        splits = [{problem.split for problem in part} for part in (*assignment.suites.values(), assignment.watched)]
        assert splits == [{"test"}, {"hard"}, {"validation"}]
        assert (assignment.pool, assignment.notes, assignment.stop, assignment.left_out) == ((), (), (), ())
        task = assignment.task(scale(7, 4))
        assert (task.template, task.stop, task.reward) == (r1_zero, (), assignment.reward)
        assert task.validation.config == scale(7, 4).validation
