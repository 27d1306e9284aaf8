"""Ablations of the pipeline: curves of two models side by side, and learned rewards beside the truth.

Source: DeepSeek-R1, arXiv:2501.12948v1, 2.3.1 (cold start); v2, B.6 (language consistency) and B.5 (reward hacking).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance

from markupsafe import Markup

from aha.report.cells import in_column
from aha.report.charts import Axes, Series, line_chart
from aha.report.figures import evaluated_series, trained_series, validations
from aha.report.progress import Progress
from aha.report.record import Record, find_row

__all__ = ["Drift", "cold_start", "cold_start_in_words", "drifts", "language_ablation", "reward_hacking", "zero_record"]

LEARNED = ("helpfulness", "harmlessness")
CLEAR = 2.0  # standard errors above which a change counts


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

    # The figures of a single model look for evaluations of these names, at the first and at the last step.
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
    consistency = []
    mixing = []
    accuracy = []
    for tone, box in enumerate(boxes, start=1):
        part = record.part(box.node.stages)
        title = box.node.title
        consistency.append(_validated(part, "consistency", title, tone))
        mixing.append(trained_series(part, "mixing", name=title, tone=tone))
        accuracy.append(_validated(part, "pass@1", title, tone))

    consistency_note = "validation; share of the thinking that is in the language of the question"
    mixing_note = "training rollouts with a word that is not in the language of the question"
    return [
        _chart("Language consistency", consistency_note, consistency),
        _chart("Language mixing", mixing_note, mixing),
        _chart("Accuracy", "validation pass@1", accuracy),
    ]


def cold_start(record: Record, zero: Progress, warm: Progress) -> Markup:
    """Validation accuracy over steps of reinforcement learning, from the base and from the cold start."""
    warm_series = _accuracy(record, warm, 1)
    zero_series = _accuracy(record, zero, 2)
    series = [warm_series, zero_series]

    goal = _goal(zero_series)
    if goal is not None:
        end = max(1.0, *warm_series.xs, *zero_series.xs)
        verb = "ends" if zero.state == "finished" else "is now"
        series.append(Series(name=f"where {zero.node.title} {verb}", xs=[0.0, end], ys=[goal, goal], tone=5))

    note = "validation pass@1 over updates of reinforcement learning alone; bands: 95 % intervals"
    return line_chart(series, Axes(title="With and without a cold start", note=note, unit="share", high=1.0))


def cold_start_in_words(record: Record, zero: Progress, warm: Progress) -> str:
    """In how many steps the model with a cold start reaches what R1-Zero ends at; empty before both have begun."""
    warm_series = _accuracy(record, warm, 1)
    zero_series = _accuracy(record, zero, 2)
    goal = _goal(zero_series)
    if goal is None or not warm_series.ys:
        return ""

    verb = "ends" if zero.state == "finished" else "stands"
    goal_text = in_column(goal, "pass@1")
    start_text = in_column(warm_series.ys[0], "pass@1")
    first = f"{zero.node.title} {verb} at {goal_text} in validation after {zero_series.xs[-1]:,.0f} steps."
    start = f"{first} {warm.node.title} begins at {start_text}"

    for step, accuracy in zip(warm_series.xs, warm_series.ys, strict=True):
        if accuracy >= goal:
            # The validation at step 0 is that of the cold start itself.
            when = f"after {step:,.0f} steps" if step else "at once"
            return f"{start} and reaches that {when}."

    return f"{start} and has not reached that in {warm_series.xs[-1]:,.0f} steps."


def reward_hacking(record: Record, learner: Progress) -> list[Markup]:
    """Learned beside true rewards over the stage that learns from them, and accuracy meanwhile.

    Args:
        record: the run.
        learner: the model that learns from reward models.
    """
    part = _last_stage(record, learner)
    figures = []
    for name in LEARNED:
        learned = trained_series(part, name, name="as learned", tone=2)
        true = trained_series(part, f"true_{name}", name="in truth", tone=1)
        note = "training rollouts: what the reward model says, what is true"
        figures.append(_chart(name.capitalize(), note, [learned, true]))

    # The paper saw reward hacking in its performance, which fell while the learned reward rose (v2, B.5).
    accuracy = _validated(part, "pass@1", f"{learner.node.title}, validation pass@1", 1)
    general = trained_series(part, "true_general", name="general prompts, right", tone=3)
    note = "problems with an answer in validation, and general prompts in training"
    figures.append(_chart("Accuracy meanwhile", note, [accuracy, general]))
    return figures


def drifts(record: Record, learner: Progress) -> list[Drift]:
    """The drift of each learned reward; none before there are three iterations of it and of its truth."""
    part = _last_stage(record, learner)
    result = []
    for name in LEARNED:
        learned = _values(part, name)
        true = _values(part, f"true_{name}")
        if min(len(learned), len(true)) < 3:
            continue

        has_parted = _clear_change(learned) > 0 > _clear_change(true)
        drift = Drift(name=name, learned=_thirds(learned), true=_thirds(true), has_parted=has_parted)
        result.append(drift)
    return result


def _last_stage(record: Record, learner: Progress) -> Record:
    """The stage that learns from reward models: earlier ones of the same model may learn from rules alone."""
    return record.part(learner.node.stages[-1:])


def _chart(title: str, note: str, series: Sequence[Series]) -> Markup:
    axes = Axes(title=title, note=note, unit="share", high=1.0, width=420, height=260)
    return line_chart(series, axes)


def _accuracy(record: Record, box: Progress, tone: int) -> Series:
    return _validated(record.part(box.node.stages), "pass@1", box.node.title, tone)


def _validated(part: Record, metric: str, name: str, tone: int) -> Series:
    """A metric of the validations of some stages, with its intervals; one for each step, the last that was made."""
    # Where two stages meet, the end of the first and the start of the second are the same step.
    latest = {}
    for evaluation in validations(part):
        if find_row(evaluation.report, metric) is not None:
            latest[evaluation.running_step] = evaluation

    in_order = [latest[step] for step in sorted(latest)]
    return evaluated_series(in_order, metric, name=name, tone=tone)


def _goal(series: Series) -> float | None:
    """The last value of a series, None where it has none after its start."""
    return series.ys[-1] if len(series.ys) > 1 else None


def _values(part: Record, metric: str) -> list[float]:
    return [update.metrics[metric] for update in part.updates if metric in update.metrics]


def _thirds(values: Sequence[float]) -> tuple[float, float]:
    third = max(1, len(values) // 3)
    return fmean(values[:third]), fmean(values[-third:])


def _clear_change(values: Sequence[float]) -> float:
    """The change from the first to the last third in standard errors; 0 where it is within `CLEAR` of them."""
    third = max(1, len(values) // 3)
    # A single value has no variance.
    if third < 2:
        return 0.0

    first = values[:third]
    last = values[-third:]
    change = fmean(last) - fmean(first)

    # Standard error of a difference of two means; iterations are taken as independent.
    error = math.sqrt((variance(first) + variance(last)) / third)
    return change if abs(change) > CLEAR * error else 0.0
