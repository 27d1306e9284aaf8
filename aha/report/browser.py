"""The rollouts that a reader of the page can browse: a small, unbiased choice, ready to be embedded.

Model output is untrusted text. Here it only becomes strings of JSON; the page's script puts them into text nodes.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aha.report.charts import embed
from aha.report.record import Record, finite, read_lines

__all__ = ["Shelf", "evaluation_shelf", "models_shelf", "training_shelf"]

MAX_PROBLEMS = 60
MAX_SAMPLES = 4
MAX_SAMPLES_OF_MANY = 2
MAX_ITERATIONS = 5
MAX_PROBLEMS_PER_ITERATION = 8
MAX_CHARACTERS = 6000
BUDGET_CHARACTERS = 700_000
BUDGET_BYTES = 1_500_000
TRAINING_FILE = re.compile(r"(?P<stage>.+)-(?P<iteration>\d+)\.jsonl\.gz")

Entry = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Problems to browse, each with one or two columns of rollouts.

    Attributes:
        columns: headings of the columns.
        problems: JSON objects; `sides` holds the rollouts of each column.
        num_found: number of problems, or of training iterations, from which they were chosen.
        notes: what could not be read, in sentences.
    """

    columns: Sequence[str] = ()
    problems: Sequence[Entry] = ()
    num_found: int = 0
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """One problem and its first rollouts."""

    asked: Entry
    rollouts: list[Entry] = field(default_factory=list)


def evaluation_shelf(record: Record) -> Shelf:
    """The same problems answered by the base model and by the trained model.

    Problems are taken in turn from each domain, level and language, in the order in which they were written: the choice
    does not depend on the answers. The samples are the first ones of each problem.
    """
    notes: list[str] = []
    names = {"base model": "evaluation-start", "trained model": "evaluation-end"}
    shelf = _compared(record, names, notes, MAX_SAMPLES)
    return replace(shelf, problems=_within_budget(shelf.problems, BUDGET_CHARACTERS))


def models_shelf(record: Record, names: Mapping[str, str]) -> Shelf:
    """The same problems answered by many models, chosen as in `evaluation_shelf`.

    Args:
        record: the run.
        names: for the title of each model, the name of its evaluation; those without rollouts get no column.
    """
    notes: list[str] = []
    files = {title: f"evaluation-{name}" for title, name in names.items()}
    shelf = _compared(record, files, notes, MAX_SAMPLES_OF_MANY)
    problems: list[Entry] = []
    num_bytes = 0

    for problem in shelf.problems:
        num_bytes += len(embed(problem).encode("utf-8", errors="replace"))
        if problems and num_bytes > BUDGET_BYTES:
            break
        problems.append(problem)

    return replace(shelf, problems=problems)


def _compared(record: Record, names: Mapping[str, str], notes: list[str], num_samples: int) -> Shelf:
    """Problems that several models answered, a column for each model that has rollouts."""
    answers_by_heading = {heading: _by_problem(_file(record, name), notes) for heading, name in names.items()}
    sides = {heading: answers for heading, answers in answers_by_heading.items() if answers}
    if not sides:
        return Shelf(notes=notes)

    first = next(iter(sides.values()))
    common = {key: answers.asked for key, answers in first.items() if all(key in side for side in sides.values())}
    problems = [
        first[key].asked | {"sides": [side[key].rollouts[:num_samples] for side in sides.values()]}
        for key in _dealt(common)[:MAX_PROBLEMS]
    ]

    return Shelf(columns=list(sides), problems=problems, num_found=len(common), notes=notes)


def training_shelf(record: Record) -> Shelf:
    """Rollouts that the policy was trained on: the first iteration, the last, and a few evenly between."""
    notes: list[str] = []
    order = {stage.name: index for index, stage in enumerate(record.stages)}
    files: list[tuple[int, str, int]] = []

    for path in (record.folder / "rollouts").glob("*.jsonl.gz"):
        name = TRAINING_FILE.fullmatch(path.name)
        if name is not None and name["stage"] in order:
            files.append((order[name["stage"]], path.name, int(name["iteration"])))

    files.sort()
    last = len(files) - 1
    picked = sorted({round(turn * last / (MAX_ITERATIONS - 1)) for turn in range(MAX_ITERATIONS)}) if files else []
    problems: list[Entry] = []

    for position, file_name, iteration in (files[index] for index in picked):
        when = f"{record.stages[position].name}, iteration {iteration}"
        answers = _by_problem(record.folder / "rollouts" / file_name, notes, MAX_PROBLEMS_PER_ITERATION)
        shown = [answer.asked | {"when": when, "sides": [answer.rollouts]} for answer in answers.values()]
        problems += _within_budget(shown, BUDGET_CHARACTERS // MAX_ITERATIONS)

    return Shelf(columns=["sampled for training"], problems=problems, num_found=len(files), notes=notes)


def _file(record: Record, name: str) -> Path:
    return record.folder / "rollouts" / f"{name}.jsonl.gz"


def _by_problem(path: Path, notes: list[str], limit: int | None = None) -> dict[str, _Answers]:
    """The first rollouts of each problem; of the first `limit` problems where a limit is given."""
    groups: dict[str, _Answers] = {}
    for entry in read_lines(path, notes):
        key = str(entry.get("problem_id"))
        if key not in groups and limit is not None and len(groups) == limit:
            break
        answers = groups.setdefault(key, _Answers(asked=_asked(entry)))
        if len(answers.rollouts) < MAX_SAMPLES:
            answers.rollouts.append(_rollout(entry))

    return groups


def _asked(entry: Mapping[str, object]) -> Entry:
    names = {"id": "problem_id", "domain": "domain", "language": "language", "question": "question"}
    words: Entry = {name: _clipped(entry.get(key)) for name, key in names.items()}
    return words | {"level": finite(entry.get("level")), "reference": _clipped(entry.get("reference"))}


def _rollout(entry: Mapping[str, object]) -> Entry:
    """What the page shows of one rollout; tokens and log-probabilities stay behind, but for their number."""
    reward = entry.get("reward")
    reward = reward if isinstance(reward, dict) else {}
    parts, weights, reasons = (_mapping(reward.get(key)) for key in ("parts", "weights", "reasons"))
    tokens = entry.get("tokens")
    accuracy = finite(parts.get("accuracy"))

    return {
        "text": _clipped(entry.get("text")),
        "finish": str(entry.get("finish", "")),
        "tokens": len(tokens) if isinstance(tokens, list) else None,
        "total": finite(reward.get("total")),
        "advantage": finite(entry.get("advantage")),
        "correct": None if accuracy is None else accuracy >= 1.0,
        "parts": [
            [str(name), finite(score), finite(weights.get(name)), _clipped(reasons.get(name))]
            for name, score in parts.items()
        ],
    }


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _clipped(value: object) -> str:
    """The text, or its two ends where it is very long."""
    text = "" if value is None else str(value)
    if len(text) <= MAX_CHARACTERS:
        return text
    head = text[: MAX_CHARACTERS // 2]
    tail = text[-MAX_CHARACTERS // 2 :]
    return f"{head} [... {len(text) - MAX_CHARACTERS:,} characters left out ...] {tail}"


def _dealt(asked: Mapping[str, Entry]) -> list[str]:
    """The keys of the problems, taken in turn from each domain, level and language."""
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for key, problem in asked.items():
        groups[str(problem["domain"]), str(problem["level"]), str(problem["language"])].append(key)

    ordered: list[str] = []
    num_turns = max((len(group) for group in groups.values()), default=0)
    for turn in range(num_turns):
        for name in sorted(groups):
            ordered += groups[name][turn : turn + 1]
    return ordered


def _within_budget(problems: Iterable[Entry], budget: int) -> list[Entry]:
    """As many problems as fit into `budget` characters; at least one."""
    chosen: list[Entry] = []
    num_characters = 0
    for problem in problems:
        num_characters += len(repr(problem))
        if chosen and num_characters > budget:
            break
        chosen.append(problem)
    return chosen
