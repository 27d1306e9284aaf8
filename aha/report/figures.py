"""The paper's figures drawn from a run: accuracy and length over training, the curves, and start against end by domain.

Source: DeepSeek-R1, arXiv:2501.12948v1, Figures 2 and 3; accuracy by difficulty and counts of reflective words after
v2, appendix C.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from aha.report.cells import Unit
from aha.report.charts import Axes, Estimate, Series, dumbbell, line_chart, thin
from aha.report.record import Evaluation, Record, Update, find_row
from aha.types import Row

__all__ = [
    "Comparison",
    "calibration_chart",
    "comparisons",
    "evaluated_series",
    "large_figures",
    "small_figures",
    "trained_series",
    "validations",
    "vote_metric",
]

HARD = "hard"
MAX_TONES = 5  # colours of the style sheet, and so the most domains of one chart


@dataclass(frozen=True, slots=True)
class _Curve:
    """A small chart of training: its metrics, each with the name of its line."""

    title: str
    note: str
    metrics: Mapping[str, str]
    unit: Unit = "number"
    low: float | None = 0.0
    is_noisy: bool = True


ANSWERS = {"unparsable": "unparsable", "timeout": "timeout", "crash": "crash", "unsupported": "unsupported"}
CURVES = (
    _Curve(
        "Reward",
        "mean of the sampled rollouts, in parts",
        {"reward": "total", "accuracy": "accuracy", "format": "format"},
    ),
    _Curve("KL to the reference", "nats per token", {"kl": "KL"}),
    _Curve("Entropy", "of the sampled tokens, nats", {"entropy": "entropy"}),
    _Curve("Clip fraction", "tokens or responses whose ratio was clipped", {"clip_fraction": "clipped"}, "share"),
    _Curve("Truncated", "rollouts cut at the length cap", {"truncated": "truncated"}, "share"),
    _Curve("Groups without spread", "every rollout rewarded alike: no gradient", {"zero_spread": "groups"}, "share"),
    _Curve(
        "Unreadable answers",
        "and verdicts that took too long or failed, or that the judge cannot give",
        ANSWERS,
        "share",
    ),
    _Curve("Gradient norm", "before clipping", {"grad_norm": "norm"}),
    # A schedule is no sample: it is drawn as it is, without a running mean.
    _Curve("Learning rate", "of the optimizer", {"learning_rate": "rate"}, is_noisy=False),
    # The loss of an objective may be negative, and its distance from 0 means nothing.
    _Curve("Loss", "of the objective", {"loss": "loss"}, low=None),
    _Curve("Sampler and learner apart", "mean gap of log-probabilities, nats", {"logp_gap": "gap"}),
    _Curve("Tokens per iteration", "sampled responses", {"tokens": "tokens"}),
    _Curve("Seconds per iteration", "sampling, scoring and learning", {"seconds": "seconds"}),
)

# Parts of an iteration's wall time by metric, from the bottom of the stack to its top.
TIMED = {f"seconds_{name}": name for name in ("sampling", "scoring", "reference", "learning")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One domain, or one level of it, before and after training.

    Attributes:
        domain: name of the domain.
        level: name of the level, empty for the whole domain.
        num_problems: problems evaluated.
        accuracy: pass@1 at the start and at the end, each with its interval.
        length: mean response length, likewise.
        accuracy_drawing: both as a dumbbell from 0 to 1.
        length_drawing: both as a dumbbell on the track that all rows share.
    """

    domain: str
    level: str
    num_problems: int
    accuracy: tuple[Row | None, Row | None]
    length: tuple[Row | None, Row | None]
    accuracy_drawing: Markup
    length_drawing: Markup


def vote_metric(record: Record) -> str:
    """The majority-vote metric that the run's test evaluations hold, `cons@16` where nothing was evaluated.

    The validations on the way may have another number of samples: theirs counts only where there is no test.
    """
    tests = [report for report in (record.start, record.end) if report is not None]
    anything = [evaluation.report for evaluation in record.evaluations]
    for reports in (tests, anything):
        metrics = {row.metric for report in reports for row in report.rows}
        votes = [metric for metric in metrics if metric.startswith("cons@")]
        # Sets have no order: `min` names the same one every time.
        if votes:
            return min(votes)

    return "cons@16"


def large_figures(record: Record) -> list[Markup]:
    """The paper's Figures 2 and 3, reflection and language mixing, and the first two by domain where validated."""
    reflection = "Mean words of doubt, checking or another try in a response. Nothing rewards them."
    mixing = "Responses with a word that is not in the language of the question."
    figures = [
        _accuracy(record),
        _followed(record, "length", "Response length", "The paper's Figure 3: mean tokens of a response."),
        _followed(record, "reflection", "Reflection", reflection),
        _followed(record, "mixing", "Language mixing", mixing, unit="share"),
    ]

    domains = _domains(record)
    if domains:
        figures.append(_by_domain(record, domains, "pass@1", "Accuracy by domain", "pass@1 on validation problems"))
        figures.append(_by_domain(record, domains, "length", "Length by domain", "tokens per validation response"))

    return figures


def small_figures(record: Record) -> list[Markup]:
    """The training curves as small multiples on one axis of steps, and the stack of where the time went."""
    curves = [_small(record, curve) for curve in CURVES]
    return [*curves, _timed(record)]


def calibration_chart(title: str, points: Sequence[tuple[float, float]]) -> Markup:
    """What a reward model predicts on held-out prompts against how often it is right.

    Args:
        title: name of the model.
        points: predicted probabilities, rising, each with the share of the cases in which the prediction was right.
    """
    predicted = [each for each, _ in points]
    observed = [each for _, each in points]
    series = [
        Series(name="as predicted", xs=[0.0, 1.0], ys=[0.0, 1.0], tone=4),
        Series(name="observed", xs=predicted, ys=observed, tone=1, style="marks"),
    ]
    note = "Share of right predictions, by the probability that the model gives them."
    return line_chart(series, Axes(title=title, note=note, unit="share", width=360, height=300, high=1.0))


def comparisons(record: Record) -> list[Comparison]:
    """Start against end for each domain and, below it, each of its levels; empty before the first evaluation."""
    suites: set[str] = set()
    for report in (record.start, record.end):
        if report is not None:
            suites |= {row.suite for row in report.rows if _is_domain(row.suite)}

    pairs = []
    for suite in sorted(suites, key=_suite_order):
        accuracy = (find_row(record.start, "pass@1", suite), find_row(record.end, "pass@1", suite))
        length = (find_row(record.start, "length", suite), find_row(record.end, "length", suite))
        pairs.append((suite, accuracy, length))

    # All lengths share a track, which reaches to the end of the longest interval: rows can be compared by eye.
    highs = [row.high for _, _, length in pairs for row in length if row is not None]
    longest = max(filter(math.isfinite, highs), default=1.0)
    return [_comparison(suite, accuracy, length, longest) for suite, accuracy, length in pairs]


def _comparison(
    suite: str, accuracy: tuple[Row | None, Row | None], length: tuple[Row | None, Row | None], longest: float
) -> Comparison:
    domain, _, level = suite.partition("/")
    counts = [row.n for row in (*accuracy, *length) if row is not None]
    start_accuracy, end_accuracy = map(_estimate, accuracy)
    start_length, end_length = map(_estimate, length)

    return Comparison(
        domain=domain,
        level=level,
        num_problems=max(counts, default=0),
        accuracy=accuracy,
        length=length,
        accuracy_drawing=dumbbell(start_accuracy, end_accuracy, 1.0),
        length_drawing=dumbbell(start_length, end_length, longest),
    )


def _estimate(row: Row | None) -> Estimate | None:
    return None if row is None else (row.value, row.low, row.high)


def _is_domain(suite: str) -> bool:
    # `all` holds every problem, `hard` those of the hard split; a level of a domain is `domain/level`.
    domain = suite.partition("/")[0]
    return domain not in ("all", HARD, "")


def _suite_order(suite: str) -> tuple[str, float, str]:
    """Domains by name; below each, its levels by number."""
    domain, _, level = suite.partition("/")
    # As text, level 10 would come before level 2. The domain as a whole has no level, and comes first.
    number = float(level) if level.isdecimal() else -1.0
    return domain, number, level


def _domains(record: Record) -> list[str]:
    """The domains that were validated, without their levels."""
    suites: set[str] = set()
    for evaluation in validations(record):
        suites |= {row.suite for row in evaluation.report.rows}

    domains = sorted(suite for suite in suites if _is_domain(suite) and "/" not in suite)
    return domains[:MAX_TONES]


def validations(record: Record) -> list[Evaluation]:
    """The evaluations made in the course of training."""
    return [evaluation for evaluation in record.evaluations if evaluation.name == "validation"]


def _ends(record: Record) -> list[Evaluation]:
    return [evaluation for evaluation in record.evaluations if evaluation.name in ("start", "end")]


def _borders(record: Record) -> list[tuple[float, str]]:
    """Where stages begin; a run of one stage has no border to show."""
    borders: list[tuple[float, str]] = [(stage.begins, stage.name) for stage in record.stages]
    return borders if len(borders) > 1 else []


def evaluated_series(
    evaluations: Sequence[Evaluation], metric: str, *, name: str, tone: int, suite: str = "all"
) -> Series:
    """One metric of some evaluations with its intervals: diamonds for start and end, a banded line for validation."""
    steps: list[float] = []
    rows: list[Row] = []
    for evaluation in evaluations:
        row = find_row(evaluation.report, metric, suite)
        if row is not None:
            steps.append(evaluation.running_step)
            rows.append(row)

    is_validation = all(evaluation.name == "validation" for evaluation in evaluations)
    return Series(
        name=name,
        xs=steps,
        ys=[row.value for row in rows],
        lows=[row.low for row in rows],
        highs=[row.high for row in rows],
        tone=tone,
        style="line" if is_validation else "marks",
    )


def trained_series(record: Record, metric: str, *, name: str, tone: int, is_noisy: bool = True) -> Series:
    """One metric of the training iterations, with its running mean where it is noisy."""
    steps: list[float] = []
    values: list[float] = []
    for update in record.updates:
        if metric in update.metrics:
            steps.append(update.running_step)
            values.append(update.metrics[metric])

    xs, ys = thin(steps, values)
    return Series(name=name, xs=xs, ys=ys, tone=tone, style="trend" if is_noisy else "line")


def _accuracy(record: Record) -> Markup:
    vote = vote_metric(record)
    validated = validations(record)
    ends = _ends(record)
    series = [
        evaluated_series(validated, "pass@1", name="pass@1", tone=1),
        evaluated_series(validated, vote, name=vote, tone=2),
        evaluated_series(ends, "pass@1", name="pass@1, start and end", tone=1),
        evaluated_series(ends, vote, name=f"{vote}, start and end", tone=2),
    ]

    note = "The paper's Figure 2: validation problems solved by one sample and by majority vote; bands: 95 % intervals."
    axes = Axes(title="Accuracy during training", note=note, unit="share", high=1.0, borders=_borders(record))
    return line_chart(series, axes)


def _followed(record: Record, metric: str, title: str, note: str, *, unit: Unit = "number") -> Markup:
    """One metric of the responses: of the training rollouts, in validation, and of the base and the trained model."""
    series = [
        trained_series(record, metric, name="training rollouts", tone=5),
        evaluated_series(validations(record), metric, name="validation", tone=1),
        evaluated_series(_ends(record), metric, name="start and end", tone=1),
    ]
    axes = Axes(title=f"{title} during training", note=note, unit=unit, borders=_borders(record))
    return line_chart(series, axes)


def _by_domain(record: Record, domains: Sequence[str], metric: str, title: str, note: str) -> Markup:
    validated = validations(record)
    series = []
    for tone, domain in enumerate(domains, start=1):
        line = evaluated_series(validated, metric, name=domain, tone=tone, suite=domain)
        # Without their bands: those of five domains would hide one another.
        series.append(replace(line, lows=(), highs=()))

    unit: Unit = "share" if metric == "pass@1" else "number"
    high = 1.0 if metric == "pass@1" else None
    axes = Axes(title=title, note=note, unit=unit, high=high, borders=_borders(record))
    return line_chart(series, axes)


def _small(record: Record, curve: _Curve) -> Markup:
    series = []
    for tone, (metric, name) in enumerate(curve.metrics.items(), start=1):
        series.append(trained_series(record, metric, name=name, tone=tone, is_noisy=curve.is_noisy))
    return line_chart(series, _small_axes(record, curve))


def _small_axes(record: Record, curve: _Curve) -> Axes:
    return Axes(
        title=curve.title,
        note=curve.note,
        unit=curve.unit,
        width=320,
        height=170,
        low=curve.low,
        borders=_borders(record),
        names_borders=False,
    )


def _timed(record: Record) -> Markup:
    """Seconds of each iteration by part, stacked; the top of the stack is the whole iteration."""
    # A stack of some of its parts would be wrong: iterations without all of them are left out.
    updates = [update for update in record.updates if update.metrics.keys() >= {*TIMED, "seconds"}]
    axes = _small_axes(record, _Curve("Where the time went", "seconds per iteration", TIMED))
    if not updates:
        return line_chart([], axes)

    # Each layer begins at step 0, where the first iteration began, with the height of that iteration.
    steps = [0.0, *(float(update.running_step) for update in updates)]
    floor = [0.0] * len(steps)
    layers = []
    for tone, (name, seconds) in enumerate(_seconds_by_part(updates).items(), start=1):
        heights = [seconds[0], *seconds]
        top = [low + height for low, height in zip(floor, heights, strict=True)]
        xs, ys = thin(steps, heights)
        _, lows = thin(steps, floor)
        _, highs = thin(steps, top)
        layers.append(Series(name=name, xs=xs, ys=ys, lows=lows, highs=highs, tone=tone, style="layer"))
        floor = top

    return line_chart(layers, axes)


def _seconds_by_part(updates: Sequence[Update]) -> dict[str, list[float]]:
    """The seconds of each part of each iteration; `other` is what none of the parts counts."""
    seconds: dict[str, list[float]] = {}
    for metric, name in TIMED.items():
        seconds[name] = [update.metrics[metric] for update in updates]

    # Parts are timed one by one, and rounding can bring their sum above the whole.
    others = []
    for update in updates:
        other = update.metrics["seconds"] - sum(update.metrics[metric] for metric in TIMED)
        others.append(max(0.0, other))

    return {**seconds, "other": others}
