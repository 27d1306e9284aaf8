"""The unit of work that aha and its peers are measured on, and how it is measured.

Runs in either environment: the standard library and numpy only.
"""

import json
import resource
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

NUM_PROMPTS, GROUP_SIZE, MAX_NEW_TOKENS = 16, 8, 128
NUM_ROWS = NUM_PROMPTS * GROUP_SIZE
MEAN_LENGTH = 60.0
PROMPT_TOKENS = 24
PAD_ID, END_ID = 0, 1
LEARNING_RATE, CLIP_EPS, KL_COEF = 1e-4, 0.2, 0.001
PARTS = ("generate", "reference", "train")


def varying_lengths(count: int = NUM_ROWS, cap: int = MAX_NEW_TOKENS, mean: float = MEAN_LENGTH) -> np.ndarray:
    """Lengths as real responses have them: many short ones, some long ones, a few cut at the cap.

    length_i = min(cap, max(1, ceil(log(1 - u_i) / log(1 - 1/m)))), u_i uniform in [0, 1)

    A geometric variable of mean m by inversion of its distribution. Cutting at the cap lowers the mean, so m is found
    by bisection: the smallest for which the mean after cutting reaches `mean`.

    Args:
        count: how many; the draws are the first of numpy's RandomState(0).
        cap: longest, tokens.
        mean: of the lengths after cutting, tokens, < cap.

    Returns:
        [count], int64.
    """
    draws = np.random.RandomState(0).random_sample(count)

    def cut(scale: float) -> np.ndarray:
        lengths: np.ndarray = np.ceil(np.log(1 - draws) / np.log(1 - 1 / scale)).clip(1, cap).astype(np.int64)
        return lengths

    below, above = 1.0, 2000.0
    for _ in range(60):
        middle = 0.5 * (below + above)
        if cut(middle).mean() >= mean:
            above = middle
        else:
            below = middle
    return cut(above)


def response_lengths(kind: str) -> np.ndarray:
    """The length of each response, in the order of the prompts, `GROUP_SIZE` for each: `fixed` or `varying`."""
    return varying_lengths() if kind == "varying" else np.full(NUM_ROWS, MAX_NEW_TOKENS)


def read_prompts(models: Path) -> list[str]:
    """The prompts of the unit of work."""
    return list(json.loads((models / "prompts.json").read_text(encoding="utf-8"))[:NUM_PROMPTS])


class Clock:
    """CPU seconds of this process and its threads, user and system, part by part."""

    def __init__(self) -> None:
        """Start."""
        self._last = time.process_time()

    def lap(self) -> float:
        """CPU seconds since the last lap."""
        before, self._last = self._last, time.process_time()
        return self._last - before


def result_line(what: str, model: str, lengths: str, steps: Iterable[Mapping[str, float]]) -> str:
    """One line of JSON: the median CPU seconds of each part and of the step, and the peak memory of the process.

    Args:
        what: what was measured.
        model: name of the model.
        lengths: `fixed` or `varying`.
        steps: CPU seconds of each of `PARTS`, step by step; the first step only warms up.
    """
    counted = list(steps)[1:]
    figures = {part: statistics.median(step[part] for step in counted) for part in PARTS}
    total = statistics.median(sum(step[part] for part in PARTS) for step in counted)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"cpu_seconds": total, **figures, "peak_mib": peak_mib}
    described = {"what": what, "model": model, "lengths": lengths, "steps": len(counted)}
    return json.dumps(described | {name: round(value, 3) for name, value in figures.items()})
