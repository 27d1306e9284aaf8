from collections.abc import Callable
from pathlib import Path

from aha.report.progress import Progress, survey
from aha.report.record import read_record
from aha.report.stage_table import distillation, models_table, reinforcement, stage_figures, stage_text, stages

MakeRun = Callable[..., Path]
METRICS = ["pass@1", "cons@16", "length", "consistency", "readability", "general", "helpfulness", "harmlessness"]


def boxes(run: Path) -> list[Progress]:
    return survey(read_record(run), [])


def test_stages_stand_side_by_side_as_in_table_3(make_pipeline_run: MakeRun) -> None:
    table = stages(boxes(make_pipeline_run()))
    assert [title for _, title in table.columns] == ["R1-Zero", "Dev1", "Dev2", "Dev3", "R1"]
    assert [line.name for line in table.lines] == METRICS
    general = next(line for line in table.lines if line.name == "general")
    assert [cell.value for cell in general.cells] == [f"{n}.0\N{NO-BREAK SPACE}%" for n in (55, 30, 62, 60, 70)]
    assert general.cells[4].interval == "66.0 \N{EN DASH} 74.0\N{NO-BREAK SPACE}%"
    assert general.detail == "90 prompts"


def test_the_best_of_a_row_is_marked_but_for_length(make_pipeline_run: MakeRun) -> None:
    table = stages(boxes(make_pipeline_run()))
    marked = {line.name: [place for place, cell in enumerate(line.cells) if cell.is_best] for line in table.lines}
    assert (marked["general"], marked["harmlessness"], marked["length"]) == ([4], [1], [])
    assert all(len(places) == 1 for name, places in marked.items() if name != "length")


def test_of_one_model_none_is_the_best(make_pipeline_run: MakeRun) -> None:
    table = stages(boxes(make_pipeline_run(num_stages=2)))
    assert not table.is_empty
    assert not any(cell.is_best for line in table.lines for cell in line.cells)
    assert [cell.value for cell in table.lines[0].cells][1:] == ["\N{EN DASH}"] * 4


def test_students_stand_as_in_tables_5_and_6(make_pipeline_run: MakeRun) -> None:
    found = boxes(make_pipeline_run())
    assert distillation(found) == ["qwen2", "qwen2-distilled", "llama", "llama-distilled", "r1"]
    assert reinforcement(found) == ["qwen2", "qwen2-rl", "qwen2-distilled", "qwen2-distilled-rl"]
    table = models_table(found, [*reinforcement(found), "unknown"])
    assert [line.name for line in table.lines] == reinforcement(found)
    assert [name for name, _ in table.columns] == METRICS


def test_a_pipeline_without_students_has_no_tables_of_them(make_pipeline_run: MakeRun) -> None:
    found = [box for box in boxes(make_pipeline_run()) if not box.node.name.startswith(("qwen2", "llama"))]
    assert distillation(found) == reinforcement(found) == []
    assert models_table(found, []).is_empty


def test_figures_for_programs(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    figures = {entry["name"]: entry for entry in stage_figures(boxes(run))}
    assert list(figures)[:5] == ["zero", "dev1", "dev2", "dev3", "r1"]
    assert {"start", "qwen2", "llama", "cold"} & figures.keys() == set()
    r1 = figures["r1"]
    assert list(r1) == ["name", "model", "metrics", "seconds", "tokens", "flops"]
    assert r1["model"] == str((run / "stages" / "r1" / "final").resolve())
    assert set(r1["metrics"]) == set(METRICS)
    assert r1["metrics"]["general"] == {"value": 0.7, "low": 0.7 - 0.04, "high": 0.7 + 0.04}
    assert (r1["seconds"], r1["tokens"]) == (50.0, 20 * 9000)


def test_figures_of_an_unfinished_run_are_none(make_pipeline_run: MakeRun) -> None:
    figures = {entry["name"]: entry for entry in stage_figures(boxes(make_pipeline_run(num_stages=4, num_done=6)))}
    assert figures["dev1"]["model"] is not None
    assert (figures["dev2"]["model"], set(figures["dev2"]["metrics"].values())) == (None, {None})
    assert (figures["dev2"]["seconds"], figures["dev2"]["tokens"]) == (15.0, 54_000)
    assert (figures["r1"]["seconds"], figures["r1"]["tokens"], figures["r1"]["flops"]) == (0, 0, 0)


def test_the_table_in_plain_text(make_pipeline_run: MakeRun) -> None:
    text = stage_text(boxes(make_pipeline_run())).splitlines()
    assert text[0].split() == ["R1-Zero", "Dev1", "Dev2", "Dev3", "R1"]
    assert len(text) == 1 + 2 * len(METRICS)
    assert text[11].split() == ["general,", "%", "55.0", "30.0", "62.0", "60.0", "70.0*"]
    assert text[12].split() == ["51.0-59.0", "26.0-34.0", "58.0-66.0", "56.0-64.0", "66.0-74.0"]
    assert {line.rstrip("*")[-1:] for line in text} <= set("1234567890")
    assert max(map(len, text)) <= 80
    empty = stage_text(boxes(make_pipeline_run("new", num_stages=0))).splitlines()
    assert empty[1].split() == ["pass@1,", "%", "-", "-", "-", "-", "-"]


def test_the_vote_is_that_of_the_models_and_not_of_validation(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    lines = (run / "evaluations.jsonl").read_text().splitlines()
    changed = [line.replace("cons@16", "cons@2" if '"name": "validation"' in line else "cons@4") for line in lines]
    (run / "evaluations.jsonl").write_text("\n".join(changed))
    assert [line.name for line in stages(boxes(run)).lines][1] == "cons@4"
    assert [line.name for line in stages([]).lines][1] == "cons@16"
