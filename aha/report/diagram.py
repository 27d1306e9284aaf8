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
from aha.report.progress import Progress
from aha.report.record import find_row
from aha.report.svg import Point, area, joined, label, path
from aha.runs.pipeline import Place

__all__ = ["anchor", "diagram", "headline"]

# All lengths are in pixels of the drawing, which the page scales.
CORNER = 7.0  # radius at which arrows turn
LANE = 7.0  # between arrows that run side by side
SIDE_ENTRY = 15.0  # from the middle of a side: arrows in and arrows out do not meet there
TIP = 2.0  # between an arrow and its box
PIXELS_PER_LETTER = 8.2
PIXELS_PER_SMALL_LETTER = 6.4
INSET = 12  # between a box and its text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """A grid: how large boxes and gaps are, and where each box stands."""

    places: Mapping[str, Place]  # column and row of each box by name
    width: float  # of a box
    height: float
    gap: Point  # between columns, and between rows
    margin: float  # around all, for arrows that go round the outside

    @property
    def num_columns(self) -> int:
        columns = [column for column, _ in self.places.values()]
        return 1 + max(columns, default=0)

    @property
    def size(self) -> Point:
        """Width and height of the drawing."""
        rows = [row for _, row in self.places.values()]
        num_rows = 1 + max(rows, default=0)

        # The last column and the last row have no gap after them.
        across = self.num_columns * (self.width + self.gap[0]) - self.gap[0]
        down = num_rows * (self.height + self.gap[1]) - self.gap[1]
        return across + 2 * self.margin, down + 2 * self.margin

    def left(self, column: int) -> float:
        return self.margin + column * (self.width + self.gap[0])

    def top(self, row: int) -> float:
        return self.margin + row * (self.height + self.gap[1])

    def middle(self, place: Place) -> Point:
        """The middle of a cell."""
        column, row = place
        return self.left(column) + self.width / 2, self.top(row) + self.height / 2

    def beside(self, column: int) -> float:
        """The gap to the left of a column; before the first one, a line in the margin."""
        return self.left(column) - (self.gap[0] / 2 if column else 12)

    def above(self, row: int) -> float:
        """The gap above a row; above the first one, a line in the margin."""
        return self.top(row) - (self.gap[1] / 2 if row else 17)

    def is_clear(self, column: int, rows: range) -> bool:
        """Whether no box stands in these rows of a column."""
        cells = {(column, row) for row in rows}
        return cells.isdisjoint(self.places.values())


def anchor(name: str) -> str:
    """The `id` of a box's section, free of what an address or a style sheet could stumble over."""
    letters = [letter if letter.isascii() and letter.isalnum() else "-" for letter in name]
    return "node-" + "".join(letters)


def headline(box: Progress) -> str:
    """The one figure that a box shows: pass@1, rows kept, or held-out accuracy; empty before there is one."""
    if box.node.kind == "data":
        return f"{box.num_rows:,} rows" if box.num_rows is not None else ""

    # Held-out accuracy has no metric of its own in tables: it is written as a pass@1 is.
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
        wide_cells = {**depths}
        # On a phone the same figure runs downwards: columns and rows change places.
        narrow_cells = {name: (row, column) for name, (column, row) in depths.items()}

    # Five columns of 194 fill a wide page, two of 174 a phone; the gaps leave an arrow room for its two turns.
    wide = _Sheet(places=_places(wide_cells, 5), width=194, height=92, gap=(48, 46), margin=26)
    narrow = _Sheet(places=_places(narrow_cells, 2), width=174, height=92, gap=(30, 38), margin=30)

    page_part = Markup('<div class="pipeline wide">{}</div><div class="pipeline narrow">{}</div>')
    return page_part.format(_drawing(boxes, wide, "wide"), _drawing(boxes, narrow, "narrow"))


def _depths(boxes: Sequence[Progress]) -> dict[str, Place]:
    """Columns by the longest way to a box from one without parents, rows by the order of the boxes."""
    columns: dict[str, int] = {}
    heights: dict[int, int] = {}
    places: dict[str, Place] = {}

    for box in boxes:
        # The parents of a figure stand before what is made from them; others are left out.
        parents = [columns[name] for name in box.node.parents if name in columns]
        column = 1 + max(parents, default=-1)
        row = heights.get(column, 0)

        columns[box.node.name] = column
        heights[column] = row + 1
        places[box.node.name] = (column, row)

    return places


def _places(cells: Mapping[str, Place | None], num_columns: int) -> dict[str, Place]:
    """The cell of each box, without empty rows; boxes without a cell, or with one that is taken, go below."""
    taken: dict[Place, str] = {}
    for name, cell in cells.items():
        if cell is not None:
            taken.setdefault(cell, name)

    rows = sorted({row for _, row in taken})
    places = {name: (column, rows.index(row)) for (column, row), name in taken.items()}

    unplaced = [name for name in cells if name not in places]
    for index, name in enumerate(unplaced):
        more_rows, column = divmod(index, num_columns)
        places[name] = (column, len(rows) + more_rows)

    return places


def _drawing(boxes: Sequence[Progress], sheet: _Sheet, arrangement: str) -> Markup:
    # An id is unique on a page, and the page holds two drawings: each has a marker of its own.
    marker = Markup(
        '<defs><marker id="tip-{}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8Z"/></marker></defs>'
    ).format(arrangement)

    width, height = sheet.size
    arrows = joined(_arrows(boxes, sheet, arrangement))
    drawn_boxes = joined(_box(box, sheet) for box in boxes)
    svg = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="group" aria-label="The pipeline: {} boxes">{}{}{}</svg>')
    return svg.format(width, height, len(boxes), marker, arrows, drawn_boxes)


def _box(box: Progress, sheet: _Sheet) -> Markup:
    """One box: its name, how it is made, its figure and its state; a link to its section."""
    node = box.node
    column, row = sheet.places[node.name]
    x = sheet.left(column)
    y = sheet.top(row)
    figure = headline(box)

    state_text = f"{box.state}, {box.detail}" if box.detail else box.state
    about = ", ".join(part for part in (node.title, node.by, figure, state_text) if part)

    elements = [_outline(node.kind, x, y, sheet)]
    if box.state == "finished":
        elements.append(_tick(x + sheet.width - INSET, y + sheet.height - 17))
    elements += _words_of(box, figure, x, y, sheet)

    link = Markup('<a href="#{}" class="box {} {}" aria-label="{}"><title>{}</title>{}</a>')
    state = box.state.replace(" ", "-")
    return link.format(anchor(node.name), node.kind, state, about, about, joined(elements))


def _words_of(box: Progress, figure: str, x: float, y: float, sheet: _Sheet) -> list[Markup]:
    """The text inside a box whose corner is (x, y): title, how it is made, and in the last line figure and progress."""
    # SVG breaks no lines: text is wrapped and shortened here, by the width of an average letter.
    text_width = sheet.width - 2 * INSET
    letters = int(text_width / PIXELS_PER_LETTER)
    small_letters = int(text_width / PIXELS_PER_SMALL_LETTER)
    title = textwrap.wrap(box.node.title, letters, max_lines=2, placeholder=" ...")
    by = textwrap.shorten(box.node.by, small_letters, placeholder=" ...")

    # With several stages the detail begins with a stage's name, for which a box has no space.
    progress = box.detail.split(": ")[-1] if box.state == "in progress" else ""

    left = x + INSET
    right = x + sheet.width - INSET
    last_line = y + sheet.height - 12
    words = [("name", left, y + 21 + 16 * index, line) for index, line in enumerate(title)]
    words.append(("by", left, y + 22 + 16 * len(title), by))
    words.append(("figure", left, last_line, figure))
    words.append(("state", right, last_line, progress))
    return [label(*word) for word in words if word[-1]]


def _outline(kind: str, x: float, y: float, sheet: _Sheet) -> Markup:
    """The shape of a box: models are rounded, data has a folded corner, reward models are cut at the corners."""
    right = x + sheet.width
    bottom = y + sheet.height

    if kind == "model":
        rect = Markup('<rect class="shape" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="12"/>')
        return rect.format(x, y, sheet.width, sheet.height)

    if kind == "data":
        fold_start = (right - 16, y)
        fold_end = (right, y + 16)
        edge = [(x, y), fold_start, fold_end, (right, bottom), (x, bottom)]
        return area("shape", edge) + path("fold", [fold_start, (right - 16, y + 16), fold_end])

    top_edge = [(x + 14, y), (right - 14, y)]
    right_edge = [(right, y + 14), (right, bottom - 14)]
    bottom_edge = [(right - 14, bottom), (x + 14, bottom)]
    left_edge = [(x, bottom - 14), (x, y + 14)]
    return area("shape", [*top_edge, *right_edge, *bottom_edge, *left_edge])


def _tick(right: float, bottom: float) -> Markup:
    """The mark of a finished box; a box in progress says how far it is, one that has not begun is faint."""
    return path("tick-mark", [(right - 12, bottom), (right - 8, bottom + 5), (right, bottom - 6)])


def _arrows(boxes: Sequence[Progress], sheet: _Sheet, arrangement: str) -> list[Markup]:
    """Every arrow; those that leave a box by an outer gap keep to a lane of that box's own."""
    lanes: dict[str, int] = {}
    arrow = Markup('<path class="arrow {}" d="{}" marker-end="url(#tip-{})"/>')
    arrows = []

    for box in boxes:
        state = box.state.replace(" ", "-")
        for parent in box.node.parents:
            if parent in sheet.places:
                points = _route(sheet, parent, box.node.name, lanes)
                arrows.append(arrow.format(state, _rounded(points), arrangement))

    return arrows


def _route(sheet: _Sheet, parent: str, child: str, lanes: dict[str, int]) -> list[Point]:
    """The corners of an arrow, along gaps that hold no boxes."""
    column, row = sheet.places[parent]
    to_column, to_row = sheet.places[child]
    x, y = sheet.middle((column, row))
    to_x, to_y = sheet.middle((to_column, to_row))

    half_width = sheet.width / 2
    half_height = sheet.height / 2
    to_top = (to_x, to_y - half_height - TIP)

    # Neighbours: straight from side to side.
    if row == to_row and abs(column - to_column) == 1:
        sign = 1 if to_column > column else -1
        return [(x + sign * half_width, y), (to_x - sign * (half_width + TIP), to_y)]

    # The same row further on: over the boxes between.
    if row == to_row:
        level = sheet.above(row)
        return [(x, y - half_height), (x, level), (to_x, level), to_top]

    # Downwards with nothing below: out of the bottom, and into the top.
    if to_row > row and sheet.is_clear(column, range(row + 1, to_row)):
        level = sheet.above(to_row)
        return [(x, y + half_height), (x, level), (to_x, level), to_top]

    # Upwards: out of the right side, up in the gap before the child's column, and in by its left side.
    if to_row < row:
        leave = (x + half_width, y)
        enter = (to_x - half_width - TIP, to_y + SIDE_ENTRY)
        gap = sheet.beside(column + 1)
        to_gap = sheet.beside(to_column)
        if to_column == column + 1:
            return [leave, (to_gap, y), (to_gap, enter[1]), enter]

        level = sheet.above(row)
        return [leave, (gap, y), (gap, level), (to_gap, level), (to_gap, enter[1]), enter]

    return _around(sheet, parent, child, lanes)


def _around(sheet: _Sheet, parent: str, child: str, lanes: dict[str, int]) -> list[Point]:
    """An arrow downwards past boxes in its way, by the outer gap on its side of the drawing."""
    column, row = sheet.places[parent]
    to_column, to_row = sheet.places[child]
    x, y = sheet.middle((column, row))
    to_x, to_y = sheet.middle((to_column, to_row))

    # Arrows of different parents of one column keep to lanes of their own.
    num_lanes_taken = sum(sheet.places[other][0] == column for other in lanes)
    lane = LANE * lanes.setdefault(parent, num_lanes_taken)

    if column >= sheet.num_columns / 2:
        sign = 1
        right_edge = sheet.left(sheet.num_columns - 1) + sheet.width
        outer = right_edge + 9 + lane
    else:
        sign = -1
        outer = sheet.left(0) - 9 - lane

    leave = (x + sign * sheet.width / 2, y + SIDE_ENTRY)
    if column == to_column:
        enter = (to_x + sign * (sheet.width / 2 + TIP), to_y - SIDE_ENTRY)
        return [leave, (outer, leave[1]), (outer, enter[1]), enter]

    level = sheet.above(to_row)
    return [leave, (outer, leave[1]), (outer, level), (to_x, level), (to_x, sheet.top(to_row) - TIP)]


def _rounded(points: Sequence[Point]) -> str:
    """The `d` of a path through corners, each of them rounded."""
    # A point that repeats the one before it is no corner: it has no direction to turn to.
    corners = [point for index, point in enumerate(points) if index == 0 or point != points[index - 1]]

    start_x, start_y = corners[0]
    commands = [f"M{start_x:.1f} {start_y:.1f}"]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        into_x, into_y = _towards(corner, before)
        out_x, out_y = _towards(corner, after)
        commands.append(f"L{into_x:.1f} {into_y:.1f}")

        # A quadratic curve that is drawn to the corner touches both straight lines.
        x, y = corner
        commands.append(f"Q{x:.1f} {y:.1f} {out_x:.1f} {out_y:.1f}")

    end_x, end_y = corners[-1]
    commands.append(f"L{end_x:.1f} {end_y:.1f}")
    return "".join(commands)


def _towards(corner: Point, other: Point) -> Point:
    """A point a little way from a corner to its neighbour, at most half of it."""
    across = other[0] - corner[0]
    down = other[1] - corner[1]

    # Lines are level or upright, so that one of the two is 0 and the length is their sum.
    length = abs(across) + abs(down)
    share = min(CORNER, length / 2) / length
    return corner[0] + across * share, corner[1] + down * share
