import json
import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from aha.report.charts import (
    Axes,
    Series,
    dumbbell,
    embed,
    format_figure,
    line_chart,
    running_mean,
    thin,
)
from aha.report.svg import path_data
from aha.report.ticks import covering_ticks, ticks

RISING = Series(name="pass@1", xs=[0, 50, 100], ys=[0.0, 0.5, 1.0])
SHARES = Axes(title="Accuracy", unit="share", high=1.0, width=560, height=300)


def numbers(pattern: str, text: str) -> list[float]:
    return [float(number) for number in re.findall(pattern, text)]


def readout(figure: str) -> list[list[object]]:
    stops: list[list[object]] = json.loads(figure.split('<script type="application/json">')[1].split("</script>")[0])
    return stops


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 120, [0, 25, 50, 75, 100]),
        (3, 97, [20, 40, 60, 80]),
        (-0.02, 0.02, [-0.02, -0.01, 0, 0.01, 0.02]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 5) == expected


def test_covering_ticks_enclose_the_data() -> None:
    assert covering_ticks(0, 77.8) == [0, 20, 40, 60, 80]
    assert covering_ticks(-0.021, 0.018, 4) == [-0.03, -0.02, -0.01, 0, 0.01, 0.02]


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0])
def test_covering_ticks_widen_an_empty_range(value: float) -> None:
    levels = covering_ticks(value, value)
    assert levels[0] <= value <= levels[-1]
    assert levels[0] < levels[-1]


@with_settings(max_examples=40)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(1, 10))
def test_covering_ticks_rise_evenly_around_any_range(low: float, width: float, count: int) -> None:
    levels = covering_ticks(low, low + width, count)
    steps = [after - before for before, after in pairwise(levels)]
    slack = 1e-6 * max(steps)
    assert levels[0] <= low + slack
    assert levels[-1] >= low + width - slack
    assert max(steps) - min(steps) <= slack
    assert len(steps) <= count + 1


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, math.inf), (math.nan, 1)])
def test_ticks_refuse_a_range_without_width(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="positive, finite width"):
        ticks(low, high)


def test_a_path_breaks_where_a_value_is_missing() -> None:
    assert path_data([(0, 1), (2, 3.25), (4, math.nan), (6, 7)]) == "M0.0 1.0L2.0 3.2M6.0 7.0"


def test_running_mean_is_shorter_at_the_ends_and_keeps_gaps() -> None:
    assert running_mean([1, 2, 6, 3], 3) == [1.5, 3, pytest.approx(11 / 3), 4.5]
    smooth = running_mean([1, math.nan, 3], 3)
    assert smooth[0] == 1
    assert math.isnan(smooth[1])
    assert smooth[2] == 3


def test_thinning_averages_neighbours_and_keeps_the_mean() -> None:
    xs, ys = thin(list(range(1000)), [float(x % 2) for x in range(1000)], limit=100)
    assert len(xs) == 100
    assert xs[0] == 4.5
    assert set(ys) == {0.5}


def test_few_points_are_not_thinned() -> None:
    assert thin([1, 2], [3, 4]) == ([1, 2], [3, 4])
    assert thin([], []) == ([], [])


def test_figures_are_written_for_readers() -> None:
    for value, unit, expected in [
        (0.4125, "share", "41.2\N{NO-BREAK SPACE}%"),
        (0.5, "share", "50\N{NO-BREAK SPACE}%"),
        (1234.5, "number", "1,234"),
        (62.04, "number", "62"),
        (0.00012, "number", "0.00012"),
        (0.0000012, "number", "1.2e-6"),
        (-0.5, "number", "\N{MINUS SIGN}0.5"),
        (-2e-6, "number", "\N{MINUS SIGN}2e-6"),
        (math.nan, "number", "\N{EN DASH}"),
    ]:
        assert format_figure(value, unit) == expected, (value, unit, expected)


def test_points_lie_where_the_axes_say() -> None:
    figure = line_chart([RISING], SHARES)
    assert numbers(r'cx="([\d.]+)"', figure) == [48, 299, 550]
    assert numbers(r'<circle[^>]*cy="([\d.]+)"', figure) == [260, 135, 10]
    assert 'd="M48.0 260.0L299.0 135.0L550.0 10.0"' in figure


def test_the_band_runs_along_the_highs_and_back_along_the_lows() -> None:
    series = Series(name="pass@1", xs=[0, 100], ys=[0.5, 0.5], lows=[0.4, 0.0], highs=[0.6, 1.0])
    assert 'class="band" d="M48.0 110.0L550.0 10.0L550.0 260.0L48.0 160.0Z"' in line_chart([series], SHARES)


def test_the_readout_names_every_series_at_every_step() -> None:
    other = Series(name="cons@16", xs=[50], ys=[0.8], lows=[0.7], highs=[0.9], tone=2)
    stops = readout(line_chart([RISING, other], SHARES))
    assert [heading for _, heading, _ in stops] == ["step 0", "step 50", "step 100"]
    assert stops[1][2] == [
        [1, "pass@1", "50\N{NO-BREAK SPACE}%"],
        [2, "cons@16", "80\N{NO-BREAK SPACE}% (70\N{NO-BREAK SPACE}% \N{EN DASH} 90\N{NO-BREAK SPACE}%)"],
    ]
    assert stops[2][0] == round(550 / 560, 4)


def test_a_trend_never_smooths_across_a_stage() -> None:
    series = Series(name="length", xs=list(range(1, 21)), ys=[0.0] * 10 + [1.0] * 10, style="trend")
    borders = [(0, "zero"), (10, "zero_long")]
    figure = line_chart([series], Axes(title="Length", high=1.0, borders=borders))
    smooth = re.search(r'class="line" d="([^"]+)"', figure)
    assert smooth is not None
    assert len({y for _, y in re.findall(r"([\d.]+) ([\d.]+)", smooth[1])}) == 2


def test_stage_borders_are_drawn_and_named_where_there_is_room() -> None:
    borders = [(0, "zero"), (98, "a_long_name"), (99, "last")]
    figure = line_chart([RISING], Axes(title="Accuracy", borders=borders))
    assert figure.count('class="border"') == 3
    assert re.findall(r'class="stage"[^>]*>([^<]+)<', figure) == ["zero"]
    assert "<title>a_long_name</title>" in figure


def test_marks_without_an_interval_have_no_whisker() -> None:
    series = Series(name="end", xs=[10], ys=[0.5], lows=[math.nan], highs=[math.nan], style="marks")
    figure = line_chart([series], SHARES)
    assert 'class="mark"' in figure
    assert "whisker" not in figure
    assert "nan" not in figure


def test_a_lone_point_is_seen() -> None:
    figure = line_chart([Series(name="kl", xs=[2], ys=[0.1], style="trend")], Axes(title="KL"))
    assert figure.count("<circle") == 1


@pytest.mark.parametrize("series", [[], [Series(name="kl", xs=[1], ys=[math.nan])]])
def test_a_chart_without_data_says_so(series: list[Series]) -> None:
    figure = line_chart(series, Axes(title="KL"))
    assert "not recorded yet" in figure
    assert "<svg" not in figure


def test_names_are_escaped() -> None:
    hostile = Series(name="</script><b>", xs=[0, 1], ys=[0, 1])
    figure = line_chart([hostile, RISING], Axes(title="<i>", borders=[(0, "<u>"), (60, "<s>")]))
    assert not re.search(r"<(b|i|u|s)>", figure.replace("<b>&lt;i&gt;</b>", ""))
    assert figure.count("</script>") == 1


def test_embedded_json_cannot_leave_its_element() -> None:
    data = {"text": "</script><!-- & \u2028"}
    text = embed(data)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == data


def test_dumbbell_places_both_dots_on_the_common_track() -> None:
    drawing = dumbbell((0.0, 0.0, 0.1), (0.5, 0.4, 0.6), 1.0)
    assert re.findall(r'<circle class="(\w+)" cx="([\d.]+)"', drawing) == [("before", "5.0"), ("after", "140.0")]
    assert 'class="move" x1="5.0" x2="140.0"' in drawing
    assert 'class="range after" x1="113.0" x2="167.0"' in drawing


def test_dumbbell_with_one_end_draws_no_move() -> None:
    drawing = dumbbell((10.0, math.nan, math.nan), None, 20.0)
    assert drawing.count("<circle") == 1
    assert "move" not in drawing
    assert "range" not in drawing
