import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from aha.recipes.r1.record import FIGURE as PIPELINE
from aha.recipes.r1.record import NARROW, WIDE
from aha.report.diagram import anchor, diagram, headline
from aha.report.progress import Progress, survey
from aha.report.record import read_record
from aha.runs.pipeline import Node

MakeRun = Callable[..., Path]
HOSTILE = '"><script>alert(1)</script>'


def not_begun(*nodes: Node) -> list[Progress]:
    return [Progress(node=node, state="not begun") for node in nodes]


def drawings(boxes: list[Progress]) -> list[str]:
    found = re.findall(r"<svg.*?</svg>", diagram(boxes))
    assert len(found) == 2
    return found


def rectangles(drawing: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each box."""
    found = []
    for box in re.findall(r"<a href=.*?</a>", drawing):
        shape = re.search(r'<rect class="shape" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', box)
        if shape:
            x, y, width, height = map(float, shape.groups())
            found.append((x, y, x + width, y + height))
        else:
            points = re.findall(r"[ML]([\d.]+) ([\d.]+)", re.search(r'class="shape" d="([^"]+)"', box)[1])
            xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
            found.append((min(xs), min(ys), max(xs), max(ys)))
    return found


def corners(arrow: str) -> list[tuple[float, float]]:
    """An arrow's points, where it is bent as well."""
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", arrow)]


@pytest.mark.parametrize("grid", [WIDE, NARROW])
def test_every_box_of_the_recipe_has_its_place(grid: str) -> None:
    assert set(grid.split()) - {"."} == {node.name for node in PIPELINE}


@pytest.mark.parametrize("side", [0, 1])
def test_boxes_do_not_overlap_and_stay_on_the_sheet(side: int) -> None:
    drawing = drawings(not_begun(*PIPELINE))[side]
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawing).groups())
    boxes = rectangles(drawing)
    assert len(boxes) == len(PIPELINE)
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert 0 < left < right < width
        assert 0 < top < bottom < height
        for other in boxes[:index]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


@pytest.mark.parametrize("side", [0, 1])
def test_arrows_go_round_boxes_and_reach_all_of_them(side: int) -> None:
    drawing = drawings(not_begun(*PIPELINE))[side]
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawing).groups())
    arrows = re.findall(r'class="arrow [^"]*" d="([^"]+)"', drawing)
    assert len(arrows) == sum(len(node.parents) for node in PIPELINE)
    boxes = rectangles(drawing)
    for arrow in arrows:
        points = corners(arrow)
        assert all(0 < x < width and 0 < y < height for x, y in points)
        for (x, y), (to_x, to_y) in pairwise(points):
            for step in range(21):
                at = (x + (to_x - x) * step / 20, y + (to_y - y) * step / 20)
                assert not any(left < at[0] < right and top < at[1] < bottom for left, top, right, bottom in boxes)


def test_boxes_say_how_far_they_are(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run(num_stages=2, num_done=3)
    boxes = survey(read_record(run), [])
    drawing = drawings(boxes)[0]
    assert re.findall(r'class="box (\w+) ([\w-]+)"', drawing)[:4] == [
        ("model", "finished"),
        ("model", "finished"),
        ("data", "in-progress"),
        ("model", "not-begun"),
    ]
    assert ">3 of 4</text>" in drawing
    assert 'aria-label="Cold start, sample, keep, rewrite, 63 rows, in progress, 3 of 4"' in drawing
    assert drawing.count('class="tick-mark"') == 2


def test_each_kind_has_a_headline(make_pipeline_run: MakeRun) -> None:
    boxes = {box.node.name: box for box in survey(read_record(make_pipeline_run()), [])}
    assert headline(boxes["cold"]) == "84 rows"
    assert headline(boxes["helpfulness"]) == "held-out 87.0\N{NO-BREAK SPACE}%"
    assert headline(boxes["r1"]).startswith("pass@1 7")
    assert headline(replace(boxes["r1"], report=None)) == ""


def test_a_figure_without_places_goes_from_left_to_right() -> None:
    start = Node(name="start", title="", kind="model")
    data = Node(name="data", title="", kind="data")
    end = Node(name="end", title="", kind="model", parents=("start", "data"))
    wide, narrow = (rectangles(drawing) for drawing in drawings(not_begun(start, data, end)))
    assert wide[0][0] == wide[1][0] < wide[2][0]
    assert wide[0][1] == wide[2][1] < wide[1][1]
    assert narrow[0][1] == narrow[1][1] < narrow[2][1]


def test_an_unknown_pipeline_is_drawn_too() -> None:
    nodes = [Node(name=f"n{index}", title="t " * 60, kind="model", parents=("n0", "gone")) for index in range(1, 13)]
    drawing = drawings(not_begun(Node(name="n0", title="", kind="data"), *nodes))[0]
    assert drawing.count("<a href=") == 13
    assert drawing.count('class="arrow') == 12


def test_no_boxes_are_an_empty_drawing() -> None:
    assert "0 boxes" in drawings([])[0]


def test_hostile_names_stay_text() -> None:
    drawing = diagram(not_begun(Node(name=HOSTILE, title=HOSTILE, kind="model", by=HOSTILE)))
    assert "<script" not in drawing
    assert f'href="#{anchor(HOSTILE)}"' in drawing
    assert re.fullmatch(r"[a-z0-9-]+", anchor(HOSTILE))
