"""The pipeline as a drawing: boxes for models, data and reward models, and arrows from the parents of each.

Boxes stand on a grid where the recipe's figure puts them; a figure without places goes from left to right. Arrows run
along the gaps of the grid. There are two arrangements of the same boxes, a wide one and a narrow one for phones; the
page's style sheet shows the one that fits.

Source: DeepSeek-R1, arXiv:2501.12948v2, Figure 2.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from aha.report.cells import in_column
from aha.report.charts import path_data
from aha.report.progress import Progress
from aha.report.record import find_row
from aha.runs.pipeline import Node, Place

__all__ = ["anchor", "diagram", "headline"]

Point = tuple[float, float]

CORNER = 7.0
LANE = 7.0
SIDE_ENTRY = 15.0
TIP = 2.0
PIXELS_PER_LETTER = 8.2
PIXELS_PER_SMALL_LETTER = 6.4
INSET = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """A grid: how large boxes and gaps are, and where each box stands.

    Attributes:
        places: column and row of each box by name.
        width: of a box.
        height: of a box.
        gap: between columns, and between rows.
        margin: around all, for arrows that go round the outside.
    """

    places: Mapping[str, Place]
    width: float
    height: float
    gap: Point
    margin: float

    @property
    def num_columns(self) -> int:
        return 1 + max((column for column, _ in self.places.values()), default=0)

    @property
    def size(self) -> Point:
        """Width and height of the drawing."""
        num_rows = 1 + max((row for _, row in self.places.values()), default=0)
        across = self.num_columns * (self.width + self.gap[0]) - self.gap[0]
        down = num_rows * (self.height + self.gap[1]) - self.gap[1]
        return across + 2 * self.margin, down + 2 * self.margin

    def left(self, column: int) -> float:
        return self.margin + column * (self.width + self.gap[0])

    def top(self, row: int) -> float:
        return self.margin + row * (self.height + self.gap[1])

    def across(self, column: int) -> float:
        """The middle of a column."""
        return self.left(column) + self.width / 2

    def down(self, row: int) -> float:
        """The middle of a row."""
        return self.top(row) + self.height / 2

    def beside(self, column: int) -> float:
        """The gap to the left of a column."""
        return self.left(column) - (self.gap[0] / 2 if column else 12)

    def above(self, row: int) -> float:
        """The gap above a row."""
        return self.top(row) - (self.gap[1] / 2 if row else 17)

    def is_clear(self, column: int, rows: range) -> bool:
        """Whether no box stands in these rows of a column."""
        return not any(place == (column, row) for place in self.places.values() for row in rows)


def anchor(name: str) -> str:
    """The `id` of a box's section, free of what an address or a style sheet could stumble over."""
    return "node-" + "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)


def headline(box: Progress) -> str:
    """The one figure that a box shows: pass@1, rows kept, or held-out accuracy; empty before there is one."""
    if box.node.kind == "data":
        return f"{box.num_rows:,} rows" if box.num_rows is not None else ""
    if box.node.kind == "reward":
        return f"held-out {in_column(box.held_out.value, 'pass@1')}" if box.held_out else ""
    row = find_row(box.report, "pass@1")
    return f"pass@1 {in_column(row.value, 'pass@1')}" if row else ""


def diagram(boxes: Sequence[Progress]) -> Markup:
    """The pipeline, drawn twice: for wide and for narrow pages.

    Args:
        boxes: every box with its state; one without a place goes below the others.
    """
    wide_cells = {box.node.name: box.node.wide for box in boxes}
    narrow_cells = {box.node.name: box.node.narrow for box in boxes}
    if not any(wide_cells.values()):
        depths = _depths(boxes)
        wide_cells = {name: (column, row) for name, (column, row) in depths.items()}
        narrow_cells = {name: (row, column) for name, (column, row) in depths.items()}

    wide = _Sheet(places=_places(wide_cells, 5), width=194, height=92, gap=(48, 46), margin=26)
    narrow = _Sheet(places=_places(narrow_cells, 2), width=174, height=92, gap=(30, 38), margin=30)
    return Markup('<div class="pipeline wide">{}</div><div class="pipeline narrow">{}</div>').format(
        _drawing(boxes, wide, "wide"), _drawing(boxes, narrow, "narrow")
    )


def _depths(boxes: Sequence[Progress]) -> dict[str, Place]:
    """Columns by the longest way to a box from one without parents, rows by the order of the boxes."""
    columns: dict[str, int] = {}
    heights: dict[int, int] = {}
    places: dict[str, Place] = {}
    for box in boxes:
        # The parents of a figure stand before what is made from them; others are left out.
        column = 1 + max((columns[name] for name in box.node.parents if name in columns), default=-1)
        columns[box.node.name] = column
        row = heights.get(column, 0)
        heights[column] = row + 1
        places[box.node.name] = (column, row)
    return places


def _places(cells: Mapping[str, Place | None], num_columns: int) -> dict[str, Place]:
    """The cell of each box, without empty rows; boxes without a cell, or with one that is taken, go below."""
    places: dict[str, Place] = {}
    for name, cell in cells.items():
        if cell is not None and cell not in places.values():
            places[name] = cell
    rows = sorted({row for _, row in places.values()})
    places = {name: (column, rows.index(row)) for name, (column, row) in places.items()}

    unplaced = [name for name in cells if name not in places]
    for index, name in enumerate(unplaced):
        places[name] = (index % num_columns, len(rows) + index // num_columns)

    return places


def _drawing(boxes: Sequence[Progress], sheet: _Sheet, label: str) -> Markup:
    width, height = sheet.size
    arrows = Markup("").join(_arrows(boxes, sheet, label))
    drawn = Markup("").join(_box(box, sheet) for box in boxes)
    marker = Markup(
        '<defs><marker id="tip-{}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8Z"/></marker></defs>'
    ).format(label)
    svg = '<svg viewBox="0 0 {:.0f} {:.0f}" role="group" aria-label="The pipeline: {} boxes">{}{}{}</svg>'

    return Markup(svg).format(width, height, len(boxes), marker, arrows, drawn)


def _box(box: Progress, sheet: _Sheet) -> Markup:
    """One box: its name, how it is made, its figure and its state; a link to its section."""
    column, row = sheet.places[box.node.name]
    x = sheet.left(column)
    y = sheet.top(row)
    room = sheet.width - 2 * INSET
    lines = textwrap.wrap(box.node.title, int(room / PIXELS_PER_LETTER), max_lines=2, placeholder=" ...")
    texts = [_text("name", x + INSET, y + 21 + 16 * index, line) for index, line in enumerate(lines)]

    by = textwrap.shorten(box.node.by, int(room / PIXELS_PER_SMALL_LETTER), placeholder=" ...")
    texts.append(_text("by", x + INSET, y + 22 + 16 * len(lines), by))
    texts.append(_text("figure", x + INSET, y + sheet.height - 12, headline(box)))
    words = box.state if not box.detail else f"{box.state}, {box.detail}"
    about = ", ".join(part for part in (box.node.title, box.node.by, headline(box), words) if part)

    progress = "" if box.state != "in progress" else box.detail.split(": ")[-1]
    texts.append(_text("state", x + sheet.width - INSET, y + sheet.height - 12, progress))
    link = '<a href="#{}" class="box {} {}" aria-label="{}"><title>{}</title>{}{}{}</a>'
    kind = box.node.kind
    state = box.state.replace(" ", "-")

    return Markup(link).format(
        anchor(box.node.name), kind, state, about, about, _outline(kind, x, y, sheet), _mark(box, x, y, sheet),
        Markup("").join(texts),
    )  # fmt: skip


def _outline(kind: str, x: float, y: float, sheet: _Sheet) -> Markup:
    """The shape of a box: models are rounded, data has a folded corner, reward models are cut at the corners."""
    right = x + sheet.width
    bottom = y + sheet.height

    if kind == "model":
        rect = '<rect class="shape" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="12"/>'
        return Markup(rect).format(x, y, sheet.width, sheet.height)

    if kind == "data":
        fold = path_data([(right - 16, y), (right - 16, y + 16), (right, y + 16)])
        edge = path_data([(x, y), (right - 16, y), (right, y + 16), (right, bottom), (x, bottom)])
        return Markup('<path class="shape" d="{}Z"/><path class="fold" d="{}"/>').format(edge, fold)

    corners = [(x + 14, y), (right - 14, y), (right, y + 14), (right, bottom - 14)]
    corners += [(right - 14, bottom), (x + 14, bottom), (x, bottom - 14), (x, y + 14)]
    return Markup('<path class="shape" d="{}Z"/>').format(path_data(corners))


def _mark(box: Progress, x: float, y: float, sheet: _Sheet) -> Markup:
    """A tick where a box is finished; what is in progress says how far it is, the rest is faint."""
    if box.state != "finished":
        return Markup("")
    right = x + sheet.width - INSET
    bottom = y + sheet.height - 17
    return Markup('<path class="tick-mark" d="{}"/>').format(
        path_data([(right - 12, bottom), (right - 8, bottom + 5), (right, bottom - 6)])
    )


def _text(kind: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, text) if text else Markup("")


def _arrows(boxes: Sequence[Progress], sheet: _Sheet, label: str) -> list[Markup]:
    """Every arrow; those that leave a box by an outer gap keep to a lane of that box's own."""
    edges = [(parent, box.node) for box in boxes for parent in box.node.parents if parent in sheet.places]
    lanes: dict[str, int] = {}
    drawn = []

    for parent, node in edges:
        points = _route(sheet, parent, node, lanes)
        begun = next(box.state for box in boxes if box.node is node)
        arrow = '<path class="arrow {}" d="{}" marker-end="url(#tip-{})"/>'
        drawn.append(Markup(arrow).format(begun.replace(" ", "-"), _rounded(points), label))

    return drawn


def _route(sheet: _Sheet, parent: str, node: Node, lanes: dict[str, int]) -> list[Point]:
    """The corners of an arrow, along gaps that hold no boxes."""
    (column, row), (to_column, to_row) = sheet.places[parent], sheet.places[node.name]
    x = sheet.across(column)
    y = sheet.down(row)
    to_x = sheet.across(to_column)
    to_y = sheet.down(to_row)

    half_width = sheet.width / 2
    half_height = sheet.height / 2

    if row == to_row and abs(column - to_column) == 1:
        side = half_width if to_column > column else -half_width
        return [(x + side, y), (to_x - side - TIP * side / half_width, to_y)]

    if row == to_row:
        above = sheet.above(row)
        return [(x, y - half_height), (x, above), (to_x, above), (to_x, to_y - half_height - TIP)]

    if to_row > row and sheet.is_clear(column, range(row + 1, to_row)):
        level = sheet.above(to_row)
        return [(x, y + half_height), (x, level), (to_x, level), (to_x, to_y - half_height - TIP)]

    if to_row < row:
        gaps = sheet.beside(column + 1), sheet.beside(to_column)
        level = sheet.above(row)
        entry = (to_x - half_width - TIP, to_y + SIDE_ENTRY)
        if to_column == column + 1:
            return [(x + half_width, y), (gaps[1], y), (gaps[1], entry[1]), entry]
        return [(x + half_width, y), (gaps[0], y), (gaps[0], level), (gaps[1], level), (gaps[1], entry[1]), entry]

    return _around(sheet, parent, node, lanes)


def _around(sheet: _Sheet, parent: str, node: Node, lanes: dict[str, int]) -> list[Point]:
    """An arrow downwards past boxes in its way, by the outer gap on its side of the drawing."""
    column, row = sheet.places[parent]
    to_column, to_row = sheet.places[node.name]
    is_right = column >= sheet.num_columns / 2
    sign = 1 if is_right else -1

    # Arrows of different parents of one column keep to lanes of their own.
    lane = LANE * lanes.setdefault(parent, sum(sheet.places[other][0] == column for other in lanes))
    right_edge = sheet.left(sheet.num_columns - 1) + sheet.width
    outer = right_edge + 9 + lane if is_right else sheet.left(0) - 9 - lane

    leave = (sheet.across(column) + sign * sheet.width / 2, sheet.down(row) + SIDE_ENTRY)
    if column == to_column:
        enter = (sheet.across(to_column) + sign * (sheet.width / 2 + TIP), sheet.down(to_row) - SIDE_ENTRY)
        return [leave, (outer, leave[1]), (outer, enter[1]), enter]

    level = sheet.above(to_row)
    to_x = sheet.across(to_column)
    return [leave, (outer, leave[1]), (outer, level), (to_x, level), (to_x, sheet.top(to_row) - TIP)]


def _rounded(points: Sequence[Point]) -> str:
    """The `d` of a path through corners, each of them rounded."""
    # A point that repeats the one before it is no corner.
    corners = [point for index, point in enumerate(points) if index == 0 or point != points[index - 1]]

    start_x, start_y = corners[0]
    parts = [f"M{start_x:.1f} {start_y:.1f}"]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        x, y = corner
        into_x, into_y = _towards(corner, before)
        out_x, out_y = _towards(corner, after)
        parts.append(f"L{into_x:.1f} {into_y:.1f}Q{x:.1f} {y:.1f} {out_x:.1f} {out_y:.1f}")

    end_x, end_y = corners[-1]
    parts.append(f"L{end_x:.1f} {end_y:.1f}")
    return "".join(parts)


def _towards(corner: Point, other: Point) -> Point:
    """A point a little way from a corner to its neighbour, at most half of it."""
    across = other[0] - corner[0]
    down = other[1] - corner[1]
    length = abs(across) + abs(down)
    share = min(CORNER, length / 2) / length
    return corner[0] + across * share, corner[1] + down * share
