"""One stage of reinforcement learning on a tiny policy: what it logs, and what each setting changes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import evenness, tiny_config

from aha.actors.workload import workload
from aha.algorithms.algorithm import Algorithm
from aha.algorithms.grpo import GRPO
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.rewards.accuracy import COMPARERS
from aha.rewards.table import RewardFunction
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RLConfig
from aha.stages.metrics import METRICS, OPTIONAL_METRICS
from aha.stages.rl import rl
from aha.stages.rl_state import demand
from aha.stages.run import Interrupted, Run
from aha.stages.task import Task, Validation
from aha.stages.timeline import PARTS
from aha.training.checkpoint import read_model, weights_digest
from aha.training.memory import estimate
from aha.types import Checkpoint, Problem, Rollout, Verdict

LOOK = EvaluationConfig(num_problems=1, num_samples=2, temperature=1.0, top_p=1.0, max_new_tokens=4)


def train(
    folder: Path,
    base: Checkpoint,
    reward: RewardFunction = evenness,
    *,
    stop_after: int = 0,
    stop: tuple[str, ...] = (),
    keep_rollouts: int = 1,
    algorithm: Algorithm | None = None,
    **settings: float,
) -> Checkpoint:
    """A stage of two iterations, or one that is interrupted."""
    given = {"iterations": 2, "problems_per_iteration": 3, "group_size": 4, "num_minibatches": 2, "max_new_tokens": 6}
    watched = Validation(problems=held_out_problems("validation", 1), config=LOOK)
    task = Task(
        problems=TrainingProblems(seed=0),
        reward={domain: {reward: 1.0} for domain in COMPARERS},
        validation=watched,
        stop=stop,
    )
    run, made = Run(folder=RunFolder(folder), seed=0, keep_rollouts=keep_rollouts), list[int]()

    def report(*_: object) -> None:
        made.append(1)
        run._asked_to_stop = len(made) == stop_after

    run.report = report
    config = RLConfig.model_validate({**given, **settings, "algorithm": algorithm or GRPO()})
    return rl(run, "zero", policy=base, task=task, config=config)


def logged(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_stop_string_ends_responses_of_training_and_validation(base: Checkpoint, tmp_path: Path) -> None:
    """What follows the space of a word is whatever a random policy says; every response holds a first letter."""
    train(tmp_path / "without", base)
    train(tmp_path / "with", base, stop=tuple("abcdefghijklmnopqrstuvwxyz0123456789"))
    without, within = logged(tmp_path / "without"), logged(tmp_path / "with")
    assert within[0]["length"] < without[0]["length"]
    assert within[0]["truncated"] < without[0]["truncated"]
    validations = [
        json.loads((tmp_path / name / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()[0])["report"][
            "rows"
        ]
        for name in ("without", "with")
    ]
    lengths = [next(row["value"] for row in rows if row["metric"] == "length") for rows in validations]
    assert lengths[1] < lengths[0]


def test_a_checkpoint_names_the_stop_strings_that_it_was_trained_with(base: Checkpoint, tmp_path: Path) -> None:
    """Also where the training starts from a checkpoint that names others."""
    stopped = train(tmp_path / "with", base, stop=("</answer>",))
    settings = json.loads((stopped.path / "generation_config.json").read_text(encoding="utf-8"))
    assert settings["stop_strings"] == ["</answer>"]
    assert read_model(stopped.path)[1].stop_strings == ("</answer>",)
    again = train(tmp_path / "without", stopped)
    assert "stop_strings" not in json.loads((again.path / "generation_config.json").read_text(encoding="utf-8"))


def test_a_stop_string_is_part_of_the_key_only_where_there_is_one() -> None:
    watched = Validation(problems=held_out_problems("validation", 1), config=LOOK)
    task = Task(problems=TrainingProblems(seed=0), reward={}, validation=watched)
    assert "stop" not in task.key
    assert replace(task, stop=("</answer>",)).key == {**task.key, "stop": ["</answer>"]}


def test_the_parts_of_an_iteration_are_within_its_time(base: Checkpoint, tmp_path: Path) -> None:
    train(tmp_path, base)
    for row in logged(tmp_path):
        parts = [row[f"seconds_{part}"] for part in PARTS]
        assert min(parts) > 0
        assert 0.5 * row["seconds"] < sum(parts) <= row["seconds"]


def sameness(problem: Problem, rollout: Rollout) -> Verdict:
    """A reward that never differs."""
    del problem, rollout
    return Verdict(score=1.0, reason="")


@pytest.mark.parametrize("reward", [evenness, sameness])
def test_without_kl_there_is_no_reference(
    reward: RewardFunction, base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a reference was read")

    monkeypatch.setattr("aha.actors.local_actors.read_reference", refuse)
    monkeypatch.setattr("aha.actors.local.reference_logp", refuse)
    train(tmp_path, base, reward, algorithm=GRPO(kl_coef=0.0))
    expected = {"stage", "iteration", "step", *METRICS} - {"kl"}
    missing = {"ratio", "clip_fraction", "logp_gap"} if reward is sameness else set()
    for row in logged(tmp_path):
        own = {f"reward_{reward.__name__}"}
        assert row.keys() - set(OPTIONAL_METRICS) - own == expected - missing
        assert row["seconds_reference"] < 0.01
        assert row["zero_spread"] == (1.0 if reward is sameness else 0.0)
        assert (row["trained_tokens"] == 0) == (reward is sameness)


@pytest.mark.full
def test_without_kl_a_stage_that_was_interrupted_goes_on(base: Checkpoint, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", base, algorithm=GRPO(kl_coef=0.0), iterations=3, checkpoint_every=1)
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", base, stop_after=2, algorithm=GRPO(kl_coef=0.0), iterations=3, checkpoint_every=1)
    parts = train(tmp_path / "parts", base, algorithm=GRPO(kl_coef=0.0), iterations=3, checkpoint_every=1)
    assert weights_digest(whole.path) == weights_digest(parts.path) != weights_digest(base.path)


@pytest.mark.parametrize(("kl_coef", "has_reference"), [(0.0, False), (0.001, True)])
def test_memory_is_estimated_with_a_reference_only_where_there_is_one(kl_coef: float, has_reference: bool) -> None:
    shape, config = tiny_config(), RLConfig(algorithm=GRPO(kl_coef=kl_coef))
    load = workload(shape, demand(config), config.optimizer, torch.device("cpu"))
    assert load.has_reference is has_reference
    assert (estimate(shape, config.optimizer, load).reference > 0) is has_reference


@pytest.mark.full
def test_rollouts_can_be_thinned_at_any_time_and_change_no_result(base: Checkpoint, tmp_path: Path) -> None:
    whole, thin = tmp_path / "whole", tmp_path / "thin"
    results = [train(whole, base, iterations=3), train(thin, base, iterations=3, keep_rollouts=2)]
    names = [sorted(path.name.split(".")[0] for path in (run / "rollouts").iterdir()) for run in (whole, thin)]
    assert names == [["zero-000000", "zero-000001", "zero-000002"], ["zero-000000", "zero-000002"]]
    assert results[0].key == results[1].key
    assert weights_digest(results[0].path) == weights_digest(results[1].path)
