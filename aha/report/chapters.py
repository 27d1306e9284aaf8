"""The content of the page of a run with a pipeline, for its template.

Source: DeepSeek-R1, arXiv:2501.12948v2, Figure 2, Tables 3 and 7, B.5, B.6; v1, 2.3.1, Tables 5 and 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aha.report.ablations import cold_start, cold_start_in_words, drifts, language_ablation, reward_hacking, zero_record
from aha.report.browser import Shelf, models_shelf
from aha.report.cells import duration, heading, in_column, operations, value_and_interval
from aha.report.charts import embed
from aha.report.diagram import anchor, diagram, headline
from aha.report.figures import large_figures
from aha.report.progress import Cost, Harvest, Progress
from aha.report.record import Record
from aha.report.samples import Sample, samples_of
from aha.report.stage_table import distillation, models_table, reinforcement, row_of, stages
from aha.runs.pipeline import COLD_START, LANGUAGE_REWARD, compared_models, main_models
from aha.types import Row

__all__ = ["chapters"]

SECTION_METRICS = ("pass@1", "length", "consistency", "readability", "general", "helpfulness", "harmlessness")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """The section of the page about one box: `anchor` is its `id`, `column` its index in the browser of responses."""

    box: Progress
    anchor: str
    headline: str
    facts: Sequence[tuple[str, str]]
    parents: Sequence[tuple[str, str]]
    samples: Sequence[Sample]
    column: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bill:
    """A line of the table of costs: a box, or all of them."""

    anchor: str
    title: str
    detail: str
    seconds: str
    sampled_tokens: str
    trained_tokens: str
    flops: str
    share: str


def chapters(
    record: Record, boxes: Sequence[Progress], reflective_words: Sequence[str]
) -> tuple[dict[str, object], list[str]]:
    """The variables of `pipeline.html.j2`, and what could not be read, in sentences.

    Args:
        record: the run.
        boxes: of its pipeline, from `survey`.
        reflective_words: the words that are marked in responses.
    """
    notes: list[str] = []
    by_name = {box.node.name: box for box in boxes}
    # Readers choose a model by its title; its evaluations have its name. The first shelf has the responses to problems,
    # the second those to general prompts.
    titles = {box.node.title: box.node.name for box in boxes if box.node.kind == "model"}
    shelves = [
        models_shelf(record, titles),
        models_shelf(record, {title: f"{name}-general" for title, name in titles.items()}),
    ]
    for shelf in shelves:
        notes += shelf.notes

    # What the browser of responses shows first.
    main = main_models([box.node for box in boxes])
    shown_first = list(dict.fromkeys(node.name for node in (*main[:1], *main[-1:])))
    students = distillation(boxes)

    content: dict[str, object] = {
        "diagram": diagram(boxes),
        "stage_table": stages(boxes),
        "has_students": bool(students),
        "student_tables": [models_table(boxes, names) for names in (students, reinforcement(boxes))],
        "left_out": record.left_out,
        "knows_truth": any(row_of(box, "general") for box in boxes),
        "harvests": [(box.node.title, _harvest_lines(harvest)) for box in boxes for harvest in box.harvests],
        "bills": _bills(boxes),
        "sections": [_section(record, box, by_name, shelves[0], notes) for box in boxes],
        "shelves": [(shelf, embed(_shelf_data(shelf, titles, shown_first, reflective_words))) for shelf in shelves],
        "in_column": in_column,
        "anchor": anchor,
        **_comparisons(record, boxes),
        **_learned_rewards(record, boxes),
    }
    return content, notes


def _comparisons(record: Record, boxes: Sequence[Progress]) -> dict[str, object]:
    """The figures that compare two models; empty where the pipeline does not have both."""
    by_name = {box.node.name: box for box in boxes}
    nodes = [box.node for box in boxes]
    content: dict[str, object] = {"language": [], "cold_start": "", "zero_figures": []}

    language_pair = compared_models(nodes, LANGUAGE_REWARD)
    if language_pair is not None:
        content["language"] = language_ablation(record, [by_name[name] for name in language_pair])
        content["language_table"] = models_table(boxes, language_pair)

    cold_pair = compared_models(nodes, COLD_START)
    if cold_pair is not None:
        warm, zero = (by_name[name] for name in cold_pair)
        content["cold_start"] = cold_start(record, zero, warm)
        content["cold_start_words"] = cold_start_in_words(record, zero, warm)
        content["zero_title"] = zero.node.title
        content["zero_figures"] = large_figures(zero_record(record, zero))
    return content


def _learned_rewards(record: Record, boxes: Sequence[Progress]) -> dict[str, object]:
    """Learned rewards beside true ones, for the model that is made from reward models; empty where there is none."""
    rewards = {box.node.name for box in boxes if box.node.kind == "reward"}
    learner = next((box for box in boxes if rewards & set(box.node.parents)), None)
    if learner is None:
        return {"hacking": [], "drifts": []}
    return {"hacking": reward_hacking(record, learner), "drifts": drifts(record, learner)}


def _harvest_lines(harvest: Harvest) -> dict[str, object]:
    """A harvest with the shares of its items; a row may hold several items, such as the responses to one prompt."""
    # Items, not rows: only items add up to the whole.
    num_kept = harvest.num_items - sum(harvest.dropped.values())
    counts = [("kept", max(0, num_kept)), *harvest.dropped.items()]
    total = max(harvest.num_items, 1)

    lines = []
    for name, count in counts:
        share = count / total
        # The last entry is the length of a bar, which must not leave its track.
        lines.append((name, count, _percent(share), f"{min(1.0, share):.4f}"))
    return {"harvest": harvest, "lines": lines}


def _percent(share: float) -> str:
    # Written as pass@1 is, which is a share too.
    return in_column(share, "pass@1")


def _bills(boxes: Sequence[Progress]) -> list[_Bill]:
    """What each box cost, and all of them; nothing before anything has."""
    # Of each box its own stages: no stage is counted twice, so that the lines add up.
    costs = [(box, box.cost) for box in boxes if box.cost is not None]
    total = sum((cost for _, cost in costs), Cost())
    bills = []
    for box, cost in costs:
        node = box.node
        bills.append(_bill(anchor(node.name), node.title, ", ".join(node.stages), cost, total))

    return [*bills, _bill("", "total", "", total, total)] if bills else []


def _bill(link: str, title: str, detail: str, cost: Cost, total: Cost) -> _Bill:
    return _Bill(
        anchor=link,
        title=title,
        detail=detail,
        seconds=duration(cost.seconds),
        sampled_tokens=f"{cost.sampled_tokens:,.0f}",
        trained_tokens=f"{cost.trained_tokens:,.0f}",
        flops=operations(cost.flops),
        share=_percent(cost.seconds / total.seconds) if total.seconds > 0 else "",
    )


def _section(
    record: Record, box: Progress, by_name: Mapping[str, Progress], shelf: Shelf, notes: list[str]
) -> _Section:
    node = box.node
    parents = [by_name[name] for name in node.parents if name in by_name]
    # Columns carry titles; a title of data or of a reward model may be that of a model too.
    has_column = node.kind == "model" and node.title in shelf.columns

    return _Section(
        box=box,
        anchor=anchor(node.name),
        headline=headline(box),
        facts=_facts(record, box),
        parents=[(anchor(parent.node.name), parent.node.title) for parent in parents],
        samples=samples_of(record, box, notes),
        column=list(shelf.columns).index(node.title) if has_column else None,
    )


def _facts(record: Record, box: Progress) -> list[tuple[str, str]]:
    """Figures of a box: evaluated ones with their intervals, rows, cost, and where it lies."""
    facts = []
    for metric in SECTION_METRICS:
        row = row_of(box, metric)
        if row is not None:
            facts.append((heading(metric), _with_interval(row, metric)))

    if box.held_out is not None:
        facts.append(("held-out accuracy", _with_interval(box.held_out, "pass@1")))
    if box.num_rows is not None:
        facts.append(("rows", f"{box.num_rows:,}"))

    if box.cost is not None and box.cost.num_updates:
        facts.append(("updates", f"{box.cost.num_updates:,}"))
    if box.cost is not None:
        facts.append(("time", duration(box.cost.seconds)))

    if box.model is not None:
        facts.append(("folder", str(box.model.relative_to(record.folder))))

    return facts


def _with_interval(row: Row, metric: str) -> str:
    value, interval = value_and_interval(row, metric)
    return f"{value} ({interval})" if interval else value


def _shelf_data(
    shelf: Shelf, name_by_title: Mapping[str, str], shown_first: Sequence[str], reflective_words: Sequence[str]
) -> dict[str, object]:
    """A shelf of many models for the page's script, which shows two of them at a time."""
    names = [name_by_title[title] for title in shelf.columns]
    picked = [names.index(name) for name in shown_first if name in names]
    # If neither has responses yet, the last model that has.
    picked = picked or [len(names) - 1]
    return {
        "columns": list(shelf.columns),
        "problems": list(shelf.problems),
        "reflective": list(reflective_words),
        "picked": picked,
    }
