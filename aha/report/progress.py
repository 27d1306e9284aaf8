"""The progress of each box of the pipeline: its state, its results, and its cost.

A finished stage has a `final` folder (a model) or a `data.json` (data). A stage in progress has only a folder, with its
inputs in `inputs.json`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aha.report.record import Record, as_row, finite, mapping, read_object
from aha.runs.pipeline import Node
from aha.types import Report, Row

__all__ = ["Cost", "Harvest", "Progress", "State", "survey"]

State = Literal["finished", "in progress", "not begun"]
HARVESTED = "harvest_"  # what the metrics of a stage that samples data begin with


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a box cost: wall seconds, tokens sampled and trained on, operations, and updates."""

    seconds: float = 0.0
    sampled_tokens: float = 0.0
    trained_tokens: float = 0.0
    flops: float = 0.0
    num_updates: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            seconds=self.seconds + other.seconds,
            sampled_tokens=self.sampled_tokens + other.sampled_tokens,
            trained_tokens=self.trained_tokens + other.trained_tokens,
            flops=self.flops + other.flops,
            num_updates=self.num_updates + other.num_updates,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """The items that a data stage kept and dropped.

    Attributes:
        stage: name of the stage.
        is_finished: whether the stage is finished.
        num_items: number of items that went into it.
        num_kept: number of rows that were kept.
        dropped: number of items that were dropped, by reason, the largest first.
    """

    stage: str
    is_finished: bool
    num_items: int
    num_kept: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One box of the pipeline, as the run folder shows it.

    Attributes:
        node: the box.
        state: how far it has come.
        detail: of a box in progress, what is done: `longer: 12 of 40`.
        model: folder of the finished model, None for data and before the end.
        num_rows: rows of data so far, None for models.
        held_out: accuracy of a reward model on held-out prompts.
        calibration: of a reward model: probabilities that it predicts, and the share of the cases in which it is right.
        report: the model's last evaluation on problems.
        general: its last evaluation on general prompts.
        cost: None where nothing is recorded.
        harvests: its stages that made data, in order.
    """

    node: Node
    state: State
    detail: str = ""
    model: Path | None = None
    num_rows: int | None = None
    held_out: Row | None = None
    calibration: Sequence[tuple[float, float]] = ()
    report: Report | None = None
    general: Report | None = None
    cost: Cost | None = None
    harvests: Sequence[Harvest] = ()


def survey(record: Record, notes: list[str]) -> list[Progress]:
    """Every box of the pipeline, in its order.

    Args:
        record: the run.
        notes: gets a sentence for every file that could not be read.
    """
    return [_progress(record, node, notes) for node in record.nodes]


def _progress(record: Record, node: Node, notes: list[str]) -> Progress:
    states = [_state(record, stage) for stage in node.stages]
    report = record.last_named(node.name)
    # A student that was given, not trained, has an evaluation and no stage that has begun.
    is_given = report is not None and set(states) == {"not begun"}
    state = _joint(states, is_given)

    harvests = []
    for stage in node.stages:
        harvest = _harvest(record, stage, notes)
        if harvest is not None:
            harvests.append(harvest)

    is_data = node.kind == "data"
    examination = _examination(record, node, notes) if node.kind == "reward" else {}
    return Progress(
        node=node,
        state=state,
        detail=_detail(record, node, states, notes) if state == "in progress" else "",
        model=_model(record, node) if state == "finished" and not is_data else None,
        num_rows=sum(harvest.num_kept for harvest in harvests) if harvests and is_data else None,
        held_out=_held_out(examination),
        calibration=_calibration(examination),
        report=report,
        general=record.last_named(f"{node.name}-general"),
        cost=_cost(record, node),
        harvests=harvests,
    )


def _model(record: Record, node: Node) -> Path | None:
    """The folder of the model that the last finished stage of a box made."""
    for stage in reversed(node.stages):
        final = record.folder / "stages" / stage / "final"
        if (final / "trainer.json").is_file():
            return final
    return None


def _state(record: Record, stage: str) -> State:
    folder = record.folder / "stages" / stage
    # Of a model, of data, and of a stage without iterations. Each is whole or absent.
    ends = ("final/trainer.json", "data.json", "skipped.json")
    if any((folder / name).is_file() for name in ends):
        return "finished"

    has_updates = any(update.stage == stage for update in record.updates)
    return "in progress" if has_updates or folder.is_dir() else "not begun"


def _joint(states: Sequence[State], is_given: bool) -> State:
    """The state of several stages together; a model that was given needs no stage."""
    if is_given or all(state == "finished" for state in states):
        return "finished"
    return "not begun" if all(state == "not begun" for state in states) else "in progress"


def _detail(record: Record, node: Node, states: Sequence[State], notes: list[str]) -> str:
    """The progress of the first stage that is not finished, in words."""
    index = next(index for index, state in enumerate(states) if state != "finished")
    stage = node.stages[index]
    # Iterations count from 0, and a resumed stage logs some of them again.
    iterations = [update.iteration + 1 for update in record.updates if update.stage == stage]
    num_done = max(iterations, default=0)
    total = _total(record.folder / "stages" / stage, notes)

    if states[index] == "not begun":
        count = "next"
    elif total is not None:
        count = f"{num_done:,} of {total:,}"
    else:
        count = f"{num_done:,} done" if num_done else "begun"

    return f"{stage}: {count}" if len(node.stages) > 1 else count


def _total(folder: Path, notes: list[str]) -> int | None:
    """The number of iterations or shards of a stage; None where its inputs do not say."""
    inputs = mapping(read_object(folder / "inputs.json", notes).get("inputs"))
    config = mapping(inputs.get("config"))
    iterations = finite(config.get("iterations"))
    if iterations is not None:
        return int(iterations)

    # A stage that samples data logs one iteration a shard.
    size = finite(config.get("shard_size"))
    problems = inputs.get("problems")
    if size is None or size < 1 or not isinstance(problems, list):
        return None
    return math.ceil(len(problems) / size)


def _harvest(record: Record, stage: str, notes: list[str]) -> Harvest | None:
    """The harvest of a stage so far; None for a stage that makes no data."""
    sealed = read_object(record.folder / "stages" / stage / "data.json", notes)
    counts: Counter[str] = Counter()

    # A finished harvest has its sums in `data.json`; before that, they are added up from its log.
    if sealed:
        for name, count in mapping(sealed.get("counts")).items():
            counts[name] = int(finite(count) or 0)
    else:
        for update in record.updates:
            if update.stage == stage:
                counts.update(_harvested(update.metrics))
        if not counts:
            return None

    num_rows = finite(sealed.get("num_rows"))
    return Harvest(
        stage=stage,
        is_finished=bool(sealed),
        num_items=counts["items"],
        num_kept=counts["kept"] if num_rows is None else int(num_rows),
        dropped={name: n for name, n in counts.most_common() if name not in ("items", "kept") and n > 0},
    )


def _harvested(metrics: Mapping[str, float]) -> dict[str, int]:
    """The counts of items in the metrics of one shard, by what became of them."""
    counts = {}
    for name, value in metrics.items():
        if name.startswith(HARVESTED):
            counts[name.removeprefix(HARVESTED)] = int(value)
    return counts


def _examination(record: Record, node: Node, notes: list[str]) -> Mapping[str, object]:
    """What the last stage of a reward model records of its examination."""
    stage = node.stages[-1] if node.stages else node.name
    return read_object(record.folder / "stages" / f"{stage}.json", notes)


def _held_out(examination: Mapping[str, object]) -> Row | None:
    """The accuracy of a reward model on held-out prompts; None where it was not examined."""
    held_out = mapping(examination.get("held_out"))
    return as_row({**held_out, "suite": "held out", "metric": "accuracy", "value": held_out.get("accuracy")})


def _calibration(examination: Mapping[str, object]) -> list[tuple[float, float]]:
    """The calibration of a reward model on held-out prompts; bins that cannot be read are left out."""
    bins = mapping(examination.get("calibration")).get("bins")
    points = []
    for each in bins if isinstance(bins, list) else []:
        predicted, observed = finite(mapping(each).get("predicted")), finite(mapping(each).get("observed"))
        if predicted is not None and observed is not None:
            points.append((predicted, observed))
    return points


def _cost(record: Record, node: Node) -> Cost | None:
    metrics = [update.metrics for update in record.updates if update.stage in node.stages]
    if not metrics:
        return None

    def total(name: str) -> float:
        return sum(values.get(name, 0.0) for values in metrics)

    return Cost(
        seconds=total("seconds"),
        sampled_tokens=total("tokens"),
        trained_tokens=total("trained_tokens"),
        flops=total("flops"),
        num_updates=sum(stage.num_steps for stage in record.stages if stage.name in node.stages),
    )
