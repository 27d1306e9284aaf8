"""Reinforcement learning with adapters, small moments and bfloat16: it learns, resumes and leaves an ordinary model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import evenness

from aha.algorithms.grpo import GRPO
from aha.policy.lora import merged, read_adapter
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.rewards.accuracy import COMPARERS
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RLConfig
from aha.stages.rl import rl
from aha.stages.run import Interrupted, Run
from aha.stages.task import Task, Validation
from aha.training.checkpoint import read_model, weights_digest
from aha.training.config import LoRAConfig, OptimizerConfig
from aha.types import Checkpoint, Problem, Rollout, Verdict

pytestmark = pytest.mark.full

LOOK = EvaluationConfig(num_problems=2, num_samples=2, temperature=1.0, top_p=1.0, max_new_tokens=6)
LORA = LoRAConfig(rank=4, alpha=8.0)
KINDS = {
    "adapters": OptimizerConfig(learning_rate=2e-2, lora=LORA),
    "adapters-bfloat16": OptimizerConfig(learning_rate=2e-2, lora=LORA, precision="bfloat16"),
    "8-bit": OptimizerConfig(learning_rate=1e-2, state="8-bit"),
    "8-bit-bfloat16": OptimizerConfig(learning_rate=1e-2, state="8-bit", precision="bfloat16"),
    "host-bfloat16": OptimizerConfig(learning_rate=1e-2, state="host", precision="bfloat16"),
}


def train(folder: Path, base: Checkpoint, optimizer: OptimizerConfig, *, stop_after: int = 0, num: int = 4) -> Run:
    """A run that trains, or that is interrupted; `reference_every` makes the reference move on the way."""
    config = RLConfig(
        iterations=num,
        problems_per_iteration=4,
        group_size=4,
        num_minibatches=1,
        max_new_tokens=8,
        algorithm=GRPO(kl_coef=0.01),
        evaluate_every=10,
        reference_every=2,
        optimizer=optimizer,
    )
    run = Run(folder=RunFolder(folder), seed=0)
    made: list[int] = []

    def report(*_: object) -> None:
        made.append(1)
        run._asked_to_stop = len(made) == stop_after

    run.report = report
    watched = Validation(problems=held_out_problems("validation", 2), config=LOOK)
    reward: dict[str, dict[Callable[[Problem, Rollout], Verdict], float]]
    reward = {domain: {evenness: 1.0} for domain in COMPARERS}
    task = Task(problems=TrainingProblems(seed=0), reward=reward, validation=watched)
    rl(run, "zero", policy=base, task=task, config=config)
    return run


def logged(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("seconds")} for line in lines
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_and_resumed_is_uninterrupted(kind: str, base: Checkpoint, tmp_path: Path) -> None:
    train(tmp_path / "whole", base, KINDS[kind])
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", base, KINDS[kind], stop_after=3)
    train(tmp_path / "parts", base, KINDS[kind])
    finals = [tmp_path / name / "stages" / "zero" / "final" for name in ("whole", "parts")]
    assert weights_digest(finals[0]) == weights_digest(finals[1]) != weights_digest(base.path)
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")

    # What is sampled from is what is trained: the merged weights of a bfloat16 policy are rounded; elsewhere only the
    # order of sums differs.
    limit = 0.05 if "bfloat16" in kind else 2e-5
    assert max(row["logp_gap"] for row in logged(tmp_path / "whole")) < limit


def test_a_run_with_adapters_leaves_a_model_and_its_adapter(base: Checkpoint, tmp_path: Path) -> None:
    train(tmp_path, base, KINDS["adapters"], num=2)
    final, _ = read_model(tmp_path / "stages" / "zero" / "final")
    start, _ = read_model(base.path)
    before = {name: weight.clone() for name, weight in start.named_parameters()}
    read_adapter(start, tmp_path / "stages" / "zero" / "adapter")
    with merged(start):
        for name, weight in final.named_parameters():
            assert torch.equal(weight, start.get_parameter(name)), name
            assert torch.equal(weight, before[name]) == (not name.endswith("_proj.weight")), name


@pytest.mark.parametrize("kind", ["adapters-bfloat16", "8-bit-bfloat16", "host-bfloat16"])
def test_the_reward_rises(kind: str, base: Checkpoint, tmp_path: Path) -> None:
    train(tmp_path, base, KINDS[kind], num=24)
    rewards = [row["reward"] for row in logged(tmp_path)]
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 4 * 0.08


@pytest.mark.parametrize("is_much", [True, False])
def test_it_says_what_it_needs_where_that_is_much(
    is_much: bool, base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("aha.actors.trainable.ANNOUNCED_ABOVE", 0 if is_much else 1 << 40)
    run = Run(folder=RunFolder(tmp_path), seed=0, say=said.append)
    watched = Validation(problems=held_out_problems("validation", 2), config=LOOK)
    task = Task(problems=TrainingProblems(seed=0), reward={d: {evenness: 1.0} for d in COMPARERS}, validation=watched)
    config = RLConfig(
        iterations=1, problems_per_iteration=1, group_size=2, num_minibatches=1, max_new_tokens=4, evaluate_every=1
    )
    rl(run, "zero", policy=base, task=task, config=config)
    assert said[0].startswith("zero: memory: about 0.5 of ") is is_much
    assert "reference" not in said[0]


def test_a_smaller_state_for_adapters_is_refused() -> None:
    with pytest.raises(ValueError, match="the moments of adapters are few"):
        OptimizerConfig(state="8-bit", lora=LORA)
