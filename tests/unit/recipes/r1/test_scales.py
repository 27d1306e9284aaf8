"""The scales of the R1 recipe say what the papers say, and every field of its configuration changes what it does."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import pytest
from leaves import leaves, value_of, with_value
from pydantic import ValidationError
from run_requests import train_built_in
from tiny import letters_tokenizer, tiny_config, tiny_policy

from aha.algorithms.catalogue import ALGORITHMS
from aha.prompts.templates import bare
from aha.recipes.base_model import open_base
from aha.recipes.r1 import scales as r1_scales
from aha.recipes.r1.record import FIGURE as PIPELINE
from aha.recipes.r1.scales import R1_SCALES, R1Config, RewardsConfig, StudentsConfig
from aha.recipes.scales import R1ZeroConfig
from aha.runs.config import Config
from aha.runs.folder import RunFolder
from aha.runs.shards import count_shards, read_rows, read_shard
from aha.stages.config import (
    EvaluationConfig,
    PretrainConfig,
    RejectionConfig,
    RewardModelConfig,
    RLConfig,
    SupervisedConfig,
)
from aha.stages.harvests.harvest import write_demonstrations
from aha.stages.reward_models.sources import InMemoryPreferences
from aha.stages.reward_models.train import HELPFULNESS, reward_model
from aha.stages.run import Interrupted, Run
from aha.stages.sft import sft
from aha.training.checkpoint import read_scorer, read_state, weights_digest, write_checkpoint
from aha.training.config import LoRAConfig, OptimizerConfig
from aha.types import Checkpoint, Demonstration, Preference

NewRun = Callable[[], Run]

# What the papers say

STAGE_1, STAGE_2 = "R1 v2 3.2.1", "R1 v2 3.2.2"
LOOPS = {
    "zero.zero": "R1 v2 2.1",
    "zero.longer": "R1 v2 2.1",
    "dev2": STAGE_1,
    "reasoning": STAGE_2,
    "scenarios": STAGE_2,
    "students.direct": "R1 v2 B.4.1",
}
ROUND = {"group_size": 16, "problems_per_iteration": 512, "num_minibatches": 16, "algorithm.kl_coef": 0.001}
PRINTED = {"algorithm.kl_estimator": "k3", "algorithm.aggregation": "sequence"}
"""GRPO as DeepSeekMath prints it."""
FINE_TUNED = {"dev3": "R1 v2 B.4.2", "students.qwen2": "R1 v2 B.4.3", "students.llama": "R1 v2 B.4.3"}
TUNING = {"epochs": 2, "batch_size": 64, "max_tokens": 32_768, "optimizer.final_share": 0.1}

PAPER: list[tuple[str, float | str, str]] = [
    *((f"{loop}.{field}", value, where) for loop, where in LOOPS.items() for field, value in ROUND.items()),
    *((f"{loop}.{field}", value, "DeepSeekMath, Eq. 3") for loop in LOOPS for field, value in PRINTED.items()),
    *((f"{loop}.reference_every", 400, where) for loop, where in LOOPS.items()),
    *((f"{loop}.max_new_tokens", 32_768, where) for loop, where in LOOPS.items() if loop != "zero.longer"),
    ("zero.longer.max_new_tokens", 65_536, "R1 v2 2.1, from step 8,200 on"),
    *((f"{loop}.optimizer.learning_rate", 3e-6, LOOPS[loop]) for loop in LOOPS if loop != "students.direct"),
    ("students.direct.optimizer.learning_rate", 2e-6, "R1 v2 B.4.1, R1-Zero-Qwen-32B"),
    *((f"{loop}.temperature", 1.0, LOOPS[loop]) for loop in ("zero.zero", "zero.longer", "dev2", "students.direct")),
    *((f"{loop}.temperature", 0.7, STAGE_2) for loop in ("reasoning", "scenarios")),
    *((f"{loop}.algorithm.clip_eps", 10.0, LOOPS[loop]) for loop in ("dev2", "reasoning", "scenarios")),
    ("zero.zero.iterations", 512, "8.2k steps of the first length cap, 16 a round"),
    ("zero.longer.iterations", 650 - 512, "10,400 steps in all, 16 a round"),
    ("reasoning.iterations", 81, f"{STAGE_2}: the first 1,300 of 1,700 steps, in whole rounds of 16"),
    ("scenarios.iterations", 25, f"{STAGE_2}: the last 400 of 1,700 steps, 16 a round"),
    ("students.direct.iterations", 650, "R1 v2 B.4.1: more than 10,000 steps, 16 a round"),
    *((f"{stage}.{field}", value, where) for stage, where in FINE_TUNED.items() for field, value in TUNING.items()),
    ("dev3.optimizer.learning_rate", 5e-6, "R1 v2 B.4.2"),
    ("students.qwen2.optimizer.learning_rate", 1e-4, "R1 v2 Table 6, Qwen 1.5B"),
    ("students.llama.optimizer.learning_rate", 5e-5, "R1 v2 Table 6, Llama 8B"),
    ("cold.temperature", 1.0, "R1 v2 B.3.2"),
    ("num_general", 177_812, "R1 v2 Table 5"),
    ("rewards.helpful.num_problems", 66_000, "R1 v2 3.1"),
    ("rewards.helpful.num_samples", 2, "R1 v2 3.1: pairs"),
    ("rewards.safety.num_problems", 106_000, "R1 v2 3.1"),
    ("rewards.training.optimizer.learning_rate", 6e-6, "R1 v2 3.1"),
    ("rewards.training.batch_size", 256, "R1 v2 3.1"),
    ("rewards.training.epochs", 1, "R1 v2 3.1"),
    ("rewards.training.max_tokens", 8192, "R1 v2 3.1"),
    ("zero.evaluation.temperature", 0.6, "R1 v1 3, v2 D.1"),
    ("zero.evaluation.top_p", 0.95, "R1 v1 3, v2 D.1"),
    ("zero.evaluation.max_new_tokens", 32_768, "R1 v1 3, v2 D.1"),
    ("zero.evaluation.num_samples", 64, "R1 v2 D.1, AIME"),
    ("zero.evaluation.num_problems", 30, "AIME 2024"),
    ("zero.validation.num_samples", 16, "R1 v2 Fig 1"),
]
"""Every number of the papers that the recipe has a field for: its place, its value, its source."""

V3 = {"optimizer.grad_clip": 1.0, "optimizer.beta1": 0.9, "optimizer.beta2": 0.95}
"""What DeepSeek-V3 (arXiv:2412.19437v2), 4.2, says of the optimizer, and R1's papers do not."""

OPEN = {
    "optimizer.warmup_steps": "the papers do not report one",
    "optimizer.weight_decay": "the papers do not report one",
    "algorithm.ddof": "the papers do not say",
    "zero.zero.optimizer.final_share": "1 is constant",
    "zero.longer.optimizer.final_share": "1 is constant",
    "dev2.optimizer.final_share": "1 is constant",
    "reasoning.optimizer.final_share": "1 is constant",
    "scenarios.optimizer.final_share": "1 is constant",
    "students.direct.optimizer.final_share": "1 is constant",
    "zero.zero.algorithm.clip_eps": "r1-zero's is not reported",
    "zero.longer.algorithm.clip_eps": "r1-zero's is not reported",
    "students.direct.algorithm.clip_eps": "r1-zero's is not reported",
    "zero.validation": "how training is watched",
    "cold.num_problems": '"thousands": 4,000',
    "cold.num_samples": "the number is not reported",
    "cold.num_kept": "not reported",
    "cold.max_new_tokens": "the context of the fine-tuning that follows",
    "dev1": "not reported; those of r1 v2 b.4.2",
    "dev2.iterations": "its steps are not reported",
    "kept": "about 600k samples kept",
    "rewards.helpful.num_kept": "not reported",
    "rewards.helpful.temperature": "for the cold start",
    "rewards.helpful.max_new_tokens": "the context of the fine-tuning that follows",
    "rewards.safety.num_samples": "not reported",
    "rewards.safety.num_kept": "not reported",
    "rewards.safety.temperature": "for the cold start",
    "rewards.safety.max_new_tokens": "the context of the fine-tuning that follows",
    "rewards.training.optimizer.final_share": "schedule is not reported",
    "students.pretrain": "the built-in students' own pretraining",
    "students.further": "which the paper leaves to others",
}
"""Numbers, and whole parts, that the papers leave open, and how the documentation on the way to them says so."""

SHARED = ("optimizer.", "algorithm.")
"""Parts of `OPEN` that stand in several stages."""

HABITS = (
    "evaluate_every",
    "checkpoint_every",
    "shard_size",
    "processes",
    "state",
    "precision",
    "rank",
    "alpha",
    "targets",
)
"""Fields that decide how a run goes about its work, and no result that the papers report."""

GAPS = {
    "clip of R1-Zero": ("zero.zero.algorithm.clip_eps", "r1-zero's is not reported"),
    "steps of the first stage": ("dev2", "its steps are not reported"),
    "size of the cold start": ("cold", "thousands"),
    "warm-up in RL": ("dev2.optimizer.warmup_steps", "the papers do not report one for rl"),
    "weight decay in RL": ("dev2.optimizer.weight_decay", "the papers do not report one for rl"),
    "which student learned by RL": ("students.direct", "r1-zero-qwen-32b"),
    "its other name": ("students.direct", "qwen2.5-32b-zero"),
    "reasoning data of v1 and v2": ("kept", "626,933"),
    "general data of v1 and v2": ("num_general", "v1: about 200k"),
}
"""Where the papers are silent or contradict each other: the field that decides, and what its documentation says."""


def said(path: str) -> str:
    """The documentation on the way to a field, in small letters: of the module, and of each field on its path."""
    texts = [str(r1_scales.__doc__)]
    value: Any = R1_SCALES["paper"]
    for name in path.split("."):
        texts.append(str(type(value).model_fields[name].description))
        value = dict(value)[name]
    return " ".join(" ".join(texts).split()).lower()


def test_the_paper_scale_says_what_the_paper_says() -> None:
    for path, value, source in PAPER:
        assert value_of(R1_SCALES["paper"], path) == value, f"{path}: {source}"


def test_the_paper_scale_has_the_papers_steps() -> None:
    paper = R1_SCALES["paper"]
    for loop in LOOPS:
        config: RLConfig = value_of(paper, loop)
        assert config.problems_per_iteration * config.group_size == 8192
        assert config.problems_per_iteration / config.num_minibatches == 32
        assert config.reference_every / config.num_minibatches == 25
    updates = {loop: value_of(paper, loop).iterations * 16 for loop in LOOPS}
    assert updates["zero.zero"] + updates["zero.longer"] == 10_400
    assert (updates["reasoning"], updates["scenarios"]) == (1296, 400)
    assert 1700 - 16 < updates["reasoning"] + updates["scenarios"] <= 1700
    assert updates["students.direct"] > 10_000
    assert paper.kept.num_problems * paper.kept.num_kept == 600_000
    assert paper.dev1 == paper.dev3
    for name, value in V3.items():
        assert {value_of(paper, path) for path in leaves(paper) if path.endswith(name)} == {value}


def test_every_number_of_the_paper_scale_has_a_source_or_is_said_to_have_none() -> None:
    known = {path for path, _, _ in PAPER}
    for path in leaves(R1_SCALES["paper"]):
        is_habit, is_v3 = path.split(".")[-1] in HABITS, path.endswith(tuple(V3))
        words = [text for part, text in OPEN.items() if path.startswith(f"{part}.") or path == part]
        words += [text for part, text in OPEN.items() if part.startswith(SHARED) and path.endswith(f".{part}")]
        assert path in known or is_habit or is_v3 or words, f"{path} has no source"
        assert [text for text in words if text not in said(path)] == [], f"{path}: {said(path)}"


def test_what_the_papers_leave_open_is_said_where_it_is_decided() -> None:
    for gap in GAPS:
        path, words = GAPS[gap]
        assert words in said(path), gap


def test_defaults_are_the_papers() -> None:
    assert R1Config() == R1_SCALES["paper"]


@pytest.mark.parametrize("scale", ["tiny", "gpu"])
def test_a_smaller_scale_keeps_the_shape_of_the_paper(scale: str) -> None:
    smaller, paper = R1_SCALES[scale], R1_SCALES["paper"]
    shares = [
        one.scenarios.iterations / (one.reasoning.iterations + one.scenarios.iterations) for one in (smaller, paper)
    ]
    assert abs(shares[0] - shares[1]) < 0.01
    assert abs(shares[0] - 400 / 1700) < 0.01

    for loop in (*LOOPS, "students.further"):
        small, large = value_of(smaller, loop), value_of(paper, loop)
        for field in ("group_size", "temperature", "algorithm"):
            assert dict(small)[field] == dict(large)[field], f"{loop}.{field}"
    for stage in ("dev1", "dev3", "students.qwen2", "students.llama", "rewards.training"):
        small, large = value_of(smaller, stage), value_of(paper, stage)
        assert (small.epochs, small.optimizer.final_share) == (large.epochs, large.optimizer.final_share)
    assert smaller.rewards.helpful.num_samples >= 2


# Every field changes behaviour

LOOK = EvaluationConfig(num_problems=2, num_samples=2, max_new_tokens=8)
ONCE = RLConfig(
    iterations=1,
    problems_per_iteration=2,
    group_size=2,
    num_minibatches=1,
    max_new_tokens=8,
    evaluate_every=1,
    optimizer=OptimizerConfig(learning_rate=1e-5),
)
TUNED = SupervisedConfig(
    epochs=1, batch_size=1, max_tokens=128, optimizer=OptimizerConfig(learning_rate=2e-3, final_share=0.1)
)
IN_FEW_STEPS = TUNED.model_copy(update={"batch_size": 8})
"""For reward models and students: no later stage needs them to be any good."""
REAPED = RejectionConfig(num_problems=48, num_samples=4, num_kept=4, max_new_tokens=48, shard_size=128)
SMALLEST = R1Config(
    zero=R1ZeroConfig(zero=ONCE, longer=ONCE, validation=LOOK, evaluation=LOOK),
    cold=REAPED,
    dev1=TUNED,
    dev2=ONCE,
    kept=REAPED,
    num_general=300,
    dev3=TUNED,
    rewards=RewardsConfig(
        helpful=RejectionConfig(num_problems=120, num_samples=16, num_kept=16, max_new_tokens=48, shard_size=128),
        safety=REAPED,
        training=RewardModelConfig(**dict(IN_FEW_STEPS)),
    ),
    reasoning=ONCE,
    scenarios=ONCE,
    students=StudentsConfig(
        pretrain=PretrainConfig(drill_tokens=64, problem_tokens=64, batch_tokens=64, hidden_size=32, num_layers=1),
        qwen2=IN_FEW_STEPS,
        llama=IN_FEW_STEPS,
        direct=ONCE,
        further=ONCE,
    ),
)
"""The whole recipe with next to nothing to do."""

MADE_OF = {
    "zero": (),
    "longer": ("zero",),
    "cold": ("longer",),
    "dev1": ("cold",),
    "dev2": ("dev1",),
    "dev2-plain": ("dev1",),
    "kept": ("dev2",),
    "general": (),
    "dev3": ("kept", "general"),
    "helpfulness-train": ("dev3",),
    "helpfulness-validation": ("dev3",),
    "helpfulness": ("helpfulness-train", "helpfulness-validation"),
    "harmlessness-train": ("dev3",),
    "harmlessness-validation": ("dev3",),
    "harmlessness": ("harmlessness-train", "harmlessness-validation"),
    "reasoning": ("dev3",),
    "r1": ("reasoning", "helpfulness", "harmlessness"),
    "qwen2": (),
    "llama": (),
    "qwen2-distilled": ("qwen2", "kept", "general"),
    "llama-distilled": ("llama", "kept", "general"),
    "qwen2-rl": ("qwen2",),
    "qwen2-distilled-rl": ("qwen2-distilled",),
}
"""What each stage is made of, besides the base model."""

EXAMINED = {
    "start": "",
    "zero": "longer",
    **{name: name for name in ("dev1", "dev2", "dev2-plain", "dev3", "r1", "qwen2", "llama")},
    **{name: name for name in ("qwen2-distilled", "llama-distilled", "qwen2-rl", "qwen2-distilled-rl")},
}
"""Which stage's result each evaluation looks at."""

RATE, HEAT = ("optimizer.learning_rate", 3e-3), ("temperature", 0.8)


@dataclass(frozen=True)
class Change:
    """Another value of one field of a part of the recipe, and the stages that it reaches first."""

    field: str
    value: object
    reaches: tuple[str, ...]


CHANGES = {
    "zero.zero": Change(*RATE, ("zero",)),
    "num_general": Change("", 301, ("general",)),
    "rewards.helpful": Change("num_samples", 20, ("helpfulness-train", "helpfulness-validation")),
    "rewards.safety": Change(*HEAT, ("harmlessness-train", "harmlessness-validation")),
    "reasoning": Change(*RATE, ("reasoning",)),
    "students.pretrain": Change(*RATE, ("qwen2", "llama")),
}
"""Changes such that whatever a stage is made of is changed by one that leaves alone all else that it is made of.

That every setting reaches its own stages is shown in `test_settings.py`.
"""

SUPERVISED_CHANGES = {"epochs": 2, "batch_size": 3, "max_tokens": 24}
SUPERVISED_HABITS = {"checkpoint_every": 1}
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
"""Another value for each field. Changes must change a result; habits must change files and no result."""

LORA_CHANGES = {"rank": 3, "alpha": 2.0, "targets": ("q_proj",)}

OF_POLICIES = {"optimizer.lora"}
"""Settings that a reward model, which has a head to learn from nothing, refuses: its head is no adapter."""

REJECTION_FIELDS = (
    "num_problems",
    "num_samples",
    "num_kept",
    "temperature",
    "max_new_tokens",
    "shard_size",
    "precision",
)
REJECTIONS = {
    "cold": "cold",
    "kept": "kept",
    "rewards.helpful": "helpfulness-train",
    "rewards.safety": "harmlessness-train",
}
"""The parts that sample and keep, and a stage of each."""


def configurations(kind: type[Config]) -> set[type[Config]]:
    """A configuration and all that are inside it, at any depth."""
    kinds = [field.annotation for field in kind.model_fields.values()]
    choices = [choice for one in kinds for choice in (get_args(one) if isinstance(one, UnionType) else [one])]
    found = [configurations(choice) for choice in choices if isinstance(choice, type) and issubclass(choice, Config)]
    return {kind}.union(*found)


def test_no_field_is_left_out() -> None:
    assert {*SUPERVISED_CHANGES, *SUPERVISED_HABITS, "optimizer"} == {*SupervisedConfig.model_fields}
    assert {*OPTIMIZER_CHANGES} == {*OptimizerConfig.model_fields}
    assert {*LORA_CHANGES} == {*LoRAConfig.model_fields}
    assert {*REJECTION_FIELDS} == {*RejectionConfig.model_fields}
    assert {path for path in leaves(SMALLEST) if path.endswith(".shard_size")} == {
        f"{x}.shard_size" for x in REJECTIONS
    }
    elsewhere = {RLConfig, PretrainConfig, EvaluationConfig, OptimizerConfig, LoRAConfig, R1ZeroConfig}
    elsewhere |= {*ALGORITHMS.values()}
    here = {R1Config, RewardsConfig, StudentsConfig, SupervisedConfig, RewardModelConfig, RejectionConfig}
    assert configurations(R1Config) == here | elsewhere


def test_the_figure_names_every_stage() -> None:
    assert {stage for node in PIPELINE for stage in node.stages} == {*MADE_OF}


# Learning from given data


@pytest.fixture
def new_run(tmp_path_factory: pytest.TempPathFactory) -> NewRun:
    """Makes runs in folders of their own."""
    return lambda: Run(folder=RunFolder(tmp_path_factory.mktemp("run")), seed=0)


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random policy that knows eight letters."""
    path = tmp_path_factory.mktemp("speller") / "model"
    write_checkpoint(path, tiny_policy(tiny_config()), letters_tokenizer(), state={})
    return open_base(path)


def spelled(number: int, count: int) -> str:
    """Some letters, others for every number."""
    return " ".join("abcdefgh"[(number * 5 + place * (number + 3)) % 8] for place in range(count))


def tune(run: Run, policy: Checkpoint, config: SupervisedConfig) -> str:
    """Digest of the weights after fine-tuning on twelve demonstrations."""
    rows = [
        Demonstration(
            problem_id=str(number),
            question=spelled(number, 3),
            response=spelled(number + 1, 4 + number % 9),
            domain="letters",
            language="en",
            source="test",
        )
        for number in range(12)
    ]
    data = write_demonstrations(run, "given", rows, key=repr(rows))
    tuned = sft(run, "stage", policy=policy, data=[data], config=config, template=bare)
    return weights_digest(tuned.path)


def rank(run: Run, policy: Checkpoint, config: SupervisedConfig) -> str:
    """The weights after a reward model's training on twelve comparisons, of responses of up to 30 tokens."""
    compared = InMemoryPreferences(
        preferences=[
            Preference(
                problem_id=str(number),
                prompt=spelled(number, 3),
                responses=(spelled(number, 4 + 2 * number), spelled(number + 1, 30)),
                qualities=(0.0, 1.0),
                source="test",
            )
            for number in range(12)
        ]
    )
    trained = reward_model(
        run, "stage", policy=policy, data=compared, held_out=compared, config=config, kind=HELPFULNESS
    )
    model, _ = read_scorer(trained.path)
    return str({name: weight.tolist() for name, weight in model.state_dict().items()})


LEARNERS = {"fine-tuning": tune, "a reward model": rank}
LEARNED = SupervisedConfig(
    epochs=1, batch_size=4, max_tokens=40, optimizer=OptimizerConfig(learning_rate=1e-2, final_share=0.1)
)


def seen_checkpoints(run: Run) -> set[str]:
    """A set to which the run adds, at the end of every update, the checkpoints that are there."""
    seen: set[str] = set()
    run.report = lambda *_: seen.update(path.name for path in run.folder.path.glob("stages/*/iteration-*"))
    return seen


@pytest.mark.full
@pytest.mark.parametrize("learner", LEARNERS)
def test_every_setting_of_learning_from_data_counts(learner: str, speller: Checkpoint, new_run: NewRun) -> None:
    learn = LEARNERS[learner]
    small = LEARNED if learner == "a reward model" else with_value(LEARNED, "batch_size", 2)
    once = learn(new_run(), speller, small)
    assert learn(new_run(), speller, small) == once
    changes = {**SUPERVISED_CHANGES, **{f"optimizer.{name}": value for name, value in OPTIMIZER_CHANGES.items()}}
    refused = OF_POLICIES if learner == "a reward model" else set()
    for name in changes.keys() - refused:
        assert learn(new_run(), speller, with_value(small, name, changes[name])) != once, name
    for name in refused:
        with pytest.raises(ValueError, match="fine-tuning"):
            learn(new_run(), speller, with_value(small, name, changes[name]))


@pytest.mark.full
def test_every_setting_of_adapters_counts_in_fine_tuning(speller: Checkpoint, new_run: NewRun) -> None:
    adapted = with_value(LEARNED, "optimizer.lora.rank", 2)
    changed = [with_value(adapted, f"optimizer.lora.{name}", value) for name, value in LORA_CHANGES.items()]
    digests = {tune(new_run(), speller, config) for config in (adapted, *changed)}
    assert len(digests) == 1 + len(changed)


@pytest.mark.full
@pytest.mark.parametrize("learner", LEARNERS)
def test_how_often_learning_from_data_saves_changes_no_result(
    learner: str, speller: Checkpoint, new_run: NewRun
) -> None:
    learn, seldom, often = LEARNERS[learner], new_run(), new_run()
    none, some = seen_checkpoints(seldom), seen_checkpoints(often)
    frequent = with_value(LEARNED, "checkpoint_every", SUPERVISED_HABITS["checkpoint_every"])
    assert learn(seldom, speller, with_value(LEARNED, "epochs", 2)) == learn(
        often, speller, with_value(frequent, "epochs", 2)
    )
    assert not none
    assert "iteration-000001" in some


# The recipe


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the whole recipe."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train_built_in(Run(folder=RunFolder(folder), seed=0), open_base(), SMALLEST)
    return folder


def made_from(stages: tuple[str, ...]) -> set[str]:
    """Some stages, and all that are made from them."""
    found = {*stages}
    for stage, parents in MADE_OF.items():
        if not found.isdisjoint(parents):
            found.add(stage)
    return found


@pytest.mark.parametrize("stage", MADE_OF)
def test_some_change_tells_what_a_stage_is_made_of_apart(stage: str) -> None:
    """One setting makes both splits of a reward model's data; they count as one."""
    parents = {*MADE_OF[stage]}
    changed = [made_from(change.reaches) & parents for change in CHANGES.values()]
    for parent in parents:
        splits = {name for name in parents if name.split("-")[0] == parent.split("-")[0]}
        assert splits in changed, parent


def copied(whole: Path, folder: Path, *, without: set[str]) -> Run:
    """A run that has done everything except some stages."""
    shutil.copytree(whole, folder)
    for stage in without:
        shutil.rmtree(folder / "stages" / stage)
    return Run(folder=RunFolder(folder), seed=0)


def keys(folder: Path) -> dict[str, str]:
    """The key of every stage and of every evaluation."""
    found = {}
    for stage in MADE_OF:
        data, model = folder / "stages" / stage / "data.json", folder / "stages" / stage / "final"
        found[stage] = json.loads(data.read_text())["key"] if data.exists() else read_state(model)[0]["key"]
    for path in (folder / "stages").glob("evaluation-*.json"):
        found[path.stem] = json.loads(path.read_text())["key"]
    return found


def course(folder: Path, stage: str) -> str:
    """What a stage has logged, without the seconds, what it has sampled, and how many rows it holds."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in lines if row["stage"] == stage]
    logged = [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]
    sampled = [gzip.decompress(path.read_bytes()) for path in sorted((folder / "rollouts").glob(f"{stage}-0*"))]
    data = folder / "stages" / stage / "data.json"
    return str((logged, sampled, json.loads(data.read_text())["num_rows"] if data.exists() else 0))


def examinations(stages: set[str]) -> set[str]:
    """The evaluations of what these stages make."""
    names = [name for name, stage in EXAMINED.items() if stage in stages]
    return {f"evaluation-{name}{kind}" for name in names for kind in ("", "-general")}


@pytest.mark.full
@pytest.mark.parametrize("part", CHANGES)
def test_a_change_reaches_all_that_is_made_of_it_and_nothing_else(part: str, whole: Path, tmp_path: Path) -> None:
    change = CHANGES[part]
    config = with_value(SMALLEST, f"{part}.{change.field}".strip("."), change.value)
    remade = made_from(change.reaches)
    train_built_in(copied(whole, tmp_path / "run", without=remade), open_base(), config)
    before, after = keys(whole), keys(tmp_path / "run")
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == remade | examinations(remade)
    for stage in change.reaches:
        assert course(whole, stage) != course(tmp_path / "run", stage), stage


@pytest.mark.full
def test_how_models_are_evaluated_reaches_the_evaluations_alone(whole: Path, tmp_path: Path) -> None:
    config = with_value(SMALLEST, "zero.evaluation.num_samples", 3)
    train_built_in(copied(whole, tmp_path / "run", without=set()), open_base(), config)
    before, after = keys(whole), keys(tmp_path / "run")
    assert {name for name in before if before[name] != after[name]} == examinations({"", *MADE_OF})


@pytest.mark.full
def test_students_that_are_given_are_not_pretrained(whole: Path, tmp_path: Path) -> None:
    given = [open_base(whole / "stages" / family / "final") for family in ("qwen2", "llama")]
    remade = made_from(("qwen2", "llama"))
    train_built_in(copied(whole, tmp_path / "run", without=remade), open_base(), SMALLEST, given)
    made = {path.parent.name for path in (tmp_path / "run" / "stages").glob("*/final")}
    assert made & {*MADE_OF} == {path.parent.name for path in (whole / "stages").glob("*/final")} - {"qwen2", "llama"}
    for family, student in zip(("qwen2", "llama"), given, strict=True):
        state, _ = read_state(tmp_path / "run" / "stages" / f"{family}-distilled" / "final")
        assert state["parents"][0] == student.key


@dataclass(frozen=True)
class Harvest:
    """What a harvest has written."""

    rows: list[dict[str, Any]]
    tokens: list[list[int]]
    num_items: int
    num_shards: int


def reap(whole: Path, folder: Path, part: str, config: RejectionConfig) -> Harvest:
    """Run the recipe to the end of one harvest."""
    stage = REJECTIONS[part]
    run = copied(whole, folder, without=made_from((stage,)))

    def report(name: str, done: int, total: int, _: object) -> None:
        run._asked_to_stop = name == stage and done == total

    run.report = report
    with pytest.raises(Interrupted, match=f"of stage '{stage}'"):
        train_built_in(
            run, open_base(), with_value(SMALLEST, part, config) if config != value_of(SMALLEST, part) else SMALLEST
        )
    path = folder / "stages" / stage
    sampled = gzip.decompress((folder / "rollouts" / f"{stage}-000000.jsonl.gz").read_bytes()).decode()
    shards = [read_shard(path, number) for number in range(count_shards(path))]
    return Harvest(
        rows=list(read_rows(path)),
        tokens=[json.loads(line)["tokens"] for line in sampled.splitlines()],
        num_items=sum(shard.counts["items"] for shard in shards),
        num_shards=len(shards),
    )


@pytest.mark.full
def test_every_setting_of_a_harvest_of_preferences_counts(whole: Path, tmp_path: Path) -> None:
    """Of rejection sampling, which keeps single responses, it is shown in `unit/stages/test_settings.py`."""
    config = SMALLEST.rewards.safety
    places = iter(range(9))

    def reaped(**changes: object) -> Harvest:
        new = RejectionConfig.model_validate({**dict(config), **changes})
        return reap(whole, tmp_path / str(next(places)), "rewards.safety", new)

    once = reaped()
    assert asdict(reaped()) == asdict(once)
    assert once.num_items == config.num_problems * config.num_samples
    assert max(map(len, once.tokens)) > 12

    assert reaped(num_problems=40).num_items == 40 * config.num_samples
    assert reaped(num_samples=2).num_items == config.num_problems * 2
    assert reaped(temperature=0.5).tokens != once.tokens
    assert max(map(len, reaped(max_new_tokens=12).tokens)) <= 12
    in_parts = reaped(shard_size=20)
    assert (in_parts.rows, in_parts.num_items) == (once.rows, once.num_items)
    assert (in_parts.num_shards, once.num_shards) == (-(-config.num_problems // 20), 1)
    assert reaped(precision="bfloat16").tokens != once.tokens
    fewer = reaped(num_kept=2)
    assert max(len(row["responses"]) for row in once.rows) > 2
    assert max(len(row["responses"]) for row in fewer.rows) == 2


@pytest.mark.parametrize(
    "path",
    [
        *("cold.num_samples", "kept.num_samples", "rewards.helpful.num_samples", "rewards.safety.num_samples"),
        *("dev2.group_size", "reasoning.group_size", "scenarios.group_size"),
        *("students.direct.group_size", "students.further.group_size"),
    ],
)
def test_groups_that_the_processes_cannot_share_out_are_refused(path: str) -> None:
    paired = with_value(R1_SCALES["paper"], "zero.processes", 2)
    assert paired.processes == 2
    option = path.replace("_", "-")
    with pytest.raises(ValidationError, match=f"--{option}: 5 cannot be shared out evenly by --zero.processes 2"):
        with_value(paired, path, 5)


def test_a_loop_that_is_left_out_need_not_be_shared_out() -> None:
    without = with_value(with_value(R1_SCALES["paper"], "zero.processes", 2), "dev2.iterations", 0)
    assert with_value(without, "dev2.group_size", 5).dev2.group_size == 5


def test_the_gpu_scale_computes_in_bfloat16_everywhere() -> None:
    gpu = R1_SCALES["gpu"]
    found = {path: value_of(gpu, path) for path in leaves(gpu) if path.endswith("precision")}
    of_pretraining = {"students.pretrain.optimizer.precision"}
    assert {path for path, value in found.items() if value != "bfloat16"} == of_pretraining
    assert len(found) > 15
