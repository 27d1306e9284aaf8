"""Every stage reads every setting that it is given, and its key holds those that decide its result.

What recipes give to which stage is shown in `unit/recipes/test_settings.py`; what each setting changes in
`unit/recipes/test_scales.py` and `test_r1_scales.py`, and for harvests here.
"""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from leaves import leaves, value_of, with_another_value
from tiny import evenness, letters_tokenizer, tiny_config, tiny_policy

from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.prompts.templates import bare
from aha.recipes.base_model import open_base
from aha.rewards.accuracy import COMPARERS
from aha.runs.config import Config
from aha.runs.folder import RunFolder
from aha.runs.shards import count_shards
from aha.stages.config import EvaluationConfig, PretrainConfig, RejectionConfig, RLConfig, SupervisedConfig
from aha.stages.evaluate import evaluate
from aha.stages.harvests.harvest import write_demonstrations
from aha.stages.harvests.rejection import Rejection, Sampling, rejection
from aha.stages.pretrain import pretrain
from aha.stages.reward_models.sources import InMemoryPreferences
from aha.stages.reward_models.train import HELPFULNESS, reward_model
from aha.stages.rl import rl
from aha.stages.run import Run, StageKey, stage_key
from aha.stages.sft import sft
from aha.stages.task import Task, Validation
from aha.training.checkpoint import write_checkpoint
from aha.training.config import LoRAConfig, OptimizerConfig
from aha.types import Checkpoint, Demonstration, Preference

LOOK = EvaluationConfig(num_problems=1, num_samples=2, max_new_tokens=4)
ADAPTED = OptimizerConfig(lora=LoRAConfig(rank=2))


def reinforce(run: Run, policy: Checkpoint, config: Any) -> None:
    watched = Validation(problems=held_out_problems("validation", 1), config=LOOK)
    reward = {domain: {evenness: 1.0} for domain in COMPARERS}
    task = Task(problems=TrainingProblems(seed=0), reward=reward, validation=watched, template=bare)
    rl(run, "stage", policy=policy, task=task, config=config)


def tune(run: Run, policy: Checkpoint, config: Any) -> None:
    row = Demonstration(
        problem_id="p", question="a b", response="b a c", domain="letters", language="en", source="test"
    )
    data = write_demonstrations(run, "given", [row], key="given")
    sft(run, "stage", policy=policy, data=[data], config=config, template=bare)


def rank(run: Run, policy: Checkpoint, config: Any) -> None:
    pair = Preference(problem_id="p", prompt="a b", responses=("a", "b c"), qualities=(0.0, 1.0), source="test")
    given = InMemoryPreferences(preferences=[pair])
    reward_model(run, "stage", policy=policy, data=given, held_out=given, config=config, kind=HELPFULNESS)


def reap(run: Run, policy: Checkpoint, config: Any) -> None:
    problems = held_out_problems("train", 3)
    sampling = Sampling(problems=problems, keep=Rejection(source="test"), template=bare)
    rejection(run, "stage", policy=policy, sampling=sampling, config=config)


def look(run: Run, policy: Checkpoint, config: Any) -> None:
    evaluate(run, "stage", policy=policy, problems=held_out_problems("test", 1), config=config)


def read_corpus(run: Run, _: Checkpoint, config: Any) -> None:
    pretrain(run, "stage", config=config)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage, and what is known of its settings.

    Attributes:
        start: runs it, small.
        module: where it is.
        config: its settings.
        unread: settings that it does not read.
        habits: settings that decide no result, so that its key does not hold them.
    """

    start: Callable[[Run, Checkpoint, Any], None]
    module: str
    config: Config
    unread: frozenset[str] = frozenset()
    habits: frozenset[str] = frozenset({"checkpoint_every"})


REFUSED = frozenset({"optimizer.lora.alpha", "optimizer.lora.targets"})
"""The stage refuses adapters as a whole: it reads their rank."""

OF_THE_RECIPE = frozenset({"num_problems", "num_kept"})
"""What the recipe makes the stage's other inputs from; `unit/recipes/test_settings.py` follows it."""

STAGES = {
    "reinforcement": Stage(
        start=reinforce,
        module="rl",
        config=RLConfig(
            iterations=2,
            problems_per_iteration=1,
            group_size=2,
            num_minibatches=1,
            max_new_tokens=4,
            checkpoint_every=1,
            optimizer=ADAPTED,
        ),
        habits=frozenset({"checkpoint_every", "evaluate_every"}),
    ),
    "fine-tuning": Stage(
        start=tune,
        module="sft",
        config=SupervisedConfig(epochs=2, max_tokens=16, checkpoint_every=1, optimizer=ADAPTED),
    ),
    "a reward model": Stage(
        start=rank,
        module="reward_models.train",
        config=SupervisedConfig(epochs=2, max_tokens=16, checkpoint_every=1),
        unread=REFUSED,
    ),
    "a harvest": Stage(
        start=reap,
        module="harvests.harvest",
        config=RejectionConfig(num_problems=3, num_samples=2, max_new_tokens=6, shard_size=1),
        unread=OF_THE_RECIPE,
        habits=frozenset(),
    ),
    "an evaluation": Stage(
        start=look, module="evaluate", config=LOOK, unread=frozenset({"num_problems"}), habits=frozenset()
    ),
    "pretraining": Stage(
        start=read_corpus,
        module="pretrain",
        config=PretrainConfig(
            drill_tokens=64, problem_tokens=64, batch_tokens=64, hidden_size=16, num_layers=1, checkpoint_every=1
        ),
        unread=REFUSED,
    ),
}
SETTINGS = [(name, path) for name, stage in STAGES.items() for path in leaves(stage.config)]

ESTIMATES = ("aha.training.memory", "aha.actors.workload")
"""Modules that say what a stage will need. Who estimates does nothing that a setting asks for."""


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random policy that knows eight letters."""
    path = tmp_path_factory.mktemp("speller") / "model"
    write_checkpoint(path, tiny_policy(tiny_config()), letters_tokenizer(), state={})
    return open_base(path)


@contextmanager
def reads() -> Iterator[set[tuple[type, str]]]:
    """Inside, the fields of configurations that are read: each a class and a name."""
    read: set[tuple[type, str]] = set()

    def note_and_read(self: Config, name: str) -> Any:
        if sys._getframe(1).f_globals["__name__"] not in ESTIMATES:
            read.add((type(self), name))
        return object.__getattribute__(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, "__getattribute__", note_and_read, raising=False)
        yield read


def field_at(config: Config, path: str) -> tuple[type, str]:
    """Class and name of the field at a dotted path."""
    outer, _, name = path.rpartition(".")
    return type(value_of(config, outer) if outer else config), name


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reads_every_setting(name: str, speller: Checkpoint, tmp_path: Path) -> None:
    stage = STAGES[name]
    run = Run(folder=RunFolder(tmp_path), seed=0)
    with reads() as read:
        stage.start(run, speller, stage.config)
    assert {path for path in leaves(stage.config) if field_at(stage.config, path) not in read} == stage.unread


class KeyKnownError(Exception):
    """Ends a stage as soon as its key is known."""


def key_of(stage: Stage, config: Config, speller: Checkpoint, folder: Path) -> str:
    """The key of a stage, which is not run."""

    def known(name: str, **inputs: Any) -> StageKey:
        raise KeyKnownError(stage_key(name, **inputs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"aha.stages.{stage.module}.stage_key", known)
        with pytest.raises(KeyKnownError) as ended:
            stage.start(Run(folder=RunFolder(folder), seed=0), speller, config)
    return str(ended.value)


@pytest.mark.parametrize(("name", "path"), SETTINGS)
def test_the_key_of_a_stage_holds_what_decides_its_result(
    name: str, path: str, speller: Checkpoint, tmp_path: Path
) -> None:
    """Otherwise another stage's result would be taken for its own, or its own thrown away for nothing."""
    stage = STAGES[name]
    key = key_of(stage, stage.config, speller, tmp_path)
    changed = key_of(stage, with_another_value(stage.config, path), speller, tmp_path)
    assert (changed == key) == (path in stage.habits)


def harvested(policy: Checkpoint, folder: Path, config: Config) -> tuple[list[list[int]], int]:
    """The tokens of all that a harvest samples, and the number of its shards."""
    reap(Run(folder=RunFolder(folder), seed=0), policy, config)
    lines = [gzip.decompress(path.read_bytes()).decode() for path in sorted((folder / "rollouts").iterdir())]
    return [json.loads(line)["tokens"] for line in "".join(lines).splitlines()], count_shards(
        folder / "stages" / "stage"
    )


@pytest.mark.parametrize("path", sorted({*leaves(STAGES["a harvest"].config)} - OF_THE_RECIPE))
def test_every_setting_of_a_harvest_counts(path: str, base: Checkpoint, tmp_path: Path) -> None:
    config = STAGES["a harvest"].config
    once = harvested(base, tmp_path / "once", config)
    assert harvested(base, tmp_path / "again", config) == once
    assert harvested(base, tmp_path / "changed", with_another_value(config, path)) != once
