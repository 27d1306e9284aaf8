"""Sets of problems from files."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from aha.problems.datasets import sets
from aha.problems.datasets.sets import read_problems

GOOD = [{"question": f"What is {n} and {n}?", "answer": f"so\n#### {2 * n}"} for n in range(1, 6)]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_is_read_and_says_as_what(tmp_path: Path) -> None:
    found = read_problems(write(tmp_path / "sums.jsonl", *GOOD))
    assert [problem.answer for problem in found] == ["2", "4", "6", "8", "10"]
    assert found.says == (
        f"5 problems of {tmp_path / 'sums.jsonl'}, read as gsm8k: mathematics from question, "
        "the answer from what follows '####' in answer"
    )
    assert (len(found), found.num_faults, found.name) == (5, 0, "sums")
    assert all(problem.id.startswith("sums/") for problem in found)
    assert len({problem.id for problem in found}) == 5


BAD = [
    ("{", "no JSON"),
    ({"question": "Where?"}, "no field 'answer'"),
    ({"question": "  ", "answer": "#### 1"}, "the question is empty"),
    ({"question": "What?", "answer": "#### "}, "no answer"),
    ({"question": 7, "answer": "#### 1"}, "a number, not text"),
    (GOOD[0], "the question of {path}:1 again"),
    ('{"question": "\\ud800?", "answer": "#### 1"}', "half a character"),
    ({"question": "x" * 300_000, "answer": "#### 1"}, "300,000 characters; 200,000 are possible"),
    ({"question": "Long?", "answer": "#### " + "1" * 30_000}, "30,000 characters; 20,000 are possible"),
    ({"question": "Twice?", "answer": "#### 1", "id": "a"}, ""),
    ({"question": "Thrice?", "answer": "#### 1", "id": "a"}, "the id 'a' of {path}:11 again"),
]


def test_bad_rows_are_left_out_and_counted_where_the_user_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD[0], *(row for row, _ in BAD), *GOOD[1:])
    found = read_problems(path, on_bad="skip")
    expected = [(number, said) for number, (_, said) in enumerate(BAD, start=2) if said]
    assert len(found) == 6
    assert found.num_faults == len(found.faults) == len(expected) == 10
    for fault, (number, said) in zip(found.faults, expected, strict=True):
        assert str(fault).startswith(f"{path}:{number}: ")
        assert said.format(path=path) in fault.reason
    assert found.says.endswith("(10 bad rows left out)")


def test_a_bad_row_stops_with_its_place_and_the_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *GOOD, BAD[0][0], BAD[1][0])
    with pytest.raises(ValueError, match=rf"^{path}:6: no JSON.*\(2 bad of 7 rows; skip leaves them out\)$"):
        read_problems(path)


def test_a_file_without_problems_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no rows"):
        read_problems(write(tmp_path / "empty.jsonl"))
    with pytest.raises(ValueError, match=rf"{tmp_path / 'b.jsonl'}:1: no JSON"):
        read_problems(write(tmp_path / "b.jsonl", "{", "{"), on_bad="skip")
    with pytest.raises(ValueError, match=r"no problem: 2 bad rows, the first one .*no '####'"):
        read_problems(
            write(tmp_path / "c.jsonl", *[{"question": f"{n}?", "answer": f"{n}"} for n in (1, 2)]),
            format="gsm8k",
            on_bad="skip",
        )
    with pytest.raises(ValueError, match="limit is one problem at least, not 0"):
        read_problems(write(tmp_path / "d.jsonl", *GOOD), limit=0)


def test_the_rows_behind_the_limit_are_not_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "a.jsonl", *GOOD[:3])
    write(folder / "b.jsonl", *GOOD[3:], "{")
    assert len(read_problems(folder, limit=3)) == 3
    assert len(read_problems(folder, limit=5)) == 5
    with pytest.raises(ValueError, match=r"b\.jsonl:3: no JSON"):
        read_problems(folder)
    assert read_problems([folder / "a.jsonl", folder / "b.jsonl"], limit=4, name="x").name == "x"


def test_the_key_follows_the_contents_and_not_the_path(tmp_path: Path) -> None:
    first = read_problems(write(tmp_path / "a.jsonl", *GOOD), name="x")
    same = read_problems(write(tmp_path / "b.json", *GOOD), name="x")
    assert first.key == same.key
    other = [{**GOOD[0], "answer": "#### 3"}, *GOOD[1:]]
    assert read_problems(write(tmp_path / "c.jsonl", *other), name="x").key != first.key
    assert read_problems(write(tmp_path / "d.jsonl", *GOOD[::-1]), name="x").key != first.key


def test_ids_stay_when_the_file_is_sorted_in_another_way(tmp_path: Path) -> None:
    first = read_problems(write(tmp_path / "a.jsonl", *GOOD), name="x")
    second = read_problems(write(tmp_path / "b.jsonl", *GOOD[::-1]), name="x")
    assert list(first) == list(second)[::-1]


def test_domains_that_compare_by_tests_need_tests(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *[{"question": f"{n}?", "answer": "f"} for n in "ab"])
    with pytest.raises(ValueError, match="no tests, which domain code compares by"):
        read_problems(path, mapping="domain=code")


def test_many_faults_are_counted_and_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "_KEPT_FAULTS", 10)
    found = read_problems(write(tmp_path / "a.jsonl", GOOD[0], *["{"] * 50), on_bad="skip")
    assert (found.num_faults, len(found.faults)) == (50, 10)


def test_memory_follows_the_problems_and_not_the_file(tmp_path: Path) -> None:
    rows = ({"question": f"What is {n}?", "answer": f"{'so ' * 3000}\n#### {n}"} for n in range(500))
    path = write(tmp_path / "a.jsonl", *rows)
    tracemalloc.start()
    found = read_problems(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 500
    assert peak < path.stat().st_size / 4


def test_a_chinese_question_is_chinese_without_being_told(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mixed.jsonl",
        {"question": "小明有3个苹果, 又买了4个, 一共有几个?", "answer": "7"},
        {"question": "已知 $\\triangle ABC$ 中 AB = 3, 求 AC 的长", "answer": "5"},
        {"question": "Tom has 3 apples and buys 4. How many has he?", "answer": "7"},
        {"question": "What does the sign 山 mean, as a number of strokes?", "answer": "3"},
        {"question": "3 + 4", "answer": "7"},
        {"question": "りんごは全部で何個ありますか", "answer": "7"},
    )
    assert [problem.language for problem in read_problems(path)] == ["zh", "zh", "en", "en", "en", "en"]
    declared = read_problems(path, mapping="question=question,answer=answer,language=en")
    assert {problem.language for problem in declared} == {"en"}
