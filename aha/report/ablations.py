"""Ablations of the pipeline: curves of two models side by side, and learned rewards beside the truth.

Source: DeepSeek-R1, arXiv:2501.12948v1, 2.3.1 (cold start); v2, B.6 (language consistency) and B.5 (reward hacking).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance

from markupsafe import Markup

from aha.report.cells import in_column
from aha.report.charts import Axes, Series, Unit, line_chart, thin
from aha.report.progress import Progress
from aha.report.record import Record, find_row

__all__ = ["Drift", "cold_start", "cold_start_in_words", "drifts", "language_ablation", "reward_hacking", "zero_record"]

VALIDATION = "validation"
MONITORED = ("r1",)
"""The stage whose rewards are learned ones."""
LEARNED = ("helpfulness", "harmlessness")
CLEAR = 2.0
"""Number of standard errors above which a change counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The change of a reward in the course of its stage, by the reward model and in truth.

    Attributes:
        name: name of the reward.
        learned: mean of the learned reward over the first and over the last third of the iterations.
        true: the same of the true reward.
        has_parted: whether the learned reward clearly rose while the true one clearly fell: a sign of reward hacking.
    """

    name: str
    learned: tuple[float, float]
    true: tuple[float, float]
    has_parted: bool


def zero_record(record: Record, box: Progress) -> Record:
    """R1-Zero's own part of a run, with the base's evaluation as `start` and its own as `end`."""
    part = record.part(box.node.stages)
    ends = {"start": ("start", 0), box.node.name: ("end", part.num_steps)}

    moved = []
    for evaluation in record.evaluations:
        if evaluation.name in ends:
            name, step = ends[evaluation.name]
            moved.append(replace(evaluation, name=name, running_step=step))
    return replace(part, evaluations=[*part.evaluations, *moved])


def language_ablation(record: Record, boxes: Sequence[Progress]) -> list[Markup]:
    """Curves of two models that differ in the language-consistency reward: consistency, mixing, accuracy.

    Args:
        record: the run.
        boxes: with the reward, then without it.
    """
    consistency_note = "validation; share of the thinking that is in the language of the question"
    mixing_note = "training rollouts with a word that is not in the language of the question"
    return [
        _chart(
            "Language consistency",
            consistency_note,
            [_validated(record, box, "consistency", tone=n) for n, box in _n(boxes)],
        ),
        _chart("Language mixing", mixing_note, [_trained(record, box, "mixing", tone=n) for n, box in _n(boxes)]),
        _chart("Accuracy", "validation pass@1", [_validated(record, box, "pass@1", tone=n) for n, box in _n(boxes)]),
    ]


def cold_start(record: Record, zero: Progress, warm: Progress) -> Markup:
    """Validation accuracy over steps of reinforcement learning, from the base and from the cold start."""
    series = [_validated(record, warm, "pass@1", tone=1), _validated(record, zero, "pass@1", tone=2)]
    goal = _goal(series[1])
    if goal is not None:
        end = max(x for line in series for x in (*line.xs, 1.0))
        name = f"where {zero.node.title} is now" if zero.state != "finished" else f"where {zero.node.title} ends"
        series.append(Series(name=name, xs=[0.0, end], ys=[goal, goal], tone=5))
    note = "validation pass@1 over updates of reinforcement learning alone; bands: 95 % intervals"
    return line_chart(series, Axes(title="With and without a cold start", note=note, unit="share", high=1.0))


def cold_start_in_words(record: Record, zero: Progress, warm: Progress) -> str:
    """In how many steps the model with a cold start reaches what R1-Zero ends at; empty before both have begun."""
    warm_series, zero_series = (_validated(record, box, "pass@1", tone=1) for box in (warm, zero))
    goal = _goal(zero_series)
    if goal is None or not warm_series.ys:
        return ""

    verb = "ends" if zero.state == "finished" else "stands"
    first = (
        f"{zero.node.title} {verb} at {in_column(goal, 'pass@1')} in validation after {zero_series.xs[-1]:,.0f} steps."
    )
    reached = next((x for x, y in zip(warm_series.xs, warm_series.ys, strict=True) if y >= goal), None)
    start = f"{warm.node.title} begins at {in_column(warm_series.ys[0], 'pass@1')}"

    if reached is None:
        return f"{first} {start} and has not reached that in {warm_series.xs[-1]:,.0f} steps."

    return f"{first} {start} and reaches that " + (f"after {reached:,.0f} steps." if reached else "at once.")


def reward_hacking(record: Record, title: str) -> list[Markup]:
    """Learned beside true rewards over the stage that learns from them, and accuracy meanwhile.

    Args:
        record: the run.
        title: of the model that learns.
    """
    figures = []
    for name in LEARNED:
        series = [
            _logged(record, MONITORED, name, "as learned", 2),
            _logged(record, MONITORED, f"true_{name}", "in truth", 1),
        ]
        figures.append(_chart(name.capitalize(), "training rollouts: what the reward model says, what is true", series))

    part = record.part(MONITORED)
    accuracy = _validation_series(part, "pass@1", f"{title}, validation pass@1", 1)
    right = _logged(record, MONITORED, "true_general", "general prompts, right", 3)
    note = "problems with an answer in validation, and general prompts in training"

    return [*figures, _chart("Accuracy meanwhile", note, [accuracy, right])]


def drifts(record: Record) -> list[Drift]:
    """The drift of each learned reward; none before there are three iterations of it and of its truth."""
    result = []
    for name in LEARNED:
        learned = _values(record, name)
        true = _values(record, f"true_{name}")
        if min(len(learned), len(true)) < 3:
            continue

        has_parted = _clear_change(learned) > 0 > _clear_change(true)
        drift = Drift(name=name, learned=_thirds(learned), true=_thirds(true), has_parted=has_parted)
        result.append(drift)
    return result


def _n(boxes: Sequence[Progress]) -> list[tuple[int, Progress]]:
    return list(enumerate(boxes, start=1))


def _chart(title: str, note: str, series: Sequence[Series], unit: Unit = "share") -> Markup:
    return line_chart(series, Axes(title=title, note=note, unit=unit, high=1.0, width=420, height=260))


def _validated(record: Record, box: Progress, metric: str, *, tone: int) -> Series:
    return _validation_series(record.part(box.node.stages), metric, box.node.title, tone)


def _validation_series(part: Record, metric: str, name: str, tone: int) -> Series:
    """A metric of the validations of some stages, with its intervals; one for each step, the last that was made."""
    rows = {}
    for evaluation in part.evaluations:
        row = find_row(evaluation.report, metric)
        if evaluation.name == VALIDATION and row is not None:
            rows[evaluation.running_step] = row

    steps = sorted(rows)
    return Series(
        name=name,
        xs=steps,
        ys=[rows[step].value for step in steps],
        lows=[rows[step].low for step in steps],
        highs=[rows[step].high for step in steps],
        tone=tone,
    )


def _trained(record: Record, box: Progress, metric: str, *, tone: int) -> Series:
    return _logged(record, box.node.stages, metric, box.node.title, tone)


def _logged(record: Record, stages: Sequence[str], metric: str, name: str, tone: int) -> Series:
    """A metric of training iterations under its running mean."""
    updates = [update for update in record.part(stages).updates if metric in update.metrics]
    xs, ys = thin([update.running_step for update in updates], [update.metrics[metric] for update in updates])
    return Series(name=name, xs=xs, ys=ys, tone=tone, style="trend")


def _goal(series: Series) -> float | None:
    """The last value of a series, None where it has none after its start."""
    return series.ys[-1] if len(series.ys) > 1 else None


def _values(record: Record, metric: str) -> list[float]:
    return [update.metrics[metric] for update in record.part(MONITORED).updates if metric in update.metrics]


def _thirds(values: Sequence[float]) -> tuple[float, float]:
    third = max(1, len(values) // 3)
    return fmean(values[:third]), fmean(values[-third:])


def _clear_change(values: Sequence[float]) -> float:
    """The change from the first to the last third in standard errors; 0 where it is within `CLEAR` of them."""
    third = max(1, len(values) // 3)
    if third < 2:
        return 0.0
    first = values[:third]
    last = values[-third:]
    error = math.sqrt((variance(first) + variance(last)) / third)
    change = fmean(last) - fmean(first)
    return change if abs(change) > CLEAR * error else 0.0
