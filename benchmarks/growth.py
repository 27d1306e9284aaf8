"""How the cost of our own step grows with the number of responses, their length, and the width of the model.

    python benchmarks/growth.py MODELS a
    python benchmarks/growth.py MODELS a --short --json growth.json

Each point is one process, one thread, two steps of which the second counts. The models are random, of Qwen2's family
(two layers; only the tokenizer and the prompts are the named model's), and no response ends before the cap. A table
gives CPU microseconds per token of the responses, for sampling and for learning, and the peak memory above the
libraries'; the last line of each table is the exponent p of cost = c x^p, fitted in logarithms.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from aha_side import random_config
from ceiling import floor_shares, multiplying_rate, part_flops
from comparison import Report, Work, our_side
from workload import NUM_PROMPTS, Unit

WIDTH, LAYERS = 128, 2
COLUMNS = ("generate_us", "learn_us", "memory_mib")

FULL = {"responses": (64, 256, 1024, 4096), "length": (64, 256, 1024, 4096), "width": (64, 128, 256, 512)}
SHORT = {"responses": (64, 256, 1024), "length": (64, 256, 1024), "width": (64, 128, 256)}


def point(axis: str, value: int) -> tuple[Unit, int]:
    """The unit of work and the width at one point of an axis; the other two are held."""
    if axis == "responses":
        return Unit("fixed", NUM_PROMPTS, value // NUM_PROMPTS, cap=16), WIDTH
    if axis == "length":
        return Unit("fixed", num_prompts=1, group_size=4, cap=value), WIDTH
    return Unit("fixed", NUM_PROMPTS, group_size=4, cap=32), value


def measure(models: Path, name: str, axis: str, value: int) -> dict[str, Any]:
    """One point, as a case."""
    unit, width = point(axis, value)
    config = random_config(width, LAYERS)
    shape = ("--width", str(width), "--layers", str(LAYERS))
    size = ("--prompts", str(unit.num_prompts), "--group-size", str(unit.group_size), "--cap", str(unit.cap))
    figures = our_side(*shape, *size).run(Work(models, name, "fixed", threads=1, steps=2))
    num_sampled, rate = int(unit.lengths_B.sum()), multiplying_rate(config)
    learning = figures["reference_cpu_seconds"] + figures["train_cpu_seconds"]
    ours = {
        **{key: value for key, value in figures.items() if isinstance(value, float)},
        "generate_us": figures["generate_cpu_seconds"] / num_sampled * 1e6,
        "learn_us": learning / num_sampled * 1e6,
        "memory_mib": figures["peak_mib"] - figures["libraries_mib"],
    }
    flops = part_flops(config, unit.num_needed_tokens)
    return {
        "name": f"{axis} {value}",
        "compared": "cpu_seconds",
        "ours": {key: round(value, 3) for key, value in ours.items()},
        "peer": None,
        "ratio": None,
        "floor_share": floor_shares(flops, figures, rate=rate, threads=1, kind="cpu_seconds"),
        "gflops": round(rate / 1e9, 1),
    }


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """The p of cost = c value^p, by least squares of the logarithms."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def table(axis: str, values: Sequence[int], found: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, float]]:
    """The points of an axis as a Markdown table, and the exponents of its columns."""
    powers = {name: exponent(values, [one["ours"][name] for one in found]) for name in COLUMNS}
    rows = [f"| {axis} | sampling, us a token | learning, us a token | memory, MiB |", "|---|---|---|---|"]
    for value, one in zip(values, found, strict=True):
        rows.append(f"| {value} | " + " | ".join(f"{one['ours'][name]:.1f}" for name in COLUMNS) + " |")
    rows.append("| exponent | " + " | ".join(f"{powers[name]:.2f}" for name in COLUMNS) + " |")
    return "\n".join(rows), powers


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="folder written by models.py")
    parser.add_argument("name", help="model whose tokenizer reads the prompts")
    parser.add_argument("--short", action="store_true", help="fewer points")
    for axis in FULL:
        parser.add_argument(f"--{axis}", type=int, nargs="+", help="points, two at least; axes not named are left out")
    parser.add_argument("--json", type=Path, help="file for the results")
    given = vars(parser.parse_args())
    report, tables = Report(given["json"]), []
    named = {axis: given[axis] for axis in FULL if given[axis]}
    for axis, values in (named or (SHORT if given["short"] else FULL)).items():
        found = [measure(given["models"], given["name"], axis, value) for value in values]
        lines, powers = table(axis, values, found)
        for one in found:
            report.add(one | {"exponents": {name: round(power, 3) for name, power in powers.items()}})
        tables.append(lines)
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
