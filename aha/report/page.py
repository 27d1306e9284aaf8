"""`aha report`: a run folder as one self-contained web page, and its headline figures for programs.

The page needs no network: style, script, drawings and rollouts are inside it, and its content security policy lets
nothing else in; of scripts it admits only its own, by hash. All text of the run is escaped.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from aha.report.browser import Shelf, evaluation_shelf, training_shelf
from aha.report.cells import MINUS, duration, format_figure, heading, is_share, value_and_interval
from aha.report.chapters import chapters
from aha.report.charts import embed
from aha.report.diagram import anchor, diagram, headline
from aha.report.figures import HARD, calibration_chart, comparisons, large_figures, small_figures, vote_metric
from aha.report.progress import Progress, survey
from aha.report.record import Evaluation, Record, find_row, finite, mapping, read_record
from aha.report.stage_table import figure_as_json, stage_figures, stage_text, vote_of
from aha.runs.folder import write_atomically
from aha.types import Report

__all__ = ["models_in_words", "summary", "write_page"]

TEMPLATES = Path(__file__).parent / "templates"
PAGE_NAME = "report.html"
REFLECTIVE_WORDS = (
    *("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check", "try", "hmm"),
    *("试", "等", "查", "嗯"),
)
"""Marked in rollouts: the words that the metric `reflection` counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Headline:
    """One headline figure: its values at the start and at the end, and the change."""

    label: str
    start: str
    start_range: str
    end: str
    end_range: str
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _TableRow:
    """One evaluated model on one suite: its name, its problems, and (value, interval) for each column."""

    name: str
    detail: str
    cells: tuple[tuple[str, str], ...]


def write_page(run: Path) -> Path:
    """Write `RUN/report.html` for a run folder, finished or not.

    Args:
        run: the run folder.

    Returns:
        Absolute path of the page, replaced as a whole: a reader never sees half of it.

    Raises:
        ValueError: the folder holds no run.
    """
    record = read_record(run)
    page = record.folder / PAGE_NAME
    # What a model wrote may hold half a character (a lone surrogate), which UTF-8 cannot encode.
    text = _render(record).encode("utf-8", errors="replace").decode("utf-8")
    write_atomically(page, text)
    return page


def summary(run: Path) -> dict[str, object]:
    """The run's headline figures, ready for JSON.

    Args:
        run: the run folder.

    Returns:
        `start` and `end`: for each of pass@1, cons@k (with the number of samples in place of k), length, reflection
        and mixing over all problems, {value, low, high}, or None where it was not evaluated; `model`: absolute path
        of the final checkpoint, None before the end; `page`: absolute path of the page, None before it is written;
        `seconds`, `steps` (so far, before the end); `seed`. A run with a pipeline has `stages` too: the figures of
        each trained model, as `aha.report.stage_table.stage_figures` gives them.

    Raises:
        ValueError: the folder holds no run.
    """
    record = read_record(run)
    model = record.result.get("model")
    page = record.folder / PAGE_NAME
    metrics = ("pass@1", vote_metric(record), "length", "reflection", "mixing")

    figures: dict[str, object] = {
        "start": {metric: figure_as_json(find_row(record.start, metric)) for metric in metrics},
        "end": {metric: figure_as_json(find_row(record.end, metric)) for metric in metrics},
        "model": str((record.folder / model).resolve()) if isinstance(model, str) else None,
        "page": str(page) if page.is_file() else None,
        "seconds": record.seconds,
        "seed": record.identity.get("seed"),
        "steps": _num_steps(record),
    }
    if record.has_pipeline:
        figures["stages"] = stage_figures(survey(record, []))
    return figures


def models_in_words(run: Path) -> str:
    """The models of a run's pipeline side by side in plain text; empty where the run has no pipeline.

    Args:
        run: the run folder.

    Raises:
        ValueError: the folder holds no run.
    """
    record = read_record(run)
    return stage_text(survey(record, [])) if record.has_pipeline else ""


def _num_steps(record: Record) -> int:
    steps = finite(record.result.get("steps"))
    return record.num_steps if steps is None else int(steps)


def _render(record: Record) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    # The policy of the page admits one script, by the hash of exactly the bytes that stand in it.
    script = Markup(environment.get_template("report.js.j2").render())
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    notes: list[str] = []
    boxes = survey(record, notes)
    if record.has_pipeline:
        name = "pipeline"
        vote = vote_of(boxes)
        content, more_notes = chapters(record, boxes, REFLECTIVE_WORDS)
        metrics = ("pass@1", vote, "length", "consistency", "readability")
    else:
        name = "report"
        vote = vote_metric(record)
        content, more_notes = _single(record, boxes, vote)
        metrics = ("pass@1", vote, "length", "reflection", "mixing")

    return environment.get_template(f"{name}.html.j2").render(
        facts=_facts(record),
        name=str(record.identity.get("recipe") or record.folder.name),
        is_finished=bool(record.result),
        # Several parts of the page read the same file: what is wrong with it is said once.
        notes=list(dict.fromkeys([*_missing(record), *record.notes, *notes, *more_notes])),
        headlines=[_headline(record, metric) for metric in metrics],
        decoding=_decoding(record),
        comparisons=comparisons(record),
        calibrations=[calibration_chart(box.node.title, box.calibration) for box in boxes if box.calibration],
        config=list(_flat(record.identity.get("config"))),
        provenance=list(_flat(record.identity.get("provenance"))),
        figure=value_and_interval,
        style=Markup(environment.get_template("pipeline.css.j2").render()),
        script=script,
        script_hash=f"sha256-{digest}",
        **content,
    )


def _single(record: Record, boxes: Sequence[Progress], vote: str) -> tuple[dict[str, object], list[str]]:
    """The content of the page of a run that trains one model: the model before and after training."""
    notes: list[str] = []
    columns = _columns(record, vote)
    shelves = [evaluation_shelf(record), training_shelf(record)]
    for shelf in shelves:
        notes += shelf.notes

    content: dict[str, object] = {
        "diagram": diagram(boxes) if boxes else "",
        "boxes": [(anchor(box.node.name), headline(box), box) for box in boxes],
        "figures": large_figures(record),
        "curves": small_figures(record),
        "columns": columns,
        "table": _table(record, columns),
        "shelves": [(shelf, embed(_shelf_data(shelf))) for shelf in shelves],
    }
    return content, notes


def _facts(record: Record) -> list[tuple[str, str]]:
    """The facts of the header: scale, seed, times, revision, folder; those that are unknown are left out."""
    identity = record.identity
    revision = mapping(identity.get("provenance")).get("revision")
    facts = [
        ("scale", identity.get("scale")),
        ("seed", identity.get("seed")),
        ("started", _moment(identity.get("started"))),
        ("wall time" if record.result else "wall time so far", duration(record.seconds)),
        ("updates", f"{_num_steps(record):,}"),
        ("revision", revision[:12] if isinstance(revision, str) else None),
        ("folder", record.folder.name),
    ]
    return [(label, str(value)) for label, value in facts if value not in (None, "")]


def _moment(value: object) -> str:
    """A start time, given as ISO text or as seconds since 1970, to the minute; other text as it is."""
    seconds = finite(value)
    try:
        moment = datetime.fromtimestamp(seconds, UTC) if seconds is not None else datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return str(value or "")
    # Text may come without a time zone.
    return f"{moment:%d %B %Y, %H:%M} {moment.tzname() or ''}".strip()


def _missing(record: Record) -> list[str]:
    """What an unfinished run does not have yet, in sentences."""
    sentences = []
    if not record.updates:
        sentences.append("No training iteration is recorded yet.")
    # A finished run without evaluations was asked for none; nothing is missing.
    if record.result and record.start is None and record.end is None:
        return [*sentences, "Nothing was evaluated."]
    if record.start is None:
        sentences.append("The base model has not been evaluated yet.")
    if record.end is None:
        sentences.append("The trained model has not been evaluated yet: the run is still going, or it was stopped.")
    return sentences


def _headline(record: Record, metric: str) -> _Headline:
    start = find_row(record.start, metric)
    end = find_row(record.end, metric)
    start_text, start_range = value_and_interval(start, metric)
    end_text, end_range = value_and_interval(end, metric)

    return _Headline(
        label="response length, tokens" if metric == "length" else heading(metric),
        start=start_text,
        start_range=start_range,
        end=end_text,
        end_range=end_range,
        change="" if start is None or end is None else _change(start.value, end.value, metric),
    )


def _change(start: float, end: float, metric: str) -> str:
    """The change of a figure: points for shares, a factor for counts."""
    if is_share(metric):
        return f"{(end - start) * 100:+.1f} points".replace("-", MINUS)
    return f"\N{MULTIPLICATION SIGN} {end / start:.1f}" if start > 0 else ""


def _columns(record: Record, vote: str) -> list[tuple[str, str]]:
    """Columns of the table: metric and heading."""
    reports = [evaluation.report for evaluation in record.evaluations]
    names = {row.metric for report in reports for row in report.rows}
    passes = [name for name in names if name.startswith("pass@") and name != "pass@1"]

    # The longest name has the most samples: 16 rather than 4.
    most_tries = max(passes, key=len, default="pass@16")
    metrics = ["pass@1", vote, most_tries, "length", "reflection", "mixing"]
    return [(metric, heading(metric)) for metric in metrics]


def _table(record: Record, columns: list[tuple[str, str]]) -> list[_TableRow]:
    """The paper's Table 2 for this run: each evaluated model, over all problems, then over the hard split."""
    evaluated = [evaluation for evaluation in record.evaluations if evaluation.name != "validation"]
    pairs = [(evaluation, suite) for suite in ("all", HARD) for evaluation in evaluated]
    # `all` of an evaluation such as `end-hard` belongs to the hard split too; the sort is stable.
    pairs.sort(key=lambda pair: _is_hard(*pair))

    table_rows = []
    for evaluation, suite in pairs:
        cells = []
        counts = []
        for metric, _ in columns:
            row = find_row(evaluation.report, metric, suite)
            cells.append(value_and_interval(row, metric))
            if row is not None:
                counts.append(row.n)
        if not counts:
            continue

        split = "hard split, " if _is_hard(evaluation, suite) else ""
        detail = f"{split}{max(counts):,} problems"
        table_rows.append(_TableRow(name=_model_name(evaluation), detail=detail, cells=tuple(cells)))

    return table_rows


def _is_hard(evaluation: Evaluation, suite: str) -> bool:
    """Whether problems are of the hard split: a suite of that name, or an evaluation such as `end-hard`."""
    return suite == HARD or HARD in re.split(r"[-_]", evaluation.name)


def _model_name(evaluation: Evaluation) -> str:
    words = re.split(r"[-_]", evaluation.name)
    name = " ".join(word for word in words if word != HARD)
    return {"start": "base model", "end": "trained model"}.get(name, name)


def _decoding(record: Record) -> str:
    """The decoding of the headline evaluation, in words."""
    report: Report | None = record.end or record.start
    if report is None:
        return ""

    names = {
        "num_samples": "{} samples a problem",
        "temperature": "temperature {}",
        "top_p": "top-p {}",
        "max_new_tokens": "at most {} tokens",
    }
    parts = []
    for key, text in names.items():
        if key in report.decoding:
            parts.append(text.format(format_figure(report.decoding[key])))
    return ", ".join(parts)


def _shelf_data(shelf: Shelf) -> dict[str, object]:
    return {"columns": list(shelf.columns), "problems": list(shelf.problems), "reflective": list(REFLECTIVE_WORDS)}


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as dotted keys and their values."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            yield from _flat(inner, name)
    elif prefix:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield prefix, text
