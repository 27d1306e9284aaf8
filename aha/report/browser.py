"""The rollouts that a reader of the page can browse: a small, unbiased choice, ready to be embedded.

Model output is untrusted text. Here it only becomes strings of JSON; the page's script puts them into text nodes.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aha.report.cells import clipped
from aha.report.charts import embed
from aha.report.record import Record, finite, mapping, read_lines

__all__ = ["Shelf", "evaluation_shelf", "models_shelf", "training_shelf"]

MAX_PROBLEMS = 60
MAX_SAMPLES = 4  # of a problem
MAX_SAMPLES_OF_MANY = 2  # where many models stand side by side
MAX_ITERATIONS = 5
MAX_PROBLEMS_PER_ITERATION = 8
MAX_CHARACTERS = 6000  # of one response

# Of all responses on a shelf: a page stays below 3 MB, that of a pipeline, with many models, below 6 MB.
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
    problems = _within_budget(shelf.problems, BUDGET_CHARACTERS, _num_characters)
    return replace(shelf, problems=problems)


def models_shelf(record: Record, names: Mapping[str, str]) -> Shelf:
    """The same problems answered by many models, chosen as in `evaluation_shelf`.

    Args:
        record: the run.
        names: for the title of each model, the name of its evaluation; those without rollouts get no column.
    """
    notes: list[str] = []
    files = {title: f"evaluation-{name}" for title, name in names.items()}
    shelf = _compared(record, files, notes, MAX_SAMPLES_OF_MANY)
    problems = _within_budget(shelf.problems, BUDGET_BYTES, _num_bytes)
    return replace(shelf, problems=problems)


def _compared(record: Record, names: Mapping[str, str], notes: list[str], num_samples: int) -> Shelf:
    """Problems that several models answered, a column for each model that has rollouts."""
    sides: dict[str, dict[str, _Answers]] = {}
    for heading, name in names.items():
        answers = _by_problem(record.folder / "rollouts" / f"{name}.jsonl.gz", notes)
        if answers:
            sides[heading] = answers
    if not sides:
        return Shelf(notes=notes)

    # Only problems that every model answered are compared; a model may have been evaluated on fewer.
    first, *others = sides.values()
    common = {key: answers.asked for key, answers in first.items() if all(key in other for other in others)}
    problems = []
    for key in _dealt(common)[:MAX_PROBLEMS]:
        rollouts = [side[key].rollouts[:num_samples] for side in sides.values()]
        problems.append(common[key] | {"sides": rollouts})

    return Shelf(columns=list(sides), problems=problems, num_found=len(common), notes=notes)


def training_shelf(record: Record) -> Shelf:
    """Rollouts that the policy was trained on: the first iteration, the last, and a few evenly between."""
    notes: list[str] = []
    files = _training_files(record)
    problems: list[Entry] = []
    for index in _evenly(len(files), MAX_ITERATIONS):
        stage, iteration, path = files[index]
        answers = _by_problem(path, notes, MAX_PROBLEMS_PER_ITERATION)
        when = {"when": f"{stage}, iteration {iteration}"}
        shown = [answer.asked | when | {"sides": [answer.rollouts]} for answer in answers.values()]
        problems += _within_budget(shown, BUDGET_CHARACTERS // MAX_ITERATIONS, _num_characters)

    return Shelf(columns=["sampled for training"], problems=problems, num_found=len(files), notes=notes)


def _training_files(record: Record) -> list[tuple[str, int, Path]]:
    """The stage, the iteration and the file of rollouts of every training iteration, in order."""
    # Iterations have six digits in the names of their files, so that names sort as iterations do.
    paths = sorted((record.folder / "rollouts").glob("*.jsonl.gz"))
    files = []

    # The rollouts of evaluations lie in the same folder, under names that are no stage's.
    for stage in record.stages:
        for path in paths:
            name = TRAINING_FILE.fullmatch(path.name)
            if name is not None and name["stage"] == stage.name:
                files.append((stage.name, int(name["iteration"]), path))
    return files


def _evenly(size: int, count: int) -> list[int]:
    """At most `count` indices from the first to the last of `size`, evenly spaced."""
    last = size - 1
    indices = {round(turn * last / (count - 1)) for turn in range(count)}
    return sorted(indices) if size else []


def _by_problem(path: Path, notes: list[str], limit: int | None = None) -> dict[str, _Answers]:
    """The first rollouts of each problem; of the first `limit` problems where a limit is given."""
    groups: dict[str, _Answers] = {}
    for entry in read_lines(path, notes):
        key = str(entry.get("problem_id"))
        # The samples of a problem stand together: with the next new problem the last one is complete.
        if key not in groups and limit is not None and len(groups) == limit:
            break
        answers = groups.setdefault(key, _Answers(asked=_asked(entry)))
        if len(answers.rollouts) < MAX_SAMPLES:
            answers.rollouts.append(_rollout(entry))

    return groups


def _asked(entry: Mapping[str, object]) -> Entry:
    return {
        "id": _clipped(entry.get("problem_id")),
        "domain": _clipped(entry.get("domain")),
        "language": _clipped(entry.get("language")),
        "question": _clipped(entry.get("question")),
        "level": finite(entry.get("level")),
        "reference": _clipped(entry.get("reference")),
    }


def _rollout(entry: Mapping[str, object]) -> Entry:
    """What the page shows of one rollout; tokens and log-probabilities stay behind, but for their number."""
    reward = mapping(entry.get("reward"))
    weights = mapping(reward.get("weights"))
    reasons = mapping(reward.get("reasons"))
    scores = mapping(reward.get("parts"))
    parts = []
    for name, score in scores.items():
        parts.append([str(name), finite(score), finite(weights.get(name)), _clipped(reasons.get(name))])

    tokens = entry.get("tokens")
    accuracy = finite(scores.get("accuracy"))
    return {
        "text": _clipped(entry.get("text")),
        "finish": str(entry.get("finish", "")),
        "tokens": len(tokens) if isinstance(tokens, list) else None,
        "total": finite(reward.get("total")),
        "advantage": finite(entry.get("advantage")),
        # A rollout without a verdict is neither right nor wrong.
        "correct": None if accuracy is None else accuracy >= 1.0,
        "parts": parts,
    }


def _clipped(value: object) -> str:
    return "" if value is None else clipped(str(value), MAX_CHARACTERS)


def _dealt(asked: Mapping[str, Entry]) -> list[str]:
    """The keys of the problems, taken in turn from each domain, level and language."""
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for key, problem in asked.items():
        kind = (str(problem["domain"]), str(problem["level"]), str(problem["language"]))
        groups[kind].append(key)

    ordered: list[str] = []
    num_turns = max((len(group) for group in groups.values()), default=0)
    # In each turn every group gives one, until it has none: a slice past its end is empty.
    for turn in range(num_turns):
        for name in sorted(groups):
            ordered += groups[name][turn : turn + 1]
    return ordered


def _within_budget(problems: Iterable[Entry], budget: int, size_of: Callable[[Entry], int]) -> list[Entry]:
    """As many problems as fit into a budget of characters or bytes; at least one."""
    chosen: list[Entry] = []
    total = 0
    for problem in problems:
        total += size_of(problem)
        if chosen and total > budget:
            break
        chosen.append(problem)
    return chosen


def _num_characters(problem: Entry) -> int:
    return len(repr(problem))


def _num_bytes(problem: Entry) -> int:
    # A lone surrogate, which a model may well have written, has no bytes of its own.
    return len(embed(problem).encode("utf-8", errors="replace"))
