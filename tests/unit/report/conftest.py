"""A run folder as a training command leaves it, with plausible curves and rollouts, to test its readers on."""

import gzip
import json
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from aha.recipes.r1.record import FIGURE as PIPELINE

STAGES = (("zero", 40), ("zero_long", 20))
STEPS_PER_ITERATION = 2
DOMAINS = {"arithmetic": 3, "pair": 4, "countdown": 2, "linear": 3, "quadratic": 2}
HARDNESS = {"arithmetic": -0.6, "pair": 0.2, "countdown": 0.6, "linear": -0.4, "quadratic": 0.1}
QUESTIONS = {
    "arithmetic": ("compute 17 + 5 - 8 + 3", "14"),
    "pair": ("find two of 7 23 16 18 that make 41", "23 + 18"),
    "countdown": ("use 3 8 2 to make 9", "( 3 + 8 ) - 2"),
    "linear": ("solve 3 x + 4 = 19", "5"),
    "quadratic": ("solve x ^ 2 - 5 x + 6 = 0", "2 , 3"),
}
CHINESE_QUESTIONS = {
    "arithmetic": "计算 17 + 5 - 8 + 3",
    "pair": "从 7 23 16 18 中选两个数使和为 41",
    "countdown": "用 3 8 2 得到 9",
    "linear": "解 3 x + 4 = 19",
    "quadratic": "解 x ^ 2 - 5 x + 6 = 0",
}
MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Copies a run folder, which is written once for all tests that ask for the same."""
    originals: dict[object, Path] = {}

    def copy(write: MakeRun, folder: Path, **options: object) -> Path:
        key = (write, *sorted(options.items()))
        if key not in originals:
            originals[key] = write(tmp_path_factory.mktemp("original") / "run", **options)
        shutil.copytree(originals[key], folder)
        result = folder / "result.json"
        if result.exists():
            # It names the model by its whole path.
            result.write_text(result.read_text().replace(str(originals[key]), str(folder)))
        return folder

    return copy


@pytest.fixture(scope="session")
def finished_run(copy_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that no test changes."""
    return copy_of(write_run, tmp_path_factory.mktemp("finished") / "r1_zero-0")


@pytest.fixture(scope="session")
def finished_pipeline_run(copy_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an R1 run that no test changes."""
    return copy_of(write_pipeline_run, tmp_path_factory.mktemp("finished") / "r1-0")


@pytest.fixture
def make_run(tmp_path: Path, copy_of: Callable[..., Path]) -> MakeRun:
    """Makes a run folder below the test's own folder; keywords as for `write_run`."""

    def make(name: str = "r1_zero-0", **options: object) -> Path:
        return copy_of(write_run, tmp_path / name, **options)

    return make


def write_run(folder: Path, *, is_finished: bool = True, has_rollouts: bool = True, num_problems: int = 4) -> Path:
    """Write a run folder.

    Args:
        folder: where; made here.
        is_finished: with an end evaluation, its rollouts and `result.json`.
        has_rollouts: with the `rollouts` folder.
        num_problems: evaluated problems for each level and language of a domain.
    """
    folder.mkdir(parents=True)
    rng = random.Random(0)
    (folder / "run.json").write_text(json.dumps(identity()))
    write_lines(folder / "metrics.jsonl", metrics(rng))
    reports = [evaluation(rng, "start", "evaluation-start", 0, 0.0)]
    reports += [evaluation(rng, "validation", *at) for at in validation_points()]
    if is_finished:
        reports.append(evaluation(rng, "end", "evaluation-end", 0, 1.0))
        result = {"model": str(folder / "model"), "seconds": 312.4, "steps": 120}
        (folder / "result.json").write_text(json.dumps(result))
    write_lines(folder / "evaluations.jsonl", reports)
    if has_rollouts:
        write_rollouts(folder / "rollouts", rng, is_finished, num_problems)
    return folder


def write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    """JSON lines, gzipped where the name says so."""
    path.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def identity() -> dict[str, object]:
    """What `run.json` says."""
    reward = {"accuracy": 1.0, "format": 1.0}
    grpo = {"name": "grpo", "clip_eps": 0.2}
    return {
        "recipe": "r1_zero",
        "scale": "tiny",
        "seed": 0,
        "started": "2026-03-14T09:26:53+00:00",
        "config": {
            "zero": {"group_size": 16, "algorithm": grpo, "max_new_tokens": 160, "reward": reward},
            "zero_long": {"group_size": 16, "algorithm": grpo, "max_new_tokens": 320},
        },
        "provenance": {"revision": "3f9c2d1a7be0c4d58e", "python": "3.11.7", "torch": "2.13.0", "cpu_threads": 2},
    }


def metrics(rng: random.Random) -> list[dict[str, object]]:
    """One line for each training iteration of both stages."""
    total = sum(count for _, count in STAGES)
    lines: list[dict[str, object]] = []
    for stage, count in STAGES:
        for iteration in range(count):
            done = (len(lines) + 1) / total
            lines.append(iteration_metrics(rng, stage, iteration, done))
    return lines


def iteration_metrics(rng: random.Random, stage: str, iteration: int, done: float) -> dict[str, object]:
    """The metrics of one iteration, `done` of the way through the run."""
    skill = 1 - math.exp(-5 * done)
    accuracy, is_formatted = 0.08 + 0.78 * skill + rng.gauss(0, 0.04), min(1.0, 0.4 + 0.9 * skill)
    near_cap = 0.22 * math.exp(-(((done - 0.6) / 0.2) ** 2))
    return {
        "stage": stage,
        "iteration": iteration,
        "step": (iteration + 1) * STEPS_PER_ITERATION,
        "reward": accuracy + is_formatted,
        "accuracy": accuracy,
        "format": is_formatted,
        "length": length(done) + rng.gauss(0, 4),
        "truncated": max(0.0, near_cap + rng.gauss(0, 0.02)),
        "reflection": 0.3 + 3.6 * skill + rng.gauss(0, 0.25),
        "mixing": 0.1 + 0.45 * skill + rng.gauss(0, 0.03),
        "kl": 0.16 * skill + abs(rng.gauss(0, 0.006)),
        "entropy": 0.9 - 0.6 * skill + rng.gauss(0, 0.02),
        "clip_fraction": 0.012 + abs(rng.gauss(0, 0.006)),
        "loss": rng.gauss(0, 0.01),
        "grad_norm": 0.6 + abs(rng.gauss(0, 0.3)),
        "learning_rate": 6e-4 * min(1.0, 12 * done) * (1 - 0.8 * done),
        "logp_gap": abs(rng.gauss(2e-6, 5e-7)),
        "zero_spread": min(1.0, 0.1 + 0.5 * done + abs(rng.gauss(0, 0.05))),
        "unparsable": 0.3 * (1 - done),
        "timeout": 0.01,
        "crash": 0.0,
        "unsupported": 0.02,
        "tokens": int(192 * length(done)),
        "seconds_sampling": 2.0 + 2 * done,
        "seconds_scoring": 0.1,
        "seconds_reference": 0.2 + 0.2 * done,
        "seconds_learning": 0.6 + 0.8 * done,
        "seconds": 3.0 + 3 * done,
    }


def length(done: float) -> float:
    """Mean tokens of a response: it grows, and grows again once the cap is raised."""
    return 16 + 52 * (1 - math.exp(-6 * done)) + 30 * max(0.0, done - 0.67)


def validation_points() -> list[tuple[str, int, float]]:
    """Stage, iteration and progress of each validation: every tenth iteration."""
    total = sum(count for _, count in STAGES)
    points = []
    passed = 0
    for stage, count in STAGES:
        points += [(stage, at - 1, (passed + at) / total) for at in range(10, count + 1, 10)]
        passed += count
    return points


def evaluation(rng: random.Random, name: str, stage: str, iteration: int, done: float) -> dict[str, object]:
    """One line of `evaluations.jsonl`; levels and the hard split are left to the evaluations of start and end."""
    rows = suite_rows(rng, "all", done, 0.0, 200)
    for domain, levels in DOMAINS.items():
        rows += suite_rows(rng, domain, done, HARDNESS[domain], 40)
        for level in range(1, levels + 1) if name != "validation" else ():
            rows += suite_rows(rng, f"{domain}/{level}", done, HARDNESS[domain] + (level - 2) / 4, 40 // levels)
    if name != "validation":
        rows += suite_rows(rng, "hard", done, 0.7, 60)
    decoding = {"temperature": 1.0, "top_p": 1.0, "num_samples": 16, "max_new_tokens": 160}
    report = {"rows": rows, "checkpoint": f"{stage}-{iteration}", "decoding": decoding, "seed": 0}
    step = (iteration + 1) * STEPS_PER_ITERATION if name == "validation" else 0
    return {"name": name, "stage": stage, "iteration": iteration, "step": step, "report": report}


def suite_rows(rng: random.Random, suite: str, done: float, hardness: float, n: int) -> list[dict[str, object]]:
    """All metrics of one suite, with intervals as wide as n problems leave them."""
    skill = 1 - math.exp(-5 * done)
    one = min(0.99, max(0.01, 0.08 + 0.78 * skill * (1 - 0.4 * hardness) + rng.gauss(0, 0.01)))
    figures = {
        "pass@1": (one, 0.45),
        "pass@16": (min(1.0, one + 0.45 * (1 - one) + 0.1), 0.3),
        "cons@16": (min(1.0, one + 0.5 * (1 - one)), 0.4),
        "length": (length(done) * (1 + 0.8 * hardness * done), 12.0),
        "reflection": (0.3 + 3.6 * skill * max(0.1, 1 + hardness), 1.5),
        "mixing": (0.1 + 0.45 * skill, 0.4),
        "format": (min(1.0, 0.4 + 0.9 * skill), 0.3),
        "truncated": (0.02 + 0.05 * done, 0.1),
    }
    rows: list[dict[str, object]] = []
    for metric, (value, spread) in figures.items():
        half = 1.96 * spread / math.sqrt(n)
        is_count = metric in ("length", "reflection")
        low, high = max(0.0, value - half), value + half if is_count else min(1.0, value + half)
        rows.append({"suite": suite, "metric": metric, "value": value, "low": low, "high": high, "n": n})
    return rows


def write_rollouts(folder: Path, rng: random.Random, is_finished: bool, num_problems: int) -> None:
    """Evaluation rollouts of both models and training rollouts of every tenth iteration."""
    folder.mkdir()
    names = {"evaluation-start": 0.0} | ({"evaluation-end": 1.0} if is_finished else {})
    for name, done in names.items():
        problems = [
            (domain, level, turn)
            for domain in DOMAINS
            for level in range(1, DOMAINS[domain] + 1)
            for turn in range(num_problems * 2)
        ]
        entries = [rollout(rng, problem, index, done) for problem in problems for index in range(6)]
        write_lines(folder / f"{name}.jsonl.gz", entries)
    for stage, iteration, done in [("zero", 0, 0.02), *validation_points()]:
        groups = [(domain, 1, turn) for turn in range(2) for domain in DOMAINS]
        entries = [rollout(rng, problem, index, done) for problem in groups for index in range(8)]
        for entry in entries:
            entry["advantage"] = entry["reward"]["total"] - 1.0
        write_lines(folder / f"{stage}-{iteration:06d}.jsonl.gz", entries)


def rollout(rng: random.Random, problem: tuple[str, int, int], index: int, done: float) -> dict[str, Any]:
    """One response, right more often and longer the further training is."""
    domain, level, turn = problem
    is_correct = rng.random() < 0.08 + 0.78 * (1 - math.exp(-5 * done))
    question, reference = QUESTIONS[domain]
    is_chinese = turn % 2 == 1
    wait = ("等 查 " if is_chinese else "wait ") if rng.random() < 0.2 + 0.7 * done else ""
    tries = [
        f"try 7 + {rng.randint(1, 30)} = {rng.randint(8, 37)} ? 41 no {wait}" for _ in range(1 + round(done * level))
    ]
    answer = reference if is_correct else str(rng.randint(0, 49))
    is_tagged = is_correct or rng.random() < 0.3 + 0.7 * done
    thought = "".join(tries) + "try 23 + 18 = 41 ? 41 yes"
    text = (
        f"<think> {thought} </think> <answer> {answer} </answer>" if is_tagged else f"{thought} the answer is {answer}"
    )
    tokens = list(range(len(text.split())))
    parts = {"accuracy": float(is_correct), "format": float(is_tagged)}
    return {
        "problem_id": f"{domain}-{level}-{turn}",
        "index": index,
        "domain": domain,
        "level": level,
        "language": "zh" if is_chinese else "en",
        "question": CHINESE_QUESTIONS[domain] if is_chinese else question,
        "reference": reference,
        "prompt_tokens": [1, 2, 3],
        "text": text,
        "tokens": tokens,
        "logp": [-0.1 for _ in tokens],
        "finish": "stop" if is_tagged else "length",
        "reward": {
            "total": sum(parts.values()),
            "parts": parts,
            "weights": {"accuracy": 1.0, "format": 1.0},
            "reasons": {
                "accuracy": f"{answer} {'equals' if is_correct else 'differs from'} the reference {reference}",
                "format": "think and answer tags stand once, in order" if is_tagged else "no <think> block",
            },
        },
        "advantage": None,
    }


@pytest.fixture
def make_pipeline_run(tmp_path: Path, copy_of: Callable[..., Path]) -> MakeRun:
    """Makes the folder of an R1 run below the test's own folder; keywords as for `write_pipeline_run`."""

    def make(name: str = "r1-0", **options: Any) -> Path:
        return copy_of(write_pipeline_run, tmp_path / name, **options)

    return make


RL_STEPS = {"zero": 20, "longer": 10, "dev2": 16, "dev2-plain": 16, "reasoning": 8, "r1": 12}
RL_STEPS |= {"qwen2-rl": 10, "qwen2-distilled-rl": 10}
HARVESTS = ("cold", "kept", "general", "helpfulness-train", "helpfulness-validation")
HARVESTS += ("harmlessness-train", "harmlessness-validation")
SKILLS = {"start": 0.08, "zero": 0.55, "dev1": 0.3, "dev2": 0.62, "dev2-plain": 0.64, "dev3": 0.6, "r1": 0.7}
SKILLS |= {"qwen2": 0.06, "qwen2-distilled": 0.5, "llama": 0.05, "llama-distilled": 0.45}
SKILLS |= {"qwen2-rl": 0.3, "qwen2-distilled-rl": 0.58}


def write_pipeline_run(folder: Path, *, num_stages: int = 99, num_done: int | None = None) -> Path:
    """Write the folder of an R1 run.

    Args:
        folder: where; made here.
        num_stages: stages that have finished, in the order of the recipe; with all of them the run is finished.
        num_done: iterations or shards done of the next stage; None where it has not begun.
    """
    folder.mkdir(parents=True)
    rng = random.Random(1)
    (folder / "run.json").write_text(json.dumps(identity() | {"recipe": "r1"}))
    nodes = [asdict(node) for node in PIPELINE]
    (folder / "pipeline.json").write_text(json.dumps({"nodes": nodes}))
    order = [stage for node in PIPELINE for stage in node.stages]
    for stage in order[:num_stages]:
        write_stage(folder, rng, stage, None)
    if num_done is not None:
        write_stage(folder, rng, order[num_stages], num_done)
    for node in PIPELINE:
        if node.kind == "model" and set(node.stages) <= set(order[:num_stages]):
            write_examination(folder, rng, node.name)
    if num_stages >= len(order):
        model = folder / "stages" / "r1" / "final"
        (folder / "result.json").write_text(json.dumps({"model": str(model), "seconds": 1500.0, "steps": 400}))
    return folder


def write_stage(folder: Path, rng: random.Random, stage: str, num_done: int | None) -> None:
    """Log a stage and write what it leaves; with `num_done` it is still in progress."""
    path = folder / "stages" / stage
    path.mkdir(parents=True)
    total = 4 if stage in HARVESTS else RL_STEPS.get(stage, 30)
    is_rl, count = stage in RL_STEPS, total if num_done is None else num_done
    config = {"iterations": total} if is_rl else {"shard_size": 8} if stage in HARVESTS else {"epochs": 2}
    inputs = {"config": config, "problems": [f"p{n}" for n in range(30)]}
    (path / "inputs.json").write_text(json.dumps({"key": "k", "inputs": inputs}))
    for iteration in range(count):
        append(folder / "metrics.jsonl", stage_metrics(rng, stage, iteration, (iteration + 1) / total))
    for iteration in range(-1, count, 4) if is_rl else ():
        done = (iteration + 1) / total
        entry = evaluation(rng, "validation", stage, iteration, 0.5 * done)
        entry["report"]["rows"] += language_rows(0.6 + 0.3 * done * (stage != "dev2-plain"))
        append(folder / "evaluations.jsonl", entry)
    if stage in HARVESTS:
        write_shard(path, stage, num_done)
    elif num_done is None:
        (path / "final").mkdir()
        (path / "final" / "trainer.json").write_text(json.dumps({"key": "k", "parents": [], "step": count}))
        held_out = {"accuracy": 0.87, "low": 0.81, "high": 0.92, "n": 120}
        if stage in ("helpfulness", "harmlessness"):
            (folder / "stages" / f"{stage}.json").write_text(json.dumps({"key": "k", "held_out": held_out}))


def append(path: Path, entry: dict[str, Any]) -> None:
    """Add a line."""
    with path.open("a") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def stage_metrics(rng: random.Random, stage: str, iteration: int, done: float) -> dict[str, object]:
    """A line of metrics of any kind of stage."""
    cost = {"tokens": 4000, "trained_tokens": 5000, "flops": 3.1e11, "seconds": 2.5}
    if stage in HARVESTS:
        counts = {"harvest_items": 32, "harvest_incorrect": 9, "harvest_cut": 2, "harvest_kept": 21}
        return {"stage": stage, "iteration": iteration, "step": 0, **counts, **cost, "trained_tokens": 0}
    if stage not in RL_STEPS:
        row = {"stage": stage, "iteration": iteration, "step": iteration + 1, "loss": 2 - done, **cost}
        return row | {"tokens": 0.0}
    row = iteration_metrics(rng, stage, iteration, done) | cost
    row["mixing"] = 0.2 + (0.2 if stage == "dev2-plain" else -0.15) * done + rng.gauss(0, 0.02)
    if stage == "r1":
        row |= {"helpfulness": 0.5 + 0.3 * done, "true_helpfulness": 0.6 - 0.2 * done, "true_general": 0.7}
        row |= {"harmlessness": 0.6 + 0.2 * done, "true_harmlessness": 0.55 + 0.3 * done, "language": 0.9}
    return row


def language_rows(consistency: float) -> list[dict[str, object]]:
    """Rows on the language of responses."""
    figures = {"consistency": consistency, "readability": consistency - 0.1}
    ends = {name: {"low": value - 0.05, "high": min(1.0, value + 0.05)} for name, value in figures.items()}
    return [{"suite": "all", "metric": name, "value": value, **ends[name], "n": 200} for name, value in figures.items()]


def write_shard(path: Path, stage: str, num_done: int | None) -> None:
    """The first shard of a stage of data, and its seal unless it is in progress."""
    asked = {"problem_id": "p0", "question": "compute 2 + 3", "domain": "arithmetic", "language": "en"}
    response = {"response": "<think> 2 + 3 = 5 </think> The result is 5 .", "source": "Dev2"}
    pair = {"prompt": "User: hi", "responses": ["<think> x </think> Hello .", "no"], "qualities": [1.0, 0.25]}
    row = asked | (pair if "-" in stage else response)
    write_lines(path / "shard-000000.jsonl", [{"shard": 0, "key": "k", "num_rows": 1}, row])
    if num_done is None:
        counts = {"items": 128, "incorrect": 30, "cut": 8, "mixed languages": 6, "kept": 84}
        counts = {"items": 84, "kept": 84} if stage == "general" else counts
        content = {"key": "k", "parents": [], "num_rows": 84, "counts": counts}
        (path / "data.json").write_text(json.dumps(content))


def write_examination(folder: Path, rng: random.Random, name: str) -> None:
    """Both evaluations of a model with their rollouts."""
    skill = SKILLS[name]
    done = -math.log(max(0.01, 1 - skill / 0.8)) / 5
    entry = evaluation(rng, name, f"evaluation-{name}", 0, done)
    entry["report"]["rows"] += language_rows(0.5 + 0.4 * skill)
    append(folder / "evaluations.jsonl", entry)
    rows = [
        {"suite": "all", "metric": metric, "value": value, "low": value - 0.04, "high": value + 0.04, "n": 90}
        for metric, value in {"general": skill, "helpfulness": skill * 0.9, "harmlessness": 0.9 - skill / 3}.items()
    ]
    report = {"rows": rows, "checkpoint": "", "decoding": {}, "seed": 0}
    append(
        folder / "evaluations.jsonl",
        {"name": f"{name}-general", "stage": f"evaluation-{name}-general", "report": report},
    )
    entries = [
        rollout(rng, (domain, 1, turn), index, done) for domain in DOMAINS for turn in (0, 1) for index in (0, 1, 2)
    ]
    write_lines(folder / "rollouts" / f"evaluation-{name}.jsonl.gz", entries)
    unjudged = {"total": 0.0, "parts": {}, "weights": {}, "reasons": {}}
    write_lines(
        folder / "rollouts" / f"evaluation-{name}-general.jsonl.gz", [one | {"reward": unjudged} for one in entries]
    )
