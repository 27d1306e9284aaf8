"""Line charts, stacks and dumbbells as inline SVG; the style sheet colours them, and a script shows their values.

Coordinates are computed once, in Python: a chart is the same in every browser, needs no library and no network, and can
be printed. Colours are classes (`tone-1` to `tone-5`) of the style sheet, so that one drawing serves light and dark
pages.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from markupsafe import Markup

from aha.report.cells import DASH, Unit, format_figure
from aha.report.svg import Point, area, joined, label, path, segment
from aha.report.ticks import covering_ticks, ticks

__all__ = [
    "Axes",
    "Estimate",
    "Series",
    "dumbbell",
    "embed",
    "line_chart",
    "running_mean",
    "thin",
]

Estimate = tuple[float, float, float]
"""A value with the lower and the upper end of its interval."""

MAX_POINTS = 400  # of a line: more would make the page larger, and could not be told apart
MAX_DOTTED_POINTS = 40
LABEL_WIDTH = 6.5  # pixels of an average letter
SMALL_WIDTH = 400  # narrower charts have fewer ticks and no name below the axis
TRACK_WIDTH = 280


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a chart.

    Attributes:
        name: its name in the legend and in the read-out.
        xs: positions, rising.
        ys: values, as many; a value that is not finite leaves a gap.
        lows: lower ends of the 95 % intervals, as many, or none.
        highs: upper ends.
        tone: colour, 1 to 5.
        style: `line`; `trend`, a faint line under its own running mean; `marks`, diamonds with whiskers; `layer`, of a
            stack, the area from `lows` to `highs`.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()
    tone: int = 1
    style: Literal["line", "trend", "marks", "layer"] = "line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The frame of a chart.

    Attributes:
        title: heading.
        note: a sentence under the heading.
        unit: `share` is written in percent, `number` as it is.
        width: width of the drawing, in its own pixels; the page scales it.
        height: height of the drawing.
        low: a value that the vertical axis must include; None to follow the data.
        high: the same at the top.
        borders: beginnings of stages as (position, name), drawn as thin vertical lines.
        names_borders: whether the names of the stages stand beside the lines.
    """

    title: str
    note: str = ""
    unit: Unit = "number"
    width: int = 560
    height: int = 300
    low: float | None = 0.0
    high: float | None = None
    borders: Sequence[tuple[float, str]] = ()
    names_borders: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plane:
    """Data coordinates to pixels; the plot area is [left, right] x [top, bottom]."""

    x_range: tuple[float, float]
    levels: Sequence[float]  # of the horizontal lines
    left: float
    right: float
    top: float
    bottom: float

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        # The lowest and the highest line are the edges of the plot area. Pixels count downwards.
        low = self.levels[0]
        high = self.levels[-1]
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def thin(xs: Sequence[float], ys: Sequence[float], limit: int = MAX_POINTS) -> tuple[list[float], list[float]]:
    """At most `limit` points: neighbours are averaged, so that no spike is dropped and none is made up."""
    # Without points there are no parts, but a slice of size 0 would be an error.
    size = math.ceil(len(xs) / limit) or 1
    parts = [slice(start, start + size) for start in range(0, len(xs), size)]
    thin_xs = [_mean(xs[part]) for part in parts]
    thin_ys = [_mean(ys[part]) for part in parts]
    return thin_xs, thin_ys


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and its neighbours, `window` (odd) of them where there are that many; a gap stays a gap."""
    half = window // 2
    means = []
    for index, value in enumerate(values):
        first = max(0, index - half)
        neighbours = values[first : index + half + 1]
        means.append(_mean(neighbours) if math.isfinite(value) else math.nan)
    return means


def embed(data: object) -> Markup:
    """JSON that may stand inside a `script` element, whatever strings it holds.

    `<`, `>` and `&` are written as escapes, so that no text can close the element or open a comment in it.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Old JavaScript takes the two separators of Unicode, which JSON allows in a string, for ends of lines.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def line_chart(series: Sequence[Series], axes: Axes) -> Markup:
    """A figure with a heading, a legend, the drawing, and the figures that its read-out shows.

    Args:
        series: lines in drawing order; those without a finite value are left out.
        axes: the frame.

    Returns:
        A `figure` element; with nothing to draw, one that says so.
    """
    heading = Markup("<figcaption><b>{}</b><span>{}</span></figcaption>").format(axes.title, axes.note)
    # A run may not have come as far, or may not log a metric; an evaluation may have no such suite.
    drawn = [line for line in series if any(map(math.isfinite, line.ys))]
    if not drawn:
        return Markup('<figure class="chart">{}<p class="missing">not recorded yet</p></figure>').format(heading)

    plane = _plane(drawn, axes)
    layers = [_grid(plane, axes), _borders(plane, axes)]
    layers += [_draw(line, plane, axes) for line in drawn]

    names = ", ".join(line.name for line in drawn)
    # The drawing takes the focus, so that the read-out can be moved with the arrow keys.
    svg = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}: {}" tabindex="0">{}</svg>')
    drawing = svg.format(axes.width, axes.height, axes.title, names, joined(layers))

    script = Markup('<script type="application/json">{}</script>')
    stops = script.format(embed(_stops(drawn, plane, axes)))
    figure = Markup('<figure class="chart">{}{}<div class="plot">{}</div>{}</figure>')
    return figure.format(heading, _legend(drawn), drawing, stops)


def dumbbell(start: Estimate | None, end: Estimate | None, high: float) -> Markup:
    """Where a figure was and where it went, as two dots on a common track from 0 to `high`, with their intervals.

    Args:
        start: value, low, high; None where it is not known.
        end: likewise.
        high: right end of the track, positive.

    Returns:
        An `svg` element for a table cell, which holds no text: the cells beside it do.
    """
    plane = _Plane(x_range=(0.0, high), levels=(0.0, 1.0), left=5, right=TRACK_WIDTH - 5, top=0, bottom=20)
    estimates = {"before": start, "after": end}
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="10" r="4"/>')
    ranges = []
    dots = []

    for kind, estimate in estimates.items():
        if estimate is None:
            continue
        value, low, top = estimate
        dots.append(dot.format(kind, plane.x(value)))
        if math.isfinite(low + top):
            ranges.append(_across(f"range {kind}", plane, low, top))

    move = [] if start is None or end is None else [_across("move", plane, start[0], end[0])]

    # Later layers cover earlier ones: the track, the intervals, the move, the dots.
    layers = [_across("track", plane, 0.0, high), *ranges, *move, *dots]
    svg = Markup('<svg class="dumbbell" viewBox="0 0 {} 20" aria-hidden="true">{}</svg>')
    return svg.format(TRACK_WIDTH, joined(layers))


def _across(kind: str, plane: _Plane, low: float, high: float) -> Markup:
    line = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="10" y2="10"/>')
    return line.format(kind, plane.x(low), plane.x(high))


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _plane(series: Sequence[Series], axes: Axes) -> _Plane:
    """The plot area and the ranges that hold all the series; the horizontal axis starts at 0."""
    xs = [0.0, 1.0]
    ys: list[float] = []
    for line in series:
        xs += line.xs
        for values in (line.ys, line.lows, line.highs):
            ys += [value for value in values if math.isfinite(value)]

    low = min(ys if axes.low is None else [axes.low, *ys])
    high = max(ys if axes.high is None else [axes.high, *ys])
    is_small = axes.width < SMALL_WIDTH
    return _Plane(
        x_range=(min(xs), max(xs)),
        levels=covering_ticks(low, high, 4 if is_small else 5),
        left=48,
        right=axes.width - 10,
        # The names of stages stand above the plot area.
        top=22 if axes.borders and axes.names_borders else 10,
        bottom=axes.height - (24 if is_small else 40),
    )


def _grid(plane: _Plane, axes: Axes) -> Markup:
    """Horizontal lines with their values, and the training steps below."""
    is_small = axes.width < SMALL_WIDTH
    elements = []

    for value in plane.levels:
        y = plane.y(value)
        elements.append(segment("grid", (plane.left, plane.right), (y, y)))
        elements.append(label("tick y", plane.left - 7, y + 4, format_figure(value, axes.unit)))

    for value in ticks(*plane.x_range, 4 if is_small else 6):
        elements.append(label("tick x", plane.x(value), plane.bottom + 17, format_figure(value)))

    # Small charts stand side by side under one heading, which says what their axis is.
    if not is_small:
        middle = (plane.left + plane.right) / 2
        elements.append(label("tick x", middle, axes.height - 6, "steps"))

    return joined(elements)


def _borders(plane: _Plane, axes: Axes) -> Markup:
    """Thin vertical lines where stages begin; a name is left out where the next line is too near for it."""
    next_lines = [plane.x(position) for position, _ in axes.borders[1:]]
    next_lines.append(plane.right)
    elements = []

    for (position, name), next_line in zip(axes.borders, next_lines, strict=False):
        x = plane.x(position)
        elements.append(segment("border", (x, x), (plane.top - 6, plane.bottom), name))
        if axes.names_borders and next_line - x > LABEL_WIDTH * len(name):
            elements.append(label("stage", x + 4, plane.top - 8, name))

    return joined(elements)


def _draw(line: Series, plane: _Plane, axes: Axes) -> Markup:
    """One series: its band, its line, its points."""
    group = Markup('<g class="tone-{}">{}</g>')
    points = [(plane.x(x), plane.y(y)) for x, y in zip(line.xs, line.ys, strict=True)]
    if line.style == "marks":
        return group.format(line.tone, _marks(line, plane, points))
    if line.style == "layer":
        # A layer is all area: its upper edge is the lower edge of the next.
        return group.format(f"{line.tone} layer", _band(line, plane))

    elements = [_band(line, plane)] if line.lows else []
    if line.style == "trend":
        # The data themselves are faint; the line is their running mean.
        elements.append(path("raw", points))
        means = _smooth([y for _, y in points], line.xs, axes.borders)
        points = [(x, mean) for (x, _), mean in zip(points, means, strict=True)]
    elements.append(path("line", points))

    # Points of a short line are marked, since they are few enough to be read; a single one would not show as a line.
    visible = [point for point in points if math.isfinite(point[1])]
    is_short = line.style == "line" and len(visible) <= MAX_DOTTED_POINTS
    if is_short or len(visible) == 1:
        dot = Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.6"/>')
        elements += [dot.format(x, y) for x, y in visible]

    return group.format(line.tone, joined(elements))


def _smooth(values: Sequence[float], xs: Sequence[float], borders: Sequence[tuple[float, str]]) -> list[float]:
    """Running means that never reach across a stage border, where a curve may jump."""
    # An odd window reaches equally far to both sides.
    window = max(5, len(values) // 20) | 1
    cuts = [sum(x <= position for x in xs) for position, _ in borders]
    edges = sorted({0, *cuts, len(values)})

    means: list[float] = []
    for start, stop in pairwise(edges):
        means += running_mean(values[start:stop], window)
    return means


def _band(line: Series, plane: _Plane) -> Markup:
    """The area between the ends of the intervals, over the points that have one."""
    upper = []
    lower = []
    for x, low, high in zip(line.xs, line.lows, line.highs, strict=True):
        if math.isfinite(x + low + high):
            upper.append((plane.x(x), plane.y(high)))
            lower.append((plane.x(x), plane.y(low)))

    # Along the upper ends to the right, and back along the lower ones.
    return area("band", [*upper, *reversed(lower)]) if upper else Markup("")


def _marks(line: Series, plane: _Plane, points: Sequence[Point]) -> Markup:
    """Diamonds, each on a whisker that spans its interval."""
    lows = line.lows or line.ys
    highs = line.highs or line.ys
    elements = []

    for (x, y), low, high in zip(points, lows, highs, strict=True):
        if not math.isfinite(y):
            continue
        if math.isfinite(low + high):
            elements.append(segment("whisker", (x, x), (plane.y(low), plane.y(high))))
        elements.append(area("mark", [(x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y)]))

    return joined(elements)


def _legend(series: Sequence[Series]) -> Markup:
    """Names beside swatches; a lone series is named by the heading already."""
    if len(series) == 1:
        return Markup("")

    entry = Markup('<li class="tone-{} {}">{}</li>')
    entries = joined(entry.format(line.tone, line.style, line.name) for line in series)
    return Markup('<ul class="legend">{}</ul>').format(entries)


def _stops(series: Sequence[Series], plane: _Plane, axes: Axes) -> list[object]:
    """What the read-out says at each position: [share of the width, heading, [[tone, name, text], ...]]."""
    rows: dict[float, list[list[object]]] = {}
    for line in series:
        for x, text in _readings(line, axes.unit):
            rows.setdefault(x, []).append([line.tone, line.name, text])

    stops: list[object] = []
    for x in sorted(rows):
        # A share, not pixels: the browser scales the drawing to the page.
        share = plane.x(x) / axes.width
        stops.append([round(share, 4), f"step {format_figure(x)}", rows[x]])
    return stops


def _readings(line: Series, unit: Unit) -> Iterator[tuple[float, str]]:
    """Each finite value of a series as text, with its interval where there is one."""
    # The ends of a layer are its lower and upper edge, not an interval.
    sides = [side for side in (line.lows, line.highs) if side and line.style != "layer"]
    for index, (x, y) in enumerate(zip(line.xs, line.ys, strict=True)):
        if not math.isfinite(y):
            continue
        text = format_figure(y, unit)
        if sides:
            ends = [format_figure(side[index], unit) for side in sides]
            text += f" ({f' {DASH} '.join(ends)})"
        yield x, text
