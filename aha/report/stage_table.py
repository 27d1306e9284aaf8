"""Tables of the models of a pipeline: the paper's tables of stages and of students, as cells, as text and as JSON.

Source: DeepSeek-R1, arXiv:2501.12948v2, Table 3 (stages); v1, Tables 5 and 6 (distillation).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aha.report.cells import heading, is_share, value_and_interval
from aha.report.progress import Cost, Progress
from aha.report.record import find_row, finite
from aha.runs.pipeline import main_models, trained_models
from aha.types import Row

__all__ = [
    "Cell",
    "Line",
    "Table",
    "distillation",
    "figure_as_json",
    "models_table",
    "reinforcement",
    "row_of",
    "stage_figures",
    "stage_text",
    "stages",
]

VOTE = "cons@16"
SOLVING = ("pass@1", VOTE, "length", "consistency", "readability")
GENERAL = ("general", "helpfulness", "harmlessness")
FIGURES = (*SOLVING, "helpfulness", "harmlessness", "general")  # of each model in the JSON, in this order
NEUTRAL = ("length",)  # more of it is neither better nor worse

# What the names of students end in, after the name of the model that they were before.
DISTILLED = "-distilled"
REINFORCED = "-rl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure of one model: its value and interval as text, and whether it is the best of the table."""

    value: str
    interval: str
    is_best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a table: its name, title and detail, and its cells."""

    name: str
    title: str
    detail: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of models and metrics.

    Attributes:
        columns: name and heading of each column.
        lines: its rows.
    """

    columns: Sequence[tuple[str, str]]
    lines: Sequence[Line]

    @property
    def is_empty(self) -> bool:
        """Whether no cell has a figure yet."""
        values = [cell.value for line in self.lines for cell in line.cells]
        return not any(value[:1].isdecimal() for value in values)


def row_of(progress: Progress | None, metric: str) -> Row | None:
    """A model's figure over all problems, or over all general prompts."""
    if progress is None:
        return None
    report = progress.general if metric in GENERAL else progress.report
    return find_row(report, metric)


def vote_of(boxes: Sequence[Progress]) -> str:
    """The name of the majority-vote metric that the models' evaluations hold, `cons@16` where they hold none."""
    reports = [box.report for box in boxes if box.report]
    metrics = {row.metric for report in reports for row in report.rows}
    votes = [metric for metric in metrics if metric.startswith("cons@")]
    return VOTE if VOTE in votes else min(votes, default=VOTE)


def stages(boxes: Sequence[Progress]) -> Table:
    """The paper's Table 3: the main models as columns."""
    models = _main_boxes(boxes)
    lines = []
    for metric in _metrics(boxes):
        rows = [row_of(box, metric) for box in models]
        counts = [row.n for row in rows if row is not None]
        # Models may have been evaluated on different numbers of problems; a table has place for one.
        num_problems = max(counts, default=0)
        noun = "prompts" if metric in GENERAL else "problems"
        detail = f"{num_problems:,} {noun}" if num_problems else ""
        lines.append(Line(name=metric, title=heading(metric), detail=detail, cells=_cells(rows, metric)))

    columns = [(box.node.name, box.node.title) for box in models]
    return Table(columns=columns, lines=lines)


def distillation(boxes: Sequence[Progress]) -> list[str]:
    """Names of the models of the paper's Table 5: each student before and after learning from R1's data, and R1."""
    students: list[str] = []
    for family in _families(boxes):
        students += [family, family + DISTILLED]
    if not students:
        return []

    # The last main model is the result of the run, from which the students have learned.
    r1 = _main_boxes(boxes)[-1]
    return [*students, r1.node.name]


def reinforcement(boxes: Sequence[Progress]) -> list[str]:
    """Names of the models of the paper's Table 6: a student by reinforcement learning, by distillation, by both."""
    names = {box.node.name for box in boxes}
    students: list[str] = []
    for family in _families(boxes):
        if family + REINFORCED in names:
            students += [family, family + REINFORCED, family + DISTILLED, family + DISTILLED + REINFORCED]
    return students


def models_table(boxes: Sequence[Progress], names: Sequence[str]) -> Table:
    """A table with a row for each of some models.

    Args:
        boxes: the pipeline.
        names: of the models, in the order of the rows; one that the pipeline has not is left out.
    """
    by_name = {box.node.name: box for box in boxes}
    models = [by_name[name] for name in names if name in by_name]
    metrics = _metrics(boxes)

    # Cells are made column by column, since the best is the best of a column; the lines of the table run across.
    columns = []
    for metric in metrics:
        rows = [row_of(box, metric) for box in models]
        columns.append(_cells(rows, metric))

    lines = []
    for index, box in enumerate(models):
        cells = [column[index] for column in columns]
        lines.append(Line(name=box.node.name, title=box.node.title, detail=box.node.by, cells=cells))
    return Table(columns=[(metric, heading(metric)) for metric in metrics], lines=lines)


def stage_figures(boxes: Sequence[Progress]) -> list[dict[str, object]]:
    """Every trained model's figures, ready for JSON.

    Returns:
        For each model: `name`; `model`, absolute path of its folder, None while unfinished; `metrics`, for each of
        `FIGURES` {value, low, high} or None; `seconds`, `tokens` (sampled and trained on) and `flops` of its own
        stages so far.
    """
    by_name = {box.node.name: box for box in boxes}
    trained = trained_models([box.node for box in boxes])
    return [_model_figures(by_name[node.name]) for node in trained]


def stage_text(boxes: Sequence[Progress]) -> str:
    """The paper's Table 3 in plain text: shares in percent, `*` at the best, 95 % intervals below the figures."""
    models = _main_boxes(boxes)
    # A column is 13 wide: 12 for a figure, one for its mark. Empty lines, of intervals that nobody has, are left out.
    titles = [box.node.title[:11] for box in models]
    lines = [_plain_line("", titles)]

    for metric in _metrics(boxes):
        rows = [row_of(box, metric) for box in models]
        best = _best(rows, metric)
        values = []
        intervals = []
        for row in rows:
            value, interval = _plain(row, metric)
            is_best = row is not None and row.value == best
            values.append(f"{value}*" if is_best else value)
            intervals.append(interval)

        name = f"{metric}, %" if is_share(metric) else metric
        lines.append(_plain_line(name, values))
        lines.append(_plain_line("", intervals))

    return "\n".join(line for line in lines if line)


def _main_boxes(boxes: Sequence[Progress]) -> list[Progress]:
    """The models that the main table compares."""
    by_name = {box.node.name: box for box in boxes}
    models = main_models([box.node for box in boxes])
    return [by_name[node.name] for node in models]


def _metrics(boxes: Sequence[Progress]) -> list[str]:
    """What is compared; figures of general prompts only where some model has one, as in the built-in world alone."""
    vote = vote_of(boxes)
    solving = [vote if metric == VOTE else metric for metric in SOLVING]
    return solving + [metric for metric in GENERAL if any(row_of(box, metric) for box in boxes)]


def _families(boxes: Sequence[Progress]) -> list[str]:
    """Students: models of which there is a distilled one."""
    names = [box.node.name for box in boxes]
    return [name for name in names if name + DISTILLED in names]


def _cells(rows: Sequence[Row | None], metric: str) -> list[Cell]:
    best = _best(rows, metric)
    cells = []
    for row in rows:
        value, interval = value_and_interval(row, metric)
        cells.append(Cell(value=value, interval=interval, is_best=row is not None and row.value == best))
    return cells


def _best(rows: Sequence[Row | None], metric: str) -> float | None:
    """The highest value, where there are several to compare and they differ."""
    values = [row.value for row in rows if row is not None]
    # Where all are equal, or there is one, a mark would say nothing.
    differ = len(set(values)) > 1
    return max(values) if differ and metric not in NEUTRAL else None


def _plain(row: Row | None, metric: str) -> tuple[str, str]:
    """Value and interval in figures alone."""
    if row is None:
        return "-", ""
    factor = 100 if is_share(metric) else 1
    low = row.low * factor
    high = row.high * factor
    interval = f"{low:.1f}-{high:.1f}" if math.isfinite(low + high) else ""
    return f"{row.value * factor:.1f}", interval


def _plain_line(name: str, cells: Sequence[str]) -> str:
    """A line of columns; a mark stands right of its column, so that figures stay aligned."""
    line = f"{name:15}"
    for cell in cells:
        line += f"{cell:>13}" if cell.endswith("*") else f"{cell:>12} "
    return line.rstrip()


def figure_as_json(row: Row | None) -> dict[str, float | None] | None:
    """A figure and its interval, ready for JSON; None where it was not evaluated, or where an end is open."""
    if row is None:
        return None
    return {"value": row.value, "low": finite(row.low), "high": finite(row.high)}


def _model_figures(box: Progress) -> dict[str, object]:
    metrics: dict[str, object] = {}
    for metric in FIGURES:
        metrics[metric] = figure_as_json(row_of(box, metric))

    cost = box.cost or Cost()
    return {
        "name": box.node.name,
        "model": str(box.model) if box.model is not None else None,
        "metrics": metrics,
        "seconds": cost.seconds,
        "tokens": int(cost.sampled_tokens + cost.trained_tokens),
        "flops": cost.flops,
    }
