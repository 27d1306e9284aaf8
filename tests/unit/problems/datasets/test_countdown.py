"""Countdown rows as they are published: numbers and a target, without a solution."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from aha.evaluation.contamination import ngrams
from aha.problems.datasets.countdown import MAX_NUMBERS, CountdownTask, countdown_row, parse_task
from aha.problems.datasets.fields import BadRow
from aha.problems.datasets.formats import formats
from aha.problems.datasets.sets import read_problems
from aha.rewards.accuracy import accuracy
from aha.rewards.expression import MAX_DIGITS, MAX_TOKENS, parse_expression
from aha.types import Problem, Rollout

ROW = {"nums": [19, 36, 55, 7], "target": 65}


def score(problem: Problem, answer: str) -> tuple[float, str]:
    """What the rule of the domain says of an answer."""
    tokens = torch.tensor([1])
    rollout = Rollout(
        problem_id=problem.id,
        prompt_tokens=tokens,
        tokens=tokens,
        logp=torch.zeros(1),
        text=f"<think> </think> <answer> {answer} </answer>",
        finish="stop",
    )
    verdict = accuracy(problem, rollout)
    return verdict.score, verdict.reason


def test_any_expression_that_makes_the_target_is_right() -> None:
    for answer, expected, reason in [
        ("55 + 36 - 19 - 7", 1.0, "makes 65 from all the numbers"),
        ("(55 - 19) + (36 - 7)", 1.0, "makes 65"),
        ("55 + 36 - 19", 0.0, "leaves out 7"),
        ("55 + 36 - 19 + 7", 0.0, "makes 79, not 65"),
        ("55 + 10", 0.0, "uses 10, which is not given"),
        ("55 + 36 - 19 - 7 - 7 + 7", 0.0, "uses 7 more often than given"),
        ("65", 0.0, "uses 65, which is not given"),
        ("65 from 19, 36, 55, 7", 0.0, "is not an arithmetic expression"),
        ("55 + 36 - 19 - 7 = 65", 0.0, "is not an arithmetic expression"),
    ]:
        found, said = score(countdown_row(ROW), answer)
        assert found == expected, (answer, expected, reason)
        assert reason in said, (answer, expected, reason)


def test_the_question_is_put_into_plain_words() -> None:
    problem = countdown_row({**ROW, "id": 4})
    assert problem.question == (
        "Write 65 as an expression of the numbers 19, 36, 55, 7, each used exactly once, with + - * / and parentheses."
    )
    assert (problem.domain, problem.id) == ("countdown", "4")
    assert parse_task(problem.answer) == CountdownTask(numbers=(19, 36, 55, 7), target=65)


def test_other_questions_share_no_ten_words() -> None:
    """Otherwise every training problem would look like one that is held out."""
    rng = random.Random(0)
    problems = [
        countdown_row({"nums": rng.sample(range(1, 100), 3), "target": rng.randint(10, 99)}) for _ in range(800)
    ]
    held_out = set().union(*(ngrams(problem.question) for problem in problems[:200]))
    assert sum(not held_out.isdisjoint(ngrams(problem.question)) for problem in problems[200:]) <= 3


@pytest.mark.parametrize(
    ("row", "numbers", "target"),
    [
        ({"numbers": [3, 8, 2], "target": "9"}, (3, 8, 2), 9),
        ({"nums": [3.0, 8, "2"], "target": -9.0}, (3, 8, 2), -9),
        ({"nums": [0, 5], "target": 0}, (0, 5), 0),
    ],
)
def test_numbers_are_read_as_files_write_them(row: Mapping[str, Any], numbers: tuple[int, ...], target: int) -> None:
    assert parse_task(countdown_row(row).answer) == CountdownTask(numbers=numbers, target=target)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nums": []}, "no numbers: field 'nums' is empty"),
        ({"nums": None}, "no numbers: field 'nums' is empty"),
        ({"nums": "19 36"}, "field 'nums' is no list of numbers"),
        ({"nums": [19, -3]}, "field 'nums' holds -3"),
        ({"nums": [19, 2.5]}, "field 'nums' holds 2.5"),
        ({"nums": [19, True]}, "field 'nums' holds True"),
        ({"nums": [19, None]}, "field 'nums' holds None"),
        ({"nums": [10**18]}, "field 'nums' holds 1000000000000000000"),
        ({"nums": [float("inf")]}, "field 'nums' holds inf"),
        ({"nums": [1] * (MAX_NUMBERS + 1)}, f"{MAX_NUMBERS + 1} numbers; 1 to {MAX_NUMBERS} are possible"),
        ({"target": None}, "no target: field 'target' is empty"),
        ({"target": "many"}, "the target 'many' is no whole number"),
        ({"target": 6.5}, "the target 6.5 is no whole number"),
    ],
)
def test_a_row_that_cannot_be_right_says_why(changes: Mapping[str, Any], said: str) -> None:
    with pytest.raises(BadRow, match=said):
        countdown_row({**ROW, **changes})


def test_the_largest_row_can_be_answered() -> None:
    """Also where an answer puts parentheses around every partial sum."""
    numbers = [10**MAX_DIGITS - 1 - n for n in range(MAX_NUMBERS)]
    text = str(numbers[0])
    for place, number in enumerate(numbers[1:]):
        text = f"( {text} {'-+'[place % 2]} {number} )"
    expression = parse_expression(text)
    assert expression is not None
    assert len(text.split()) <= MAX_TOKENS
    assert score(countdown_row({"nums": numbers, "target": int(expression.value)}), text)[0] == 1.0


def test_what_is_no_task_is_none() -> None:
    for text in ["", "65", "65 from", "from 3", "65 from 3,", "65 from 3 8", "x from 3", "9" * 5000]:
        assert parse_task(text) is None, text


def write(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_is_told_by_its_columns_and_a_broken_row_by_its_place(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl", ROW, {"nums": [], "target": 3}, {"nums": [3, 8, 2]}, {"nums": [1, 2], "target": 3}
    )
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: no numbers: field 'nums' is empty \(2 bad of 4 rows"):
        read_problems(path)
    found = read_problems(path, on_bad="skip")
    assert [(one.domain, one.answer) for one in found] == [
        ("countdown", "65 from 19, 36, 55, 7"),
        ("countdown", "3 from 1, 2"),
    ]
    assert "no field 'target'" in str(found.faults[1])
    assert "each number exactly once" in found.says


def test_arrays_of_tables_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"target": [65, 9], "nums": [[19, 36, 55, 7], [3, 8, 2]]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    with (
        pyarrow.OSFile(str(tmp_path / "data.arrow"), "wb") as sink,
        pyarrow.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    for name in ("rows.parquet", "data.arrow"):
        assert [one.answer for one in read_problems(tmp_path / name)] == ["65 from 19, 36, 55, 7", "9 from 3, 8, 2"]


def test_a_question_of_the_files_own_is_kept(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Reach 65 with these."}]
    for question in ({"question": "Reach 65 with these."}, {"prompt": turns}, {"messages": turns}):
        (problem,) = read_problems(write(tmp_path / "rows.jsonl", {**ROW, **question}))
        assert (problem.question, problem.answer) == ("Reach 65 with these.", "65 from 19, 36, 55, 7")


def test_what_a_rule_based_trainer_wrote_is_read(tmp_path: Path) -> None:
    """The rows of verl: the numbers stand in the ground truth, and beside the prompt once more."""
    row = {
        **ROW,
        "prompt": [{"role": "user", "content": "Reach 65 with 19, 36, 55 and 7."}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": {"numbers": [19, 36, 55, 7], "target": 65}},
    }
    (problem,) = read_problems(write(tmp_path / "rows.jsonl", row))
    assert (problem.domain, problem.answer) == ("countdown", "65 from 19, 36, 55, 7")
    assert problem.question == "Reach 65 with 19, 36, 55 and 7."


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {"cards": [3, 8, 2], "goal": 9})
    (problem,) = read_problems(path, mapping="nums=cards,target=goal")
    assert problem.answer == "9 from 3, 8, 2"


def test_a_table_with_answers_of_its_own_is_no_countdown(tmp_path: Path) -> None:
    row = {"question": "Which two make 9?", "numbers": [3, 8, 2, 6], "target": 9, "answer": "3 6"}
    (problem,) = read_problems(write(tmp_path / "rows.jsonl", row))
    assert problem.domain != "countdown"
    assert "countdown" in formats()


def test_an_answer_in_a_box_is_read_too() -> None:
    tokens = torch.tensor([1])
    text = r"First 55 + 36 = 91, so \boxed{55 + 36 - 19 - 7}."
    rollout = Rollout(problem_id="", prompt_tokens=tokens, tokens=tokens, logp=torch.zeros(1), text=text, finish="stop")
    assert accuracy(countdown_row(ROW), rollout).score == 1.0
