import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from aha.recipes.catalogue import RECIPES
from aha.recipes.r1.record import FIGURE as PIPELINE
from aha.recipes.recipe import Recipe
from aha.recipes.zero_recipe import R1_ZERO
from aha.report.diagram import anchor
from aha.report.page import write_page
from aha.report.record import read_record
from aha.runs.folder import RunFolder
from aha.runs.pipeline import Node, main_models, nodes_of, trained_models, write_pipeline

MakeRun = Callable[..., Path]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_pipeline(RunFolder(tmp_path), PIPELINE)
    assert nodes_of(json.loads((tmp_path / "pipeline.json").read_text())) == list(PIPELINE)


def test_what_is_no_box_is_left_out() -> None:
    good = asdict(Node(name="zero", title="R1-Zero", kind="model"))
    odd = [None, "zero", {}, good | {"name": ""}, good | {"kind": "spaceship"}, good | {"name": 3}]
    assert nodes_of({"nodes": [*odd, good, good | {"title": "another"}]}) == [
        Node(name="zero", title="R1-Zero", kind="model")
    ]
    assert nodes_of({"nodes": "zero"}) == nodes_of({}) == []


def test_names_that_lead_out_of_the_run_folder_are_no_stages() -> None:
    entry = {"name": "zero", "kind": "model", "stages": ["zero", "../..", "..", "/etc", "a\\b", "a\0", "", 7]}
    assert nodes_of({"nodes": [entry]})[0].stages == ("zero",)
    assert nodes_of({"nodes": [entry]})[0].title == "zero"


def test_trained_models_begin_with_those_of_table_3() -> None:
    names = [node.name for node in trained_models(PIPELINE)]
    assert names[:5] == [node.name for node in main_models(PIPELINE)] == ["zero", "dev1", "dev2", "dev3", "r1"]
    assert names[5:] == ["dev2-plain", "qwen2-distilled", "llama-distilled", "qwen2-rl", "qwen2-distilled-rl"]


def test_places_that_are_none_are_left_out() -> None:
    entry = {"name": "zero", "kind": "model", "wide": [1, 2], "narrow": [1, 10**9]}
    (node,) = nodes_of({"nodes": [entry]})
    assert (node.wide, node.narrow) == ((1, 2), None)
    for place in ([1], [1.0, 2], [-1, 2], [True, 2], "12", None):
        assert nodes_of({"nodes": [entry | {"wide": place}]})[0].wide is None


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_page_of_every_recipe_has_its_figure(recipe: Recipe[Any, Any], make_run: MakeRun) -> None:
    run = make_run(has_rollouts=False)
    write_pipeline(RunFolder(run), recipe.figure)
    page = write_page(run).read_text(encoding="utf-8")
    assert page.count('class="box ') == 2 * len(recipe.figure)
    for node in recipe.figure:
        assert page.count(f'href="#{anchor(node.name)}"') >= 2
        assert page.count(f'id="{anchor(node.name)}"') == 1


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_figure_names_parents_before_what_is_made_from_them(recipe: Recipe[Any, Any]) -> None:
    known: set[str] = set()
    for node in recipe.figure:
        assert node.name not in known
        assert set(node.parents) <= known
        known.add(node.name)
    # These two make a reward model, and data.
    assert bool(trained_models(recipe.figure)) == (recipe.name not in {"reward_model", "rejection"})


def test_a_run_of_one_model_ends_with_that_model(make_run: MakeRun) -> None:
    run = make_run()
    before = read_record(run).end
    write_pipeline(RunFolder(run), R1_ZERO.figure)
    record = read_record(run)
    assert record.end == before is not None
    assert not record.has_pipeline


def test_a_record_without_a_pipeline_has_no_boxes(make_run: MakeRun) -> None:
    assert read_record(make_run()).nodes == []


def test_a_torn_pipeline_is_noted(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    (run / "pipeline.json").write_text('{"nodes": [')
    record = read_record(run)
    assert record.nodes == []
    assert record.notes == ["pipeline.json could not be read."]


def test_the_end_of_a_pipeline_is_r1(make_pipeline_run: MakeRun) -> None:
    record = read_record(make_pipeline_run())
    assert record.end == record.named("r1")[0]
    assert read_record(make_pipeline_run("mid", num_stages=4)).end is None


def test_a_part_of_a_record_has_an_axis_of_its_own(make_pipeline_run: MakeRun) -> None:
    record = read_record(make_pipeline_run())
    whole = {stage.name: stage for stage in record.stages}
    part = record.part(["reasoning", "r1"])
    assert whole["reasoning"].begins > 0
    assert [(stage.name, stage.begins) for stage in part.stages] == [("reasoning", 0), ("r1", 16)]
    assert [update.running_step for update in part.updates] == list(range(2, 42, 2))
    assert {evaluation.name for evaluation in part.evaluations} == {"validation"}
    assert [one.running_step for one in part.evaluations if one.stage == "r1"] == [16, 24, 32, 40][
        : len(part.evaluations)
    ]
