"""Evaluation in its plainest form: from recorded responses to figures; beside DeepSeek-R1, arXiv:2501.12948v1, 3.

    pass@1 = 1/k sum_i p_i,  pass@k = 1 where any p_i is 1,  cons@k = verdict on the answer given most often

Means over problems have Student's interval; where all values are equal, Wilson's (a rate of n trials).
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

Row = Mapping[str, Any]

TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> "
    "reasoning process here </think> <answer> answer here </answer>. User: {question}. Assistant:"
)
"""DeepSeek-R1, arXiv:2501.12948v1, Table 1."""

ONE_OF_EACH = re.compile(r"\s*<think>(?P<thinking>.*)</think>\s*<answer>(?P<answer>.*)</answer>\s*", re.DOTALL)
TAG = re.compile(r"</?(?:think|answer)>")
STUDENT = [12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814, 2.20099]
"""97.5 % points of Student's t with 1, 2, 3 ... degrees of freedom, from a table."""
NORMAL = 1.959964


def has_format(text: str) -> bool:
    """Each tag once, in order, and nothing around the two blocks."""
    return bool(ONE_OF_EACH.fullmatch(text)) and len(TAG.findall(text)) == 4


def answer_of(text: str) -> int | None:
    """The integer in the only answer block that stands outside the thinking, None where there is none."""
    while closed := re.search(r"<think>(?:(?!</?think>).)*</think>", text, re.DOTALL):
        text = text[: closed.start()] + text[closed.end() :]
    text = text.partition("<think>")[0]
    if [tag for tag in TAG.findall(text) if "answer" in tag] != ["<answer>", "</answer>"]:
        return None
    inside = re.search(r"<answer>(.*)</answer>", text, re.DOTALL)
    number = re.fullmatch(r"\s*(?:x\s*=)?\s*([+-]?)\s*([0-9]+)\s*", inside[1]) if inside else None
    return int(number[1] + number[2]) if number else None


def is_right(row: Row) -> bool:
    """Whether a response gives the reference answer."""
    expected = int(row["reference"].replace("x =", ""))
    return answer_of(row["text"]) == expected


def figures_of(rows: Sequence[Row]) -> dict[str, float]:
    """The figures of one problem, from all of its responses in the order of sampling."""
    k = len(rows)
    verdicts = [float(is_right(row)) for row in rows]
    votes = Counter(answer for row in rows if (answer := answer_of(row["text"])) is not None)
    agreed = 0.0
    if votes:
        # Of tied answers the one that was given first.
        winner = max(votes, key=lambda answer: votes[answer])
        agreed = float(winner == int(rows[0]["reference"].replace("x =", "")))
    return {
        "pass@1": fmean(verdicts),
        f"pass@{k}": max(verdicts),
        f"cons@{k}": agreed,
        "length": fmean(len(row["tokens"]) for row in rows),
        "format": fmean(has_format(row["text"]) for row in rows),
        "truncated": fmean(row["finish"] == "length" for row in rows),
    }


def interval(values: Sequence[float], ceiling: float) -> tuple[float, float, float]:
    """Mean of the values of some problems, and its 95 % interval within 0 and the ceiling."""
    mean, n = fmean(values), len(values)
    if len(set(values)) == 1 and ceiling < math.inf:
        centre = (mean + NORMAL**2 / (2 * n)) / (1 + NORMAL**2 / n)
        half = NORMAL * math.sqrt(mean * (1 - mean) / n + NORMAL**2 / (4 * n**2)) / (1 + NORMAL**2 / n)
        return mean, min(mean, centre - half), max(mean, centre + half)
    if n == 1:
        return mean, 0.0, ceiling
    half = STUDENT[n - 2] * stdev(values) / math.sqrt(n)
    return mean, max(0.0, mean - half), min(ceiling, mean + half)


def plain_evaluation(rows: Sequence[Row]) -> dict[tuple[str, str], tuple[float, float, float, int]]:
    """By suite and metric: mean, both ends of the interval, and number of problems."""
    problems: dict[str, list[Row]] = {}
    for row in rows:
        problems.setdefault(row["problem_id"], []).append(row)

    columns: dict[tuple[str, str], list[float]] = {}
    for responses in problems.values():
        domain, level = responses[0]["domain"], responses[0]["level"]
        for metric, value in figures_of(responses).items():
            for suite in ("all", domain, f"{domain}/{level}"):
                columns.setdefault((suite, metric), []).append(value)
    return {
        (suite, metric): (*interval(values, math.inf if metric == "length" else 1.0), len(values))
        for (suite, metric), values in columns.items()
    }
