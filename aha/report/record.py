"""The content of a run folder, finished or not: identity and stages, metrics and evaluations on one axis of steps.

A run folder may be read while it is written, and after its run was killed: a missing file, an incomplete line or a
wrong value is left out and noted. Only a folder without a run is an error.
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aha.runs.pipeline import PIPELINE_FILE, Node, left_out_of, main_models, nodes_of, trained_models
from aha.types import Report, Row

__all__ = [
    "Evaluation",
    "Record",
    "Stage",
    "Update",
    "as_row",
    "find_row",
    "finite",
    "mapping",
    "read_lines",
    "read_object",
    "read_record",
]

LARGEST = 1e300
"""Numbers beyond this count as not finite: a long integer has no float, and an axis of such length would overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a run: its name, the running step it begins at, and its optimizer steps so far."""

    name: str
    begins: int
    num_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One training iteration: its stage, its place on the run's axis of steps, and its metrics by name."""

    stage: str
    iteration: int
    running_step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation: `start`, `end`, `validation` or another name, and where in the run it was made."""

    name: str
    stage: str
    running_step: int
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run folder, read.

    Attributes:
        folder: absolute path.
        identity: `run.json` as written: recipe, scale, seed, started, config, provenance.
        result: `result.json` as written; empty before the end.
        stages: in the order in which they ran.
        updates: training iterations in that order.
        evaluations: in that order.
        notes: what could not be read, in sentences.
        nodes: boxes of `pipeline.json`, the figure of the recipe; none where the file is missing.
        left_out: what the figure does not have, and why, in sentences.
    """

    folder: Path
    identity: Mapping[str, object]
    result: Mapping[str, object]
    stages: Sequence[Stage]
    updates: Sequence[Update]
    evaluations: Sequence[Evaluation]
    notes: Sequence[str]
    nodes: Sequence[Node] = ()
    left_out: Sequence[str] = ()

    @property
    def num_steps(self) -> int:
        """Optimizer steps of all stages, so far."""
        return sum(stage.num_steps for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """Wall seconds of the run; before its end, of the iterations so far; None where nothing was timed."""
        total = finite(self.result.get("seconds"))
        if total is not None:
            return total

        timed = [update.metrics["seconds"] for update in self.updates if "seconds" in update.metrics]
        return sum(timed) if timed else None

    def named(self, name: str) -> list[Report]:
        """Reports of the evaluations of one name, in order."""
        return [evaluation.report for evaluation in self.evaluations if evaluation.name == name]

    def last_named(self, name: str) -> Report | None:
        """The report of the last evaluation of one name, None where there is none."""
        reports = self.named(name)
        return reports[-1] if reports else None

    @property
    def start(self) -> Report | None:
        """The first evaluation named `start`: the base model."""
        return next(iter(self.named("start")), None)

    @property
    def end(self) -> Report | None:
        """The last evaluation of the model that is the result: the last main one of the figure, `end` without one."""
        models = main_models(self.nodes)
        return self.last_named(models[-1].name if models else "end")

    @property
    def has_pipeline(self) -> bool:
        """Whether the run trains several models from one another, which are to be compared."""
        return len(trained_models(self.nodes)) > 1

    def part(self, stages: Sequence[str]) -> "Record":
        """The record of some stages alone, with steps counted from their beginning.

        Args:
            stages: names of the stages, in the order in which they ran.
        """
        chosen = [stage for stage in self.stages if stage.name in stages]
        chosen.sort(key=lambda stage: stage.begins)

        # Each stage moves left, to where the one before it ends.
        shifts: dict[str, int] = {}
        moved: list[Stage] = []
        end = 0
        for stage in chosen:
            shifts[stage.name] = stage.begins - end
            moved.append(replace(stage, begins=end))
            end += stage.num_steps

        updates = []
        for update in self.updates:
            if update.stage in shifts:
                updates.append(replace(update, running_step=update.running_step - shifts[update.stage]))

        evaluations = []
        for evaluation in self.evaluations:
            if evaluation.stage in shifts:
                step = evaluation.running_step - shifts[evaluation.stage]
                evaluations.append(replace(evaluation, running_step=step))

        return replace(self, stages=moved, updates=updates, evaluations=evaluations, nodes=())


def read_record(folder: Path) -> Record:
    """Read a run folder.

    Args:
        folder: holds `run.json`; `metrics.jsonl`, `evaluations.jsonl` and `result.json` may be missing or torn.

    Raises:
        ValueError: the folder holds no run, or its `run.json` cannot be read.
    """
    identity = _identity(folder)
    notes: list[str] = []
    updates = _updates(read_lines(folder / "metrics.jsonl", notes))
    reports = list(read_lines(folder / "evaluations.jsonl", notes))
    stages = _stages(updates, reports)

    pipeline = read_object(folder / PIPELINE_FILE, notes)
    return Record(
        folder=folder.resolve(),
        identity=identity,
        result=read_object(folder / "result.json", notes),
        stages=stages,
        updates=_placed(updates, stages),
        evaluations=_evaluations(reports, stages, notes),
        notes=notes,
        nodes=nodes_of(pipeline),
        left_out=left_out_of(pipeline),
    )


def read_lines(path: Path, notes: list[str]) -> Iterator[Mapping[str, object]]:
    """The objects of a JSON-lines file, gzipped or not; a missing file has none.

    Args:
        path: `.jsonl` or `.jsonl.gz`.
        notes: gets a sentence when a line, or the end of the file, could not be read.
    """
    # A line is torn where its process was killed, or writes on at this moment.
    num_torn = 0
    for line in _whole_lines(path, notes):
        entry = _parsed(line)
        if entry is None:
            num_torn += bool(line.strip())
        else:
            yield entry

    if num_torn:
        noun = "line" if num_torn == 1 else "lines"
        notes.append(f"{path.name}: {num_torn} {noun} could not be read and left out.")


def read_object(path: Path, notes: list[str]) -> Mapping[str, object]:
    """The JSON object that a file holds; empty where the file is missing or torn.

    Args:
        path: the file.
        notes: gets a sentence when it could not be read.
    """
    try:
        entry = _parsed(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError:
        entry = None

    if entry is None:
        notes.append(f"{path.name} could not be read.")

    return entry or {}


def finite(value: object) -> float | None:
    """The value as a float, or None where it is no finite number."""
    # For Python True is an int; here it is no number.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < LARGEST else None


def mapping(value: object) -> Mapping[str, object]:
    """The value where it is a JSON object, an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def find_row(report: Report | None, metric: str, suite: str = "all") -> Row | None:
    """The row of one metric, or None where the evaluation is missing or has no such row."""
    try:
        return None if report is None else report.row(metric, suite)
    except KeyError:
        return None


def _whole_lines(path: Path, notes: list[str]) -> Iterator[bytes]:
    """The lines of a file, up to the point where it is damaged."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return
    except (OSError, EOFError, zlib.error):
        notes.append(f"{path.name} breaks off: what stands before the break is shown.")


def _parsed(line: bytes) -> Mapping[str, object] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _identity(folder: Path) -> Mapping[str, object]:
    path = folder / "run.json"
    entry = _parsed(path.read_bytes()) if path.is_file() else None
    if entry is not None:
        return entry
    if path.is_file():
        raise ValueError(
            f"{path} is no JSON object; it should hold the run's recipe, scale, seed, config and provenance"
        )

    inside = sorted(run.parent.name for run in folder.glob("*/run.json")) if folder.is_dir() else []
    hint = f"; runs inside it: {', '.join(inside[:8])}" if inside else ""
    state = "has no run.json" if folder.is_dir() else "is no folder"
    raise ValueError(
        f"{folder} is no run folder: it {state}{hint}. Name the folder that a training command wrote, such as "
        "runs/r1_zero-0, which holds run.json, metrics.jsonl and evaluations.jsonl"
    )


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _count(entry: Mapping[str, object], key: str) -> int:
    return int(finite(entry.get(key)) or 0)


def _updates(entries: Iterator[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Metrics lines, the last one of each iteration: a resumed stage writes again what it does again."""
    latest = {}
    for entry in entries:
        latest[_text(entry, "stage"), _count(entry, "iteration")] = entry
    return list(latest.values())


def _stages(updates: Sequence[Mapping[str, object]], reports: Sequence[Mapping[str, object]]) -> list[Stage]:
    """Stages in order of first appearance; evaluations made during a stage count for its length too."""
    lengths: dict[str, int] = {}
    validations = [entry for entry in reports if entry.get("name") == "validation"]
    for entry in (*updates, *validations):
        name = _text(entry, "stage")
        lengths[name] = max(lengths.get(name, 0), _count(entry, "step"))

    # Each stage counts its steps from 0; the run's axis lays them end to end.
    stages = []
    begins = 0
    for name, num_steps in lengths.items():
        stages.append(Stage(name=name, begins=begins, num_steps=num_steps))
        begins += num_steps

    return stages


def _placed(entries: Sequence[Mapping[str, object]], stages: Sequence[Stage]) -> list[Update]:
    begins = {stage.name: stage.begins for stage in stages}
    order = {stage.name: index for index, stage in enumerate(stages)}
    updates = []

    for entry in entries:
        stage = _text(entry, "stage")
        numbers = {key: finite(value) for key, value in entry.items()}
        update = Update(
            stage=stage,
            iteration=_count(entry, "iteration"),
            running_step=begins[stage] + _count(entry, "step"),
            metrics={key: number for key, number in numbers.items() if number is not None},
        )
        updates.append(update)

    return sorted(updates, key=lambda update: (order[update.stage], update.iteration))


def _evaluations(
    entries: Sequence[Mapping[str, object]], stages: Sequence[Stage], notes: list[str]
) -> list[Evaluation]:
    begins = {stage.name: stage.begins for stage in stages}
    total = sum(stage.num_steps for stage in stages)
    # A resumed run evaluates again what it had evaluated before: the last one counts.
    evaluations = {}

    for entry in entries:
        report = entry.get("report")
        if not isinstance(report, dict):
            notes.append("evaluations.jsonl: an entry without a report was left out.")
            continue

        name = _text(entry, "name")
        stage = _text(entry, "stage")
        elsewhere = 0 if name == "start" else total
        running_step = begins[stage] + _count(entry, "step") if stage in begins else elsewhere
        evaluation = Evaluation(name=name, stage=stage, running_step=running_step, report=_report(report))
        evaluations[name, stage, running_step] = evaluation

    return list(evaluations.values())


def _report(entry: Mapping[str, object]) -> Report:
    entries = entry.get("rows")
    rows = [as_row(mapping(item)) for item in entries] if isinstance(entries, list) else []
    decoding = {key: finite(value) for key, value in mapping(entry.get("decoding")).items()}

    return Report(
        rows=tuple(row for row in rows if row is not None),
        checkpoint=_text(entry, "checkpoint"),
        decoding={key: value for key, value in decoding.items() if value is not None},
        seed=_count(entry, "seed"),
    )


def as_row(entry: Mapping[str, object]) -> Row | None:
    """One row; without a finite value there is none, and the ends of an interval that is missing are not finite."""
    value = finite(entry.get("value"))
    if value is None:
        return None

    # JSON has no infinity: an open end was written as null.
    low = finite(entry.get("low"))
    high = finite(entry.get("high"))
    return Row(
        suite=_text(entry, "suite"),
        metric=_text(entry, "metric"),
        value=value,
        low=math.nan if low is None else low,
        high=math.nan if high is None else high,
        n=_count(entry, "n"),
    )
