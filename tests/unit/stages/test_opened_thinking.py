"""A prompt that opens the thinking itself: the response begins inside it, for whoever learns from it or reads it.

The templates of R1-Distill and QwQ end with `<think>`. A demonstration or a preference that begins with the tag once
more must not teach to write it twice.
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from aha.actors.local_actors import LocalActors
from aha.engines.engine import Decoding
from aha.problems.world.questions import TrainingProblems
from aha.prompts.templates import r1, r1_zero
from aha.recipes.base_model import BUILT_IN, open_base
from aha.rewards.table import RULES
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, SupervisedConfig
from aha.stages.doctor.diagnose import diagnose
from aha.stages.doctor.diagnosis import RunCandidate
from aha.stages.evaluate import Setting, evaluate
from aha.stages.harvests.harvest import write_demonstrations
from aha.stages.reward_models.sources import InMemoryPreferences
from aha.stages.reward_models.train import HARMLESSNESS, reward_model
from aha.stages.run import Run
from aha.stages.sft import sft
from aha.training.checkpoint import read_model, weights_digest
from aha.training.learner import Learner
from aha.types import Checkpoint, Demonstration, Preference, Problem, Rollout

WRITTEN = r" 1 + 1 = 2 </think> so the answer is \boxed { 2 } ."
"""The rest of a response whose thinking is open."""

CONFIG = SupervisedConfig(epochs=1, batch_size=2, max_tokens=64)


def opened(question: str) -> str:
    """R1's template, as the distilled models have it."""
    return r1(question) + "<think>\n"


def new_run(folder: Path) -> Run:
    return Run(folder=RunFolder(folder), seed=0)


def demonstration(response: str) -> Demonstration:
    return Demonstration(
        problem_id="p", question="compute 1 + 1", response=response, domain="arithmetic", language="en", source="test"
    )


@pytest.mark.parametrize("response", ["<think>" + WRITTEN, "\n<think>\n" + WRITTEN, WRITTEN])
def test_fine_tuning_goes_on_inside_the_thinking(
    response: str, base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[list[int], list[int]]] = []
    step_on = Learner.step_on

    def recording(learner: Learner[Any], parts: Sequence[Any], *arguments: Any, **options: Any) -> dict[str, float]:
        for batch in parts:
            ids = batch.tokens_BT[0].tolist()
            learned.append((ids, [id for id, is_counted in zip(ids, batch.mask_BT[0], strict=True) if is_counted]))
        return step_on(learner, parts, *arguments, **options)

    monkeypatch.setattr(Learner, "step_on", recording)
    run = new_run(tmp_path)
    data = write_demonstrations(run, "given", [demonstration(response)], key=response)
    sft(run, "dev1", policy=base, data=[data], config=CONFIG, template=opened)

    _, tokenizer = read_model(base.path)
    prompt = tokenizer.encode_prompt(opened("compute 1 + 1")).tolist()
    rest = [*tokenizer.encode(WRITTEN).tolist(), tokenizer.end_id]
    assert learned == [([*prompt, *rest], rest)]


def trained_scorer(folder: Path, base: Checkpoint, responses: tuple[str, str]) -> Checkpoint:
    prompt = opened("compute 1 + 1")
    one = Preference(problem_id="p", prompt=prompt, responses=responses, qualities=(1.0, 0.0), source="test")
    source = InMemoryPreferences(preferences=[one])
    config = CONFIG.model_copy(update={"max_tokens": 128})
    return reward_model(
        new_run(folder), "safety", policy=base, data=source, held_out=source, config=config, kind=HARMLESSNESS
    )


def test_a_reward_model_reads_a_response_from_inside_the_thinking(base: Checkpoint, tmp_path: Path) -> None:
    """What it learns does not depend on whether a preference repeats the tag, and it scores what it has learned."""
    worse = WRITTEN.replace("2", "7")
    bare = trained_scorer(tmp_path / "bare", base, (WRITTEN, worse))
    tagged = trained_scorer(tmp_path / "tagged", base, (f"<think>{WRITTEN}", f"<think>\n{worse}"))
    assert weights_digest(bare.path) == weights_digest(tagged.path) != weights_digest(base.path)

    problem = Problem(id="p", question="compute 1 + 1", answer="2", domain="arithmetic")
    tokens = torch.tensor([1])
    rollout = Rollout(
        problem_id="p", prompt_tokens=tokens, tokens=tokens, logp=torch.zeros(1), text=WRITTEN, finish="stop"
    )
    judge = LocalActors().learned_reward(bare, name="harmlessness", template=opened)
    assert judge(problem, replace(rollout, text=f"<think>\n{WRITTEN}")) == judge(problem, rollout)


@pytest.fixture(scope="module")
def built_in() -> Checkpoint:
    return open_base(BUILT_IN)


def zero_opened(question: str) -> str:
    """R1-Zero's template, in which the built-in base model answers, with the thinking begun."""
    return r1_zero(question) + " <think>"


def test_evaluation_reads_the_thinking_that_the_prompt_opens(built_in: Checkpoint, tmp_path: Path) -> None:
    run = new_run(tmp_path)
    config = EvaluationConfig(num_problems=8, num_samples=2, max_new_tokens=128)
    problems = TrainingProblems(seed=0)(0, 8)
    setting = Setting(template=zero_opened)
    report = evaluate(run, "end", policy=built_in, problems=problems, config=config, setting=setting)
    lines = gzip.decompress((tmp_path / "rollouts/evaluation-end.jsonl.gz").read_bytes()).decode().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert all(text.startswith("<think>") and text.count("<think>") == 1 for text in texts)
    assert report.row("readability").value > 0.0
    assert report.row("format").value > 0.0


def test_the_doctor_reads_the_thinking_that_the_prompt_opens(built_in: Checkpoint) -> None:
    diagnosis = diagnose(
        RunCandidate(
            policy=LocalActors().policy(built_in.path, max_new_tokens=128),
            problems=TrainingProblems(seed=0)(0, 4),
            num_groups=4,
            template=zero_opened,
            reward=RULES,
            decoding=Decoding(max_new_tokens=128),
            group_size=4,
            seed=0,
        )
    )
    assert all(one.text.startswith("<think>") for one in diagnosis.responses)
    assert diagnosis.figures["logp_gap"] < 0.02
    assert "answers-unparsable" not in {finding.code for finding in diagnosis.findings}
    assert diagnosis.parts["format"][2] == 1.0
