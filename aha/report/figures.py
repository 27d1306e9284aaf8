"""The paper's figures drawn from a run: accuracy and length over training, the curves, and start against end by domain.

Source: DeepSeek-R1, arXiv:2501.12948v1, Figures 2 and 3; accuracy by difficulty and counts of reflective words after
v2, appendix C.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from aha.report.charts import Axes, Estimate, Series, Unit, dumbbell, line_chart, thin
from aha.report.record import Evaluation, Record, find_row
from aha.types import Report, Row

__all__ = ["Comparison", "comparisons", "large_figures", "small_figures", "vote_metric"]

HARD = "hard"
MAX_TONES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    """A small chart of training: which metrics it draws, under which names."""

    title: str
    note: str
    metrics: tuple[tuple[str, str], ...]
    unit: Unit = "number"
    low: float | None = 0.0
    is_noisy: bool = True


CURVES = (
    _Curve(
        title="Reward",
        note="mean of the sampled rollouts, in parts",
        metrics=(("reward", "total"), ("accuracy", "accuracy"), ("format", "format")),
    ),
    _Curve(title="KL to the reference", note="nats per token", metrics=(("kl", "KL"),)),
    _Curve(title="Entropy", note="of the sampled tokens, nats", metrics=(("entropy", "entropy"),)),
    _Curve(
        title="Clip fraction",
        note="tokens whose ratio was clipped",
        metrics=(("clip_fraction", "clipped"),),
        unit="share",
    ),
    _Curve(
        title="Truncated", note="rollouts cut at the length cap", metrics=(("truncated", "truncated"),), unit="share"
    ),
    _Curve(
        title="Groups without spread",
        note="every rollout rewarded alike: no gradient",
        metrics=(("zero_spread", "groups"),),
        unit="share",
    ),
    _Curve(
        title="Unreadable answers",
        note="and verdicts that took too long or failed, or that the judge cannot give",
        metrics=(
            ("unparsable", "unparsable"),
            ("timeout", "timeout"),
            ("crash", "crash"),
            ("unsupported", "unsupported"),
        ),
        unit="share",
    ),
    _Curve(title="Gradient norm", note="before clipping", metrics=(("grad_norm", "norm"),)),
    _Curve(title="Learning rate", note="of the optimizer", metrics=(("learning_rate", "rate"),), is_noisy=False),
    _Curve(title="Loss", note="of the objective", metrics=(("loss", "loss"),), low=None),
    _Curve(
        title="Sampler and learner apart", note="mean gap of log-probabilities, nats", metrics=(("logp_gap", "gap"),)
    ),
    _Curve(title="Tokens per iteration", note="sampled responses", metrics=(("tokens", "tokens"),)),
    _Curve(title="Seconds per iteration", note="sampling, scoring and learning", metrics=(("seconds", "seconds"),)),
)


TIMED = {name: f"seconds_{name}" for name in ("sampling", "scoring", "reference", "learning")}
"""Parts of an iteration's wall time, from the bottom of the stack to its top, and their metrics."""


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
    for reports in (tests, [evaluation.report for evaluation in record.evaluations]):
        metrics = {row.metric for report in reports for row in report.rows}
        votes = [metric for metric in metrics if metric.startswith("cons@")]
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

    domains = _domains(evaluation.report for evaluation in _validations(record))
    if domains:
        figures.append(_by_domain(record, domains, "pass@1", "Accuracy by domain", "pass@1 on validation problems"))
        figures.append(_by_domain(record, domains, "length", "Length by domain", "tokens per validation response"))

    return figures


def small_figures(record: Record) -> list[Markup]:
    """The training curves as small multiples on one axis of steps, and the stack of where the time went."""
    return [*(_small(record, curve) for curve in CURVES), _timed(record)]


def comparisons(record: Record) -> list[Comparison]:
    """Start against end for each domain and, below it, each of its levels; empty before the first evaluation."""
    suites: set[str] = set()
    for side in (record.start, record.end):
        if side is not None:
            suites |= {row.suite for row in side.rows if _is_domain(row.suite)}

    pairs = []
    for suite in sorted(suites, key=_suite_order):
        before = (find_row(record.start, "pass@1", suite), find_row(record.start, "length", suite))
        after = (find_row(record.end, "pass@1", suite), find_row(record.end, "length", suite))
        pairs.append((suite, before, after))

    # All lengths share a track, which reaches to the end of the longest interval.
    lengths = [row for _, before, after in pairs for row in (before[1], after[1])]
    longest = max((row.high for row in lengths if row and math.isfinite(row.high)), default=1.0)
    return [_comparison(suite, before, after, longest) for suite, before, after in pairs]


def _comparison(
    suite: str, before: tuple[Row | None, Row | None], after: tuple[Row | None, Row | None], longest: float
) -> Comparison:
    domain, _, level = suite.partition("/")
    rows = [row for row in (*before, *after) if row is not None]
    accuracy = (before[0], after[0])
    length = (before[1], after[1])

    return Comparison(
        domain=domain,
        level=level,
        num_problems=max((row.n for row in rows), default=0),
        accuracy=accuracy,
        length=length,
        accuracy_drawing=dumbbell(_estimate(accuracy[0]), _estimate(accuracy[1]), 1.0),
        length_drawing=dumbbell(_estimate(length[0]), _estimate(length[1]), longest),
    )


def _estimate(row: Row | None) -> Estimate | None:
    return None if row is None else (row.value, row.low, row.high)


def _is_domain(suite: str) -> bool:
    return suite.partition("/")[0] not in ("all", HARD, "")


def _suite_order(suite: str) -> tuple[str, float, str]:
    """Domains by name; below each, its levels by number."""
    domain, _, level = suite.partition("/")
    return domain, float(level) if level.isdecimal() else -1.0, level


def _domains(reports: Iterable[Report]) -> list[str]:
    suites = {row.suite for report in reports for row in report.rows}
    return sorted(suite for suite in suites if _is_domain(suite) and "/" not in suite)[:MAX_TONES]


def _validations(record: Record) -> list[Evaluation]:
    return [evaluation for evaluation in record.evaluations if evaluation.name == "validation"]


def _ends(record: Record) -> list[Evaluation]:
    return [evaluation for evaluation in record.evaluations if evaluation.name in ("start", "end")]


def _borders(record: Record) -> list[tuple[float, str]]:
    """Where stages begin; a run of one stage has no border to show."""
    return [(stage.begins, stage.name) for stage in record.stages] if len(record.stages) > 1 else []


def _evaluated(evaluations: Sequence[Evaluation], metric: str, *, name: str, tone: int, suite: str = "all") -> Series:
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


def _trained(record: Record, metric: str, *, name: str, tone: int, is_noisy: bool = True) -> Series:
    """One metric of the training iterations, with its running mean where it is noisy."""
    found = [update for update in record.updates if metric in update.metrics]
    xs, ys = thin([update.running_step for update in found], [update.metrics[metric] for update in found])
    return Series(name=name, xs=xs, ys=ys, tone=tone, style="trend" if is_noisy else "line")


def _accuracy(record: Record) -> Markup:
    vote = vote_metric(record)
    series = [
        _evaluated(_validations(record), "pass@1", name="pass@1", tone=1),
        _evaluated(_validations(record), vote, name=vote, tone=2),
        _evaluated(_ends(record), "pass@1", name="pass@1, start and end", tone=1),
        _evaluated(_ends(record), vote, name=f"{vote}, start and end", tone=2),
    ]

    note = "The paper's Figure 2: validation problems solved by one sample and by majority vote; bands: 95 % intervals."
    axes = Axes(title="Accuracy during training", note=note, unit="share", high=1.0, borders=_borders(record))
    return line_chart(series, axes)


def _followed(record: Record, metric: str, title: str, note: str, *, unit: Unit = "number") -> Markup:
    """One metric of the responses: of the training rollouts, in validation, and of the base and the trained model."""
    series = [
        _trained(record, metric, name="training rollouts", tone=5),
        _evaluated(_validations(record), metric, name="validation", tone=1),
        _evaluated(_ends(record), metric, name="start and end", tone=1),
    ]
    return line_chart(series, Axes(title=f"{title} during training", note=note, unit=unit, borders=_borders(record)))


def _by_domain(record: Record, domains: Sequence[str], metric: str, title: str, note: str) -> Markup:
    validations = _validations(record)
    series = []

    for tone, domain in enumerate(domains, start=1):
        banded = _evaluated(validations, metric, name=domain, tone=tone, suite=domain)
        series.append(Series(name=domain, xs=banded.xs, ys=banded.ys, tone=tone))

    is_share = metric == "pass@1"
    unit: Unit = "share" if is_share else "number"
    axes = Axes(title=title, note=note, unit=unit, high=1.0 if is_share else None, borders=_borders(record))

    return line_chart(series, axes)


def _small(record: Record, curve: _Curve) -> Markup:
    series = [
        _trained(record, metric, name=name, tone=tone, is_noisy=curve.is_noisy)
        for tone, (metric, name) in enumerate(curve.metrics, start=1)
    ]
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
    curve = _Curve(title="Where the time went", note="seconds per iteration", metrics=())
    updates = [update for update in record.updates if update.metrics.keys() >= {*TIMED.values(), "seconds"}]

    heights = {name: [update.metrics[metric] for update in updates] for name, metric in TIMED.items()}
    timed = [sum(parts) for parts in zip(*heights.values(), strict=True)]
    totals = [update.metrics["seconds"] for update in updates]
    heights["other"] = [max(0.0, total - seconds) for total, seconds in zip(totals, timed, strict=True)]

    # Each layer begins at step 0, where the first iteration began, with the height of that iteration.
    steps = [0.0, *(float(update.running_step) for update in updates)]
    layers = []
    floor = [0.0] * len(updates)
    for tone, (name, values) in enumerate(heights.items(), start=1):
        top = [low + value for low, value in zip(floor, values, strict=True)]
        xs, ys = thin(steps, [*values[:1], *values])
        _, lows = thin(steps, [*floor[:1], *floor])
        _, highs = thin(steps, [*top[:1], *top])
        layers.append(Series(name=name, xs=xs, ys=ys, lows=lows, highs=highs, tone=tone, style="layer"))
        floor = top

    return line_chart(layers if updates else [], _small_axes(record, curve))
