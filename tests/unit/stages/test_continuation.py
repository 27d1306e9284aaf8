"""A training that goes on in another stage, or in another run, is one training."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny import evenness

from aha.algorithms.grpo import GRPO
from aha.problems.datasets.sets import ProblemSet
from aha.problems.splits import file_problems
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.recipes.base_model import open_training
from aha.recipes.r1_zero import train_zero
from aha.recipes.scales import R1ZeroConfig
from aha.rewards.accuracy import COMPARERS
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RLConfig
from aha.stages.rl import rl
from aha.stages.run import Interrupted, Run
from aha.stages.task import ProblemSource, Task, Validation
from aha.training.checkpoint import read_state, weights_digest
from aha.types import Checkpoint

LOOK = EvaluationConfig(num_problems=1, num_samples=2, temperature=1.0, top_p=1.0, max_new_tokens=4)
SHORT = RLConfig(
    iterations=3,
    problems_per_iteration=3,
    group_size=4,
    num_minibatches=2,
    max_new_tokens=6,
    algorithm=GRPO(kl_coef=0.1),
    reference_every=3,
)
"""Three iterations of two updates: the reference moves in the middle of the second one, and at the end."""

DATA = [problem for problem in held_out_problems("train", 10)]
"""Ten problems; an epoch ends within an iteration of three."""


def task(problems: ProblemSource) -> Task:
    return Task(
        problems=problems,
        reward={domain: {evenness: 1.0} for domain in COMPARERS},
        validation=Validation(problems=held_out_problems("validation", 1), config=LOOK),
    )


def new_run(folder: Path) -> Run:
    return Run(folder=RunFolder(folder), seed=0)


def train(folder: Path, start: Checkpoint, config: RLConfig, *, continues: bool = False) -> Checkpoint:
    return rl(
        new_run(folder),
        "zero",
        policy=start,
        task=task(TrainingProblems(seed=0)),
        config=config,
        continues=continues,
    )


def figures(folder: Path) -> list[dict[str, Any]]:
    """What was logged of each iteration, without its number within the stage and its times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        {name: value for name, value in row.items() if name not in ("iteration", "step") and "seconds" not in name}
        for row in rows
    ]


def asked(folder: Path) -> Counter[str]:
    """How often each problem was asked, by its id: every group has one response of index 0."""
    ids = Counter[str]()
    for path in folder.glob("rollouts/*.jsonl.gz"):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            ids.update(row["problem_id"] for row in map(json.loads, lines) if row["index"] == 0)
    return ids


@pytest.mark.parametrize(
    "optimizer",
    [
        {},
        pytest.param({"state": "8-bit"}, marks=pytest.mark.full),
        pytest.param({"precision": "bfloat16"}, marks=pytest.mark.full),
        {"lora": {"rank": 2}},
    ],
    ids=["float32", "8-bit", "bfloat16", "adapters"],
)
def test_two_runs_are_one_training(optimizer: dict[str, Any], base: Checkpoint, tmp_path: Path) -> None:
    config = RLConfig.model_validate(
        {**SHORT.model_dump(), "optimizer": {"learning_rate": 1e-2, "weight_decay": 0.1, **optimizer}}
    )
    whole = train(tmp_path / "whole", base, config)

    first = train(tmp_path / "first", base, config.model_copy(update={"iterations": 1}))
    second = config.model_copy(update={"iterations": 2})
    rest = train(tmp_path / "rest", open_training(first.path), second, continues=True)

    assert weights_digest(rest.path) == weights_digest(whole.path) != weights_digest(first.path)
    assert figures(tmp_path / "first") + figures(tmp_path / "rest") == figures(tmp_path / "whole")

    # What is left behind is the same too, so that a third run would go on alike.
    states = [read_state(model.path) for model in (whole, rest)]
    assert states[0][0]["training"]["history"] == states[1][0]["training"]["history"]
    assert {name: tensor.tolist() for name, tensor in states[0][1].items()} == {
        name: tensor.tolist() for name, tensor in states[1][1].items()
    }


def test_each_problem_is_asked_as_often_in_two_parts_and_in_a_run_that_is_stopped(
    base: Checkpoint, tmp_path: Path
) -> None:
    stream = file_problems([ProblemSet(problems=DATA, name="ten", says="")], seed=0)
    zero = SHORT.model_copy(update={"group_size": 2, "max_new_tokens": 2})
    longer = zero.model_copy(update={"iterations": 2, "problems_per_iteration": 4})
    scale = R1ZeroConfig(zero=zero, longer=longer, validation=LOOK, evaluation=LOOK)
    whole = train_zero(new_run(tmp_path / "whole"), base, scale, task(stream))

    # 3 iterations of 3 problems and 2 of 4: one epoch of ten, and seven of the next.
    assert sorted(asked(tmp_path / "whole").values()) == [1] * 3 + [2] * 7

    for _ in range(scale.zero.iterations + scale.longer.iterations):
        run = new_run(tmp_path / "stopped")
        run._asked_to_stop = True
        with pytest.raises(Interrupted):
            train_zero(run, base, scale, task(stream))
    stopped = train_zero(new_run(tmp_path / "stopped"), base, scale, task(stream))
    assert asked(tmp_path / "stopped") == asked(tmp_path / "whole")
    assert weights_digest(stopped.path) == weights_digest(whole.path)


@pytest.mark.full
def test_the_second_part_goes_on_with_moments_and_reference(base: Checkpoint, tmp_path: Path) -> None:
    scale = R1ZeroConfig(zero=SHORT, longer=SHORT, validation=LOOK, evaluation=LOOK)
    result = train_zero(new_run(tmp_path), base, scale, task(TrainingProblems(seed=0)))
    (zero, _), (longer, tensors) = read_state(tmp_path / "stages" / "zero" / "final"), read_state(result.path)
    assert (zero["step"], longer["step"]) == (6, 6)
    assert longer["training"]["history"] == {"iterations": 6, "updates": 12, "problems": 18}
    steps = {value.item() for name, value in tensors.items() if name.endswith(".step")}
    assert steps == {12.0}


@pytest.mark.parametrize(("num_zero", "num_longer"), [(1, 0), (0, 1), (0, 0)])
def test_a_part_without_iterations_is_left_out(
    num_zero: int, num_longer: int, base: Checkpoint, tmp_path: Path
) -> None:
    parts = {
        name: SHORT.model_copy(update={"iterations": count})
        for name, count in (("zero", num_zero), ("longer", num_longer))
    }
    scale = R1ZeroConfig(**parts, validation=LOOK, evaluation=LOOK)
    result = train_zero(new_run(tmp_path), base, scale, task(TrainingProblems(seed=0)))
    made = [name for name, part in parts.items() if part.iterations]
    assert result.path == (tmp_path / "stages" / made[-1] / "final" if made else base.path)
    assert [path.parent.name for path in sorted(tmp_path.glob("stages/*/final"))] == made
    assert [path.parent.name for path in sorted(tmp_path.glob("stages/*/skipped.json"))] == sorted({*parts} - {*made})


def test_a_model_without_a_training_cannot_be_continued(base: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no stage of reinforcement made this model"):
        open_training(base.path)
    with pytest.raises(ValueError, match="no state of a training by reinforcement to go on with"):
        train(tmp_path, base, SHORT, continues=True)


def test_a_training_goes_on_with_its_own_kind_of_optimizer(base: Checkpoint, tmp_path: Path) -> None:
    first = train(tmp_path / "first", base, SHORT.model_copy(update={"iterations": 1}))
    other = RLConfig.model_validate({**SHORT.model_dump(), "optimizer": {"state": "8-bit"}})
    with pytest.raises(ValueError, match=r"state: float32 -> 8-bit since .*first"):
        train(tmp_path / "rest", open_training(first.path), other, continues=True)
    with pytest.raises(ValueError, match=r"--longer.optimizer.state must be float32, not 8-bit"):
        R1ZeroConfig(zero=SHORT, longer=other, validation=LOOK, evaluation=LOOK)
