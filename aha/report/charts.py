"""Line charts, stacks and dumbbells as inline SVG; the style sheet colours them, and a script shows their values.

Coordinates are computed once, in Python: a chart is the same in every browser, needs no library and no network, and can
be printed. Colours are classes (`tone-1` to `tone-5`) of the style sheet, so that one drawing serves light and dark
pages.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from markupsafe import Markup

from aha.report.ticks import covering_ticks, ticks

__all__ = [
    "Axes",
    "Estimate",
    "Series",
    "dumbbell",
    "embed",
    "format_figure",
    "line_chart",
    "path_data",
    "running_mean",
    "thin",
]

Unit = Literal["share", "number"]
Estimate = tuple[float, float, float]
Point = tuple[float, float]

MAX_POINTS = 400
MAX_DOTTED_POINTS = 40
LABEL_WIDTH = 6.5
SMALL_WIDTH = 400
TRACK_WIDTH = 280
DASH = "\N{EN DASH}"


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

    x_range: Point
    levels: Sequence[float]
    left: float
    right: float
    top: float
    bottom: float

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low = self.levels[0]
        high = self.levels[-1]
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def thin(xs: Sequence[float], ys: Sequence[float], limit: int = MAX_POINTS) -> tuple[list[float], list[float]]:
    """At most `limit` points: neighbours are averaged, so that no spike is dropped and none is made up."""
    size = math.ceil(len(xs) / limit) or 1
    parts = [slice(start, start + size) for start in range(0, len(xs), size)]
    return [_mean(xs[part]) for part in parts], [_mean(ys[part]) for part in parts]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and its neighbours, `window` (odd) of them where there are that many; a gap stays a gap."""
    half = window // 2
    means = [_mean(values[max(0, index - half) : index + half + 1]) for index in range(len(values))]
    return [mean if math.isfinite(value) else math.nan for mean, value in zip(means, values, strict=True)]


def path_data(points: Iterable[Point]) -> str:
    """The `d` of an SVG path through the points; a point that is not finite breaks the line."""
    parts: list[str] = []
    pen = "M"

    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"

    return "".join(parts)


def format_figure(value: float, unit: Unit = "number") -> str:
    """A number as the page writes it: percent for shares, three digits or all whole ones, thousands set apart.

    Examples: 0.413 -> `41.3 %` as a share; 1234.5 -> `1,234`; 0.0000012 -> `1.2e-6`.
    """
    if not math.isfinite(value):
        return DASH
    if unit == "share":
        return f"{value * 100:.1f}".removesuffix(".0") + "\N{NO-BREAK SPACE}%"
    if abs(value) >= 1000:
        return f"{value:,.0f}"

    mantissa, exponent_mark, exponent = f"{value:.3g}".partition("e")
    text = f"{mantissa}e{int(exponent)}" if exponent_mark else mantissa
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text


def embed(data: object) -> Markup:
    """JSON that may stand inside a `script` element, whatever strings it holds.

    `<`, `>` and `&` are written as escapes, so that no text can close the element or open a comment in it.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
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
    drawn = [line for line in series if any(map(math.isfinite, line.ys))]
    heading = Markup("<figcaption><b>{}</b><span>{}</span></figcaption>").format(axes.title, axes.note)

    if not drawn:
        return Markup('<figure class="chart">{}<p class="missing">not recorded yet</p></figure>').format(heading)

    plane = _plane(drawn, axes)
    layers = [_grid(plane, axes), _borders(plane, axes), *(_draw(line, plane, axes) for line in drawn)]
    label = f"{axes.title}: {', '.join(line.name for line in drawn)}"
    drawing = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" tabindex="0">{}</svg>').format(
        axes.width, axes.height, label, Markup("").join(layers)
    )
    stops = Markup('<script type="application/json">{}</script>').format(embed(_stops(drawn, plane, axes)))

    return Markup('<figure class="chart">{}{}<div class="plot">{}</div>{}</figure>').format(
        heading, _legend(drawn), drawing, stops
    )


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
    estimates = [(kind, estimate) for kind, estimate in (("before", start), ("after", end)) if estimate is not None]

    # Later layers cover earlier ones: the track, the intervals, the move, the dots.
    layers = [_across("track", plane, 0.0, high)]
    for kind, (_, low, top) in estimates:
        if math.isfinite(low + top):
            layers.append(_across(f"range {kind}", plane, low, top))
    if start is not None and end is not None:
        layers.append(_across("move", plane, start[0], end[0]))
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="10" r="4"/>')
    layers += [dot.format(kind, plane.x(value)) for kind, (value, _, _) in estimates]
    svg = Markup('<svg class="dumbbell" viewBox="0 0 {} 20" aria-hidden="true">{}</svg>')
    return svg.format(TRACK_WIDTH, Markup("").join(layers))


def _across(kind: str, plane: _Plane, low: float, high: float) -> Markup:
    line = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="10" y2="10"/>')
    return line.format(kind, plane.x(low), plane.x(high))


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _plane(series: Sequence[Series], axes: Axes) -> _Plane:
    """The plot area and the ranges that hold all the series; the horizontal axis starts at 0."""
    xs = [x for line in series for x in line.xs]
    ys = [y for line in series for y in (*line.ys, *line.lows, *line.highs) if math.isfinite(y)]
    low = min(ys if axes.low is None else [axes.low, *ys])
    high = max(ys if axes.high is None else [axes.high, *ys])
    is_small = axes.width < SMALL_WIDTH

    return _Plane(
        x_range=(min([0.0, *xs]), max([1.0, *xs])),
        levels=covering_ticks(low, high, 4 if is_small else 5),
        left=48,
        right=axes.width - 10,
        top=22 if axes.borders and axes.names_borders else 10,
        bottom=axes.height - (24 if is_small else 40),
    )


def _grid(plane: _Plane, axes: Axes) -> Markup:
    """Horizontal lines with their values, and the training steps below."""
    is_small = axes.width < SMALL_WIDTH
    parts = []

    for value in plane.levels:
        y = plane.y(value)
        parts.append(_segment("grid", (plane.left, plane.right), (y, y)))
        parts.append(_label("tick y", plane.left - 7, y + 4, format_figure(value, axes.unit)))

    for value in ticks(*plane.x_range, 4 if is_small else 6):
        parts.append(_label("tick x", plane.x(value), plane.bottom + 17, format_figure(value)))

    if not is_small:
        parts.append(_label("tick x", (plane.left + plane.right) / 2, axes.height - 6, "steps"))

    return Markup("").join(parts)


def _segment(kind: str, xs: Point, ys: Point, title: str = "") -> Markup:
    line = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}">{}</line>')
    name = Markup("<title>{}</title>").format(title) if title else ""
    return line.format(kind, *xs, *ys, name)


def _label(kind: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, text)


def _borders(plane: _Plane, axes: Axes) -> Markup:
    """Thin vertical lines where stages begin; a name is left out where the next line is too near for it."""
    ends = [*(plane.x(position) for position, _ in axes.borders[1:]), plane.right]
    parts = []
    for (position, name), end in zip(axes.borders, ends, strict=False):
        x = plane.x(position)
        parts.append(_segment("border", (x, x), (plane.top - 6, plane.bottom), name))
        if axes.names_borders and end - x > LABEL_WIDTH * len(name):
            parts.append(_label("stage", x + 4, plane.top - 8, name))
    return Markup("").join(parts)


def _draw(line: Series, plane: _Plane, axes: Axes) -> Markup:
    """One series: its band, its line, its points."""
    points = [(plane.x(x), plane.y(y)) for x, y in zip(line.xs, line.ys, strict=True)]
    if line.style == "marks":
        return _marks(line, plane, points)
    if line.style == "layer":
        return Markup('<g class="tone-{} layer">{}</g>').format(line.tone, _band(line, plane))

    parts = [_band(line, plane)] if line.lows else []
    if line.style == "trend":
        # The data themselves are faint; the line is their running mean.
        parts.append(_stroke(points, "raw"))
        means = _smooth([y for _, y in points], line.xs, axes.borders)
        points = [(x, mean) for (x, _), mean in zip(points, means, strict=True)]

    # A few points are marked each; a single one would not show as a line.
    parts.append(_stroke(points, "line"))
    visible = [point for point in points if math.isfinite(point[1])]
    if len(visible) == 1 or (line.style == "line" and len(visible) <= MAX_DOTTED_POINTS):
        dot = Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.6"/>')
        parts += [dot.format(x, y) for x, y in visible]

    return Markup('<g class="tone-{}">{}</g>').format(line.tone, Markup("").join(parts))


def _stroke(points: Sequence[Point], kind: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(kind, path_data(points))


def _smooth(values: Sequence[float], xs: Sequence[float], borders: Sequence[tuple[float, str]]) -> list[float]:
    """Running means that never reach across a stage border."""
    window = max(5, len(values) // 20) | 1
    cuts = [sum(x <= position for x in xs) for position, _ in borders]
    edges = sorted({0, *cuts, len(values)})
    return [mean for start, stop in pairwise(edges) for mean in running_mean(values[start:stop], window)]


def _band(line: Series, plane: _Plane) -> Markup:
    """The area between the ends of the intervals, over the points that have one."""
    rows = [row for row in zip(line.xs, line.lows, line.highs, strict=True) if all(map(math.isfinite, row))]
    outline = [(plane.x(x), plane.y(high)) for x, _, high in rows]
    outline += [(plane.x(x), plane.y(low)) for x, low, _ in reversed(rows)]
    return Markup('<path class="band" d="{}Z"/>').format(path_data(outline)) if rows else Markup("")


def _marks(line: Series, plane: _Plane, points: Sequence[Point]) -> Markup:
    """Diamonds, each on a whisker that spans its interval."""
    parts = []
    for (x, y), low, high in zip(points, line.lows or line.ys, line.highs or line.ys, strict=True):
        if math.isfinite(y):
            if math.isfinite(low + high):
                parts.append(_segment("whisker", (x, x), (plane.y(low), plane.y(high))))
            corners = [(x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y)]
            parts.append(Markup('<path class="mark" d="{}Z"/>').format(path_data(corners)))
    return Markup('<g class="tone-{}">{}</g>').format(line.tone, Markup("").join(parts))


def _legend(series: Sequence[Series]) -> Markup:
    """Names beside swatches; a lone series is named by the heading already."""
    if len(series) == 1:
        return Markup("")
    items = Markup("").join(
        Markup('<li class="tone-{} {}">{}</li>').format(line.tone, line.style, line.name) for line in series
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


def _stops(series: Sequence[Series], plane: _Plane, axes: Axes) -> list[object]:
    """What the read-out says at each position: [share of the width, heading, [[tone, name, text], ...]]."""
    rows: dict[float, list[list[object]]] = {}
    for line in series:
        for x, text in _readings(line, axes.unit):
            rows.setdefault(x, []).append([line.tone, line.name, text])
    return [[round(plane.x(x) / axes.width, 4), f"step {format_figure(x)}", rows[x]] for x in sorted(rows)]


def _readings(line: Series, unit: Unit) -> Iterator[tuple[float, str]]:
    """Each finite value of a series as text, with its interval where there is one."""
    for index, (x, y) in enumerate(zip(line.xs, line.ys, strict=True)):
        sides = (line.lows, line.highs) if line.style != "layer" else ()
        ends = [format_figure(side[index], unit) for side in sides if side]
        interval = f" ({f' {DASH} '.join(ends)})" if ends else ""
        if math.isfinite(y):
            yield x, format_figure(y, unit) + interval
