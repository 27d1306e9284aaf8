"""R1 from files of the user's own, whole: every stage runs, goes on after a stop, and the page shows what ran."""

import json
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from command import Call, assert_fails, one_object

from aha.problems.world.general import GeneralProblems
from aha.problems.world.questions import held_out_problems

SMALL = [
    "--zero.zero.iterations=2",
    "--zero.longer.iterations=0",
    "--zero.evaluation.num-problems=6",
    "--zero.evaluation.num-samples=2",
    "--zero.validation.num-problems=4",
    "--zero.validation.num-samples=2",
    "--cold.num-problems=40",
    "--cold.num-samples=4",
    "--dev2.iterations=1",
    "--kept.num-problems=40",
    "--kept.num-samples=4",
    "--reasoning.iterations=1",
    "--scenarios.iterations=2",
]


def written(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """The options that name the files: arithmetic with answers, and prompts that want to be told something."""
    problems = [problem for problem in held_out_problems("train", 900, seed=1) if problem.domain == "arithmetic"]
    prompts = [problem.question for problem in GeneralProblems(seed=3)(-1, 60)]
    reasoning = [{"question": problem.question, "answer": problem.answer} for problem in problems]
    ranked = [{"question": prompt, "chosen": "yes .", "rejected": "no"} for prompt in prompts[:30]]
    labelled = [{"question": prompt, "response": "yes .", "is_safe": "no" in prompt} for prompt in prompts[30:]]
    return [
        *("--problems", written(tmp_path / "problems.jsonl", reasoning)),
        *(
            "--general",
            written(tmp_path / "general.jsonl", [{"question": one, "response": "yes ."} for one in prompts]),
        ),
        *("--preferences", written(tmp_path / "preferences.jsonl", ranked)),
        *("--safety", written(tmp_path / "safety.jsonl", labelled)),
    ]


@pytest.mark.full
def test_r1_is_made_from_files_alone_and_goes_on_to_the_same_bits(
    call: Call, words: list[object], tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    figures = one_object(call("run", "r1", "--run", whole, *words, *SMALL, "--json", "--force"))
    assert figures["model"].endswith("stages/r1/final")
    trained = {path.parent.name for path in (whole / "stages").glob("*/final")}
    assert trained >= {"zero", "dev1", "dev2", "dev3", "helpfulness", "harmlessness", "reasoning", "r1"}

    page = (whole / "report.html").read_text(encoding="utf-8")
    assert "Helpful reward model" in page
    assert "Left out, no --compare: Dev2 without the language reward." in page
    figure = json.loads((whole / "pipeline.json").read_text(encoding="utf-8"))
    assert not {"dev2-plain", "qwen2", "llama"} & {node["name"] for node in figure["nodes"]}

    # As a run that was killed before its reward models.
    shutil.copytree(whole, stopped)
    for stage in ("helpfulness", "harmlessness", "reasoning", "r1"):
        shutil.rmtree(stopped / "stages" / stage)
    call("run", "r1", "--run", stopped, *words, *SMALL, "--json", "--force")
    weights = "stages/r1/final/model.safetensors"
    assert sha256((stopped / weights).read_bytes()).digest() == sha256((whole / weights).read_bytes()).digest()

    # Other files would be another run.
    assert_fails(call("run", "r1", "--run", stopped, *words[:2], *SMALL, "--json", "--force"), "own")
