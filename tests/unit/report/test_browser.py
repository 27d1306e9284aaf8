import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from aha.report import browser
from aha.report.browser import evaluation_shelf, training_shelf
from aha.report.record import read_record

MakeRun = Callable[..., Path]


def rewrite(path: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    lines = [change(json.loads(line)) for line in gzip.decompress(path.read_bytes()).splitlines()]
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))


def test_base_and_trained_answer_the_same_problems(make_run: MakeRun) -> None:
    shelf = evaluation_shelf(read_record(make_run()))
    assert list(shelf.columns) == ["base model", "trained model"]
    assert shelf.num_found == 112
    assert len(shelf.problems) == browser.MAX_PROBLEMS
    for problem in shelf.problems:
        assert [len(side) for side in problem["sides"]] == [browser.MAX_SAMPLES, browser.MAX_SAMPLES]


def test_problems_are_dealt_evenly_from_domains_levels_and_languages(make_run: MakeRun) -> None:
    shelf = evaluation_shelf(read_record(make_run()))
    kinds = Counter((p["domain"], p["level"], p["language"]) for p in shelf.problems)
    assert len(kinds) == 28
    assert max(kinds.values()) - min(kinds.values()) <= 1


def test_a_rollout_keeps_what_a_reader_needs(make_run: MakeRun) -> None:
    problem = evaluation_shelf(read_record(make_run())).problems[0]
    rollout = problem["sides"][1][0]
    assert rollout["correct"] == (rollout["parts"][0][1] == 1.0)
    assert rollout["tokens"] == len(rollout["text"].split())
    assert [part[0] for part in rollout["parts"]] == ["accuracy", "format"]
    assert "the reference 14" in rollout["parts"][0][3]
    assert "logp" not in rollout


def test_before_the_end_only_the_base_is_shown(make_run: MakeRun) -> None:
    shelf = evaluation_shelf(read_record(make_run(is_finished=False)))
    assert list(shelf.columns) == ["base model"]
    assert all(len(problem["sides"]) == 1 for problem in shelf.problems)


def test_without_rollouts_the_shelves_are_empty(make_run: MakeRun) -> None:
    record = read_record(make_run(has_rollouts=False))
    assert not evaluation_shelf(record).problems
    assert not training_shelf(record).problems


def test_training_shows_the_first_and_the_last_iteration_and_some_between(make_run: MakeRun) -> None:
    shelf = training_shelf(read_record(make_run()))
    assert list(dict.fromkeys(problem["when"] for problem in shelf.problems)) == [
        "zero, iteration 0",
        "zero, iteration 19",
        "zero, iteration 29",
        "zero, iteration 39",
        "zero_long, iteration 19",
    ]
    assert shelf.num_found == 7
    assert all(rollout["advantage"] is not None for problem in shelf.problems for rollout in problem["sides"][0])


@pytest.mark.full
def test_a_very_long_response_keeps_its_two_ends(make_run: MakeRun) -> None:
    run = make_run()
    text = "first " + "x" * 20_000 + " last"
    rewrite(run / "rollouts" / "evaluation-end.jsonl.gz", lambda line: line | {"text": text})
    shown = evaluation_shelf(read_record(run)).problems[0]["sides"][1][0]["text"]
    assert shown.startswith("first ")
    assert shown.endswith(" last")
    assert f"[... {len(text) - browser.MAX_CHARACTERS:,} characters left out ...]" in shown


@pytest.mark.full
def test_long_responses_leave_room_for_fewer_problems(make_run: MakeRun) -> None:
    run = make_run()
    for name in ("evaluation-start", "evaluation-end"):
        rewrite(run / "rollouts" / f"{name}.jsonl.gz", lambda line: line | {"text": "x" * 5000})
    shelf = evaluation_shelf(read_record(run))
    assert 1 <= len(shelf.problems) < browser.MAX_PROBLEMS
    assert len(json.dumps(shelf.problems)) < 1.1 * browser.BUDGET_CHARACTERS


def test_odd_rollouts_are_shown_as_far_as_they_go(make_run: MakeRun) -> None:
    run = make_run()
    rewrite(
        run / "rollouts" / "evaluation-end.jsonl.gz",
        lambda line: {"problem_id": line["problem_id"], "text": None, "reward": {"parts": {"judge": 0.5}}},
    )
    rollout = evaluation_shelf(read_record(run)).problems[0]["sides"][1][0]
    assert rollout["text"] == ""
    assert rollout["correct"] is None
    assert rollout["tokens"] is None
    assert rollout["parts"] == [["judge", 0.5, None, ""]]
