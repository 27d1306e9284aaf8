import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from aha.report.record import find_row, finite, read_lines, read_record

MakeRun = Callable[..., Path]


def test_steps_run_on_over_the_stages(make_run: MakeRun) -> None:
    record = read_record(make_run())
    assert [(stage.name, stage.begins, stage.num_steps) for stage in record.stages] == [
        ("zero", 0, 80),
        ("zero_long", 80, 40),
    ]
    assert record.num_steps == 120
    assert [update.running_step for update in record.updates] == list(range(2, 121, 2))


def test_evaluations_stand_where_they_were_made(make_run: MakeRun) -> None:
    record = read_record(make_run())
    assert [(at.name, at.running_step) for at in record.evaluations] == [
        ("start", 0),
        *(("validation", step) for step in (20, 40, 60, 80, 100, 120)),
        ("end", 120),
    ]


def test_seconds_are_the_runs_own_and_before_its_end_those_of_its_iterations(make_run: MakeRun) -> None:
    assert read_record(make_run()).seconds == 312.4
    running = read_record(make_run("running", is_finished=False))
    assert running.seconds == pytest.approx(sum(update.metrics["seconds"] for update in running.updates))


def test_a_resumed_iteration_counts_once_as_it_was_last_written(make_run: MakeRun) -> None:
    run = make_run()
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"stage": "zero", "iteration": 3, "step": 8, "reward": 7.0}) + "\n")
    record = read_record(run)
    assert len(record.updates) == 60
    assert record.updates[3].metrics["reward"] == 7.0
    assert [update.running_step for update in record.updates] == sorted(
        update.running_step for update in record.updates
    )


def test_a_torn_last_line_is_left_out_and_noted(make_run: MakeRun) -> None:
    run = make_run()
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    record = read_record(run)
    assert len(record.updates) == 59
    assert record.notes == ["metrics.jsonl: 1 line could not be read and left out."]


def test_a_torn_gzip_file_is_read_up_to_the_break(make_run: MakeRun) -> None:
    path = make_run() / "rollouts" / "evaluation-end.jsonl.gz"
    whole = len(list(read_lines(path, [])))
    path.write_bytes(path.read_bytes()[:-2000])
    notes: list[str] = []
    assert 0 < len(list(read_lines(path, notes))) < whole
    assert any("evaluation-end.jsonl.gz breaks off" in note for note in notes)


def test_a_run_that_has_just_begun_is_empty(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"recipe": "r1_zero"}')
    record = read_record(tmp_path)
    assert (record.num_steps, record.seconds, record.start, record.end) == (0, None, None, None)
    assert not record.notes


def test_odd_values_are_left_out(make_run: MakeRun) -> None:
    run = make_run()
    rows = [
        {"suite": "all", "metric": "pass@1", "value": None, "low": 0, "high": 1, "n": 3},
        {"suite": "all", "metric": "length", "value": 12.0, "n": 3},
        "no row",
    ]
    report = {"rows": rows, "checkpoint": "", "decoding": {"temperature": "hot"}, "seed": 0}
    with (run / "evaluations.jsonl").open("a") as file:
        file.write(json.dumps({"name": "late", "report": report}) + '\n{"name": "worse", "report": 5}\n[1]\n')
    record = read_record(run)
    late = record.named("late")[0]
    assert [row.metric for row in late.rows] == ["length"]
    assert math.isnan(late.rows[0].low)
    assert not late.decoding
    assert not record.named("worse")
    assert len(record.notes) == 2


@pytest.mark.parametrize("content", ["", "[1]", '{"recipe": "r1_', "\x00"])
def test_a_damaged_identity_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json is no JSON object; it should hold the run's recipe"):
        read_record(tmp_path)


def test_a_folder_without_a_run_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no run folder: it has no run\.json\. Name the folder .* holds run\.json"):
        read_record(tmp_path)
    with pytest.raises(ValueError, match="no run folder: it is no folder"):
        read_record(tmp_path / "nowhere")


def test_a_folder_of_runs_names_them(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(ValueError, match="runs inside it: r1_zero-0"):
        read_record(run.parent)


def test_what_is_no_finite_number_is_none() -> None:
    for value in [None, "1", True, math.nan, math.inf, -math.inf, 10**400, [1]]:
        assert finite(value) is None, value


def test_finite_numbers_are_floats() -> None:
    assert finite(3) == 3.0
    assert finite(-0.5) == -0.5


def test_a_row_that_is_missing_is_none(make_run: MakeRun) -> None:
    record = read_record(make_run())
    assert find_row(record.end, "pass@1", "pair/2") is not None
    assert find_row(record.end, "pass@1", "poetry") is None
    assert find_row(None, "pass@1") is None
