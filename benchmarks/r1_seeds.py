"""R1 over seeds: runs what is missing, prints the tables of docs/results as Markdown, and what the claims come to.

usage: python benchmarks/r1_seeds.py [--runs runs/seeds] [--seeds 0 1 2]
"""

import argparse
import functools
import json
import statistics
from pathlib import Path

from r1_zero_seeds import evaluations, run, spread

from aha.evaluation.metrics import mean_interval

STAGES = ("zero", "dev1", "dev2", "dev3", "r1")
STUDENTS = ("qwen2", "qwen2-rl", "qwen2-distilled", "qwen2-distilled-rl", "llama", "llama-distilled")
SOLVING = ("pass@1", "cons@16", "length", "consistency", "readability")
HELPING = ("general", "helpfulness", "harmlessness")


known = functools.cache(evaluations)


def figure(folder: Path, name: str, metric: str) -> float:
    """One figure of one model over all problems."""
    suite = f"{name}-general" if metric in HELPING else name
    return next(line["rows"]["all", metric] for line in known(folder) if line["name"] == suite)


def table(folders: list[Path], names: tuple[str, ...], title: str) -> None:
    """Every metric of some models: mean over seeds and range."""
    print(f"\n### {title}: mean over seeds (range)\n")
    print(f"| metric | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for metric in (*SOLVING, *HELPING):
        cells = [spread([figure(folder, name, metric) for folder in folders]) for name in names]
        print(f"| {metric} | {' | '.join(cells)} |")


def difference(folders: list[Path], metric: str, better: str, worse: str) -> str:
    """Difference of two models, paired by seed, with its 95 % interval over seeds."""
    return paired([figure(folder, better, metric) - figure(folder, worse, metric) for folder in folders])


def paired(gaps: list[float]) -> str:
    """Mean of differences of two shares, one for each seed, with its 95 % interval where there are several."""
    mean = statistics.fmean(gaps)
    if len(gaps) < 2:
        return f"{mean:+.3f}"

    # The difference of two shares lies between -1 and 1.
    _, low, high = mean_interval(gaps, bounds=(-1.0, 1.0))
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f}; by seed {', '.join(f'{gap:+.3f}' for gap in gaps)})"


def steps_to_reach(folder: Path) -> str:
    """Updates of Dev2 until its validation first reaches R1-Zero's last, and those of R1-Zero."""
    watched = [line for line in known(folder) if line["name"] == "validation"]
    last = [line["rows"]["all", "pass@1"] for line in watched if line["stage"] == "longer"][-1]
    zero = sum(max(line["step"] for line in watched if line["stage"] == stage) for stage in ("zero", "longer"))
    reached = [line["step"] for line in watched if line["stage"] == "dev2" and line["rows"]["all", "pass@1"] >= last]
    return f"{reached[0] if reached else 'never'} of {zero} (validation {last:.3f})"


def claims(folders: list[Path]) -> None:
    """What the paper's claims come to here."""
    print("\n### The claims\n")
    print("| claim | figures |\n|---|---|")
    kept = {
        name: [figure(folder, name, "pass@1") / figure(folder, "dev2", "pass@1") for folder in folders]
        for name in ("dev3", "r1")
    }
    rows = {
        "updates after the cold start until R1-Zero's final accuracy": "; ".join(map(steps_to_reach, folders)),
        "consistency of Dev2": spread([figure(folder, "dev2", "consistency") for folder in folders]),
        "consistency of R1-Zero": spread([figure(folder, "zero", "consistency") for folder in folders]),
        "consistency of Dev2 without the language reward": spread(
            [figure(folder, "dev2-plain", "consistency") for folder in folders]
        ),
        "pass@1 of Dev2 less that without the language reward": difference(folders, "pass@1", "dev2", "dev2-plain"),
        "share of Dev2's pass@1 that Dev3 keeps": spread(kept["dev3"]),
        "share of Dev2's pass@1 that R1 keeps": spread(kept["r1"]),
        **{
            f"{metric} of R1 less {other}'s": difference(folders, metric, "r1", other)
            for metric in ("helpfulness", "harmlessness")
            for other in ("dev2", "dev3")
        },
        "pass@1 of the distilled student less the same by RL": difference(
            folders, "pass@1", "qwen2-distilled", "qwen2-rl"
        ),
        "pass@1 that RL adds to the distilled student": difference(
            folders, "pass@1", "qwen2-distilled-rl", "qwen2-distilled"
        ),
    }
    for claim, figures in rows.items():
        print(f"| {claim} | {figures} |")


def held_out(folders: list[Path]) -> None:
    """Accuracy of the reward models on prompts that they did not learn from."""
    print("\n### Reward models on held-out prompts\n\n| model | accuracy |\n|---|---|")
    for name in ("helpfulness", "harmlessness"):
        found = [json.loads((folder / "stages" / f"{name}.json").read_text())["held_out"] for folder in folders]
        print(f"| {name} | {spread([one['accuracy'] for one in found])}, {found[0]['n']} prompts |")


def costs(folders: list[Path]) -> None:
    """Seconds, tokens and operations of every stage, the mean over seeds."""
    print("\n### Cost by stage: mean over seeds\n")
    print("| stage | seconds | sampled tokens | trained tokens | FLOPs |\n|---|---|---|---|---|")
    sums: dict[str, list[float]] = {}
    for folder in folders:
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            total = sums.setdefault(row["stage"], [0.0] * 4)
            for place, name in enumerate(("seconds", "tokens", "trained_tokens", "flops")):
                total[place] += row[name] / len(folders)
    for stage, (seconds, sampled, trained, flops) in sums.items():
        print(f"| {stage} | {seconds:.0f} | {sampled:,.0f} | {trained:,.0f} | {flops:.2e} |")
    walls = [json.loads((folder / "result.json").read_text())["seconds"] for folder in folders]
    print(f"\nWhole runs, evaluation included: {', '.join(f'{wall / 60:.1f}' for wall in walls)} minutes.")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    folders = [run("r1", seed, args.runs) for seed in args.seeds]
    table(folders, STAGES, "The stages, as in R1 v2 Table 3")
    table(folders, STUDENTS, "The students, as in R1 v1 Tables 5 and 6")
    claims(folders)
    held_out(folders)
    costs(folders)


if __name__ == "__main__":
    main()
