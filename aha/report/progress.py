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

from aha.report.record import Record, finite, read_object
from aha.runs.pipeline import Node
from aha.types import Report, Row

__all__ = ["Cost", "Harvest", "Progress", "State", "survey"]

State = Literal["finished", "in progress", "not begun"]
HARVESTED = "harvest_"


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
    report = next(reversed(record.named(node.name)), None)
    is_given = report is not None and set(states) == {"not begun"}
    state = _joint(states, is_given)
    harvests = [found for stage in node.stages if (found := _harvest(record, stage, notes)) is not None]

    folders = [record.folder / "stages" / stage for stage in node.stages]
    finals = [folder / "final" for folder in folders if (folder / "final" / "trainer.json").is_file()]
    is_model = state == "finished" and node.kind != "data" and bool(finals)

    return Progress(
        node=node,
        state=state,
        detail=_detail(record, node, states, notes) if state == "in progress" else "",
        model=finals[-1] if is_model else None,
        num_rows=sum(harvest.num_kept for harvest in harvests) if node.kind == "data" and harvests else None,
        held_out=_held_out(record, node, notes) if node.kind == "reward" else None,
        report=report,
        general=next(reversed(record.named(f"{node.name}-general")), None),
        cost=_cost(record, node),
        harvests=harvests,
    )


def _state(record: Record, stage: str) -> State:
    folder = record.folder / "stages" / stage
    if any((folder / name).is_file() for name in ("final/trainer.json", "data.json", "skipped.json")):
        return "finished"
    has_begun = folder.is_dir() or any(update.stage == stage for update in record.updates)
    return "in progress" if has_begun else "not begun"


def _joint(states: Sequence[State], is_given: bool) -> State:
    """The state of several stages together; a model that was given needs no stage."""
    if is_given or all(state == "finished" for state in states):
        return "finished"
    return "not begun" if all(state == "not begun" for state in states) else "in progress"


def _detail(record: Record, node: Node, states: Sequence[State], notes: list[str]) -> str:
    """The progress of the first stage that is not finished, in words."""
    stage, state = next(pair for pair in zip(node.stages, states, strict=True) if pair[1] != "finished")
    num_done = max((update.iteration + 1 for update in record.updates if update.stage == stage), default=0)
    total = _total(record.folder / "stages" / stage, notes)

    if state == "not begun":
        count = "next"
    elif total is not None:
        count = f"{num_done:,} of {total:,}"
    else:
        count = f"{num_done:,} done" if num_done else "begun"

    return f"{stage}: {count}" if len(node.stages) > 1 else count


def _total(folder: Path, notes: list[str]) -> int | None:
    """The number of iterations or shards of a stage; None where its inputs do not say."""
    inputs = read_object(folder / "inputs.json", notes).get("inputs")
    if not isinstance(inputs, dict):
        return None
    config = inputs.get("config")
    if not isinstance(config, dict):
        return None

    iterations = finite(config.get("iterations"))
    if iterations is not None:
        return int(iterations)

    size = finite(config.get("shard_size"))
    problems = inputs.get("problems")
    if size is None or size < 1 or not isinstance(problems, list):
        return None
    return math.ceil(len(problems) / size)


def _harvest(record: Record, stage: str, notes: list[str]) -> Harvest | None:
    """The harvest of a stage so far; None for a stage that makes no data."""
    sealed = read_object(record.folder / "stages" / stage / "data.json", notes)
    sealed_counts = sealed.get("counts")
    counts: Counter[str] = Counter()

    if isinstance(sealed_counts, dict):
        counts.update({str(name): int(finite(count) or 0) for name, count in sealed_counts.items()})

    for update in record.updates if not sealed else ():
        metrics = update.metrics.items() if update.stage == stage else ()
        counts.update({key.removeprefix(HARVESTED): int(n) for key, n in metrics if key.startswith(HARVESTED)})

    if not sealed and not counts:
        return None

    num_kept = finite(sealed.get("num_rows"))
    num_kept = counts["kept"] if num_kept is None else int(num_kept)
    dropped = {name: count for name, count in counts.most_common() if name not in ("items", "kept") and count > 0}

    return Harvest(stage=stage, is_finished=bool(sealed), num_items=counts["items"], num_kept=num_kept, dropped=dropped)


def _held_out(record: Record, node: Node, notes: list[str]) -> Row | None:
    """The accuracy on held-out prompts, which the last stage of a reward model records."""
    path = record.folder / "stages" / f"{node.stages[-1] if node.stages else node.name}.json"
    content = read_object(path, notes).get("held_out")
    numbers = {key: finite(value) for key, value in content.items()} if isinstance(content, dict) else {}
    value = numbers.get("accuracy")

    if value is None:
        return None

    low, high = (numbers.get(end) for end in ("low", "high"))
    return Row(
        suite="held out",
        metric="accuracy",
        value=value,
        low=float("nan") if low is None else low,
        high=float("nan") if high is None else high,
        n=int(numbers.get("n") or 0),
    )


def _cost(record: Record, node: Node) -> Cost | None:
    updates = [update for update in record.updates if update.stage in node.stages]
    if not updates:
        return None
    names = {"seconds": "seconds", "tokens": "sampled_tokens", "trained_tokens": "trained_tokens", "flops": "flops"}
    sums = {field: sum(update.metrics.get(name, 0.0) for update in updates) for name, field in names.items()}
    num_updates = sum(stage.num_steps for stage in record.stages if stage.name in node.stages)
    return Cost(**sums, num_updates=num_updates)
