"""The recipes of one stage: what each stage is given, in which order, what the user is told, and what is refused.

A recipe reads real files and runs whole, but for its stages, which write down what they are given and hand on a name.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_requests import single_request
from stage_stand_ins import Stages, stand_in
from tables import assert_as_in_table, limits_of
from tiny import tiny_config, tiny_policy, world_tokenizer

from aha.prompts.templates import bare, r1, r1_zero
from aha.recipes.base_model import open_base
from aha.recipes.catalogue import RECIPES
from aha.recipes.distill import DISTILL, DISTILL_SCALES, DistillConfig, DistillOptions
from aha.recipes.own.own_data import OwnData, as_record
from aha.recipes.recipe import Recipe, RunRequest
from aha.recipes.rejection import REJECTION, REJECTION_SCALES, RejectionOptions, RejectionRecipeConfig
from aha.recipes.reward_model import REWARD_MODEL, REWARD_MODEL_SCALES, RewardModelOptions, RewardModelRecipeConfig
from aha.recipes.sft import SFT, SFT_SCALES, SFTConfig, SFTOptions
from aha.rewards.table import part_name
from aha.runs.folder import RunFolder
from aha.runs.shards import Shard, write_shard
from aha.stages.config import EvaluationConfig, RejectionConfig
from aha.stages.reward_models.train import HARMLESSNESS, HELPFULNESS
from aha.stages.run import Run
from aha.training.checkpoint import write_checkpoint
from aha.types import Checkpoint, Dataset

SEED = 3
LOOK = EvaluationConfig(num_problems=2, num_samples=4, max_new_tokens=8)
SAMPLED = RejectionConfig(num_problems=5, num_samples=4, num_kept=2, max_new_tokens=16)
SHARED = "how many of the seven red hens lay eggs on the first day of may"
"""A question of the test, which must not be learned."""

Rows = Sequence[dict[str, Any]]
LEARNED: Rows = [
    {"question": "what is 3 + 4 ?", "response": "7"},
    *({"question": f"{word} {SHARED}", "response": "5"} for word in ("say", "tell", "count")),
    {"question": "what is 5 + 6 ?", "response": "11"},
]
TESTS: Rows = [{"question": text, "answer": "#### 5"} for text in (SHARED, "what is 2 + 3 ?", "what is 4 + 1 ?")]
TESTS_SAID = (
    "3 problems of test.jsonl, read as gsm8k: mathematics from question, the answer from what follows '####' in answer"
)
RANKED: Rows = [
    {"question": f"compute 2 + {n}", "chosen": f"<think> so </think> {n + 2}", "rejected": "<think> no </think> no"}
    for n in range(20)
]
LABELLED: Rows = [{"question": f"compute 2 + {n}", "response": str(n), "is_safe": n % 2 == 0} for n in range(20)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random policy whose checkpoint names no template."""
    folder = tmp_path_factory.mktemp("base") / "model"
    tokenizer = world_tokenizer().with_chat_template("")
    write_checkpoint(folder, tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer, state={})
    return open_base(folder)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    """Stand-ins in the place of every stage."""
    return stand_in(monkeypatch)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's files, in the folder where the recipe runs."""
    monkeypatch.chdir(tmp_path)
    write("learned.jsonl", LEARNED)
    write("test.jsonl", TESTS)
    write("ranked.jsonl", RANKED)
    write("labelled.jsonl", LABELLED)
    write("problems.jsonl", [{"question": f"what is {n} + 4 ?", "answer": f"#### {n + 4}"} for n in range(6)])


def write(name: str, rows: Rows) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def ran(request: RunRequest[Any, Any], recipe: Recipe[Any, Any], models: Sequence[Checkpoint]) -> tuple[str, list[str]]:
    """The key of what a run ends with, and what it said."""
    said: list[str] = []
    run = Run(folder=RunFolder(Path("run"), is_writer=False), seed=SEED, say=said.append)
    return recipe.run(run, request, models).key, said


def expect_exams(stages: Stages, before: Checkpoint, after: str, config: EvaluationConfig) -> None:
    """The model was examined first of all, and its result last, on the same problems in the same way."""
    names = list(stages.given)
    assert (names[0], names[-1]) == ("evaluation-start", "evaluation-end")
    first, last = stages.given[names[0]], stages.given[names[-1]]
    assert (first["policy"], last["policy"].key) == (before, after)
    assert {name: first[name] for name in first if name != "policy"} == {
        name: last[name] for name in last if name != "policy"
    }

    # A sample of the test, each question with how its answer is to be written.
    assert first["config"] is config
    assert len(first["problems"]) == config.num_problems
    assert {problem.question.partition("\n")[0] for problem in first["problems"]} <= {row["question"] for row in TESTS}
    assert all("\n" in problem.question for problem in first["problems"])
    setting = first["setting"]
    assert (setting.template, setting.stop) == (r1, ())
    assert {part_name(one): weight for one, weight in setting.reward["math"].items()} == {"accuracy": 1, "format": 1}


# Fine-tuning on demonstrations


def sft_request(**options: Any) -> RunRequest[SFTConfig, SFTOptions]:
    config = SFTConfig(evaluation=LOOK)
    given = {"demonstrations": ("learned.jsonl",), "test": ("test.jsonl",)} | options
    return single_request(SFT, config, SFTOptions(**given), Path("run"), seed=SEED)


@pytest.mark.usefixtures("files")
def test_fine_tuning_learns_the_demonstrations_that_the_test_does_not_ask(stages: Stages, base: Checkpoint) -> None:
    request = sft_request()
    assert ran(request, SFT, [base]) == (
        "sft",
        [
            "5 demonstrations of learned.jsonl",
            TESTS_SAID,
            "3 demonstrations left out that overlap with a test problem",
        ],
    )
    assert list(stages.given) == ["evaluation-start", "demonstrations", "sft", "evaluation-end"]
    expect_exams(stages, base, "sft", LOOK)

    (learned,) = stages.given["demonstrations"]["rows"]
    assert [(row.question, row.response) for row in learned] == [
        (row["question"], row["response"]) for row in (LEARNED[0], LEARNED[-1])
    ]
    given = stages.given["sft"]
    assert (given["policy"], [part.key for part in given["data"]]) == (base, ["demonstrations"])
    assert (given["config"], given["template"]) == (request.config.sft, r1)


@pytest.mark.usefixtures("files")
def test_a_run_notices_that_a_demonstration_has_changed(stages: Stages, base: Checkpoint) -> None:
    keys = []
    for response in ("7", "8", "7"):
        write("learned.jsonl", [{**LEARNED[0], "response": response}, *LEARNED[1:]])
        ran(sft_request(), SFT, [base])
        keys.append(stages.given["demonstrations"]["key"])
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.usefixtures("files")
def test_without_a_test_nothing_is_examined_and_all_is_learned(stages: Stages, base: Checkpoint) -> None:
    _, said = ran(sft_request(test=(), template="r1_zero"), SFT, [base])
    assert (list(stages.given), said) == (["demonstrations", "sft"], ["5 demonstrations of learned.jsonl"])
    (learned,) = stages.given["demonstrations"]["rows"]
    assert len(learned) == 5
    assert stages.given["sft"]["template"] is r1_zero


@pytest.mark.usefixtures("files")
def test_the_options_of_fine_tuning_reach_what_reads_the_files(stages: Stages, base: Checkpoint) -> None:
    renamed = [{"q": row["question"], "r": row["response"]} for row in LEARNED]
    write("learned.jsonl", [*renamed, {"q": "no response"}])
    write("test.jsonl", [*({"t": row["question"], "a": "5"} for row in TESTS), {"t": "no answer"}])
    Path("mine.jinja").write_text("{{ messages[0]['content'] }} {{ messages[-1]['content'] }}", encoding="utf-8")
    request = sft_request(
        demonstration_fields="question=q,response=r",
        fields="question=t,answer=a,domain=math",
        bad_rows="skip",
        template="mine.jinja",
        system="think first",
    )
    _, said = ran(request, SFT, [base])
    assert said[0] == "5 demonstrations of learned.jsonl (1 bad rows left out)"
    assert said[1].startswith("3 problems of test.jsonl")
    assert stages.given["sft"]["template"]("1 + 1 ?") == "think first 1 + 1 ?"
    assert stages.given["evaluation-start"]["setting"].template is stages.given["sft"]["template"]


@pytest.mark.usefixtures("files")
def test_a_demonstration_may_fill_the_positions_of_the_model_and_no_more(base: Checkpoint) -> None:
    """The tiny model has 256 positions; R1's template has two tokens, and the end token is learned too."""

    def check(num_tokens: int, max_tokens: int) -> None:
        question, response = "compute 2 + 2", "4 " * (num_tokens - 4 - 2 - 1)
        write("learned.jsonl", [LEARNED[0], {"question": question, "response": response}])
        request = sft_request()
        sft = request.config.sft.model_copy(update={"max_tokens": max_tokens})
        SFT.check(replace(request, config=request.config.model_copy(update={"sft": sft})), [base])

    check(256, max_tokens=4096)
    # What is longer than a chunk is left out by the stage, and needs no positions.
    check(257, max_tokens=256)
    for num_tokens, max_tokens in ((257, 257), (258, 258), (257, 4096)):
        complaint = (
            rf"^learned.jsonl:2: the demonstration has {num_tokens} tokens, and the model has 256 positions: "
            "--sft.max-tokens 256 leaves out what is longer$"
        )
        with pytest.raises(ValueError, match=complaint):
            check(num_tokens, max_tokens=max_tokens)


# Distillation


def distill_request(
    own: OwnData | None = None, model: Path | None = None, **options: Any
) -> RunRequest[DistillConfig, DistillOptions]:
    config = DistillConfig(sampling=SAMPLED, evaluation=LOOK)
    chosen = DistillOptions(own=own or OwnData(), **options)
    return single_request(DISTILL, config, chosen, Path("run"), seed=SEED, model=model and str(model))


OWN = OwnData(problems=("problems.jsonl",), test=("test.jsonl",))


@pytest.mark.usefixtures("files")
def test_a_student_learns_given_traces(stages: Stages, base: Checkpoint) -> None:
    request = distill_request(OwnData(test=("test.jsonl",)), traces=("learned.jsonl",))
    assert ran(request, DISTILL, [base]) == (
        "student",
        [
            TESTS_SAID,
            "5 demonstrations of learned.jsonl",
            "3 traces left out that overlap with a test problem",
        ],
    )
    assert list(stages.given) == ["evaluation-start", "traces", "student", "evaluation-end"]
    expect_exams(stages, base, "student", LOOK)
    (learned,) = stages.given["traces"]["rows"]
    assert [row.response for row in learned] == ["7", "11"]

    given = stages.given["student"]
    assert (given["policy"], [part.key for part in given["data"]]) == (base, ["traces"])
    assert (given["config"], given["template"]) == (request.config.sft, r1)

    keys = {stages.given["traces"]["key"]}
    write("learned.jsonl", [{**LEARNED[0], "response": "8"}, *LEARNED[1:]])
    _, said = ran(distill_request(traces=("learned.jsonl",), student_template="bare"), DISTILL, [base])
    assert said == ["5 demonstrations of learned.jsonl"]
    assert stages.given["student"]["template"] is bare
    assert len(keys | {stages.given["traces"]["key"]}) == 2


@pytest.mark.usefixtures("files")
def test_a_student_learns_what_a_teacher_is_asked(stages: Stages, base: Checkpoint) -> None:
    teacher = replace(base, key="teacher")
    own = replace(OWN, template="bare", stop=("end",))
    request = distill_request(own, student_template="r1", form="thinking")
    key, said = ran(request, DISTILL, [base, teacher])
    assert key == "student"
    assert said[0].startswith("3 problems of test.jsonl")
    assert said[1].startswith("6 problems of problems.jsonl")
    assert said[2:] == ["5 of 6 problems are asked, drawn by a hash of each question"]

    assert list(stages.given) == ["evaluation-start", "traces", "student", "evaluation-end"]
    expect_exams(stages, base, "student", LOOK)
    given = stages.given["traces"]
    assert (given["policy"], given["config"]) == (teacher, request.config.sampling)
    sampling = given["sampling"]
    assert (sampling.template, sampling.stop, sampling.keep.ending) == (bare, ("end",), "summary")
    assert len(sampling.problems) == 5

    # The seed of the run draws problems of the built-in world.
    asked = []
    for seed in (SEED, SEED + 1):
        run = Run(folder=RunFolder(Path("run"), is_writer=False), seed=seed)
        DISTILL.run(run, distill_request(), [base, teacher])
        asked.append(stages.given["traces"]["sampling"].problems)
    assert asked[0] != asked[1]


def test_distillation_opens_the_student_and_the_teacher(base: Checkpoint) -> None:
    student, teacher = DISTILL.open_models(distill_request(model=base.path, teacher="base"))
    assert (student, teacher.key == base.key) == (base, False)
    assert DISTILL.open_models(distill_request(model=base.path, traces=("t.jsonl",))) == [base]


EITHER = "give either --teacher MODEL, or what it has said with --traces FILE.jsonl"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, EITHER),
        ({"teacher": "base", "traces": ("t.jsonl",)}, EITHER),
        ({"traces": ("t.jsonl",), "own": OWN}, "--problems: meant for a teacher, which --traces take the place of"),
    ],
)
def test_distillation_has_one_kind_of_teacher(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        DISTILL.open_models(distill_request(**options))


def test_the_inputs_of_a_distillation_name_its_teacher(base: Checkpoint) -> None:
    """Whether no texts end a response or none were chosen is the same run."""
    by_file = DISTILL.inputs(distill_request(traces=("t.jsonl",)), [base])
    assert by_file["teacher"] is None
    request = distill_request(teacher="wise")
    found = DISTILL.inputs(request, [base, replace(base, key="the teacher")])
    assert found["teacher"] == "the teacher"
    assert found["options"] == as_record(replace(request.options, own=OwnData(stop=())))
    other = distill_request(OwnData(stop=("end",)), teacher="wise")
    assert DISTILL.inputs(other, [base, base])["options"] == as_record(other.options)


# Rejection sampling


def rejection_request(own: OwnData, **options: Any) -> RunRequest[RejectionRecipeConfig, RejectionOptions]:
    config = RejectionRecipeConfig(sampling=SAMPLED)
    return single_request(REJECTION, config, RejectionOptions(own=own, **options), Path("run"), seed=SEED)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("is_writer", [True, False])
def test_what_is_kept_becomes_one_file_of_rows(
    is_writer: bool, base: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"question": "compute 2 + 2", "response": "4"}, {"question": "算 1 + 1", "response": "two\nlines"}]
    given: dict[str, Any] = {}

    def rejection(_: Run, name: str, **arguments: Any) -> Dataset:
        given.update(arguments, name=name)
        for number, row in enumerate(rows):
            write_shard(Path("kept"), Shard(number=number, key="", counts={}, rows=[row]))
        return Dataset(path=Path("kept"), stage=name, key="", num_rows=2, parents=())

    monkeypatch.setattr("aha.recipes.own.teaching.rejection", rejection)
    said: list[str] = []
    Path("run").mkdir()
    run = Run(folder=RunFolder(Path("run"), is_writer=is_writer), seed=SEED, say=said.append)
    request = rejection_request(replace(OWN, test=(), template="bare"), form="thinking")
    assert REJECTION.run(run, request, [base]) is base

    assert (given["name"], given["policy"], given["config"]) == ("kept", base, request.config.sampling)
    assert given["sampling"].keep.ending == "summary"
    assert said[-2:] == [
        "5 of 6 problems are asked, drawn by a hash of each question",
        "2 responses kept: run/responses.jsonl",
    ]
    assert Path("run/responses.jsonl").exists() == is_writer
    if is_writer:
        content = Path("run/responses.jsonl").read_text(encoding="utf-8")
        assert content.endswith("}\n")
        assert [json.loads(line) for line in content.splitlines()] == rows


def test_the_inputs_of_rejection_sampling_are_its_options(base: Checkpoint) -> None:
    request = rejection_request(OWN)
    assert REJECTION.inputs(request, [base]) == {
        "options": as_record(replace(request.options, own=replace(OWN, stop=())))
    }
    other = rejection_request(replace(OWN, stop=("end",)))
    assert REJECTION.inputs(other, [base]) == {"options": as_record(other.options)}


# What distillation and rejection sampling check


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("recipe", [DISTILL, REJECTION], ids=lambda recipe: recipe.name)
def test_what_the_teacher_is_asked_is_read_before_the_run(recipe: Recipe[Any, Any], base: Checkpoint) -> None:
    def check(own: OwnData) -> None:
        request = distill_request(own, teacher="wise") if recipe is DISTILL else rejection_request(own)
        recipe.check(request, [base, base] if recipe is DISTILL else [base])

    check(OWN)
    check(OwnData())
    with pytest.raises(ValueError, match=r"none\.jsonl does not exist"):
        check(OwnData(problems=("none.jsonl",)))
    write("long.jsonl", [{"question": "what is 2 + 2 ? " * 60, "answer": "#### 4"}])
    with pytest.raises(ValueError, match=r"long.jsonl:1: .*--sampling.max-new-tokens 16.* positions of the teacher"):
        check(OwnData(problems=("long.jsonl",)))


# Reward models


def reward_request(max_held_out: int = 1000, **options: Any) -> RunRequest[RewardModelRecipeConfig, RewardModelOptions]:
    config = RewardModelRecipeConfig(max_held_out=max_held_out)
    return single_request(REWARD_MODEL, config, RewardModelOptions(**options), Path("run"), seed=SEED)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("options", "kind", "num_held_out", "noun", "responses"),
    [
        ({"preferences": ("ranked.jsonl",)}, HELPFULNESS, 2, "rankings of ranked.jsonl", {" 2", " no"}),
        (
            {"safety": ("labelled.jsonl",)},
            HARMLESSNESS,
            2,
            "labelled responses of labelled.jsonl: 10 safe, 10 unsafe",
            {"0"},
        ),
        ({"preferences": ("ranked.jsonl",), "max_held_out": 1}, HELPFULNESS, 1, "rankings of ranked.jsonl", set()),
        (
            {"preferences": ("ranked.jsonl",), "reads": "response", "template": "r1_zero"},
            replace(HELPFULNESS, reads="response"),
            2,
            "rankings of ranked.jsonl",
            {"<think> so </think> 2", "<think> no </think> no"},
        ),
    ],
)
def test_a_reward_model_is_examined_on_questions_that_it_does_not_learn(
    options: dict[str, Any],
    kind: object,
    num_held_out: int,
    noun: str,
    responses: set[str],
    stages: Stages,
    base: Checkpoint,
) -> None:
    request = reward_request(**options)
    assert ran(request, REWARD_MODEL, [base]) == (
        "reward-model",
        [f"20 {noun}", f"examined on {num_held_out} of the rows, which a hash of each question picks"],
    )
    (given,) = stages.given.values()
    assert (given["policy"], given["kind"], given["config"]) == (base, kind, request.config.training)

    learned, held_out = given["data"](), given["held_out"]()
    assert (len(learned), len(held_out)) == (20 - num_held_out, num_held_out)
    asked = r1_zero if options.get("template") else r1
    prompts = {row.prompt: {text.strip() for text in row.responses} for row in (*learned, *held_out)}
    assert prompts.keys() == {asked(f"compute 2 + {n}") for n in range(20)}
    if responses:
        assert prompts[asked("compute 2 + 0")] == {text.strip() for text in responses}


@pytest.mark.usefixtures("files")
def test_rows_that_are_given_to_examine_a_reward_model_are_not_learned(stages: Stages, base: Checkpoint) -> None:
    write("held.jsonl", [*RANKED[7:], {"question": "another", "chosen": "yes", "rejected": "no"}, {"question": "?"}])
    request = reward_request(preferences=("ranked.jsonl",), held_out=("held.jsonl",), bad_rows="skip")
    _, said = ran(request, REWARD_MODEL, [base])
    assert said == [
        "20 rankings of ranked.jsonl",
        "examined on 14 rankings of held.jsonl (1 bad rows left out)",
        "13 rows left out whose question the examination asks too",
    ]
    (given,) = stages.given.values()
    assert (len(given["data"]()), len(given["held_out"]())) == (7, 14)

    write("held.jsonl", [{"ask": "another", "yes": "yes", "no": "no"}])
    write("ranked.jsonl", [{"ask": row["question"], "yes": row["chosen"], "no": row["rejected"]} for row in RANKED])
    fields = "question=ask,chosen=yes,rejected=no"
    request = reward_request(preferences=("ranked.jsonl",), held_out=("held.jsonl",), preference_fields=fields)
    assert ran(request, REWARD_MODEL, [base])[1] == [
        "20 rankings of ranked.jsonl",
        "examined on 1 rankings of held.jsonl",
    ]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("options", [{}, {"preferences": ("ranked.jsonl",), "safety": ("labelled.jsonl",)}])
def test_a_reward_model_learns_from_one_kind_of_rows(options: dict[str, Any], base: Checkpoint) -> None:
    complaint = "^give either rankings with --preferences FILE.jsonl, or labelled responses with --safety FILE$"
    with pytest.raises(ValueError, match=complaint):
        REWARD_MODEL.check(reward_request(**options), [base])


# What all of them promise


@pytest.mark.parametrize(
    ("recipe", "config", "trained"),
    [
        (SFT, SFT_SCALES["tiny"], ["sft"]),
        (DISTILL, DISTILL_SCALES["tiny"], ["sft"]),
        (REJECTION, REJECTION_SCALES["tiny"], []),
        (REWARD_MODEL, REWARD_MODEL_SCALES["tiny"], ["training"]),
    ],
    ids=lambda one: one.name if isinstance(one, Recipe) else "",
)
def test_the_disk_is_asked_for_the_one_model_that_is_trained(
    recipe: Recipe[Any, Any], config: Any, trained: list[str]
) -> None:
    found = [(stage.model, stage.config) for stage in recipe.trained_stages(config)]
    assert found == [(0, dict(config)[name]) for name in trained]
    assert not recipe.learns_by_reinforcement
    assert recipe.starts_from_model


@pytest.mark.parametrize(("recipe", "options"), [(SFT, SFTOptions()), (REWARD_MODEL, RewardModelOptions())])
def test_the_options_are_inputs_of_a_run(recipe: Recipe[Any, Any], options: Any, base: Checkpoint) -> None:
    request = single_request(recipe, recipe.scales["tiny"], options, Path("run"), seed=SEED)
    assert recipe.inputs(request, [base]) == {"options": as_record(options)}


SHARES: dict[str, Callable[[int, int], object]] = {
    "evaluation": lambda samples, processes: SFTConfig(
        evaluation=LOOK.model_copy(update={"num_samples": samples}), processes=processes
    ),
    "sampling": lambda samples, processes: RejectionRecipeConfig(
        sampling=SAMPLED.model_copy(update={"num_samples": samples}), processes=processes
    ),
}


@pytest.mark.parametrize("name", SHARES)
def test_samples_that_the_processes_cannot_share_are_refused(name: str) -> None:
    for samples, processes in ((6, 3), (3, 3), (5, 1)):
        SHARES[name](samples, processes)
    for samples, processes in ((4, 3), (3, 6)):
        complaint = f"--{name}.num-samples: {samples} cannot be shared out evenly by --processes {processes}"
        with pytest.raises(ValueError, match=complaint):
            SHARES[name](samples, processes)


@pytest.mark.parametrize("odd", ["sampling", "evaluation"])
def test_a_distillation_shares_both_kinds_of_samples(odd: str) -> None:
    numbers = {"sampling": SAMPLED.model_dump(), "evaluation": LOOK.model_dump(), "processes": 2}
    DistillConfig.model_validate(numbers)
    numbers[odd]["num_samples"] = 5
    with pytest.raises(ValueError, match=f"--{odd}.num-samples: 5 cannot be shared out evenly by --processes 2"):
        DistillConfig.model_validate(numbers)


def test_no_number_of_a_recipe_of_one_stage_changes_unnoticed() -> None:
    kinds = (SFTConfig, DistillConfig, RejectionRecipeConfig, RewardModelRecipeConfig)
    recipes = {
        recipe.name: {
            "defaults": recipe.config().model_dump(),
            **{name: scale.model_dump() for name, scale in recipe.scales.items()},
        }
        for recipe in RECIPES
        if recipe.config in kinds
    }
    assert len(recipes) == len(kinds)
    limits = {name: limit for name, limit in limits_of(*kinds).items() if "$ref" not in limit}
    assert_as_in_table({"numbers": recipes, "limits": limits}, Path(__file__).with_name("single_stages.json"))
