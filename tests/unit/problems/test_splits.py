"""Problems held out, and the stream of those that are trained on."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.problems.datasets.sets import ProblemSet
from aha.problems.splits import FileProblems, exclude_questions, file_problems, hold_out
from aha.types import Problem


def problem_set(num: int, name: str = "a", *, start: int = 0) -> ProblemSet:
    numbers = range(start, start + num)
    problems = [Problem(id=f"{name}/{n}", question=f"What is {n}?", answer=f"{n}", domain="math") for n in numbers]
    return ProblemSet(name=name, problems=problems)


def ids(problems: Sequence[Problem]) -> list[str]:
    return [problem.id for problem in problems]


def test_what_is_held_out_is_the_same_in_any_order() -> None:
    whole = problem_set(100)
    rest, held = hold_out(whole, 10)
    _, again = hold_out(ProblemSet(name="a", problems=list(whole)[::-1]), 10)
    assert len(rest) == 90
    assert set(ids([*rest, *held])) == set(ids(list(whole)))
    assert list(held) == list(again)
    assert {problem.split for problem in held} == {"validation"}
    assert {problem.split for problem in rest} == {"train"}
    assert ids(list(hold_out(whole, 10, seed=1)[1])) != ids(list(held))


def test_a_file_that_grows_moves_few_problems() -> None:
    before = set(ids(list(hold_out(problem_set(1000), 100)[1])))
    after = set(ids(list(hold_out(problem_set(1050), 105)[1])))
    assert len(before - after) <= 5


@pytest.mark.parametrize("num", [0, 5, 6])
def test_no_part_may_be_empty(num: int) -> None:
    with pytest.raises(ValueError, match="of 5 problems cannot be held out: 1 to 4 can"):
        hold_out(problem_set(5), num)


def test_questions_of_another_split_are_taken_out() -> None:
    train, test = problem_set(10), [Problem(id="t", question="  what is\n3? ", answer="3", domain="math")]
    kept, dropped = exclude_questions(train, test)
    assert ids(dropped) == ["a/3"]
    assert ids(list(kept)) == ids([problem for problem in train if problem.id != "a/3"])
    assert "1 that another split asks too" in kept.says


def epochs(stream: FileProblems, count: int, num: int) -> list[str]:
    return [problem.id for iteration in range(num) for problem in stream(iteration * count, count)]


@given(size=st.integers(1, 40), count=st.integers(1, 17), seed=st.integers(0, 3))
def test_every_problem_comes_once_in_each_epoch(size: int, count: int, seed: int) -> None:
    seen = epochs(file_problems([problem_set(size)], seed=seed), count, 3 * size)
    for epoch in range(3):
        assert sorted(seen[epoch * size : (epoch + 1) * size]) == sorted(ids(list(problem_set(size))))


@given(size=st.integers(4, 60), seed=st.integers(0, 3), data=st.data())
def test_no_iteration_has_a_problem_twice(size: int, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, size // 4))
    stream = file_problems([problem_set(size)], seed=seed)
    for iteration in range(4 * size // count):
        assert len(set(ids(stream(iteration * count, count)))) == count


def test_an_iteration_does_not_depend_on_those_before_it() -> None:
    one, other = (file_problems([problem_set(50)], seed=7) for _ in range(2))
    forwards = [ids(one(iteration * 8, 8)) for iteration in range(30)]
    assert [ids(other(iteration * 8, 8)) for iteration in reversed(range(30))] == forwards[::-1]
    assert ids(file_problems([problem_set(50)], seed=8)(0, 8)) != forwards[0]


@given(size=st.integers(2, 30), counts=st.lists(st.integers(1, 9), min_size=2, max_size=20))
def test_iterations_of_any_size_are_parts_of_one_stream(size: int, counts: list[int]) -> None:
    stream, start, seen = file_problems([problem_set(size)], seed=0), 0, []
    for count in counts:
        seen += ids(stream(start, count))
        start += count
    assert seen == ids(stream(0, start))


def test_epochs_differ() -> None:
    seen = epochs(file_problems([problem_set(40)], seed=0), 40, 3)
    assert len({tuple(seen[start : start + 40]) for start in (0, 40, 80)}) == 3


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    count=st.integers(1, 13),
    data=st.data(),
)
def test_each_set_has_its_share_and_its_own_epochs(sizes: list[int], count: int, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(0.05, 9), min_size=len(sizes), max_size=len(sizes)))
    sets = [problem_set(size, f"s{index}") for index, size in enumerate(sizes)]
    stream = file_problems(sets, seed=1, weights=weights)
    batches = [ids(stream(iteration * count, count)) for iteration in range(20)]
    assert all(len(batch) == count for batch in batches)
    seen = [one for batch in batches for one in batch]
    for index, size in enumerate(sizes):
        own = [one for one in seen if one.startswith(f"s{index}/")]
        assert abs(len(own) - len(seen) * weights[index] / sum(weights)) < len(sizes)
        counts = Counter(own)
        assert max(counts.values(), default=0) - min((counts[one] for one in ids(list(sets[index]))), default=0) <= 1
        assert len(set(own[:size])) == len(own[:size])


def test_shares_follow_the_sizes_where_no_weights_are_given() -> None:
    stream = file_problems([problem_set(30, "a"), problem_set(10, "b")], seed=0)
    assert Counter(one.split("/")[0] for one in ids(stream(0, 8))) == {"a": 6, "b": 2}


def test_the_key_follows_contents_weights_and_seed() -> None:
    one, other = problem_set(10, "a"), problem_set(10, "b")
    streams = [
        file_problems([one, other], seed=0),
        file_problems([one, other], seed=1),
        file_problems([one, other], seed=0, weights=[1, 2]),
        file_problems([one], seed=0),
        file_problems([one, problem_set(10, "b", start=1)], seed=0),
    ]
    assert len({stream.key for stream in streams}) == 5
    assert streams[0].key == file_problems([one, other], seed=0, weights=[3, 3]).key


@pytest.mark.parametrize(
    ("sets", "weights", "said"),
    [
        ([], [], "0 problem sets need a positive weight each"),
        ([problem_set(2)], [1, 2], "1 problem sets need"),
        ([problem_set(2)], [0], "a positive weight"),
        ([problem_set(2)], [float("nan")], "a positive weight"),
        ([problem_set(2), problem_set(2)], [], "share problems"),
        ([problem_set(2), problem_set(0, "b")], [1, 1], "'b' is empty"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(sets: list[ProblemSet], weights: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        file_problems(sets, seed=0, weights=weights)
