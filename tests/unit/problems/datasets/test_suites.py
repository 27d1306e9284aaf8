"""Named suites, on the files as they are published where these are at hand."""

import json
import os
from pathlib import Path

import pytest

from aha.problems.datasets.sets import read_problems
from aha.problems.datasets.suites import SUITES, open_suite, samples_for

DATA = os.environ.get("AHA_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="AHA_DATA names no folder with gsm8k, math500, aime24 and humaneval")


@needs_data
@pytest.mark.parametrize(
    ("name", "num", "k", "domain"),
    [
        ("gsm8k", 1319, 4, "math"),
        ("math500", 500, 16, "math"),
        ("aime24", 30, 64, "math"),
        ("humaneval", 164, 8, "code"),
    ],
)
def test_a_published_suite_is_read_without_a_bad_row(name: str, num: int, k: int, domain: str) -> None:
    opened = open_suite(name, data=Path(DATA or ""))
    assert (len(opened.problems), opened.problems.num_faults, opened.note) == (num, 0, "")
    assert opened.suite.num_samples == k
    assert {problem.domain for problem in opened.problems} == {domain}
    assert {problem.split for problem in opened.problems} == {"test"}
    if domain == "math":
        assert all(problem.answer.strip() == problem.answer != "" for problem in opened.problems)


@needs_data
def test_the_files_are_told_by_their_fields_too() -> None:
    folder = Path(DATA or "")
    train = read_problems(folder / "gsm8k" / "train.jsonl")
    assert (len(train), train.num_faults) == (7473, 0)
    assert all(problem.answer.lstrip("-").replace(".", "").isdigit() for problem in train)
    assert len(read_problems(folder / "math500" / "test.jsonl")) == 500
    assert len(read_problems(folder / "humaneval" / "HumanEval.jsonl.gz")) == 164


@needs_data
def test_the_boxed_answers_of_math_are_those_of_its_answer_field(tmp_path: Path) -> None:
    source = Path(DATA or "") / "math500" / "test.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "answer"}) + "\n" for row in rows))
    boxed = [problem.answer for problem in read_problems(path, format="math")]
    same = sum(one == row["answer"] for one, row in zip(boxed, rows, strict=True))
    assert same >= 490


def rows(path: Path, num: int, first: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    numbers = range(first, first + num)
    path.write_text("".join(json.dumps({"question": f"What is {n}?", "answer": f"#### {n}"}) + "\n" for n in numbers))
    return path


def test_a_suite_is_found_by_its_name_in_the_folder_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(tmp_path / "gsm8k" / "test.jsonl", 3)
    monkeypatch.setenv("AHA_DATA", str(tmp_path))
    assert len(open_suite("gsm8k").problems) == 3
    assert open_suite("gsm8k").note == "gsm8k: 3 problems, 1,319 as published"
    assert len(open_suite("gsm8k", data=tmp_path, limit=2).problems) == 2
    path = rows(tmp_path / "own.jsonl", 5)
    assert len(open_suite(f"gsm8k={path}").problems) == 5
    (tmp_path / "gsm8k" / "test.jsonl").unlink()
    with pytest.raises(ValueError, match=r"suite 'gsm8k': neither .*gsm8k/test\.jsonl nor .*gsm8k=PATH"):
        open_suite("gsm8k")


def test_any_file_is_a_suite(tmp_path: Path) -> None:
    path = rows(tmp_path / "exam.jsonl", 30)
    for text, name in ((f"mine={path}", "mine"), (str(path), "exam")):
        opened = open_suite(text)
        assert (opened.suite.name, opened.suite.num_samples, opened.note) == (name, 64, "")
        assert all(problem.id.startswith(f"{name}/") for problem in opened.problems)


def test_what_is_neither_a_suite_nor_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'gsm' is neither a suite \(gsm8k, math500.*nor a file: write NAME=PATH"):
        open_suite("gsm")


def test_a_suite_takes_the_columns_that_the_user_names(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "What is 2?", "gold": "2"}) + "\n")
    found = open_suite(f"gsm8k={path}", mapping="question=prompt,answer=gold").problems
    assert [problem.answer for problem in found] == ["2"]


def test_smaller_sets_are_sampled_more() -> None:
    assert [samples_for(n) for n in (1, 30, 164, 500, 1319, 10**6)] == [64, 64, 16, 8, 4, 4]
    assert all(4 <= suite.num_samples <= 64 for suite in SUITES.values())


def test_every_suite_has_the_papers_length_cap(tmp_path: Path) -> None:
    """The papers' figures hold for it: a lower cap cuts responses that count as wrong.

    Source: DeepSeek-R1, arXiv:2501.12948v1, 3: 'We set the maximum generation length to 32,768 tokens for the models.'
    """
    caps = {name: suite.max_new_tokens for name, suite in SUITES.items()}
    assert caps == dict.fromkeys(("gsm8k", "math500", "aime24", "humaneval", "gpqa"), 32_768)
    assert open_suite(str(rows(tmp_path / "exam.jsonl", 3))).suite.max_new_tokens == 32_768


def test_a_folder_is_a_suite_of_its_test_files(tmp_path: Path) -> None:
    hidden = tmp_path / ".cache"
    hidden.mkdir()
    for number, path in enumerate([tmp_path / "train.jsonl", tmp_path / "test.jsonl", hidden / "test.jsonl"]):
        path.write_text(json.dumps({"question": f"What is {number}?", "answer": str(number)}), encoding="utf-8")
    (tmp_path / "cache-test.arrow").write_bytes(b"not read")
    assert [problem.answer for problem in open_suite(str(tmp_path)).problems] == ["1"]

    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(ValueError, match="holds no test file, only train"):
        open_suite(str(tmp_path))
