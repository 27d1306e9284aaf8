"""Every field of every configuration of a run changes what the run does, and the scales say what the papers say."""

import gzip
import json
from collections.abc import Callable
from typing import TypeVar

import pytest
from pydantic import ValidationError
from tiny import evenness

from aha.algorithms.grpo import GRPO
from aha.algorithms.grpo_sequence import GRPOSequence
from aha.commands.evaluation import EvaluationOrder, evaluate_order
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.recipes.own.assignment import assigned
from aha.recipes.own.own_data import OwnData
from aha.recipes.r1.scales import R1Config
from aha.recipes.r1_zero import r1_zero
from aha.recipes.scales import BASE_SCALES, R1_ZERO_SCALES, BaseConfig, R1ZeroConfig, with_algorithm
from aha.rewards.accuracy import COMPARERS
from aha.runs.config import Config
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, PretrainConfig, RLConfig
from aha.stages.evaluate import evaluate
from aha.stages.pretrain import pretrain
from aha.stages.rl import rl
from aha.stages.run import Run
from aha.stages.task import Task, Validation
from aha.training.checkpoint import weights_digest
from aha.training.config import LoRAConfig, OptimizerConfig
from aha.types import Checkpoint

NewRun = Callable[[], Run]
SomeConfig = TypeVar("SomeConfig", bound=Config)

LOOK = EvaluationConfig(num_problems=3, num_samples=2, temperature=1.0, top_p=1.0, max_new_tokens=6)
FAST = OptimizerConfig(learning_rate=1e-2)
SHORT = RLConfig(
    iterations=2,
    problems_per_iteration=3,
    group_size=4,
    num_minibatches=2,
    max_new_tokens=8,
    algorithm=GRPO(kl_coef=0.1),
    evaluate_every=3,
    optimizer=FAST,
)
BRIEF = PretrainConfig(
    drill_tokens=128, problem_tokens=64, batch_tokens=64, hidden_size=32, num_layers=1, optimizer=FAST
)
ONCE = SHORT.model_copy(update={"iterations": 1, "evaluate_every": 1})

OPTIMIZER_CHANGES = {
    "learning_rate": 2e-2,
    "warmup_steps": 3,
    "final_share": 0.5,
    "grad_clip": 1e-3,
    "beta1": 0.5,
    "beta2": 0.5,
    "weight_decay": 1.0,
    "state": "8-bit",
    "precision": "bfloat16",
    "lora": {"rank": 2},
}
LORA_CHANGES = {"rank": 3, "alpha": 2.0, "targets": ("q_proj",)}
NOT_PRETRAINING = {"state", "precision", "lora"}
"""Settings of the optimizer that pretraining, which has two of them, refuses."""
RL_CHANGES = {
    "iterations": 3,
    "problems_per_iteration": 4,
    "group_size": 6,
    "num_minibatches": 3,
    "max_new_tokens": 9,
    "temperature": 0.7,
    "algorithm": {"name": "grpo_sequence", "kl_coef": 0.1},
    "reference_every": 1,
}
ALGORITHM_CHANGES = {
    "clip_eps": 1e-3,
    "kl_coef": 0.2,
    "ddof": 1,
    "kl_estimator": "k2",
    "aggregation": "token",
}
RL_HABITS = {"evaluate_every": 1, "checkpoint_every": 1}
PRETRAIN_CHANGES = {
    "drill_tokens": 192,
    "problem_tokens": 128,
    "batch_tokens": 96,
    "hidden_size": 64,
    "num_layers": 2,
}
PRETRAIN_HABITS = {"checkpoint_every": 1}
EVALUATION_CHANGES = {
    "num_samples": 3,
    "temperature": 0.5,
    "top_p": 0.3,
    "max_new_tokens": 7,
    "precision": "bfloat16",
}
"""Another value for each field. Changes must change a result; habits must change files and no result."""


def changed(config: SomeConfig, name: str, value: object) -> SomeConfig:
    """The configuration with another value in one field, checked as the command line would."""
    fields = config.model_dump()
    assert fields[name] != value
    return type(config).model_validate({**fields, name: value})


@pytest.fixture(scope="module")
def new_run(tmp_path_factory: pytest.TempPathFactory) -> NewRun:
    """Makes runs in folders of their own."""
    return lambda: Run(folder=RunFolder(tmp_path_factory.mktemp("run")), seed=0)


def train(run: Run, base: Checkpoint, config: RLConfig) -> str:
    """Digest of the weights after reinforcement learning."""
    watched = Validation(problems=held_out_problems("validation", 2), config=LOOK)
    reward = {domain: {evenness: 1.0} for domain in COMPARERS}
    task = Task(problems=TrainingProblems(seed=0), reward=reward, validation=watched)
    return weights_digest(rl(run, "zero", policy=base, task=task, config=config).path)


def read_corpus(run: Run, config: PretrainConfig) -> str:
    """Digest of the weights after pretraining."""
    return weights_digest(pretrain(run, "base", config=config).path)


def logged(run: Run, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run.folder.path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def watch_checkpoints(run: Run) -> set[str]:
    """A set to which the run adds, at the end of every iteration, the checkpoints that are there."""
    seen: set[str] = set()
    run.report = lambda *_: seen.update(path.name for path in run.folder.path.glob("stages/*/iteration-*"))
    return seen


def test_no_field_is_left_out() -> None:
    assert {*OPTIMIZER_CHANGES} == {*OptimizerConfig.model_fields}
    assert {*LORA_CHANGES} == {*LoRAConfig.model_fields}
    assert {*RL_CHANGES, *RL_HABITS, "optimizer"} == {*RLConfig.model_fields}
    assert {*ALGORITHM_CHANGES, "name"} == {*GRPO.model_fields}
    assert {*PRETRAIN_CHANGES, *PRETRAIN_HABITS, "optimizer"} == {*PretrainConfig.model_fields}
    assert {*EVALUATION_CHANGES, "num_problems"} == {*EvaluationConfig.model_fields}
    assert {"zero", "longer", "validation", "evaluation", "processes"} == {*R1ZeroConfig.model_fields}
    assert {"pretrain", "processes"} == {*BaseConfig.model_fields}


# Reinforcement learning


@pytest.fixture(scope="module")
def trained(base: Checkpoint, new_run: NewRun) -> str:
    """What the settings that all others are compared with train."""
    return train(new_run(), base, SHORT)


@pytest.mark.full
@pytest.mark.parametrize("name", RL_CHANGES)
def test_every_setting_of_rl_trains_another_policy(name: str, base: Checkpoint, trained: str, new_run: NewRun) -> None:
    assert train(new_run(), base, changed(SHORT, name, RL_CHANGES[name])) != trained


@pytest.mark.full
@pytest.mark.parametrize("name", ALGORITHM_CHANGES)
def test_every_setting_of_the_algorithm_trains_another_policy(
    name: str, base: Checkpoint, trained: str, new_run: NewRun
) -> None:
    algorithm = changed(SHORT.algorithm, name, ALGORITHM_CHANGES[name])
    assert train(new_run(), base, changed(SHORT, "algorithm", algorithm)) != trained


@pytest.mark.full
@pytest.mark.parametrize("name", OPTIMIZER_CHANGES)
def test_every_setting_of_the_optimizer_trains_another_policy(
    name: str, base: Checkpoint, trained: str, new_run: NewRun
) -> None:
    optimizer = changed(FAST, name, OPTIMIZER_CHANGES[name])
    assert train(new_run(), base, changed(SHORT, "optimizer", optimizer)) != trained


@pytest.mark.full
def test_every_setting_of_adapters_trains_another_policy(base: Checkpoint, new_run: NewRun) -> None:
    adapters = LoRAConfig(rank=2)
    variants = [adapters, *(changed(adapters, name, value) for name, value in LORA_CHANGES.items())]
    digests = [
        train(new_run(), base, changed(SHORT, "optimizer", changed(FAST, "lora", variant))) for variant in variants
    ]
    assert len({*digests}) == len(variants)


def test_where_the_moments_lie_changes_no_result(base: Checkpoint, trained: str, new_run: NewRun) -> None:
    assert train(new_run(), base, changed(SHORT, "optimizer", changed(FAST, "state", "host"))) == trained


def test_how_often_rl_is_watched_and_saves_changes_no_result(base: Checkpoint, trained: str, new_run: NewRun) -> None:
    seldom, often = new_run(), new_run()
    none, some = watch_checkpoints(seldom), watch_checkpoints(often)
    assert train(seldom, base, SHORT) == trained != weights_digest(base.path)
    assert train(often, base, SHORT.model_copy(update=RL_HABITS)) == trained
    assert [row["iteration"] for row in logged(seldom, "evaluations")] == [-1]
    assert [row["iteration"] for row in logged(often, "evaluations")] == [-1, 0, 1]
    assert (none, some) == (set(), {"iteration-000001"})


# Pretraining


@pytest.fixture(scope="module")
def pretrained(new_run: NewRun) -> str:
    """What the settings that all others are compared with make."""
    return read_corpus(new_run(), BRIEF)


@pytest.mark.full
@pytest.mark.parametrize("name", PRETRAIN_CHANGES)
def test_every_setting_of_pretraining_makes_another_model(name: str, pretrained: str, new_run: NewRun) -> None:
    assert read_corpus(new_run(), changed(BRIEF, name, PRETRAIN_CHANGES[name])) != pretrained


@pytest.mark.parametrize("name", sorted(NOT_PRETRAINING))
def test_pretraining_refuses_what_it_cannot_do(name: str, new_run: NewRun) -> None:
    optimizer = changed(FAST, name, OPTIMIZER_CHANGES[name])
    with pytest.raises(ValueError, match="for reinforcement learning and fine-tuning"):
        read_corpus(new_run(), changed(BRIEF, "optimizer", optimizer))


@pytest.mark.full
@pytest.mark.parametrize("name", sorted({*OPTIMIZER_CHANGES} - NOT_PRETRAINING))
def test_every_setting_of_its_optimizer_makes_another_model(name: str, pretrained: str, new_run: NewRun) -> None:
    optimizer = changed(FAST, name, OPTIMIZER_CHANGES[name])
    assert read_corpus(new_run(), changed(BRIEF, "optimizer", optimizer)) != pretrained


def test_the_phases_of_pretraining_are_not_the_same(pretrained: str, new_run: NewRun) -> None:
    swapped = changed(changed(BRIEF, "drill_tokens", BRIEF.problem_tokens), "problem_tokens", BRIEF.drill_tokens)
    assert read_corpus(new_run(), swapped) != pretrained


def test_how_often_pretraining_saves_changes_no_result(pretrained: str, new_run: NewRun) -> None:
    seldom, often = new_run(), new_run()
    none, some = watch_checkpoints(seldom), watch_checkpoints(often)
    assert read_corpus(seldom, BRIEF) == pretrained
    assert read_corpus(often, changed(BRIEF, "checkpoint_every", PRETRAIN_HABITS["checkpoint_every"])) == pretrained
    assert (none, some) == (set(), {"iteration-000001", "iteration-000002"})


# Evaluation


def look(run: Run, base: Checkpoint, config: EvaluationConfig) -> list[list[int]]:
    """Tokens of everything that an evaluation samples."""
    evaluate(run, "look", policy=base, problems=held_out_problems("test", 3), config=config)
    text = gzip.decompress((run.folder.path / "rollouts" / "evaluation-look.jsonl.gz").read_bytes()).decode()
    return [json.loads(line)["tokens"] for line in text.splitlines()]


@pytest.fixture(scope="module")
def sampled(base: Checkpoint, new_run: NewRun) -> list[list[int]]:
    """What the settings that all others are compared with sample."""
    return look(new_run(), base, LOOK)


def test_the_same_settings_sample_the_same(base: Checkpoint, sampled: list[list[int]], new_run: NewRun) -> None:
    assert look(new_run(), base, LOOK) == sampled


@pytest.mark.parametrize("name", EVALUATION_CHANGES)
def test_every_setting_of_evaluation_samples_something_else(
    name: str, base: Checkpoint, sampled: list[list[int]], new_run: NewRun
) -> None:
    assert look(new_run(), base, changed(LOOK, name, EVALUATION_CHANGES[name])) != sampled


COUNTS = [("num_problems", 1), ("num_problems", 5), ("num_samples", 1), ("num_samples", 3)]


@pytest.mark.parametrize(("name", "count"), COUNTS)
def test_as_many_problems_and_samples_are_taken_as_were_asked_for(name: str, count: int, base: Checkpoint) -> None:
    config = changed(LOOK, name, count)
    report, _ = evaluate_order(EvaluationOrder(model=str(base.path), config=config, seed=0))
    assert report.row("pass@1").n == config.num_problems
    assert report.row(f"cons@{config.num_samples}").n == config.num_problems


# Recipes


@pytest.mark.usefixtures("few_are_measured")
def test_every_part_of_r1_zero_has_its_own_settings(base: Checkpoint, new_run: NewRun) -> None:
    config = R1ZeroConfig(
        zero=ONCE,
        longer=changed(ONCE, "iterations", 2),
        validation=changed(LOOK, "num_samples", 3),
        evaluation=changed(LOOK, "num_samples", 4),
    )
    run = new_run()
    with assigned(OwnData(), base, config, seed=run.seed) as assignment:
        r1_zero(run, base, config, assignment)
    iterations = [row["stage"] for row in logged(run, "metrics")]
    samples = {row["name"]: row["report"]["decoding"]["num_samples"] for row in logged(run, "evaluations")}
    assert [iterations.count(stage) for stage in ("zero", "longer")] == [1, 2]
    assert samples["validation"] == 3
    assert [samples[key] for key in ("start", "start-hard", "end", "end-hard")] == [4] * 4


def test_the_base_recipe_pretrains_with_its_settings(new_run: NewRun, pretrained: str) -> None:
    from aha.recipes.base_model import base as base_recipe

    made = [base_recipe(new_run(), BaseConfig(pretrain=p)) for p in (BRIEF, changed(BRIEF, "num_layers", 2))]
    digests = [weights_digest(checkpoint.path) for checkpoint in made]
    assert digests[0] == pretrained != digests[1]


def test_groups_that_the_processes_cannot_share_out_are_refused() -> None:
    for name, field in (("zero", "group_size"), ("longer", "group_size"), ("validation", "num_samples")):
        with pytest.raises(ValidationError, match=f"--{name}.{field.replace('_', '-')}: 5 cannot be shared out evenly"):
            R1ZeroConfig.model_validate({name: {field: 5}, "processes": 2})
    assert R1ZeroConfig(processes=4).processes == 4
    assert R1ZeroConfig.model_validate({"zero": {"group_size": 5, "iterations": 0}, "processes": 2}).parts.keys() == {
        "longer"
    }


# What the scales say


def test_the_paper_scale_is_the_paper() -> None:
    """Source: DeepSeek-R1, arXiv:2501.12948v2, sections 2.1 and D.1."""
    paper = R1_ZERO_SCALES["paper"]
    for stage in (paper.zero, paper.longer):
        assert stage.optimizer.learning_rate == 3e-6
        assert (stage.optimizer.warmup_steps, stage.optimizer.final_share) == (0, 1.0)
        assert (stage.algorithm.kl_coef, stage.temperature) == (0.001, 1.0)
        assert (stage.group_size, stage.reference_every) == (16, 400)
        assert stage.problems_per_iteration * stage.group_size == 8192
        assert (stage.problems_per_iteration / stage.num_minibatches, stage.num_minibatches) == (32, 16)
    assert (paper.zero.max_new_tokens, paper.longer.max_new_tokens) == (32768, 65536)
    updates = [stage.iterations * stage.num_minibatches for stage in (paper.zero, paper.longer)]
    assert round(updates[0], -2) == 8200
    assert sum(updates) == 10400
    evaluation = paper.evaluation
    assert (evaluation.temperature, evaluation.top_p, evaluation.max_new_tokens) == (0.6, 0.95, 32768)
    assert (evaluation.num_samples, paper.validation.num_samples) == (64, 16)


def test_defaults_are_the_papers() -> None:
    assert R1ZeroConfig() == R1_ZERO_SCALES["paper"]


@pytest.mark.parametrize("scale", ["tiny", "gpu"])
def test_a_smaller_scale_keeps_the_shape_of_the_paper(scale: str) -> None:
    smaller, paper = R1_ZERO_SCALES[scale], R1_ZERO_SCALES["paper"]
    for small, large in ((smaller.zero, paper.zero), (smaller.longer, paper.longer)):
        assert (small.group_size, small.temperature) == (large.group_size, large.temperature)
        assert small.algorithm == large.algorithm
    assert smaller.longer.max_new_tokens > smaller.zero.max_new_tokens
    assert (smaller.evaluation.temperature, smaller.evaluation.top_p) == (0.6, 0.95)
    assert smaller.evaluation.num_samples == 16


def test_another_algorithm_has_the_settings_that_it_shares_with_the_one_of_the_scale() -> None:
    grpo = GRPO(clip_eps=0.3, kl_coef=0.5, ddof=1, aggregation="token")
    scale = R1Config(zero=R1ZeroConfig(longer=RLConfig(algorithm=grpo)), dev2=RLConfig(algorithm=grpo))
    other = with_algorithm(scale, GRPOSequence)
    expected = GRPOSequence(clip_eps=0.3, kl_coef=0.5, ddof=1)
    assert other.dev2.algorithm == other.zero.longer.algorithm == expected
    assert other.zero.zero.algorithm == GRPOSequence()
    assert with_algorithm(other, GRPO).dev2.algorithm == grpo.model_copy(update={"aggregation": "sequence"})
    assert other.dev2.iterations == scale.dev2.iterations


def test_every_scale_of_the_base_is_one_of_r1_zero() -> None:
    assert {*BASE_SCALES} <= {*R1_ZERO_SCALES}


def test_nothing_warms_up_where_nobody_says_so() -> None:
    assert OptimizerConfig().warmup_steps == 0


@pytest.mark.parametrize(("before", "after"), [("float32", "8-bit"), ("8-bit", "float32")])
def test_a_part_that_goes_on_keeps_the_form_of_the_moments(before: str, after: str) -> None:
    first, second = (SHORT.model_dump() | {"optimizer": {"state": state}} for state in (before, after))
    message = f"--longer.optimizer.state must be {before}, not {after}"
    with pytest.raises(ValidationError, match=message):
        R1ZeroConfig.model_validate({"zero": first, "longer": second})
    assert R1ZeroConfig.model_validate({"zero": first, "longer": first}).longer.optimizer.state == before
