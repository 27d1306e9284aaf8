"""A few samples of each box for the page: responses of a model, rows of data, labelled responses.

They are the first ones in the order in which they were written; nothing is picked by its content.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aha.report.cells import clipped
from aha.report.progress import Progress
from aha.report.record import Record, finite, mapping, read_lines
from aha.types import VERDICT_KINDS

__all__ = ["Sample", "samples_of"]

NUM_SAMPLES = 3
MAX_CHARACTERS = 1500
END_OF_THINKING = "</think>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One response with its question.

    Attributes:
        question: the question.
        language: language of the question, as an HTML language tag.
        thinking: the chain of thought with its tags; empty where there is none.
        summary: the text after the thinking.
        label: a short remark: its source, or its verdict.
    """

    question: str
    language: str
    thinking: str
    summary: str
    label: str


def samples_of(record: Record, box: Progress, notes: list[str]) -> list[Sample]:
    """The first samples of a box; none before there are any.

    Args:
        record: the run.
        box: the box.
        notes: gets a sentence for every file that could not be read.
    """
    if box.node.kind == "model":
        path = record.folder / "rollouts" / f"evaluation-{box.node.name}.jsonl.gz"
        return list(islice(_responses(path, notes), NUM_SAMPLES))

    # The rows of the first stage that has any.
    samples: list[Sample] = []
    for stage in box.node.stages:
        rows = _rows(record.folder / "stages" / stage / "shard-000000.jsonl", notes)
        for row in rows:
            samples += _of_row(row)
        if rows:
            break
    return samples[:NUM_SAMPLES]


def _responses(path: Path, notes: list[str]) -> Iterator[Sample]:
    """The first response to each problem of an evaluation."""
    seen = set()
    for entry in read_lines(path, notes):
        key = str(entry.get("problem_id"))
        if key in seen:
            continue
        seen.add(key)

        yield _sample(entry, entry.get("text"), _judged(entry))


def _judged(entry: Mapping[str, object]) -> str:
    """How the accuracy reward judged a response, in a word; a failure of the verifier is no fault of the answer."""
    reward = mapping(entry.get("reward"))
    accuracy = finite(mapping(reward.get("parts")).get("accuracy"))
    if accuracy is None:
        return ""
    if accuracy >= 1:
        return "correct"
    kind = mapping(reward.get("kinds")).get("accuracy")
    return str(kind) if kind in VERDICT_KINDS else "wrong"


def _rows(path: Path, notes: list[str]) -> list[Mapping[str, object]]:
    """The first rows of a shard, after the line that describes it."""
    # Lines are read as they are asked for: a shard of thousands of rows costs no more than these.
    return list(islice(read_lines(path, notes), 1, 1 + NUM_SAMPLES))


def _of_row(row: Mapping[str, object]) -> Iterator[Sample]:
    """A demonstration, or the responses of a preference from the best to the worst."""
    responses = row.get("responses")
    qualities = row.get("qualities")
    if not isinstance(responses, list) or not isinstance(qualities, list):
        yield _sample(row, row.get("response"), f"source: {row['source']}" if "source" in row else "")
        return

    labelled = []
    for quality, text in zip(qualities, responses, strict=False):
        labelled.append((finite(quality) or 0.0, text))
    labelled.sort(key=lambda pair: -pair[0])

    # The best and the worst say most about the labels; those between are left out.
    shown = [labelled[0], labelled[-1]] if len(labelled) > 1 else labelled
    asked = {**row, "question": row.get("prompt")}
    for quality, text in shown:
        yield _sample(asked, text, f"label {quality:g}")


def _sample(entry: Mapping[str, object], response: object, label: str) -> Sample:
    # A response that was cut off, or that does not think, has no end of thinking: all of it is shown as summary.
    thinking, mark, summary = str(response or "").partition(END_OF_THINKING)
    is_chinese = entry.get("language") == "zh"
    return Sample(
        question=_clipped(str(entry.get("question") or "")),
        language="zh-Hans" if is_chinese else "en",
        thinking=_clipped(thinking + mark if mark else ""),
        summary=_clipped(summary if mark else thinking),
        label=_clipped(label),
    )


def _clipped(text: str) -> str:
    return clipped(text.strip(), MAX_CHARACTERS)
