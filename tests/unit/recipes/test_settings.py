"""Every single setting of a recipe reaches the stages that it belongs to, and no other.

A recipe runs whole, but for its stages, which write down what they are given and hand on a name in place of a result.
A setting has arrived where a stage is given something else than before; what this does to later stages is left out,
since the names stay the same. What a stage does with its own configuration is shown in `unit/stages/test_settings.py`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from leaves import leaves, value_of, with_another_value
from run_requests import train_built_in
from stage_stand_ins import Given, Stages, stand_in

from aha.commands import running
from aha.commands.running import carry_out
from aha.recipes.base_model import BUILT_IN
from aha.recipes.base_model import base as base_recipe
from aha.recipes.catalogue import recipe_named
from aha.recipes.own.assignment import assigned
from aha.recipes.own.own_data import OwnData
from aha.recipes.r1.scales import R1Config, RewardsConfig, StudentsConfig
from aha.recipes.r1_zero import r1_zero
from aha.recipes.recipe import RunRequest
from aha.recipes.scales import BaseConfig, R1ZeroConfig
from aha.runs.config import Config
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RejectionConfig, RLConfig
from aha.stages.evaluate import Setting
from aha.stages.harvests.harvest import HarvestInputs
from aha.stages.harvests.labelling import Labelled
from aha.stages.harvests.rejection import Rejection, Sampling
from aha.stages.reward_models.sources import StoredPreferences
from aha.stages.run import Run
from aha.stages.task import Task
from aha.types import Checkpoint, Dataset

LOOK = EvaluationConfig(num_problems=4, num_samples=2, max_new_tokens=8)
SHORT = RLConfig(max_new_tokens=8)
ZERO = R1ZeroConfig(zero=SHORT, longer=SHORT, validation=LOOK, evaluation=LOOK)
SAMPLED = RejectionConfig(num_problems=9, num_samples=2, num_kept=2)
"""Nine training prompts have one validation prompt beside them, ten have two."""
R1 = R1Config(
    zero=ZERO,
    cold=SAMPLED,
    kept=SAMPLED,
    num_general=3,
    rewards=RewardsConfig(helpful=SAMPLED, safety=SAMPLED),
    students=StudentsConfig(),
)

LOOPS = {"zero", "longer", "dev2", "dev2-plain", "reasoning", "r1", "qwen2-rl", "qwen2-distilled-rl"}
MODELS = ("start", "zero", "dev1", "dev2", "dev2-plain", "dev3", "r1")
STUDENTS = ("qwen2", "llama", "qwen2-distilled", "llama-distilled", "qwen2-rl", "qwen2-distilled-rl")
EXAMS = {f"evaluation-{name}{kind}" for name in (*MODELS, *STUDENTS) for kind in ("", "-general")}
SAMPLERS = {"cold", "kept"}
"""They leave out what overlaps with a held-out problem."""

READERS: dict[str, set[str]] = {
    "zero.zero": {"zero"},
    "zero.longer": {"longer"},
    "zero.validation": LOOPS,
    "zero.validation.num_problems": LOOPS | SAMPLERS,
    "zero.evaluation": EXAMS,
    "zero.evaluation.num_problems": EXAMS | SAMPLERS,
    "cold": {"cold"},
    "dev1": {"dev1"},
    "dev2": {"dev2", "dev2-plain"},
    "kept": {"kept"},
    "num_general": {"general"},
    "dev3": {"dev3"},
    "rewards.helpful": {"helpfulness-train", "helpfulness-validation"},
    "rewards.safety": {"harmlessness-train", "harmlessness-validation"},
    "rewards.training": {"helpfulness", "harmlessness"},
    "rewards.training.optimizer.precision": {
        "helpfulness",
        "harmlessness",
        "helpfulness-scores",
        "harmlessness-scores",
    },
    "reasoning": {"reasoning"},
    "reasoning.iterations": {"reasoning", "r1"},
    "reasoning.problems_per_iteration": {"reasoning", "r1"},
    "scenarios": {"r1"},
    "students.pretrain": {"qwen2", "llama"},
    "students.qwen2": {"qwen2-distilled"},
    "students.llama": {"llama-distilled"},
    "students.direct": {"qwen2-rl"},
    "students.further": {"qwen2-distilled-rl"},
}
"""The stages that a setting of R1 reaches, by the longest beginning of its path."""

R1_ZERO_EXAMS = {f"evaluation-{name}{suite}" for name in ("start", "end") for suite in ("", "-hard")}
R1_ZERO_READERS: dict[str, set[str]] = {
    "zero": {"zero"},
    "longer": {"longer"},
    "validation": {"zero", "longer"},
    "validation.num_problems": {"zero", "longer", "evaluation-start-hard", "evaluation-end-hard"},
    "evaluation": R1_ZERO_EXAMS,
    "evaluation.num_problems": {"evaluation-start", "evaluation-end"},
}
"""The same of R1-Zero on the built-in world. Its hard problems are as many as those that it is watched on."""

OF_THE_RECIPE = ("num_problems", "num_kept")
"""Settings in the configuration of a stage that only the recipe reads: they must change what a stage works on."""

OF_THE_RUN = {"processes"}
"""Settings that no stage is given; `test_a_run_is_shared_by_as_many_processes_as_it_was_given` follows them."""


def described(value: Any) -> Any:
    """What a stage is given, so that it can be compared."""
    match value:
        case Config():
            return value.model_dump()
        case Task() | Checkpoint() | Dataset() | Rejection() | Labelled() | StoredPreferences():
            return value.key
        case Setting():
            return value.template
        case HarvestInputs():
            return [described(value.policy), described(value.problems)]
        case Sampling():
            return [described(value.problems), described(value.keep)]
        case list() | tuple():
            return [described(one) for one in value]
    return value


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """Stand-ins in the place of every stage of every recipe."""
    with pytest.MonkeyPatch.context() as patch:
        stages = stand_in(patch)

        # A thousand problems are drawn to be measured, which would take longer than all the rest.
        patch.setattr("aha.recipes.own.assignment._measure_built_in", lambda *_: None)
        yield stages


@pytest.fixture(scope="module")
def given_by_r1(stages: Stages) -> Given:
    """What all others are compared with."""
    return stages_of_r1(stages, R1)


@pytest.fixture(scope="module")
def given_by_r1_zero(stages: Stages) -> Given:
    """What all others are compared with."""
    return stages_of_r1_zero(stages, ZERO)


def new_run() -> Run:
    """A run that writes nothing."""
    return Run(folder=RunFolder(Path("run"), is_writer=False), seed=0)


def taken(stages: Stages) -> Given:
    """What the stages were given since the last time, described."""
    given, stages.given = stages.given, {}
    return {stage: {name: described(value) for name, value in arguments.items()} for stage, arguments in given.items()}


def stages_of_r1(stages: Stages, config: R1Config) -> Given:
    """What each stage of R1 is given."""
    start = Checkpoint(path=Path("base"), stage="base", step=0, key="base")
    train_built_in(new_run(), start, config)
    return taken(stages)


def stages_of_r1_zero(stages: Stages, config: R1ZeroConfig) -> Given:
    """What each stage of R1-Zero is given, on the built-in world."""
    start = Checkpoint(path=BUILT_IN, stage="base", step=0, key="base")
    with assigned(OwnData(), start, config, seed=0) as assignment:
        r1_zero(new_run(), start, config, assignment)
    return taken(stages)


def reached(before: Given, after: Given, *, path: str) -> set[str]:
    """The stages that were given something else; what only stands in their configuration counts if they read it."""
    assert before.keys() == after.keys()
    ignored = {"config"} if path.endswith(OF_THE_RECIPE) else set()
    return {
        stage
        for stage in before
        if any(before[stage][name] != after[stage][name] for name in before[stage].keys() - ignored)
    }


def readers_of(path: str, readers: Mapping[str, set[str]]) -> set[str]:
    """The stages of the longest beginning of a path."""
    beginnings = [part for part in readers if path == part or path.startswith(f"{part}.")]
    return readers[max(beginnings, key=len)] if beginnings else set()


def test_the_last_stage_of_r1_goes_on_with_the_one_before_it_where_there_was_one(
    given_by_r1: Given, stages: Stages
) -> None:
    assert given_by_r1["r1"]["continues"]
    reasoning = R1.reasoning.model_copy(update={"iterations": 0})
    alone = stages_of_r1(stages, R1.model_copy(update={"reasoning": reasoning}))
    assert not alone["r1"]["continues"]


def test_every_stage_is_reached(given_by_r1: Given, given_by_r1_zero: Given) -> None:
    assert {*given_by_r1} == set().union(*READERS.values())
    assert {*given_by_r1_zero} == set().union(*R1_ZERO_READERS.values())


def test_every_setting_of_r1_reaches_its_stages_and_no_other(given_by_r1: Given, stages: Stages) -> None:
    paths = [path for path in leaves(R1) if path.split(".")[-1] not in OF_THE_RUN]
    assert len(paths) > 300
    for path in paths:
        given = stages_of_r1(stages, with_another_value(R1, path))
        assert reached(given_by_r1, given, path=path) == readers_of(path, READERS), path


def test_every_setting_of_r1_zero_reaches_its_stages_and_no_other(given_by_r1_zero: Given, stages: Stages) -> None:
    paths = [path for path in leaves(ZERO) if path not in OF_THE_RUN]
    assert len(paths) > 60
    for path in paths:
        given = stages_of_r1_zero(stages, with_another_value(ZERO, path))
        assert reached(given_by_r1_zero, given, path=path) == readers_of(path, R1_ZERO_READERS), path


@pytest.mark.parametrize("path", [path for path in leaves(BaseConfig()) if path not in OF_THE_RUN])
def test_every_setting_of_the_base_model_reaches_its_pretraining(path: str, stages: Stages) -> None:
    given = []
    for config in (BaseConfig(), with_another_value(BaseConfig(), path)):
        base_recipe(new_run(), config)
        given.append(taken(stages))
    assert reached(*given, path=path) == {"base"}


class AskedForProcessesError(Exception):
    """Ends a run where it would start its processes."""


@pytest.mark.parametrize(
    ("recipe", "config", "path"),
    [("r1_zero", ZERO, "processes"), ("r1", R1, "zero.processes"), ("base", BaseConfig(), "processes")],
)
def test_a_run_is_shared_by_as_many_processes_as_it_was_given(
    recipe: str,
    config: R1ZeroConfig | R1Config | BaseConfig,
    path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def among_peers(job: Any) -> None:
        raise AskedForProcessesError(f"{job.num_processes} processes")

    monkeypatch.setattr(running, "examine", lambda *_, **__: None)
    monkeypatch.setattr("aha.recipes.r1.positions.check_positions", lambda *_, **__: None)
    monkeypatch.setattr(running, "check_disk", lambda *_, **__: "")
    monkeypatch.setattr(running, "among_peers", among_peers)
    monkeypatch.setattr(RunFolder, "claim", lambda *_, **__: None)
    config = with_another_value(config, path)
    kind = recipe_named(recipe).options
    request = RunRequest(
        recipe=recipe,
        scale="tiny",
        config=config,
        options=kind and kind(),
        folder=tmp_path,
        seed=0,
        force=True,
        is_quiet=True,
    )
    with pytest.raises(AskedForProcessesError, match=f"^{value_of(config, path)} processes"):
        carry_out(request)
