"""Two or more sides of the same work, measured in turn in processes of their own, and what they are compared by."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ceiling import floor_shares, multiplying_rate, part_flops
from workload import PARTS, Unit

from aha.kernels.cpu.compiled import kernels_in_use
from aha.policy.config import DenseConfig
from aha.policy.pretrained import read_config
from aha.runs.provenance import revision

HERE = Path(__file__).parent
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """What both sides do.

    Attributes:
        models: folder written by models.py.
        name: of the model.
        lengths: `fixed` or `varying`.
        threads: 1 or 2.
        steps: of a run, the first of which only warms up.
    """

    models: Path
    name: str
    lengths: str
    threads: int
    steps: int


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: of what is measured.
        python: its interpreter.
        script: a file of this folder.
        options: of the script, after the work.
        kernels: instruction set of aha's kernels, as `AHA_KERNELS` takes it; the best one where empty.
    """

    name: str
    python: str
    script: str
    options: tuple[str, ...] = ()
    kernels: str = ""

    def run(self, work: Work) -> Figures:
        """Measure in a process of its own, print its line and return it."""
        settings = {"OMP_NUM_THREADS": str(work.threads), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        if self.kernels:
            settings["AHA_KERNELS"] = self.kernels
        arguments = [str(work.models.resolve()), work.name, work.lengths]
        arguments += ["--threads", str(work.threads), "--steps", str(work.steps)]
        done = subprocess.run(
            [self.python, str(HERE / self.script), *arguments, *self.options],
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        line = done.stdout.strip().splitlines()[-1]
        print(f"  {self.name}: {line}", flush=True)
        return dict(json.loads(line))


def our_side(*options: str, max_tokens: int | None = None, kernels: str = "") -> Side:
    """The side of aha; the bound on a pass is the learner's default where none is given."""
    bound = ("--max-tokens", str(max_tokens)) if max_tokens else ()
    name = f"aha with {kernels}" if kernels else "aha"
    return Side(name, sys.executable, "aha_side.py", (*options, *bound), kernels)


def in_turn(
    sides: Sequence[Side], work: Work, num_pairs: int, before: Callable[[], None] = lambda: None
) -> list[list[Figures]]:
    """Run the sides one after the other, A B A B: the figures of each side, run by run.

    Args:
        sides: what is compared.
        work: what all of them do.
        num_pairs: runs of each.
        before: is called before each round.
    """
    runs: list[list[Figures]] = [[] for _ in sides]
    for _ in range(num_pairs):
        before()
        for own, side in zip(runs, sides, strict=True):
            own.append(side.run(work))
    return runs


def medians(runs: Sequence[Figures]) -> dict[str, float]:
    """The median of each figure over a side's runs."""
    names = [name for name, value in runs[0].items() if isinstance(value, float)]
    return {name: statistics.median(run[name] for run in runs) for name in names}


def ratio(ours: Sequence[Figures], peers: Sequence[Figures], figure: str) -> dict[str, float]:
    """How many times as much the peer takes: the ratio of the medians, with the range over the single pairs."""
    single = [peer[figure] / own[figure] for own, peer in zip(ours, peers, strict=True)]
    whole = statistics.median(run[figure] for run in peers) / statistics.median(run[figure] for run in ours)
    return {"median": round(whole, 3), "low": round(min(single), 3), "high": round(max(single), 3)}


def case(name: str, ours: Sequence[Figures], peers: Sequence[Figures] | None, figure: str) -> dict[str, Any]:
    """What a comparison found; without a peer there is no ratio.

    Args:
        name: of the case.
        ours: our runs.
        peers: the peer's.
        figure: what is compared.
    """
    return {
        "name": name,
        "compared": figure,
        "pairs": len(ours),
        "ours": medians(ours),
        "peer": medians(peers) if peers else None,
        "ratio": ratio(ours, peers, figure) if peers else None,
        "memory_ratio": ratio(ours, peers, "peak_mib") if peers else None,
        "floor_share": {},
    }


def cases(title: str, sides: Sequence[Side], runs: Sequence[Sequence[Figures]], figure: str) -> list[dict[str, Any]]:
    """Our side, the first, beside each of the others, or alone."""
    if len(sides) == 1:
        return [case(title, runs[0], None, figure)]
    others = zip(sides[1:], runs[1:], strict=True)
    return [case(f"{title}, beside {side.name}", runs[0], peers, figure) for side, peers in others]


def compare_times(
    given: argparse.Namespace, what: str, sides: Sequence[Side], parts: Sequence[str] = PARTS
) -> list[dict[str, Any]]:
    """Compare seconds for each model and kind of lengths, with the shares of the floors: CPU, or wall for two threads.

    Args:
        given: the arguments.
        what: is measured.
        sides: ours, and the peers.
        parts: those that have a floor.

    Returns:
        The cases.
    """
    report = Report(given.json)
    figure = "cpu_seconds" if given.threads == 1 else "wall_seconds"
    for work in works(given):
        rates, config = list[float](), read_config(work.models / work.name)
        runs = in_turn(sides, work, given.pairs, partial(_add_rate, rates, config))
        flops = part_flops(config, Unit(kind=work.lengths).num_needed_tokens)
        flops = {part: flops[part] for part in parts}
        shares = floor_shares(flops, medians(runs[0]), rate=max(rates), threads=work.threads, kind=figure)
        extra = {"floor_share": shares, "gflops": round(max(rates) / 1e9, 1)}
        title = f"{what} {work.name} {work.lengths}, {work.threads} thread{'s' * (work.threads > 1)}"
        for found in cases(title, sides, runs, figure):
            report.add(found | extra)
    return report.cases


def _add_rate(rates: list[float], config: DenseConfig) -> None:
    """Measure the machine once more: it drifts."""
    rates.append(multiplying_rate(config))
    print(f"  matrix products: {rates[-1] / 1e9:.1f} GFLOP/s of one thread", flush=True)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else "unknown",
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "kernels": kernels_in_use(),
        "revision": revision(),
    }


class Report:
    """The cases of a script, printed as they come, and kept in a file.

    Attributes:
        cases: so far.
    """

    def __init__(self, path: Path | None) -> None:
        """Take the file; None keeps nothing."""
        self._path, self._machine = path, machine()
        self.cases: list[dict[str, Any]] = []
        print(json.dumps(self._machine))

    def add(self, found: Mapping[str, Any]) -> None:
        """Print a case and write all of them."""
        print(describe(found), flush=True)
        self.cases.append(dict(found))
        if self._path:
            text = json.dumps({"machine": self._machine, "cases": self.cases}, indent=1)
            self._path.write_text(text + "\n", encoding="utf-8")


def describe(found: Mapping[str, Any]) -> str:
    """A case in one line."""
    figure = found["compared"]
    told = [f"{found['name']}: {figure} {found['ours'][figure]:.2f}"]
    if found["peer"]:
        times, memory = found["ratio"], found["memory_ratio"]
        told.append(f"peer {found['peer'][figure]:.2f}")
        told.append(f"{times['median']:.2f} times ours ({times['low']:.2f} to {times['high']:.2f})")
        if figure != "peak_mib":
            told.append(f"its peak memory {memory['median']:.2f} times ours")
    if found["floor_share"]:
        shares = ", ".join(f"{part} {share:.0%}" for part, share in found["floor_share"].items())
        told.append(f"floor over measured: {shares}")
    return "; ".join(told)


def parser(description: str) -> argparse.ArgumentParser:
    """What every comparing script takes."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("models", type=Path, help="folder written by models.py")
    made.add_argument("names", nargs="+", help="models: a, c")
    made.add_argument("lengths", choices=["fixed", "varying", "both"], help="lengths of the responses")
    made.add_argument(
        "--peer", help="Python of the peers' environment, which runs in turn with aha; without, aha alone"
    )
    made.add_argument("--pairs", type=int, default=3, help="runs of each side")
    made.add_argument("--steps", type=int, default=4, help="steps of a run, the first of which only warms up")
    made.add_argument("--threads", type=int, default=1, choices=[1, 2], help="threads, or processes for aha")
    made.add_argument("--json", type=Path, help="file for the results")
    return made


def add_bounds(to: argparse.ArgumentParser) -> None:
    """What bounds the memory of a forward and backward pass on both sides, and leaves the update what it is."""
    to.add_argument("--max-tokens", type=int, help="tokens of aha's passes; the learner's default")
    to.add_argument("--peer-rows", type=int, default=Unit("fixed").num_rows, help="rows of TRL's passes")


def works(given: argparse.Namespace) -> list[Work]:
    """Each model with each kind of lengths."""
    kinds = ["fixed", "varying"] if given.lengths == "both" else [given.lengths]
    return [Work(given.models, name, kind, given.threads, given.steps) for name in given.names for kind in kinds]
