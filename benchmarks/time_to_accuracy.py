"""How many CPU seconds of training it takes to reach an accuracy on the built-in world: aha, and TRL in turn.

    python benchmarks/time_to_accuracy.py --seeds 0 1 2 --peer peers/bin/python --json both.json
    python benchmarks/time_to_accuracy.py --seeds 0 1 2 --only ours --json ours.json
    python benchmarks/time_to_accuracy.py --combine ours.json peer.json

Each run is a process of its own, of one thread: `aha_world.py` and `trl_world_peer.py`. Prints a line for each run, and
one that compares the sides (see README.md).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SIDES = ("aha", "trl")
START_TOLERANCE = 0.01
"""Largest difference of the base model's pass@1 between the sides: one evaluator gives equal figures but for a last bit
that decides a draw."""


def run(python: str, script: str, arguments: Sequence[str]) -> dict[str, Any]:
    """One run of one side, in a process of its own."""
    alone = {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": str(HERE.parent),
    }
    command = [python, str(HERE / script), *arguments]
    done = subprocess.run(command, env=os.environ | alone, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def reached(one: Mapping[str, Any], target: float) -> dict[str, float] | None:
    """What a run had used at its first validation, after an iteration or more, at or above a target, or None."""
    done = next((done for done, accuracy in one["validations"] if done and accuracy >= target), None)
    return None if done is None else _used(one, done)


def _used(one: Mapping[str, Any], done: int) -> dict[str, float]:
    """What a run had used after some iterations, at least one."""
    seconds = sum(one["cpu_seconds_by_iteration"][:done])
    return {"cpu_seconds": seconds, "iterations": done, "cpu_seconds_per_iteration": seconds / done}


def told(one: Mapping[str, Any], target: float) -> str:
    """A run in a line for people."""
    found = reached(one, target)
    used = found or _used(one, one["iterations"])
    return (
        f"{one['side']} seed {one['seed']}: pass@1 {target:.2f} {'reached' if found else 'NOT reached'} after "
        f"{used['cpu_seconds']:.1f} CPU s, {used['iterations']} iterations of "
        f"{used['cpu_seconds_per_iteration']:.2f} s; peak {one['peak_mib']} MiB"
    )


def compare(runs: Iterable[Mapping[str, Any]], target: float) -> dict[str, Any]:
    """Medians of both sides over the seeds with which both reached the target, and how many times more TRL takes.

    Args:
        runs: of both sides.
        target: pass@1 on the validation problems; at most the one that the runs were made for.

    Returns:
        For CPU seconds, iterations and CPU seconds of an iteration: the medians, their ratio, and the range of the
        ratios of single seeds. `left_out` names seeds that a side did not reach the target with, or did not run.

    Raises:
        ValueError: runs do not go together (one stopped below this target, a seed comes twice, they were validated
            differently or start from different accuracies), or no seed reached the target on both sides.
    """
    runs = list(runs)
    found = {(one["side"], one["seed"]): one for one in runs}
    if len(found) < len(runs):
        raise ValueError("a side has two runs with one seed")
    if any(one["has_reached"] and one["target"] < target for one in runs):
        raise ValueError(f"a run ended at a target below {target}")
    used = {key: reached(one, target) for key, one in found.items()}
    everyone = sorted({seed for _, seed in found})
    seeds = [seed for seed in everyone if all(used.get((side, seed)) for side in SIDES)]
    if not seeds:
        raise ValueError(f"no seed reached {target} on both sides")
    if len({one["evaluate_every"] for one in found.values()}) > 1:
        raise ValueError("the runs were validated at different intervals")
    for seed in seeds:
        starts = [found[side, seed]["validations"][0][1] for side in SIDES]
        if abs(starts[0] - starts[1]) > START_TOLERANCE:
            raise ValueError(f"seed {seed}: the sides start from pass@1 {starts[0]} and {starts[1]}")
    result: dict[str, Any] = {"target": target, "seeds": seeds}
    result["left_out"] = [seed for seed in everyone if seed not in seeds]
    for name in ("cpu_seconds", "iterations", "cpu_seconds_per_iteration"):
        own, peer = ([used[side, seed][name] for seed in seeds] for side in SIDES)
        ratios = [theirs / ours for ours, theirs in zip(own, peer, strict=True)]
        result[name] = {
            "aha": round(statistics.median(own), 2),
            "trl": round(statistics.median(peer), 2),
            "ratio": round(statistics.median(peer) / statistics.median(own), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
        }
    return result


def carry_out(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Run what is asked for, the sides in turn; each run is written down as soon as it ends."""
    sides = [("ours", sys.executable, "aha_world.py"), ("peer", args.peer, "trl_world_peer.py")]
    runs = []
    for seed in args.seeds:
        for side, python, script in sides:
            if args.only not in (None, side):
                continue
            work = [str(seed), "--target", str(args.target), "--max-iterations", str(args.max_iterations)]
            work += ["--evaluate-every", str(args.evaluate_every)]
            runs.append(run(python, script, work))
            print(told(runs[-1], args.target), flush=True)
            if args.json:
                args.json.write_text(json.dumps({"runs": runs}, indent=1) + "\n", encoding="utf-8")
    return runs


def main() -> None:
    """Read the arguments, run or combine, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="run seeds")
    parser.add_argument("--peer", help="Python of the peers' environment")
    parser.add_argument("--only", choices=["ours", "peer"], help="run one side alone")
    parser.add_argument("--target", type=float, default=0.7, help="pass@1 on the validation problems that ends a run")
    parser.add_argument("--max-iterations", type=int, default=60, help="iterations after which a run gives up, 1 to 60")
    parser.add_argument("--evaluate-every", type=int, default=5, help="iterations between validations")
    parser.add_argument("--json", type=Path, help="where the runs are written")
    parser.add_argument("--combine", type=Path, nargs="+", help="compare the runs of these files, and run nothing")
    args = parser.parse_args()
    if not 1 <= args.max_iterations <= 60:
        parser.error("--max-iterations: the stage has 60 iterations")
    if not 0.2 < args.target <= 1:
        parser.error("--target: above 0.2 and at most 1; the base model is at about 0.1")
    if args.combine:
        runs = [one for path in args.combine for one in json.loads(path.read_text(encoding="utf-8"))["runs"]]
        for one in runs:
            print(told(one, args.target))
    elif args.peer or args.only == "ours":
        runs = carry_out(args)
    else:
        parser.error("give --peer PYTHON, or --only ours, or --combine FILE ...")
    if {one["side"] for one in runs} == set(SIDES):
        print(json.dumps(compare(runs, args.target)))


if __name__ == "__main__":
    main()
