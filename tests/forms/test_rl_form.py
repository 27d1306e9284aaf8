"""Reinforcement learning is its plain form, number by number: three iterations, and a stop in the middle."""

import shutil
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from forms.plain_draws import rows_of
from forms.plain_evaluation import TEMPLATE
from forms.plain_policy import Config, Weights, read_config, read_weights, response_distribution
from forms.plain_rl import WEIGHTS, Iteration, Row, plain_rl, reward_of
from forms.plain_update import distance, moments_distance
from safetensors.torch import load_file
from tokenizers import Tokenizer

from aha.algorithms.grpo import GRPO
from aha.problems.world.questions import held_out_problems
from aha.recipes.base_model import open_base
from aha.rewards.accuracy import accuracy
from aha.rewards.format import format_reward
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RLConfig
from aha.stages.metrics import METRICS
from aha.stages.rl import rl
from aha.stages.run import Interrupted, Run
from aha.stages.task import Task, Validation
from aha.training.config import OptimizerConfig
from aha.types import Checkpoint, Problem

SETTINGS = RLConfig(
    iterations=3,
    problems_per_iteration=4,
    group_size=3,
    num_minibatches=3,
    max_new_tokens=24,
    temperature=0.8,
    algorithm=GRPO(clip_eps=0.1, kl_coef=0.05),
    reference_every=4,
    optimizer=OptimizerConfig(learning_rate=2e-4, warmup_steps=2, final_share=0.1, grad_clip=2.0, weight_decay=0.1),
)
LOOK = EvaluationConfig(num_problems=1, num_samples=2, temperature=1.0, top_p=1.0, max_new_tokens=4)
ROUNDING = 2e-3
"""As in the form of fine-tuning."""
NATS = 1e-3
"""Largest gap between a recorded log-probability and the plain form's, which has made all updates before it itself."""


class SameProblems:
    """The same problems in every iteration, so that only the seeds of the draws tell iterations apart."""

    key = "the same problems"

    def __call__(self, iteration: int, count: int) -> list[Problem]:
        del iteration
        problems = held_out_problems("train", 5 * count, families=("arithmetic",))
        return sorted(problems, key=lambda problem: problem.level)[:count]


def train(folder: Path, *, seed: int = 7, stop_after: int = 0) -> Checkpoint:
    """The stage, from its start or from where it was stopped."""
    run, made = Run(folder=RunFolder(folder), seed=seed), list[int]()

    def report(*_: object) -> None:
        made.append(1)
        run._asked_to_stop = len(made) == stop_after

    run.report = report
    task = Task(
        problems=SameProblems(),
        reward={"arithmetic": {accuracy: WEIGHTS["accuracy"], format_reward: WEIGHTS["format"]}},
        validation=Validation(problems=held_out_problems("validation", 1, families=("arithmetic",)), config=LOOK),
    )
    return rl(run, "zero", policy=open_base(), task=task, config=SETTINGS)


def rollouts(folder: Path, iteration: int) -> list[dict[str, Any]]:
    """The rollout file of an iteration."""
    return rows_of(folder / "rollouts" / f"zero-{iteration:06d}.jsonl.gz")


@dataclass(frozen=True)
class Compared:
    """A run that was stopped in the middle, and its plain form.

    Attributes:
        saved: the checkpoint at the stop.
        logged: its lines of metrics.
        rows: the rollouts of each iteration.
        parts: each iteration of the plain form.
        result: weights of the trained policy.
    """

    saved: Path
    logged: list[dict[str, Any]]
    rows: list[list[Row]]
    parts: list[Iteration]
    result: Weights


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Stopped after its second iteration, between two changes of the reference."""
    folder, saved = tmp_path_factory.mktemp("rl"), tmp_path_factory.mktemp("saved") / "checkpoint"
    with pytest.raises(Interrupted, match="after iteration 2 of 3"):
        train(folder, stop_after=2)
    shutil.copytree(folder / "stages" / "zero" / "iteration-000002", saved)
    done = train(folder)

    rows = [rollouts(folder, iteration) for iteration in range(3)]
    return Compared(
        saved=saved,
        logged=rows_of(folder / "metrics.jsonl", stage="zero"),
        rows=rows,
        parts=list(plain_rl(open_base().path, rows, SETTINGS.model_dump(), seed=7, stage="zero")),
        result=read_weights(done.path),
    )


def test_a_stop_saves_policy_moments_and_reference_of_the_plain_form(compared: Compared) -> None:
    start, part = read_weights(open_base().path), compared.parts[1]
    tensors = load_file(compared.saved / "trainer.safetensors")
    reference = {name: tensors[f"reference.{name}"].double() for name in start}
    assert distance(read_weights(compared.saved), part.policy, start) < ROUNDING
    assert moments_distance(compared.saved, part.moments) < ROUNDING
    assert distance(reference, part.reference, start) < ROUNDING

    # The reference is then neither the start nor the policy.
    assert distance(reference, start, part.policy) > 10 * ROUNDING
    assert distance(reference, part.policy, start) > 10 * ROUNDING


def test_every_iteration_is_that_of_the_plain_form_also_after_a_stop(compared: Compared) -> None:
    assert distance(compared.result, compared.parts[2].policy, read_weights(open_base().path)) < ROUNDING
    logged = compared.logged
    assert [row["step"] for row in logged] == [3, 6, 9]
    for row, part in zip(logged, compared.parts, strict=True):
        assert {name: row[name] for name in part.metrics} == pytest.approx(part.metrics, rel=ROUNDING, abs=1e-4)
        assert row["logp_gap"] < NATS
        kinds = {"unparsable", "timeout", "crash", "unsupported"}
        assert row.keys() == {"stage", "iteration", "step", *METRICS, *kinds}
        untested = {"logp_gap", "reflection", "mixing"}
        assert {name for name in set(METRICS) - part.metrics.keys() if not name.startswith("seconds")} == untested

    # What would hide a fault: nothing is clipped, or no group differs from another.
    assert all(row["clip_fraction"] > 0 for row in logged)
    assert all(row["grad_norm"] > 0 for row in logged)
    assert {row["zero_spread"] for row in logged} != {0.0}
    assert sum(row["format"] for row in logged) > 0


def test_a_response_is_rewarded_by_its_text_and_against_its_group(compared: Compared) -> None:
    tokenizer = Tokenizer.from_file(str(open_base().path / "tokenizer.json"))
    config = read_config(open_base().path)
    for rows, part in zip(compared.rows, compared.parts, strict=True):
        assert [row["index"] for row in rows] == [0, 1, 2] * 4
        for row, advantage in zip(rows, part.advantages, strict=True):
            assert row["prompt_tokens"] == tokenizer.encode(TEMPLATE.format(question=row["question"])).ids
            assert row["reward"]["total"] == pytest.approx(reward_of(row))
            assert row["advantage"] == pytest.approx(advantage, abs=1e-5)

            # Under the policy that sampled, as the plain form has it.
            logp_TV = distribution(part.sampled_by, config, row)
            own_T = logp_TV.gather(1, torch.tensor(row["tokens"])[:, None])[:, 0]
            assert row["logp"] == pytest.approx(own_T.tolist(), abs=NATS)


def distribution(weights: Weights, config: Config, row: Row) -> torch.Tensor:
    """Log-probabilities of the vocabulary at each token of a response, at the temperature of sampling, [T, V]."""
    prompt, response = row["prompt_tokens"], row["tokens"]
    return response_distribution(weights, config, prompt, response, temperature=SETTINGS.temperature)


def intervals(weights: Weights, config: Config, row: Row) -> torch.Tensor:
    """Between which numbers the uniform draw of each token must have been, [T, 2]: sampling inverts the cumulative."""
    probability_TV = distribution(weights, config, row).exp()
    index_T1 = torch.tensor(row["tokens"])[:, None]
    above_T1 = probability_TV.cumsum(dim=1).gather(1, index_T1)
    return torch.cat((above_T1 - probability_TV.gather(1, index_T1), above_T1), dim=1)


def may_share_draws(one_T2: torch.Tensor, other_T2: torch.Tensor) -> bool:
    """Whether two responses could come from the same uniform draws."""
    num = min(len(one_T2), len(other_T2))
    low_T = one_T2[:num, 0].maximum(other_T2[:num, 0])
    high_T = one_T2[:num, 1].minimum(other_T2[:num, 1])
    return bool((low_T < high_T + NATS).all())


def test_iterations_problems_indices_and_runs_have_draws_of_their_own(compared: Compared, tmp_path: Path) -> None:
    """By chance a few short responses fit the same draws; where a seed is forgotten, all of them do."""
    with pytest.raises(Interrupted):
        train(tmp_path / "other", seed=8, stop_after=1)

    config = read_config(open_base().path)
    first, second = (
        [intervals(part.sampled_by, config, row) for row in rows]
        for rows, part in list(zip(compared.rows, compared.parts, strict=True))[:2]
    )
    elsewhere = [intervals(compared.parts[0].sampled_by, config, row) for row in rollouts(tmp_path / "other", 0)]
    places = list(combinations(range(12), 2))
    pairs = {
        "iteration": list(zip(first, second, strict=True)),
        "run": list(zip(first, elsewhere, strict=True)),
        "problem": [(first[a], first[b]) for a, b in places if a % 3 == b % 3],
        "index": [(first[a], first[b]) for a, b in places if a // 3 == b // 3],
    }
    shares = {name: sum(may_share_draws(*pair) for pair in found) / len(found) for name, found in pairs.items()}
    assert max(shares.values()) < 0.5, shares
    assert all(may_share_draws(one, one) for one in first)
