"""R1-Zero learns on two cores in minutes what the paper reports; on shuffled answers there is nothing to learn.

So does fine-tuning: on demonstrations, and not on the same ones with each response given to another question.
"""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from command import run

from aha.problems.world.editing import rewrite
from aha.problems.world.questions import draw_content, held_out_problems, question
from aha.problems.world.traces import think
from aha.prompts.templates import r1
from aha.recipes.base_model import open_base
from aha.runs.folder import RunFolder
from aha.runs.seeds import generator
from aha.stages.config import EvaluationConfig, SupervisedConfig
from aha.stages.evaluate import Setting, evaluate
from aha.stages.harvests.harvest import write_demonstrations
from aha.stages.run import Run
from aha.stages.sft import sft
from aha.training.config import OptimizerConfig
from aha.types import Demonstration, Draft, Problem

pytestmark = pytest.mark.slow

SEED = 0
Figures = dict[str, float]

LESSON = SupervisedConfig(
    epochs=2,
    batch_size=2,
    max_tokens=512,
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=10, final_share=0.1),
)
TEST = EvaluationConfig(num_problems=100, num_samples=4, max_new_tokens=128)


def start_and_end(recipe: str, folder: Path) -> tuple[Figures, Figures]:
    """The figures of the base model and of the trained one on the held-out test problems."""
    ended = run("run", recipe, "--seed", str(SEED), "--run", str(folder), "--json", seconds=None)
    assert ended.status == 0, ended.err
    report = json.loads(ended.out)
    start, end = ({name: part["value"] for name, part in report[moment].items()} for moment in ("start", "end"))
    print(f"{recipe}, seed {SEED}: {start} -> {end}")
    return start, end


def test_r1_zero_learns(tmp_path: Path) -> None:
    start, end = start_and_end("r1_zero", tmp_path / "r1_zero")
    assert start["pass@1"] <= 0.20
    assert end["pass@1"] >= 0.70
    assert end["length"] >= 2 * start["length"]
    assert end["reflection"] >= 2 * start["reflection"]


def test_the_control_on_shuffled_answers_does_not(tmp_path: Path) -> None:
    start, end = start_and_end("r1_zero_control", tmp_path / "control")
    assert end["pass@1"] <= start["pass@1"] + 0.05


def demonstrations(count: int) -> list[Demonstration]:
    """Right thoughts of the world's own writers about training problems, rewritten as the cold start is."""
    rows: dict[str, Demonstration] = {}
    number = 0
    while len(rows) < count:
        rng = generator(SEED, "demonstrations", number)
        number += 1
        content, language = draw_content(rng, "train"), rng.choice(("en", "zh"))
        thought = think(rng, content, language)
        asked = question(content, language)
        problem = Problem(
            id=asked, question=asked, answer=content.answer, domain=content.family, language=language, split="train"
        )
        text = rewrite(Draft(problem=problem, thinking=thought.text, answer=thought.answer))
        if thought.text and thought.answer == content.answer and text is not None:
            rows[asked] = Demonstration(
                problem_id=problem.id,
                question=asked,
                response=text,
                domain=content.family,
                language=language,
                source="writers",
            )
    return list(rows.values())


def shuffled(rows: list[Demonstration]) -> list[Demonstration]:
    """The same questions and the same responses, each response given to another question of its family and language."""
    alike: defaultdict[tuple[str, str], list[Demonstration]] = defaultdict(list)
    for row in rows:
        alike[row.domain, row.language].append(row)
    return [
        replace(row, response=other.response)
        for group in alike.values()
        for row, other in zip(group, [*group[1:], group[0]], strict=True)
    ]


def tuned_on(rows: list[Demonstration], folder: Path) -> Figures:
    """The figures on the held-out test problems of the built-in base model, fine-tuned on these demonstrations."""
    run = Run(folder=RunFolder(folder), seed=SEED)
    data = write_demonstrations(run, "given", rows, key=repr(rows))
    model = sft(run, "dev1", policy=open_base(), data=[data], config=LESSON)
    problems = held_out_problems("test", TEST.num_problems)
    report = evaluate(run, "dev1", policy=model, problems=problems, config=TEST, setting=Setting(template=r1))
    return {row.metric: row.value for row in report.rows if row.suite == "all"}


def test_fine_tuning_learns_from_demonstrations_and_nothing_from_shuffled_ones(tmp_path: Path) -> None:
    rows = demonstrations(1000)
    learned, control = tuned_on(rows, tmp_path / "learned"), tuned_on(shuffled(rows), tmp_path / "control")
    print(f"fine-tuning: {learned}; on shuffled responses: {control}")
    assert learned["pass@1"] >= 0.40
    assert control["pass@1"] <= 0.08
