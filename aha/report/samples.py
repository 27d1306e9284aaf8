"""A few samples of each box for the page: responses of a model, rows of data, labelled responses.

They are the first ones in the order in which they were written; nothing is picked by its content.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aha.report.progress import Progress
from aha.report.record import Record, finite, read_lines

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
        if key not in seen:
            seen.add(key)
            reward = entry.get("reward")
            parts = reward.get("parts") if isinstance(reward, dict) else None
            accuracy = finite(parts.get("accuracy")) if isinstance(parts, dict) else None
            label = ""
            if accuracy is not None:
                label = "correct" if accuracy >= 1 else "wrong"
            yield _sample(entry, entry.get("text"), label)


def _rows(path: Path, notes: list[str]) -> list[Mapping[str, object]]:
    """The first rows of a shard, after the line that describes it."""
    return list(islice(read_lines(path, notes), 1, 1 + NUM_SAMPLES))


def _of_row(row: Mapping[str, object]) -> Iterator[Sample]:
    """A demonstration, or the responses of a preference from the best to the worst."""
    responses = row.get("responses")
    qualities = row.get("qualities")
    if not isinstance(responses, list) or not isinstance(qualities, list):
        yield _sample(row, row.get("response"), f"source: {row['source']}" if "source" in row else "")
        return

    judged = [(finite(quality) or 0.0, text) for quality, text in zip(qualities, responses, strict=False)]
    ranked = sorted(judged, key=lambda pair: -pair[0])
    for quality, text in [ranked[0], ranked[-1]] if len(ranked) > 1 else ranked:
        yield _sample({**row, "question": row.get("prompt")}, text, f"label {quality:g}")


def _sample(entry: Mapping[str, object], response: object, label: str) -> Sample:
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
    """The text without space around it, or its two ends where it is very long."""
    text = text.strip()
    if len(text) <= MAX_CHARACTERS:
        return text
    left_out = len(text) - MAX_CHARACTERS
    return f"{text[: MAX_CHARACTERS // 2]} [... {left_out:,} characters left out ...] {text[-MAX_CHARACTERS // 2 :]}"
