"""The models of a pipeline side by side: the paper's tables of stages and of students, as cells, as text, for programs.

Source: DeepSeek-R1, arXiv:2501.12948v2, Table 3 (stages); v1, Tables 5 and 6 (distillation).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aha.runs.cells import heading, is_share, written
from aha.runs.pipeline import MAIN_MODELS, Node, trained_models
from aha.runs.progress import Progress
from aha.runs.record import find_row, finite
from aha.types import Row

__all__ = ["Cell", "Line", "Table", "distillation", "reinforcement", "row_of", "stage_figures", "stage_text", "stages"]

SOLVING = ("pass@1", "cons@16", "length", "consistency", "readability")
GENERAL = ("general", "helpfulness", "harmlessness")
FIGURES = (*SOLVING, "helpfulness", "harmlessness", "general")
"""What a program gets of each model."""
NEUTRAL = ("length",)
"""Metrics of which more is neither better nor worse."""
DISTILLED, REINFORCED = "-distilled", "-rl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure of one model: its value and interval in words, and whether no model in the table has a better one."""

    value: str
    interval: str
    is_best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a table: what it is about, a word on that, and its cells."""

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
        is_empty: whether no cell has a figure yet.
    """

    columns: Sequence[tuple[str, str]]
    lines: Sequence[Line]

    @property
    def is_empty(self) -> bool:
        """Whether no cell has a figure yet."""
        return not any(cell.interval or cell.value[:1].isdecimal() for line in self.lines for cell in line.cells)


def row_of(progress: Progress | None, metric: str) -> Row | None:
    """A model's figure over all problems, or over all general prompts."""
    if progress is None:
        return None
    return find_row(progress.general if metric in GENERAL else progress.report, metric)


def stages(boxes: Sequence[Progress], vote: str) -> Table:
    """The paper's Table 3: the models on the way to R1 as columns.

    Args:
        boxes: the pipeline.
        vote: name of the majority-vote metric.
    """
    models = [box for name in MAIN_MODELS for box in boxes if box.node.name == name]
    lines = []
    for metric in _metrics(vote):
        rows = [row_of(box, metric) for box in models]
        num_problems = max((row.n for row in rows if row is not None), default=0)
        detail = f"{num_problems:,} {'prompts' if metric in GENERAL else 'problems'}" if num_problems else ""
        lines.append(Line(name=metric, title=heading(metric), detail=detail, cells=_cells(rows, metric)))
    return Table(columns=[(box.node.name, box.node.title) for box in models], lines=lines)


def distillation(boxes: Sequence[Progress], vote: str) -> Table:
    """The paper's Table 5: each student before and after learning from the teacher's data, and R1."""
    by_name = {box.node.name: box for box in boxes}
    names = [name for family in _families(by_name) for name in (family, family + DISTILLED)]
    return _of_models([by_name[name] for name in (*names, MAIN_MODELS[-1]) if name in by_name] if names else [], vote)


def reinforcement(boxes: Sequence[Progress], vote: str) -> Table:
    """The paper's Table 6: one student by reinforcement learning alone, by distillation, and by both."""
    by_name = {box.node.name: box for box in boxes}
    endings = ("", REINFORCED, DISTILLED, DISTILLED + REINFORCED)
    families = [family for family in _families(by_name) if family + REINFORCED in by_name]
    names = [family + ending for family in families for ending in endings]
    return _of_models([by_name[name] for name in names if name in by_name], vote)


def stage_figures(boxes: Sequence[Progress]) -> list[dict[str, object]]:
    """Every trained model's figures, ready for JSON.

    Returns:
        For each model: `name`; `model`, absolute path of its folder, None while unfinished; `metrics`, for each of
        `FIGURES` {value, low, high} or None; `seconds`, `tokens` (sampled and trained on) and `flops` of its own
        stages, None before they begin.
    """
    by_name = {box.node.name: box for box in boxes}
    trained = [by_name[node.name] for node in trained_models([box.node for box in boxes])]
    return [_figures_of(box) for box in trained]


def stage_text(boxes: Sequence[Progress], vote: str) -> str:
    """The paper's Table 3 in plain text: shares in percent, half the width of their 95 % intervals, `*` at the best."""
    models = [box for name in MAIN_MODELS for box in boxes if box.node.name == name]
    lines = [f"{'':13}" + "".join(f"{box.node.title[:12]:>13}" for box in models)]
    for metric in _metrics(vote):
        rows = [row_of(box, metric) for box in models]
        best = _best(rows, metric)
        name = f"{metric}, %" if is_share(metric) else metric
        cells = [_plain(row, metric, is_best=row is not None and row.value == best) for row in rows]
        lines.append(f"{name:13.13}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def _metrics(vote: str) -> list[str]:
    return [vote if metric == "cons@16" else metric for metric in (*SOLVING, *GENERAL)]


def _families(by_name: Mapping[str, Progress]) -> list[str]:
    """Students: models of which there is a distilled one."""
    return [name for name in by_name if name + DISTILLED in by_name]


def _of_models(models: Sequence[Progress], vote: str) -> Table:
    """A table with a row for each model."""
    metrics = _metrics(vote)
    columns = {metric: _cells([row_of(box, metric) for box in models], metric) for metric in metrics}
    lines = [
        Line(
            name=box.node.name,
            title=box.node.title,
            detail=box.node.by,
            cells=[columns[metric][place] for metric in metrics],
        )
        for place, box in enumerate(models)
    ]
    return Table(columns=[(metric, heading(metric)) for metric in metrics], lines=lines)


def _cells(rows: Sequence[Row | None], metric: str) -> list[Cell]:
    best = _best(rows, metric)
    cells = []
    for row in rows:
        value, interval = written(row, metric)
        cells.append(Cell(value=value, interval=interval, is_best=row is not None and row.value == best))
    return cells


def _best(rows: Sequence[Row | None], metric: str) -> float | None:
    """The highest value, where there are several to compare and they differ."""
    values = [row.value for row in rows if row is not None]
    return max(values) if metric not in NEUTRAL and len(set(values)) > 1 else None


def _plain(row: Row | None, metric: str, *, is_best: bool) -> str:
    if row is None:
        return "- "
    factor = 100 if is_share(metric) else 1
    half = (row.high - row.low) / 2 * factor
    spread = f" \N{PLUS-MINUS SIGN}{half:.1f}" if math.isfinite(half) else ""
    return f"{row.value * factor:.1f}{spread}{'*' if is_best else ' '}"


def _figures_of(box: Progress) -> dict[str, object]:
    metrics: dict[str, object] = {}
    for metric in FIGURES:
        row = row_of(box, metric)
        ends = None if row is None else {"value": row.value, "low": finite(row.low), "high": finite(row.high)}
        metrics[metric] = ends
    cost = box.cost
    node: Node = box.node
    return {
        "name": node.name,
        "model": str(box.model) if box.model is not None else None,
        "metrics": metrics,
        "seconds": None if cost is None else cost.seconds,
        "tokens": None if cost is None else int(cost.sampled_tokens + cost.trained_tokens),
        "flops": None if cost is None else cost.flops,
    }
