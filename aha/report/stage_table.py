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
FIGURES = (*SOLVING, "helpfulness", "harmlessness", "general")
"""The metrics of each model in the JSON."""
NEUTRAL = ("length",)
"""Metrics of which more is neither better nor worse."""
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
        return not any(cell.value[:1].isdecimal() for line in self.lines for cell in line.cells)


def row_of(progress: Progress | None, metric: str) -> Row | None:
    """A model's figure over all problems, or over all general prompts."""
    if progress is None:
        return None
    return find_row(progress.general if metric in GENERAL else progress.report, metric)


def vote_of(boxes: Sequence[Progress]) -> str:
    """The name of the majority-vote metric that the models' evaluations hold, `cons@16` where they hold none."""
    names = {row.metric for box in boxes if box.report for row in box.report.rows if row.metric.startswith("cons@")}
    return VOTE if VOTE in names or not names else min(names)


def stages(boxes: Sequence[Progress]) -> Table:
    """The paper's Table 3: the main models as columns."""
    models = _main_boxes(boxes)
    lines = []
    for metric in _metrics(boxes):
        rows = [row_of(box, metric) for box in models]
        num_problems = max((row.n for row in rows if row is not None), default=0)
        noun = "prompts" if metric in GENERAL else "problems"
        detail = f"{num_problems:,} {noun}" if num_problems else ""
        lines.append(Line(name=metric, title=heading(metric), detail=detail, cells=_cells(rows, metric)))
    return Table(columns=[(box.node.name, box.node.title) for box in models], lines=lines)


def distillation(boxes: Sequence[Progress]) -> list[str]:
    """Names of the models of the paper's Table 5: each student before and after learning from R1's data, and R1."""
    names = [box.node.name for box in boxes]
    students = [name for family in _families(names) for name in (family, family + DISTILLED)]
    return [*students, _main_boxes(boxes)[-1].node.name] if students else []


def reinforcement(boxes: Sequence[Progress]) -> list[str]:
    """Names of the models of the paper's Table 6: a student by reinforcement learning, by distillation, by both."""
    names = [box.node.name for box in boxes]
    families = [family for family in _families(names) if family + REINFORCED in names]
    return [family + ending for family in families for ending in ("", REINFORCED, DISTILLED, DISTILLED + REINFORCED)]


def models_table(boxes: Sequence[Progress], names: Sequence[str]) -> Table:
    """A table with a row for each of some models.

    Args:
        boxes: the pipeline.
        names: of the models, in the order of the rows; one that the pipeline has not is left out.
    """
    models = [box for name in names for box in boxes if box.node.name == name]
    metrics = _metrics(boxes)
    columns = {metric: _cells([row_of(box, metric) for box in models], metric) for metric in metrics}

    lines = [
        Line(
            name=box.node.name,
            title=box.node.title,
            detail=box.node.by,
            cells=[columns[metric][index] for metric in metrics],
        )
        for index, box in enumerate(models)
    ]
    return Table(columns=[(metric, heading(metric)) for metric in metrics], lines=lines)


def stage_figures(boxes: Sequence[Progress]) -> list[dict[str, object]]:
    """Every trained model's figures, ready for JSON.

    Returns:
        For each model: `name`; `model`, absolute path of its folder, None while unfinished; `metrics`, for each of
        `FIGURES` {value, low, high} or None; `seconds`, `tokens` (sampled and trained on) and `flops` of its own
        stages so far.
    """
    by_name = {box.node.name: box for box in boxes}
    trained = [by_name[node.name] for node in trained_models([box.node for box in boxes])]
    return [_figures_of(box) for box in trained]


def stage_text(boxes: Sequence[Progress]) -> str:
    """The paper's Table 3 in plain text: shares in percent, `*` at the best, 95 % intervals below the figures."""
    models = _main_boxes(boxes)
    lines = [_plain_line("", [box.node.title[:11] for box in models])]

    for metric in _metrics(boxes):
        rows = [row_of(box, metric) for box in models]
        best = _best(rows, metric)
        name = f"{metric}, %" if is_share(metric) else metric
        figures = [_plain(row, metric) for row in rows]
        marks = ["*" if row is not None and row.value == best else "" for row in rows]
        values = [value + mark for (value, _), mark in zip(figures, marks, strict=True)]
        lines += [_plain_line(name, values), _plain_line("", [interval for _, interval in figures])]

    return "\n".join(line for line in lines if line)


def _main_boxes(boxes: Sequence[Progress]) -> list[Progress]:
    """The models that the main table compares."""
    by_name = {box.node.name: box for box in boxes}
    return [by_name[node.name] for node in main_models([box.node for box in boxes])]


def _metrics(boxes: Sequence[Progress]) -> list[str]:
    return [vote_of(boxes) if metric == VOTE else metric for metric in (*SOLVING, *GENERAL)]


def _families(names: Sequence[str]) -> list[str]:
    """Students: models of which there is a distilled one."""
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
    return max(values) if metric not in NEUTRAL and len(set(values)) > 1 else None


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
    texts = [f"{cell:>13}" if cell.endswith("*") else f"{cell:>12} " for cell in cells]
    return f"{name:15}{''.join(texts)}".rstrip()


def _figures_of(box: Progress) -> dict[str, object]:
    metrics: dict[str, object] = {}
    for metric in FIGURES:
        row = row_of(box, metric)
        ends = None if row is None else {"value": row.value, "low": finite(row.low), "high": finite(row.high)}
        metrics[metric] = ends

    cost = box.cost or Cost()
    return {
        "name": box.node.name,
        "model": str(box.model) if box.model is not None else None,
        "metrics": metrics,
        "seconds": cost.seconds,
        "tokens": int(cost.sampled_tokens + cost.trained_tokens),
        "flops": cost.flops,
    }
