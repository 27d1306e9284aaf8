"""Every length cap of R1 against the positions of the models that sample under it, before the first stage."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from leaves import leaves, value_of, with_value
from run_requests import r1_request, train_built_in
from tiny import tiny_config, tiny_policy, world_tokenizer

from aha.actors.local_actors import LocalActors
from aha.commands import running
from aha.commands.running import carry_out
from aha.prompts.templates import Template
from aha.recipes.base_model import open_base
from aha.recipes.r1.positions import check_positions
from aha.recipes.r1.scales import R1_SCALES, R1Config, RewardsConfig
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RejectionConfig
from aha.stages.evaluate import Setting
from aha.stages.harvests.harvest import HarvestInputs
from aha.stages.harvests.rejection import Sampling
from aha.stages.run import Run
from aha.stages.task import Task
from aha.training.checkpoint import write_checkpoint
from aha.types import Checkpoint, Dataset, Problem

POSITIONS = 1024
"""Of the built-in base and of the built-in students."""

TINY = R1_SCALES["tiny"]
CAPS = [path for path in leaves(TINY) if path.endswith("max_new_tokens")]
OF_STUDENTS = {f"{name}.max_new_tokens" for name in ("students.direct", "students.further")}
OF_ALL_MODELS = {f"zero.{name}.max_new_tokens" for name in ("validation", "evaluation")}


def look() -> EvaluationConfig:
    return EvaluationConfig(num_problems=5, num_samples=2, max_new_tokens=64)


def harvest() -> RejectionConfig:
    return RejectionConfig(num_problems=20, num_samples=2, num_kept=2, max_new_tokens=64)


SMALL = TINY.model_copy(
    update={
        "zero": TINY.zero.model_copy(update={"validation": look(), "evaluation": look()}),
        "cold": harvest(),
        "kept": harvest(),
        "rewards": RewardsConfig(helpful=harvest(), safety=harvest()),
    }
)
"""R1 with few prompts to draw and to measure."""


def option(path: str) -> str:
    return "--" + path.replace("_", "-")


def model_with(positions: int, folder: Path) -> Checkpoint:
    """A model that speaks the words of the built-in world, with so many positions."""
    tokenizer = world_tokenizer()
    config = tiny_config(vocab_size=tokenizer.vocab_size, max_position_embeddings=positions)
    write_checkpoint(folder, tiny_policy(config), tokenizer, state={})
    return open_base(folder)


@pytest.fixture(autouse=True)
def nothing_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is not refused ends where the doctor would sample."""

    def refuse_to_sample(*_: Any, **__: Any) -> None:
        raise ValueError("it was not refused")

    monkeypatch.setattr(running, "examine", refuse_to_sample)


def test_every_kind_of_stage_has_a_cap() -> None:
    assert {"dev2.max_new_tokens", "kept.max_new_tokens", "rewards.safety.max_new_tokens"} < {*CAPS}
    assert {*CAPS} > OF_STUDENTS | OF_ALL_MODELS


@pytest.mark.usefixtures("few_are_measured")
def test_a_response_longer_than_the_positions_ends_a_run_before_its_first_stage(tmp_path: Path) -> None:
    path = "scenarios.max_new_tokens"
    config = with_value(SMALL, path, POSITIONS)
    with pytest.raises(ValueError, match=rf"the prompt has .*{option(path)} 1024\b.* lower {option(path)} to \d+"):
        carry_out(r1_request(config, tmp_path / "run"))
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.usefixtures("few_are_measured")
def test_a_stage_that_is_left_out_may_have_any_cap(tmp_path: Path) -> None:
    config = with_value(with_value(SMALL, "dev2.max_new_tokens", POSITIONS), "dev2.iterations", 0)
    with pytest.raises(ValueError, match="it was not refused"):
        carry_out(r1_request(config, tmp_path / "run"))


@pytest.mark.usefixtures("few_are_measured")
def test_the_doctor_is_not_needed_for_it(tmp_path: Path) -> None:
    """It looks at R1-Zero alone, and at nothing where that is left out."""
    config = with_value(SMALL, "kept.max_new_tokens", POSITIONS)
    for part in ("zero.zero", "zero.longer"):
        config = with_value(config, f"{part}.iterations", 0)
    with pytest.raises(ValueError, match=r"lower --kept.max-new-tokens"):
        carry_out(r1_request(config, tmp_path / "run", force=True))


@pytest.mark.full
@pytest.mark.usefixtures("few_are_measured")
def test_a_student_is_named_where_it_is_the_one_that_lacks_positions(tmp_path: Path) -> None:
    models = [open_base(), *(model_with(128, tmp_path / name) for name in ("qwen", "llama"))]
    short = SMALL
    for path in sorted(OF_STUDENTS | OF_ALL_MODELS):
        short = with_value(short, path, 16)
    for path in sorted(OF_STUDENTS):
        config = with_value(short, path, 120)
        with pytest.raises(ValueError, match=rf"{option(path)} 120\b.* 128 positions of the qwen2 student"):
            check_positions(config, models, seed=0, is_judged=False)
    config = with_value(SMALL, "zero.evaluation.max_new_tokens", 120)
    with pytest.raises(ValueError, match=r"128 positions of the qwen2 student"):
        check_positions(config, models, seed=0, is_judged=False)


@pytest.mark.usefixtures("few_are_measured")
def test_both_students_are_evaluated(tmp_path: Path) -> None:
    students = (model_with(POSITIONS, tmp_path / "qwen").path, model_with(128, tmp_path / "llama").path)
    config = with_value(SMALL, "zero.evaluation.max_new_tokens", 120)
    with pytest.raises(ValueError, match=r"--zero.evaluation.max-new-tokens .* 128 positions of the llama student"):
        carry_out(r1_request(config, tmp_path / "run", students=students))


@pytest.mark.usefixtures("few_are_measured")
def test_a_prompt_that_leaves_no_position_asks_for_another_model(tmp_path: Path) -> None:
    """Every cap is one token at least, so that to lower it would not help."""
    start = model_with(12, tmp_path / "short")
    with pytest.raises(ValueError, match=r"take a model with more positions$"):
        check_positions(SMALL, [start], seed=0, is_judged=False)


@pytest.mark.full
def test_the_built_in_scales_fit() -> None:
    check_positions(TINY, [open_base()], seed=0, is_judged=False)
    check_positions(TINY, [open_base()], seed=0, is_judged=True)


@pytest.mark.full
def test_scale_gpu_fits_real_models_and_asks_for_students(tmp_path: Path) -> None:
    """The built-in students have 1,024 positions, and it samples up to 4,096 tokens of theirs."""
    long = model_with(8192, tmp_path / "long")
    check_positions(R1_SCALES["gpu"], [long, long, long], seed=0, is_judged=False)
    with pytest.raises(ValueError, match=r"1,024 positions of the built-in qwen2 student.*--students"):
        check_positions(R1_SCALES["gpu"], [long], seed=0, is_judged=False)


class Longest:
    """Stand-ins for the stages, which measure the prompts that they are given.

    Attributes:
        by_config: the longest prompt that is sampled under each configuration, by its identity.
    """

    def __init__(self) -> None:
        self.by_config: dict[int, int] = {}

    def measure(self, config: object, template: Template, problems: Sequence[Problem]) -> None:
        prompts = world_tokenizer().encode_prompts([template(problem.question) for problem in problems])
        self.by_config[id(config)] = max(self.by_config.get(id(config), 0), *map(len, prompts))

    def rl(self, _: Run, name: str, *, task: Task, config: Any, **__: Any) -> Checkpoint:
        start = SMALL.reasoning.iterations * SMALL.reasoning.problems_per_iteration if name == "r1" else 0
        assert task.validation is not None
        self.measure(config, task.template, task.problems(start, 2000 if name == "r1" else 200))
        self.measure(task.validation.config, task.template, task.validation.problems)
        return self.model(_, name)

    def rejection(self, _: Run, name: str, *, sampling: Sampling, config: Any, **__: Any) -> Dataset:
        self.measure(config, sampling.template, sampling.problems)
        return self.data(_, name)

    def harvest(self, _: Run, name: str, *, inputs: HarvestInputs, config: Any, **__: Any) -> Dataset:
        self.measure(config, inputs.template, inputs.problems)
        return self.data(_, name)

    def evaluate(
        self, _: Run, name: str, *, problems: Sequence[Problem], config: Any, setting: Setting, **__: Any
    ) -> None:
        self.measure(config, setting.template, problems)

    def model(self, _: Run, name: str, **__: Any) -> Checkpoint:
        return Checkpoint(path=Path(name), stage=name, step=0, key=name)

    def data(self, _: Run, name: str, *__: Any, **___: Any) -> Dataset:
        return Dataset(path=Path(name), stage=name, key=name, num_rows=1, parents=())


@pytest.fixture(scope="module")
def longest() -> Iterator[dict[str, int]]:
    """The longest prompt under each cap, as the stages of the recipe are given them."""
    found = Longest()
    seams: dict[str, dict[str, Any]] = {
        "r1.train": {
            "rl": found.rl,
            "sft": found.model,
            "rejection": found.rejection,
            "write_demonstrations": found.data,
        },
        "r1_zero": {"rl": found.rl},
        "r1.students": {"rl": found.rl, "sft": found.model, "pretrain": found.model},
        "r1.rewards": {"reward_model": found.model, "harvest": found.harvest},
        "r1.examination": {"evaluate": found.evaluate},
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, functions in seams.items():
            for name, stand_in in functions.items():
                patch.setattr(f"aha.recipes.{module}.{name}", stand_in)
        patch.setattr(LocalActors, "learned_reward", lambda *_, **__: len)
        train_built_in(Run(folder=RunFolder(Path("run"), is_writer=False), seed=0), found.model, SMALL)  # type: ignore[arg-type]
        yield {path: found.by_config[id(value_of(SMALL, path.rpartition(".")[0]))] for path in CAPS}


@pytest.fixture(scope="module")
def longest_allowed(longest: dict[str, int]) -> R1Config:
    """All caps as large as the longest prompts of their stages leave them."""
    config = SMALL
    for path in CAPS:
        config = with_value(config, path, POSITIONS - longest[path])
    return config


@pytest.mark.full
@pytest.mark.usefixtures("few_are_measured")
def test_what_the_longest_prompts_of_the_stages_leave_is_allowed(longest_allowed: R1Config) -> None:
    check_positions(longest_allowed, [open_base()], seed=0, is_judged=False)


@pytest.mark.usefixtures("few_are_measured")
@pytest.mark.parametrize("path", CAPS)
def test_no_cap_may_be_one_token_longer(path: str, longest_allowed: R1Config) -> None:
    limit = value_of(longest_allowed, path)
    remedy = rf"lower {option(path)} to {limit} or less"
    if path in OF_STUDENTS:
        remedy += ", or give students with more positions with --students"
    with pytest.raises(ValueError, match=rf"{remedy}$"):
        check_positions(with_value(longest_allowed, path, limit + 1), [open_base()], seed=0, is_judged=False)
