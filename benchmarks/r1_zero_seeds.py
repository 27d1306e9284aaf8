"""R1-Zero over seeds, and its negative control: runs what is missing, prints the tables of docs/results as Markdown.

usage: python benchmarks/r1_zero_seeds.py [--runs runs/seeds] [--seeds 0 1 2] [--controls 0 1 2]
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

METRICS = ("pass@1", "cons@16", "pass@16", "length", "reflection", "mixing", "format", "truncated")


def run(recipe: str, seed: int, runs: Path) -> Path:
    """Run a recipe to its end (or find that it is there) and return its folder."""
    folder = runs / f"{recipe}-{seed}"
    if not (folder / "result.json").exists():
        command = [sys.executable, "-m", "aha", "run", recipe, "--seed", str(seed), "--run", str(folder), "--json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def evaluations(folder: Path) -> list[dict]:
    """All evaluations of a run, each with its rows as {(suite, metric): value}."""
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{**line, "rows": {(r["suite"], r["metric"]): r["value"] for r in line["report"]["rows"]}} for line in lines]


def named(folder: Path, name: str) -> dict:
    """Rows of the evaluation with this name."""
    return next(line["rows"] for line in evaluations(folder) if line["name"] == name)


def spread(values: list[float]) -> str:
    """Mean and range."""
    digits = 3 if max(values) < 1.5 else 1
    return f"{statistics.fmean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def headline(folders: list[Path], title: str) -> None:
    """Start and end over the seeds, the test split and the hard one."""
    print(f"\n### {title}: mean over seeds (range)\n")
    print("| metric | base | trained | hard, base | hard, trained |\n|---|---|---|---|---|")
    for metric in METRICS:
        cells = [
            spread([named(folder, name)["all", metric] for folder in folders])
            for name in ("start", "end", "start-hard", "end-hard")
        ]
        print(f"| {metric} | {' | '.join(cells)} |")


def by_seed(folders: list[Path]) -> None:
    """One row a seed, with the growth factors and the largest lead of the vote."""
    print("\n### By seed\n")
    print("| run | pass@1 | cons@16 | largest lead of cons@16 | length | reflection | mixing | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for folder in folders:
        start, end = named(folder, "start"), named(folder, "end")
        watched = [line["rows"] for line in evaluations(folder) if line["name"] == "validation"]
        lead = max(rows["all", "cons@16"] - rows["all", "pass@1"] for rows in watched)
        pair = {m: (start["all", m], end["all", m]) for m in METRICS}
        factors = {
            m: f"{a:.1f} -> {b:.1f} (x {b / a:.1f})" for m, (a, b) in pair.items() if m in ("length", "reflection")
        }
        seconds = json.loads((folder / "result.json").read_text())["seconds"]
        accuracy, mixing = (f"{pair[m][0]:.3f} -> {pair[m][1]:.3f}" for m in ("pass@1", "mixing"))
        growth = f"{factors['length']} | {factors['reflection']}"
        vote = f"{pair['cons@16'][1]:.3f} | {100 * lead:.0f} points"
        print(f"| {folder.name} | {accuracy} | {vote} | {growth} | {mixing} | {seconds:.0f} |")


def by_level(folders: list[Path]) -> None:
    """Accuracy, length and reflection by domain and level, means over seeds."""
    print("\n### By domain and level: mean over seeds, base -> trained\n")
    print("| suite | pass@1 | length | reflection |\n|---|---|---|---|")
    starts, ends = ([named(folder, name) for folder in folders] for name in ("start", "end"))
    for suite in sorted({suite for suite, _ in starts[0]}):
        cells = []
        for metric in ("pass@1", "length", "reflection"):
            before, after = (statistics.fmean(rows[suite, metric] for rows in part) for part in (starts, ends))
            cells.append(f"{before:.2f} -> {after:.2f}" if metric != "length" else f"{before:.0f} -> {after:.0f}")
        print(f"| {suite} | {' | '.join(cells)} |")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--controls", type=int, nargs="*", default=[0, 1, 2])
    args = parser.parse_args()
    trained = [run("r1_zero", seed, args.runs) for seed in args.seeds]
    controls = [run("r1_zero_control", seed, args.runs) for seed in args.controls]
    headline(trained, "R1-Zero")
    by_seed(trained)
    by_level(trained)
    if controls:
        headline(controls, "Control with shuffled answers")
        by_seed(controls)


if __name__ == "__main__":
    main()
