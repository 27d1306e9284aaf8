"""The unit of work that aha and its peers are measured on, and how a process measures itself.

Runs in either environment: the standard library and numpy only. Linux.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NUM_PROMPTS, GROUP_SIZE, MAX_NEW_TOKENS = 16, 8, 128
MEAN_SHARE = 60 / 128
PROMPT_TOKENS = 24
PAD_ID, END_ID = 0, 1
NUM_SPECIAL_IDS, VOCABULARY_SIZE = 3, 512
LEARNING_RATE, CLIP_EPS, KL_COEF = 1e-4, 0.2, 0.001
PARTS = ("generate", "reference", "train")
TIMES = ("cpu_seconds", "wall_seconds")


@dataclass(frozen=True)
class Unit:
    """How many responses of which length there are to how many prompts.

    Attributes:
        kind: `fixed`, all lengths are the cap, or `varying`.
        num_prompts: different prompts.
        group_size: responses to each.
        cap: longest response, tokens.
    """

    kind: str
    num_prompts: int = NUM_PROMPTS
    group_size: int = GROUP_SIZE
    cap: int = MAX_NEW_TOKENS

    @property
    def num_rows(self) -> int:
        """Responses."""
        return self.num_prompts * self.group_size

    @property
    def lengths_B(self) -> np.ndarray:
        """The length of each response, in the order of the prompts."""
        if self.kind == "varying":
            return varying_lengths(self.num_rows, self.cap, self.cap * MEAN_SHARE)
        return np.full(self.num_rows, self.cap)

    @property
    def num_needed_tokens(self) -> int:
        """Tokens that nobody can do without: each prompt once, and all responses."""
        return self.num_prompts * PROMPT_TOKENS + int(self.lengths_B.sum())

    def responses(self) -> list[np.ndarray]:
        """Random responses of these lengths, for what is measured without sampling; those below the cap have an end."""
        draws = np.random.RandomState(1)
        rows = [draws.randint(NUM_SPECIAL_IDS, VOCABULARY_SIZE, length) for length in self.lengths_B]
        if self.kind == "varying":
            for row in rows:
                row[-1] = END_ID
        return rows


def varying_lengths(count: int, cap: int, mean: float) -> np.ndarray:
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

    below, above = 1.0, 20.0 * cap
    for _ in range(60):
        middle = 0.5 * (below + above)
        if cut(middle).mean() >= mean:
            above = middle
        else:
            below = middle
    return cut(above)


def read_prompts(models: Path, count: int = NUM_PROMPTS) -> list[str]:
    """The first prompts of the models' folder."""
    return list(json.loads((models / "prompts.json").read_text(encoding="utf-8"))[:count])


def check_lengths(found: Sequence[int], wanted: Sequence[int]) -> None:
    """Stop where responses have other lengths.

    Raises:
        RuntimeError: they have.
    """
    if list(found) != list(wanted):
        raise RuntimeError("the responses do not have the lengths that were asked for")


def descendants(pid: int | str = "self") -> list[int]:
    """The living child processes, and theirs."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        children += map(int, read_kernel(path).split())
    return children + [deeper for child in children for deeper in descendants(child)]


def read_kernel(path: Path) -> str:
    """A file about a process; nothing where it has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def cpu_seconds() -> float:
    """User and system time of this process, its threads and its child processes."""
    ended, ticks = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    for pid in descendants():
        ticks += sum(map(int, read_kernel(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[11:15]))
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(figure: str) -> float:
    """`VmHWM`, the peak, or `VmRSS`, the present resident memory, of this process and its child processes, added up."""
    total_kib = 0
    for pid in ("self", *descendants()):
        lines = read_kernel(Path(f"/proc/{pid}/status")).splitlines()
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith(figure))
    return total_kib / 1024


class Clock:
    """The time of a step, part by part.

    Attributes:
        laps: seconds so far, CPU and wall, as `generate_cpu_seconds`.
    """

    def __init__(self) -> None:
        """Start."""
        self.laps: dict[str, float] = {}
        self._last = (cpu_seconds(), time.perf_counter())

    def lap(self, part: str) -> None:
        """Count the time since the last lap as this part's."""
        now = (cpu_seconds(), time.perf_counter())
        for name, before, after in zip(TIMES, self._last, now, strict=True):
            self.laps[f"{part}_{name}"] = self.laps.get(f"{part}_{name}", 0.0) + after - before
        self._last = now


def side_parser(description: str) -> argparse.ArgumentParser:
    """What every script takes that is one side of a comparison."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("models", type=Path, help="folder written by models.py")
    parser.add_argument("name", help="model: a or c, or b for the peers that read it")
    parser.add_argument("lengths", choices=["fixed", "varying"], help="lengths of the responses")
    parser.add_argument("--steps", type=int, default=4, help="how often; the first, unless alone, only warms up")
    parser.add_argument("--threads", type=int, default=1, help="threads, or processes of one thread for aha")
    return parser


def result_line(what: str, given: argparse.Namespace, steps: Iterable[Mapping[str, float]], libraries: float) -> str:
    """One line of JSON: the median seconds of each part and of their sum, and the peak memory.

    Args:
        what: what was measured.
        given: the arguments.
        steps: laps of each step; the first, unless alone, only warms up.
        libraries: resident MiB before the model was read.
    """
    every = list(steps)
    counted = every[1:] or every
    figures = {lap: statistics.median(step[lap] for step in counted) for lap in counted[0]}
    for kind in TIMES:
        figures[kind] = statistics.median(
            sum(seconds for lap, seconds in step.items() if lap.endswith(kind)) for step in counted
        )
    figures |= {"peak_mib": memory_mib("VmHWM"), "libraries_mib": libraries}
    described = {"what": what, "model": given.name, "lengths": given.lengths, "steps": len(counted)}
    return json.dumps(described | {name: round(value, 4) for name, value in figures.items()})
