"""The arrows of the figure as a table: which stage of R1 gets which model, data, prompts, rewards and settings.

The recipe runs whole, but for its stages, which write down what they are given and hand on their name as a result.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from run_requests import train_built_in
from stage_stand_ins import Given, Stages, stand_in

from aha.evaluation.contamination import Contamination
from aha.evaluation.readability import Limits
from aha.problems.mixture import Mixture
from aha.problems.world.editing import edit
from aha.problems.world.general import (
    GENERAL_DOMAINS,
    HELPFUL_DOMAINS,
    GeneralProblems,
    every_prompt,
    held_out_general,
)
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.prompts.templates import r1, r1_zero
from aha.recipes.r1.assistant import BUILT_IN, Assistant, helpfulness_labels
from aha.recipes.r1.rewards import safety_labels
from aha.recipes.r1.scales import R1Config, RewardsConfig
from aha.recipes.scales import R1ZeroConfig
from aha.rewards.accuracy import COMPARERS
from aha.rewards.format import format_reward as zero_format
from aha.rewards.summary import format_reward
from aha.rewards.table import RewardFunction, RewardTable
from aha.runs.config import Config
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RejectionConfig, RLConfig
from aha.stages.evaluate import helping, solving, true_worth
from aha.stages.harvests.assistance import Balanced
from aha.stages.harvests.harvest import HarvestInputs
from aha.stages.harvests.labelling import Labelled
from aha.stages.harvests.rejection import Rejection
from aha.stages.reward_models.train import HARMLESSNESS, HELPFULNESS
from aha.stages.rl import Task
from aha.stages.run import Run
from aha.types import Checkpoint, Demonstration

SEED = 3
LOOK = EvaluationConfig(num_problems=5, num_samples=2, max_new_tokens=8)
SCALE = R1Config(
    zero=R1ZeroConfig(
        zero=RLConfig(iterations=3),
        longer=RLConfig(iterations=4),
        validation=LOOK,
        evaluation=LOOK.model_copy(update={"num_problems": 10}),
    ),
    cold=RejectionConfig(num_problems=6, num_kept=3),
    kept=RejectionConfig(num_problems=20, num_kept=7),
    num_general=9,
    rewards=RewardsConfig(
        helpful=RejectionConfig(num_problems=15, num_samples=8, num_kept=8),
        safety=RejectionConfig(num_problems=14, num_samples=8, num_kept=6),
    ),
    reasoning=RLConfig(iterations=2, problems_per_iteration=5),
)


def run_of_r1(patch: pytest.MonkeyPatch, assistant: Assistant, *, students: Sequence[Checkpoint] = ()) -> Stages:
    """What the stages of a run of R1 are given."""
    stages = stand_in(patch)
    start = Checkpoint(path=Path("base"), stage="base", step=0, key="base")
    run = Run(folder=RunFolder(Path("run"), is_writer=False), seed=SEED)
    assert train_built_in(run, start, SCALE, students, assistant).key == "r1"
    return stages


@pytest.fixture(scope="module")
def given() -> Iterator[Given]:
    """What each stage is given."""
    with pytest.MonkeyPatch.context() as patch:
        yield run_of_r1(patch, BUILT_IN).given


RULES, ZERO_RULES = {"accuracy": 1.0, "format": 1.0}, {"accuracy": 1.0, "zero format": 1.0}
WITH_LANGUAGE = {**RULES, "language": 1.0}


@dataclass(frozen=True)
class Loop:
    """What reinforcement learning is given.

    Attributes:
        policy: the model that it starts from.
        config: its settings.
        template: the prompt.
        reward: parts of the reward of reasoning problems, and their weights.
        continues: whether it goes on with the training before it.
    """

    policy: str
    config: Config
    template: Callable[[str], str]
    reward: dict[str, float]
    continues: bool = False


LOOPS = {
    "zero": Loop("base", SCALE.zero.zero, r1_zero, ZERO_RULES),
    "longer": Loop("zero", SCALE.zero.longer, r1_zero, ZERO_RULES, continues=True),
    "dev2": Loop("dev1", SCALE.dev2, r1, WITH_LANGUAGE),
    "dev2-plain": Loop("dev1", SCALE.dev2, r1, RULES),
    "reasoning": Loop("dev3", SCALE.reasoning, r1, WITH_LANGUAGE),
    "r1": Loop("reasoning", SCALE.scenarios, r1, WITH_LANGUAGE, continues=True),
    "qwen2-rl": Loop("qwen2", SCALE.students.direct, r1_zero, ZERO_RULES),
    "qwen2-distilled-rl": Loop("qwen2-distilled", SCALE.students.further, r1, WITH_LANGUAGE),
}

LESSONS: dict[str, tuple[str, list[str], Config]] = {
    "dev1": ("base", ["cold"], SCALE.dev1),
    "dev3": ("base", ["kept", "general"], SCALE.dev3),
    "qwen2-distilled": ("qwen2", ["kept", "general"], SCALE.students.qwen2),
    "llama-distilled": ("llama", ["kept", "general"], SCALE.students.llama),
}
"""The model that fine-tuning starts from, its data, and its settings."""

EXAMS: dict[str, tuple[str, Callable[[str], str]]] = {
    "start": ("base", r1_zero),
    "zero": ("longer", r1_zero),
    "dev1": ("dev1", r1),
    "dev2": ("dev2", r1),
    "dev2-plain": ("dev2-plain", r1),
    "dev3": ("dev3", r1),
    "r1": ("r1", r1),
    "qwen2": ("qwen2", r1_zero),
    "llama": ("llama", r1_zero),
    "qwen2-distilled": ("qwen2-distilled", r1),
    "llama-distilled": ("llama-distilled", r1),
    "qwen2-rl": ("qwen2-rl", r1_zero),
    "qwen2-distilled-rl": ("qwen2-distilled-rl", r1),
}
"""The model that is examined under a name, and its prompt."""


def parts(table: RewardTable, domain: str) -> dict[str, float]:
    """Parts of the reward of a domain, and their weights."""
    names: dict[RewardFunction, str] = {zero_format: "zero format", format_reward: "format"}
    return {names.get(one, one.__name__.removesuffix("_reward")): weight for one, weight in table[domain].items()}


def test_no_stage_is_forgotten(given: Given) -> None:
    others = {"cold", "kept", "general", "qwen2", "llama"}
    scorers = {
        f"{name}{part}" for name in ("helpfulness", "harmlessness") for part in ("", "-train", "-validation", "-scores")
    }
    exams = {f"evaluation-{name}{kind}" for name in EXAMS for kind in ("", "-general")}
    assert {*given} == LOOPS.keys() | LESSONS.keys() | others | scorers | exams


@pytest.mark.parametrize("name", LOOPS)
def test_reinforcement_learning(name: str, given: Given) -> None:
    arguments, loop = given[name], LOOPS[name]
    task: Task = arguments["task"]
    assert (arguments["policy"].key, task.template) == (loop.policy, loop.template)
    assert arguments["config"] is loop.config
    assert arguments.get("continues", False) == loop.continues
    assert {domain: parts(task.reward, domain) for domain in COMPARERS} == dict.fromkeys(COMPARERS, loop.reward)
    assert task.validation.config is SCALE.zero.validation
    assert task.validation.problems == held_out_problems("validation", 5)
    if name != "r1":
        assert task.problems == TrainingProblems(seed=SEED)
        assert task.truth is not true_worth


def test_all_scenarios(given: Given) -> None:
    task: Task = given["r1"]["task"]
    general, reasoning = GeneralProblems(seed=SEED), TrainingProblems(seed=SEED)
    assert task.problems == Mixture(first=general, second=reasoning, share=0.5, joins_after=10)
    assert task.truth is true_worth
    learned = {domain: "helpfulness" for domain in HELPFUL_DOMAINS} | {"harmful": "harmlessness"}
    for domain in GENERAL_DOMAINS:
        assert parts(task.reward, domain) == {learned[domain]: 1.0, "format": 1.0, "language": 1.0}


@pytest.mark.parametrize("name", LESSONS)
def test_fine_tuning(name: str, given: Given) -> None:
    policy, data, config = LESSONS[name]
    arguments = given[name]
    assert (arguments["policy"].key, [part.key for part in arguments["data"]]) == (policy, data)
    assert arguments["config"] is config
    assert arguments.get("template", r1) is r1


@pytest.mark.parametrize("name", EXAMS)
def test_examination(name: str, given: Given) -> None:
    policy, template = EXAMS[name]
    problems = held_out_problems("test", 10)
    prompts = [*held_out_general(6, domains=HELPFUL_DOMAINS), *every_prompt("harmful", "test")[:6]]
    form = ZERO_RULES if template is r1_zero else RULES
    for suffix, asked, measure in (("", problems, solving), ("-general", prompts, helping)):
        arguments = given[f"evaluation-{name}{suffix}"]
        assert (arguments["policy"].key, arguments["setting"].template) == (policy, template)
        assert arguments["config"] is SCALE.zero.evaluation
        assert arguments["problems"] == asked
        assert (arguments["setting"].measure, arguments["setting"].stop) == (measure, ())
        for domain in {problem.domain for problem in asked}:
            assert parts(arguments["setting"].reward, domain) == ({} if suffix else form)


def test_rejection_sampling(given: Given) -> None:
    held_out = [*held_out_problems("test", 10), *held_out_general(6, domains=HELPFUL_DOMAINS)]
    held_out += [*every_prompt("harmful", "test")[:6], *held_out_problems("validation", 5)]
    clean = Contamination(problem.question for problem in held_out)
    lenient = Limits(min_consistency=0.5, max_repetition=0.3, max_paragraph_words=200)
    keeps = {
        "cold": Rejection(
            source="cold start", num_kept=3, limits=lenient, ending="answer", contamination=clean, editor=edit
        ),
        "kept": Rejection(source="Dev2", num_kept=7, limits=Limits(), ending="summary", contamination=clean),
    }
    asked = {"cold": held_out_problems("train", 6, seed=SEED), "kept": held_out_problems("train", 20, seed=SEED + 1)}
    expected = {"cold": ("longer", r1_zero, SCALE.cold), "kept": ("dev2", r1, SCALE.kept)}
    for name, (policy, template, config) in expected.items():
        arguments = given[name]
        sampling = arguments["sampling"]
        assert (arguments["policy"].key, sampling.template, sampling.stop) == (policy, template, ())
        assert arguments["config"] is config
        assert sampling.problems == asked[name]
        assert sampling.keep.key == keeps[name].key


def test_with_a_judge_general_questions_are_sampled_and_lengths_are_balanced() -> None:
    judging = replace(BUILT_IN, judge=lambda predictions: [True] * len(predictions), is_judge=True)
    with pytest.MonkeyPatch.context() as patch:
        given = run_of_r1(patch, judging).given
    assert given["kept"]["sampling"].keep.judge is judging.judge
    assert given["cold"]["sampling"].keep.judge is None
    # Two general questions for twenty problems, which stay the same.
    assert given["kept"]["sampling"].problems[:20] == held_out_problems("train", 20, seed=SEED + 1)
    assert len(given["kept"]["sampling"].problems) == 22
    assert isinstance(given["helpfulness"]["data"], Balanced)
    assert not isinstance(given["harmlessness"]["data"], Balanced)

    # A judge compares four responses at most; what is safe is known without one.
    num_kept = {name: given[f"{name}-train"]["pick"].num_kept for name in ("helpfulness", "harmlessness")}
    assert num_kept == {"helpfulness": 4, "harmlessness": 6}


@pytest.mark.parametrize(
    ("name", "config", "pick", "domains"),
    [
        (
            "helpfulness",
            SCALE.rewards.helpful,
            Labelled(
                source="helpfulness_labels",
                reads="summary",
                template=r1,
                label=helpfulness_labels,
                is_comparison=True,
                num_kept=8,
            ),
            HELPFUL_DOMAINS,
        ),
        (
            "harmlessness",
            SCALE.rewards.safety,
            Labelled(
                source="safety_labels",
                reads="response",
                template=r1,
                label=safety_labels,
                is_comparison=False,
                num_kept=6,
            ),
            ("harmful",),
        ),
    ],
)
def test_reward_models(
    name: str, config: RejectionConfig, pick: Labelled, domains: tuple[str, ...], given: Given
) -> None:
    # One prompt is examined for every five that are learned from: three for 15, two for 14.
    counts = {"train": (config.num_problems, SEED), "validation": (3 if name == "helpfulness" else 2, 0)}
    for split, (count, seed) in counts.items():
        sampled = given[f"{name}-{split}"]
        where: HarvestInputs = sampled["inputs"]
        assert (where.policy.key, where.template) == ("dev3", r1)
        assert where.problems == held_out_general(count, split=split, seed=seed, domains=domains)
        assert where.reward == {domain: {} for domain in GENERAL_DOMAINS}
        assert sampled["pick"] == pick
        assert sampled["config"] is config

    learned = given[name]
    assert learned["policy"].key == "dev3"
    assert (learned["data"].key, learned["held_out"].key) == (f"{name}-train", f"{name}-validation")
    assert learned["config"] is SCALE.rewards.training
    assert learned["kind"] is (HELPFULNESS if name == "helpfulness" else HARMLESSNESS)

    scores = given[f"{name}-scores"]
    assert (scores["model"].key, scores["template"]) == (name, r1)
    assert scores["precision"] == SCALE.rewards.training.optimizer.precision


def test_general_data_are_written_for_the_prompts_of_the_run(given: Given) -> None:
    (rows,) = given["general"]["rows"]
    assert {type(row) for row in rows} == {Demonstration}
    prompts = GeneralProblems(seed=SEED)(-1, SCALE.num_general)
    for row, problem in zip(rows, prompts, strict=True):
        expected = (problem.id, problem.question, problem.domain, problem.language)
        assert (row.problem_id, row.question, row.domain, row.language) == expected
        assert row.response.startswith("<think> ")
        assert row.response.count(" </think> ") == 1
    # Every one is written by a draw of its own, so that not all are of one hand.
    assert len({row.source for row in rows}) > 1


def test_students_are_pretrained_by_family_where_none_are_given(given: Given) -> None:
    for family in ("qwen2", "llama"):
        assert given[family]["config"] is SCALE.students.pretrain
        assert given[family]["model_type"] == family

    students = [Checkpoint(path=Path(name), stage=name, step=0, key=name) for name in ("small qwen", "small llama")]
    with pytest.MonkeyPatch.context() as patch:
        others = run_of_r1(patch, BUILT_IN, students=students).given
    assert {*given} - {*others} == {"qwen2", "llama"}
    assert others["qwen2-distilled"]["policy"].key == others["qwen2-rl"]["policy"].key == "small qwen"
    assert others["llama-distilled"]["policy"].key == "small llama"
