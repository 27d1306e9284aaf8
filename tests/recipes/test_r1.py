"""The whole of R1 through the command line: what it leaves, how it resumes, what it refuses, and what it learns."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command import SMALL_R1, Call, FinishedRun, assert_fails, fingerprint, kill, num_lines, run
from tiny import tiny_config, tiny_policy

from aha.policy.pretrained import read_policy
from aha.problems.world.corpus import vocabulary
from aha.prompts.templates import R1_ZERO
from aha.prompts.tokenizer import build_tokenizer
from aha.recipes.base_model import BUILT_IN
from aha.recipes.r1.record import FIGURE as PIPELINE
from aha.runs.shards import read_rows
from aha.training.checkpoint import read_model, read_scorer, weights_digest, write_checkpoint

CHAIN = ("zero", "dev1", "dev2", "dev3", "r1")
"""The models of the paper's Table 3, in its order."""

BESIDE = ("dev2-plain", "qwen2-distilled", "llama-distilled", "qwen2-rl", "qwen2-distilled-rl")
REWARD_MODELS = ("helpfulness", "harmlessness")
HARVESTS = ("cold", "kept", *(f"{name}-{split}" for name in REWARD_MODELS for split in ("train", "validation")))
MODELS = ("zero", "longer", "dev1", "dev2", "dev3", "reasoning", "r1", *BESIDE, "qwen2", "llama")
EXAMINED = ("start", *CHAIN, *BESIDE, "qwen2", "llama")

SOLVING = {"pass@1", "cons@16", "length", "consistency", "readability"}
GENERAL = {"general", "helpfulness", "harmlessness"}
NUM_KILLS = 8

PATIENCE = 1200
"""Seconds for what takes half a minute where nothing else runs."""


def command_for(folder: Path) -> list[str]:
    return ["run", "r1", "--run", str(folder), *SMALL_R1, "--json"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The whole recipe on two processes, small, from beginning to end in one go."""
    folder = tmp_path_factory.mktemp("small") / "r1"
    ended = run(*command_for(folder), seconds=PATIENCE)
    assert ended.status == 0, ended.err
    return FinishedRun(folder=folder, command=command_for(folder), ended=ended)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files, when each was written last and what is in it; but for the page and the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("report.html", ".lock")]
    # the figure is written first of all, whatever was there
    written = {path: path.name != "pipeline.json" and path.stat().st_mtime_ns for path in files}
    return {str(path): (int(written[path]), path.read_bytes()) for path in files}


# What a run leaves


@pytest.mark.full
def test_a_run_makes_every_model_and_all_data_and_examines_every_model(small: FinishedRun) -> None:
    stages = small.folder / "stages"
    examinations = {f"evaluation-{name}{kind}" for name in EXAMINED for kind in ("", "-general")}
    assert {path.name for path in stages.iterdir() if path.is_dir()} == {*MODELS, *REWARD_MODELS, *HARVESTS, "general"}
    assert {path.stem for path in stages.glob("*.json")} == examinations | {*REWARD_MODELS}
    assert {path.parent.name for path in stages.glob("*/final")} == {*MODELS, *REWARD_MODELS}
    assert {path.parent.name for path in stages.glob("*/data.json")} == {*HARVESTS, "general"}
    assert not list(stages.glob("*/iteration-*"))
    assert not list(small.folder.rglob("*.part"))
    for name in MODELS:
        read_model(stages / name / "final")
    assert [read_scorer(stages / name / "final")[0].reads for name in REWARD_MODELS] == ["summary", "response"]
    for name in (*HARVESTS, "general"):
        sealed = json.loads((stages / name / "data.json").read_text())
        counts = Counter(sealed["counts"])
        assert len(list(read_rows(stages / name))) == sealed["num_rows"] == counts["kept"]


@pytest.mark.full
def test_a_run_draws_its_figure_and_logs_every_stage(small: FinishedRun) -> None:
    drawn = json.loads((small.folder / "pipeline.json").read_text())["nodes"]
    assert [node["name"] for node in drawn] == [node.name for node in PIPELINE]
    logged = Counter(row["stage"] for row in lines(small.folder, "metrics"))
    assert {*logged} == {*MODELS, *REWARD_MODELS, *HARVESTS}
    for loop in ("zero", "longer", "dev2", "dev2-plain", "reasoning", "r1", "qwen2-rl", "qwen2-distilled-rl"):
        assert logged[loop] == 2
    assert (logged["cold"], logged["helpfulness-train"]) == (3, 8)
    last = [row for row in lines(small.folder, "metrics") if row["stage"] == "r1"][-1]
    assert {"helpfulness", "true_helpfulness", "language"} <= {*last}
    looked = [row["name"] for row in lines(small.folder, "evaluations")]
    assert Counter(looked) == Counter(
        {"validation": 8 * 2} | {f"{name}{kind}": 1 for name in EXAMINED for kind in ("", "-general")}
    )


@pytest.mark.full
def test_the_report_of_a_run_as_json(small: FinishedRun, call: Call) -> None:
    report = json.loads(small.ended.out)
    assert small.ended.out.count("\n") == 1
    assert report == json.loads(call("report", small.folder, "--json").out)
    assert report["model"] == str(small.folder / "stages" / "r1" / "final")
    assert report["steps"] == len([row for row in lines(small.folder, "metrics") if row["stage"] not in HARVESTS]) + 16
    assert [stage["name"] for stage in report["stages"]] == [*CHAIN, *BESIDE]
    for stage in report["stages"]:
        assert {"name", "model", "metrics", "seconds", "tokens"} <= {*stage}
        folder = "longer" if stage["name"] == "zero" else stage["name"]
        assert stage["model"] == str(small.folder / "stages" / folder / "final")
        read_policy(Path(stage["model"]))
        assert {*stage["metrics"]} >= SOLVING | GENERAL
        for figure in stage["metrics"].values():
            assert {*figure} == {"value", "low", "high"}
            assert figure["low"] <= figure["value"] <= figure["high"]
        assert 0 < stage["seconds"] < report["seconds"]
        assert isinstance(stage["tokens"], int)
        assert stage["tokens"] > 0
    page = Path(report["page"]).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert [node.title for node in PIPELINE if node.title not in page] == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("stage", "start"),
    [
        *(("zero", ""), ("longer", "zero"), ("dev2", "dev1"), ("dev2-plain", "dev1")),
        *(("reasoning", "dev3"), ("r1", "reasoning")),
    ],
)
def test_every_loop_moves_the_weights(stage: str, start: str, small: FinishedRun) -> None:
    """Without it, that a killed run ends with the same weights would mean little."""
    paths = [small.folder / "stages" / name / "final" if name else BUILT_IN for name in (stage, start)]
    assert weights_digest(paths[0]) != weights_digest(paths[1])


# The same command again


@pytest.mark.full
def test_a_finished_run_is_not_run_again(small: FinishedRun, call: Call) -> None:
    before = contents(small.folder)
    again = call(*small.command)
    assert (again.status, again.out) == (0, small.ended.out)
    assert contents(small.folder) == before


@pytest.mark.full
@pytest.mark.parametrize(
    ("option", "difference"),
    [
        ("--students.llama.epochs=2", "config.students.llama.epochs: 1 -> 2"),
        ("--scenarios.algorithm.kl-coef=0.5", "config.scenarios.algorithm.kl_coef: 0.001 -> 0.5"),
        ("--rewards.training.optimizer.beta1=0.5", "config.rewards.training.optimizer.beta1: 0.9 -> 0.5"),
    ],
)
def test_another_setting_of_a_late_stage_is_refused(
    option: str, difference: str, small: FinishedRun, call: Call
) -> None:
    before = contents(small.folder)
    refused = call(*small.command, option)
    assert_fails(refused, f"{small.folder} holds a run with other settings ({difference})", "--run", "--fresh")
    assert contents(small.folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_is_killed_at_random_moments(seed: int, small: FinishedRun, tmp_path: Path) -> None:
    rng, folder = random.Random(seed), tmp_path / "killed"
    moments = sorted(rng.sample(range(num_lines(small.folder)), NUM_KILLS))
    were_running = [
        kill(command_for(folder), folder, after=line, delay=rng.uniform(0, 0.5), patience=PATIENCE) for line in moments
    ]
    assert sum(were_running) >= NUM_KILLS - 1
    resumed = run(*command_for(folder), seconds=PATIENCE)
    assert resumed.status == 0, resumed.err
    left, right = fingerprint(small.folder), fingerprint(folder)
    assert {name for name in left.keys() | right.keys() if left.get(name) != right.get(name)} == set()
    assert not list(folder.glob("stages/*/iteration-*"))
    assert not list(folder.rglob("*.part"))


# What is refused


@pytest.mark.parametrize("count", [1, 3])
def test_a_wrong_number_of_students_is_refused(count: int, tmp_path: Path, call: Call) -> None:
    folder = tmp_path / "run"
    students = [str(tmp_path / f"student-{number}") for number in range(count)]
    refused = call("run", "r1", "--run", folder, "--json", "--students", *students)
    assert_fails(refused, "--students takes 2 model folders (qwen2, llama)")
    assert not folder.exists()


@pytest.mark.full
def test_a_base_that_cannot_be_prompted_as_r1_is_gets_a_clear_error(tmp_path: Path, call: Call) -> None:
    base, chat = tmp_path / "base", ("<｜User｜>", "<｜Assistant｜>")
    tokenizer = build_tokenizer([word for word in vocabulary() if word not in chat], [R1_ZERO])
    policy = tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size))
    write_checkpoint(base, policy, tokenizer, state={})
    alone = ("--zero.processes=1", "--zero.zero.iterations=0", "--zero.longer.iterations=0")
    refused = call("run", "r1", "--base", base, "--run", tmp_path / "run", *SMALL_R1, *alone, "--force", "--json")
    assert_fails(refused, "the tokenizer has no token for", *chat)


# What is learned


@pytest.mark.slow
def test_the_stages_differ_as_the_paper_says(tmp_path: Path) -> None:
    """At the scale `tiny`, seed 0. Source: DeepSeek-R1, arXiv:2501.12948v2, Table 3; v1, Table 6."""
    ended = run("run", "r1", "--seed", "0", "--run", str(tmp_path / "r1"), "--json", seconds=None)
    assert ended.status == 0, ended.err
    stages = {stage["name"]: stage["metrics"] for stage in json.loads(ended.out)["stages"]}
    figures = {name: {key: part["value"] for key, part in metrics.items()} for name, metrics in stages.items()}
    print(json.dumps(figures, indent=1))
    assert figures["dev2"]["consistency"] >= 0.95
    assert figures["dev2"]["consistency"] > figures["zero"]["consistency"]
    assert figures["r1"]["helpfulness"] > figures["dev3"]["helpfulness"]
    assert figures["qwen2-distilled"]["pass@1"] > figures["qwen2-rl"]["pass@1"]
