import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aha.report.progress import Cost, Progress, survey
from aha.report.record import read_record

MakeRun = Callable[..., Path]


def boxes(run: Path) -> dict[str, Progress]:
    notes: list[str] = []
    found = {box.node.name: box for box in survey(read_record(run), notes)}
    assert notes == []
    return found


def test_a_finished_run_is_finished_box_by_box(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    found = boxes(run)
    assert {box.state for box in found.values()} == {"finished"}
    assert found["zero"].model == (run / "stages" / "longer" / "final").resolve()
    assert found["cold"].model is None
    assert (found["cold"].num_rows, found["dev1"].num_rows, found["helpfulness"].num_rows) == (84, None, None)
    assert found["helpfulness"].held_out is not None
    assert found["helpfulness"].held_out.value == 0.87
    assert found["start"].model is None


@pytest.mark.parametrize(
    ("num_stages", "num_done", "name", "detail"),
    [
        (0, 7, "zero", "zero: 7 of 20"),
        (1, None, "zero", "longer: next"),
        (1, 3, "zero", "longer: 3 of 10"),
        (2, 1, "cold", "1 of 4"),
        (3, 5, "dev1", "5 done"),
        (3, 0, "dev1", "begun"),
    ],
)
def test_a_box_in_progress_says_how_far_it_is(
    make_pipeline_run: MakeRun, num_stages: int, num_done: int | None, name: str, detail: str
) -> None:
    box = boxes(make_pipeline_run(num_stages=num_stages, num_done=num_done))[name]
    assert (box.state, box.model) == ("in progress", None)
    assert box.detail == detail


def test_what_has_not_begun_has_nothing(make_pipeline_run: MakeRun) -> None:
    found = boxes(make_pipeline_run(num_stages=0))
    assert found["start"].state == "finished"
    r1 = found["r1"]
    assert (r1.state, r1.detail, r1.model, r1.report, r1.cost, r1.harvests) == ("not begun", "", None, None, None, [])


def test_a_student_that_was_given_is_finished_without_a_stage(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    (run / "stages" / "qwen2" / "final" / "trainer.json").unlink()
    (run / "stages" / "qwen2" / "final").rmdir()
    (run / "stages" / "qwen2" / "inputs.json").unlink()
    (run / "stages" / "qwen2").rmdir()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(line for line in lines if '"stage": "qwen2",' not in line) + "\n")
    box = boxes(run)["qwen2"]
    assert (box.state, box.model, box.cost) == ("finished", None, None)


def test_costs_add_up_over_the_stages_of_a_box(make_pipeline_run: MakeRun) -> None:
    found = boxes(make_pipeline_run())
    assert found["zero"].cost == Cost(
        seconds=30 * 2.5,
        sampled_tokens=30 * 4000,
        trained_tokens=30 * 5000,
        flops=pytest.approx(30 * 3.1e11),
        num_updates=60,
    )
    assert found["cold"].cost is not None
    assert (found["cold"].cost.trained_tokens, found["cold"].cost.num_updates) == (0, 0)


def test_a_harvest_knows_what_it_dropped(make_pipeline_run: MakeRun) -> None:
    (harvest,) = boxes(make_pipeline_run())["cold"].harvests
    assert (harvest.is_finished, harvest.num_items, harvest.num_kept) == (True, 128, 84)
    assert list(harvest.dropped.items()) == [("incorrect", 30), ("cut", 8), ("mixed languages", 6)]


def test_a_harvest_in_progress_is_counted_from_its_log(make_pipeline_run: MakeRun) -> None:
    box = boxes(make_pipeline_run(num_stages=2, num_done=2))["cold"]
    (harvest,) = box.harvests
    assert (harvest.is_finished, harvest.num_items, harvest.num_kept, box.num_rows) == (False, 64, 42, 42)
    assert harvest.dropped == {"incorrect": 18, "cut": 4}


def test_odd_files_are_noted_and_left_out(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    (run / "stages" / "cold" / "data.json").write_text("{")
    (run / "stages" / "kept" / "data.json").write_text(json.dumps({"counts": [1], "num_rows": "many"}))
    (run / "stages" / "helpfulness.json").write_text(json.dumps({"held_out": {"accuracy": None}}))
    notes: list[str] = []
    found = {box.node.name: box for box in survey(read_record(run), notes)}
    assert notes == ["data.json could not be read."]
    assert found["cold"].num_rows == 84
    assert found["kept"].num_rows == 0
    assert found["helpfulness"].held_out is None
