"""R1-Zero's first stage on the built-in world, until it reaches an accuracy: our side of time_to_accuracy.py.

`python benchmarks/aha_world.py SEED` trains as `aha run r1_zero --seed SEED --processes 1` does, in one process of one
thread, and prints one line of JSON. The stage validates by itself; its clock stands still meanwhile.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from progress import Progress

from aha.kernels.cpu.allocation import keep_freed_memory
from aha.recipes.base_model import open_base
from aha.recipes.own.assignment import assigned
from aha.recipes.own.own_data import OwnData
from aha.recipes.scales import R1_ZERO_SCALES
from aha.runs.folder import RunFolder
from aha.stages.rl import rl
from aha.stages.run import Run
from aha.stages.task import ProblemSource
from aha.types import Problem


class Over(Exception):
    """The run has reached its target, or has given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A source of problems that starts the clock: an iteration begins by asking for its problems."""

    source: ProblemSource
    progress: Progress

    @property
    def key(self) -> str:
        """What decides the problems."""
        return self.source.key

    def __call__(self, start: int, count: int) -> Sequence[Problem]:
        """The next problems of the stream."""
        self.progress.begin()
        return self.source(start, count)


def train(progress: Progress, seed: int, folder: Path, evaluate_every: int) -> None:
    """Train until the run is over."""
    start, scale = open_base(), R1_ZERO_SCALES["tiny"]
    config = scale.zero.model_copy(update={"evaluate_every": evaluate_every})
    evaluations = folder / "evaluations.jsonl"
    num_validations = 0

    def report(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        del stage, total
        progress.end(figures)
        if progress.is_over and done % evaluate_every:
            raise Over

    def say(text: str) -> None:
        nonlocal num_validations
        del text
        rows = evaluations.read_text(encoding="utf-8").splitlines() if evaluations.exists() else []
        if len(rows) == num_validations:
            return
        num_validations = len(rows)
        report = json.loads(rows[-1])["report"]["rows"]
        progress.validated(next(row["value"] for row in report if (row["suite"], row["metric"]) == ("all", "pass@1")))
        if progress.is_over:
            raise Over

    run = Run(folder=RunFolder(folder), seed=seed, report=report, say=say)
    with assigned(OwnData(), start, scale, seed=seed) as assignment:
        task = assignment.task(scale)
        timed = replace(task, problems=Timed(source=task.problems, progress=progress))
        try:
            rl(run, "zero", policy=start, task=timed, config=config)
        except Over:
            return


def main() -> None:
    """Read the arguments, train, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=int, help="run seed")
    parser.add_argument("--target", type=float, default=0.7, help="pass@1 on the validation problems that ends the run")
    parser.add_argument("--max-iterations", type=int, default=60, help="iterations after which it gives up")
    parser.add_argument("--evaluate-every", type=int, default=5, help="iterations between validations")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    progress = Progress("aha", seed=args.seed, target=args.target, max_iterations=args.max_iterations)
    with tempfile.TemporaryDirectory() as folder:
        train(progress, args.seed, Path(folder), args.evaluate_every)
    print(progress.line(evaluate_every=args.evaluate_every, torch=torch.__version__), flush=True)


if __name__ == "__main__":
    main()
