"""R1 from files of the user's own: which stage gets what, what is left out, and what is refused."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from stage_stand_ins import Given, stand_in
from tiny import tiny_config, tiny_policy, world_tokenizer

from aha.prompts.questions import MATH_INSTRUCTION
from aha.prompts.templates import r1, r1_zero
from aha.recipes.base_model import open_base
from aha.recipes.own.own_data import OwnData
from aha.recipes.r1.assistant import summed_up
from aha.recipes.r1.options import R1Options
from aha.recipes.r1.record import R1
from aha.recipes.r1.scales import R1Config, RewardsConfig, StudentsConfig
from aha.recipes.recipe import RunRequest
from aha.recipes.scales import R1ZeroConfig
from aha.rewards.format import format_reward as zero_format
from aha.rewards.language import language_reward
from aha.rewards.summary import format_reward
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RejectionConfig, RLConfig
from aha.stages.reward_models.train import HARMLESSNESS, HELPFULNESS
from aha.stages.run import Run
from aha.training.checkpoint import write_checkpoint
from aha.types import Checkpoint, Draft, Problem

LOOK = EvaluationConfig(num_problems=4, num_samples=2, max_new_tokens=8)
SHORT = RLConfig(max_new_tokens=8, iterations=2, problems_per_iteration=3)
SCALE = R1Config(
    zero=R1ZeroConfig(zero=SHORT, longer=SHORT, validation=LOOK, evaluation=LOOK),
    cold=RejectionConfig(num_problems=6, num_kept=2, max_new_tokens=8),
    dev2=SHORT,
    kept=RejectionConfig(num_problems=9, num_kept=3, max_new_tokens=8),
    num_general=2,
    rewards=RewardsConfig(),
    reasoning=SHORT,
    scenarios=SHORT,
    students=StudentsConfig(direct=SHORT, further=SHORT),
)
"""Small numbers; the caps leave room in the positions of the random base."""

PROBLEMS = [{"question": f"compute {a} + {b}", "answer": str(a + b)} for a in range(6) for b in range(6)]
COLD = [
    {"question": "compute 7 + 8", "response": "<think> 7 + 8 = 15 </think> \\boxed{15}"},
    {"question": "compute 8 + 8", "response": "16"},
]
GENERAL = [
    {"question": "say hello", "response": "hello"},
    {"question": "say yes", "response": "<think> yes </think> yes"},
    {"question": "say no", "response": "no"},
]
PREFERENCES = [
    {"question": f"write {word}", "chosen": f"{word} {word}", "rejected": word} for word in ["a", "b", "c", "d"]
]
SAFETY = [{"question": f"harm {word}", "response": word, "is_safe": word < "c"} for word in ["a", "b", "c", "d"]]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A file of each kind, by the name of its option."""
    rows = {
        "problems": PROBLEMS,
        "demonstrations": COLD,
        "general": GENERAL,
        "preferences": PREFERENCES,
        "safety": SAFETY,
    }
    for name, content in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return {name: str(tmp_path / f"{name}.jsonl") for name in rows}


def options(files: dict[str, str], *names: str, own: dict[str, Any] | None = None, **others: Any) -> R1Options:
    """Options with the problems, and files of these kinds."""
    given = {name: (files[name],) for name in names}
    return R1Options(own=OwnData(problems=(files["problems"],), **(own or {})), **given, **others)


def request_with(options: R1Options, scale: R1Config = SCALE) -> RunRequest[R1Config, R1Options]:
    return RunRequest(recipe="r1", scale="tiny", config=scale, options=options, folder=Path("run"), seed=0)


def given_to_stages(
    patch: pytest.MonkeyPatch, base: Checkpoint, options: R1Options, students: Sequence[Checkpoint] = ()
) -> tuple[Given, list[str]]:
    """What each stage of a run is given, and what the run says."""
    stages = stand_in(patch)
    notes: list[str] = []
    run = Run(folder=RunFolder(Path("run"), is_writer=False), seed=0, say=notes.append)
    R1.run(run, request_with(options), [base, *students])
    return stages.given, notes


def names(given: Given) -> set[str]:
    """The stages that ran, without the evaluations."""
    return {name for name in given if not name.startswith("evaluation-")}


def parts(row: Any) -> set[Any]:
    """The functions of a row of a reward table, but for the verifier, whose instances differ."""
    return {part for part in row if part in (zero_format, format_reward, language_reward)}


def test_with_every_file_given_every_arrow_has_its_own_data(
    base: Checkpoint, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, notes = given_to_stages(monkeypatch, base, options(files, "general", "preferences", "safety"))
    assert names(given) == {
        *("zero", "longer", "cold", "dev1", "dev2", "kept", "general", "dev3", "helpfulness", "harmlessness"),
        *("helpfulness-scores", "harmlessness-scores", "reasoning", "r1"),
    }

    zero, dev2, last = given["zero"]["task"], given["dev2"]["task"], given["r1"]["task"]
    assert (zero.template, dev2.template, last.template) == (r1_zero, r1, r1)
    assert parts(zero.reward["math"]) == {zero_format}
    assert parts(dev2.reward["math"]) == {format_reward, language_reward}
    assert len(dev2.reward["math"]) == 3

    # Later models are asked with an instruction, R1-Zero is not; both are asked the same problems.
    bare, worded = zero.problems(0, 8), dev2.problems(0, 8)
    assert [problem.question for problem in worded] == [f"{problem.question}\n{MATH_INSTRUCTION}" for problem in bare]
    assert dev2.validation.problems[0].question.endswith(MATH_INSTRUCTION)

    cold, kept = given["cold"]["sampling"], given["kept"]["sampling"]
    assert (cold.template, cold.keep.ending, cold.keep.num_kept, len(cold.problems)) == (r1_zero, "answer", 2, 6)
    assert (kept.template, kept.keep.ending, kept.keep.num_kept, len(kept.problems)) == (r1, "summary", 3, 9)
    assert cold.keep.editor is summed_up
    assert kept.keep.editor is None
    assert cold.keep.wording(cold.problems[:1])[0].question.endswith(MATH_INSTRUCTION)
    assert kept.problems[0].question.endswith(MATH_INSTRUCTION)
    assert cold.keep.rules.keys() == kept.keep.rules.keys() == {"math"}

    assert [data.key for data in given["dev1"]["data"]] == ["cold"]
    assert [data.key for data in given["dev3"]["data"]] == ["kept", "general"]
    assert (given["dev1"]["policy"], given["dev3"]["policy"]) == (base, base)

    assert (given["helpfulness"]["kind"], given["harmlessness"]["kind"]) == (HELPFULNESS, HARMLESSNESS)
    assert {given[name]["policy"].key for name in ("helpfulness", "harmlessness")} == {"dev3"}
    for name, count in (("helpfulness", 4), ("harmlessness", 4)):
        learned = [row.prompt for row in given[name]["data"]()]
        examined = [row.prompt for row in given[name]["held_out"]()]
        assert len({*learned, *examined}) == len(learned) + len(examined) == count
        assert given[name]["config"] is SCALE.rewards.training

    assert "general data: the first 2 are used, see --num-general" in notes
    assert any(note.startswith("helpfulness: 4 rankings") for note in notes)
    assert "left out, no --compare: Dev2 without the language reward" in notes


def test_the_last_stage_mixes_reasoning_with_prompts_that_a_reward_model_scores(
    base: Checkpoint, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, _ = given_to_stages(monkeypatch, base, options(files, "general", "preferences", "safety"))
    task = given["r1"]["task"]

    # The first part asks six problems; from then on half of the stream are general prompts.
    assert {problem.domain for problem in task.problems(0, 6)} == {"math"}
    asked = task.problems(6, 60)
    by_domain = {domain: [one for one in asked if one.domain == domain] for domain in ("math", "helpful", "harmful")}
    assert len(by_domain["math"]) == 30
    assert {one.question for one in by_domain["helpful"]} == {
        *(row["question"] for row in PREFERENCES),
        *(row["question"] for row in GENERAL[:2]),
    }
    assert {one.question for one in by_domain["harmful"]} == {row["question"] for row in SAFETY}

    names_of_parts = {domain: {part.__name__ for part in row} for domain, row in task.reward.items()}
    assert names_of_parts["helpful"] == {"helpfulness", "format_reward", "language_reward"}
    assert names_of_parts["harmful"] == {"harmlessness", "format_reward", "language_reward"}
    assert given["r1"]["continues"] is True


def test_without_preferences_the_last_stage_goes_on_with_reasoning(
    base: Checkpoint, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, notes = given_to_stages(monkeypatch, base, options(files))
    assert names(given) == {"zero", "longer", "cold", "dev1", "dev2", "kept", "dev3", "reasoning", "r1"}
    assert given["r1"]["task"] == given["reasoning"]["task"]
    assert [data.key for data in given["dev3"]["data"]] == ["kept"]
    assert "left out, no rankings with --preferences: Helpful reward model" in notes


def test_a_cold_start_that_is_given_takes_the_place_of_r1_zero(
    base: Checkpoint, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, notes = given_to_stages(monkeypatch, base, options(files, "demonstrations"))
    assert not {"zero", "longer", "evaluation-zero"} & given.keys()
    (rows,) = given["cold"]["rows"]
    assert [row.question for row in rows] == ["compute 7 + 8"]
    assert [data.key for data in given["dev1"]["data"]] == ["cold"]
    assert "cold start: 1 responses without thinking left out" in notes
    assert "left out, the cold start is given: R1-Zero" in notes


def test_a_general_response_without_thinking_gets_an_empty_block(
    base: Checkpoint, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, _ = given_to_stages(monkeypatch, base, options(files, "general"))
    (rows,) = given["general"]["rows"]
    assert [row.response for row in rows] == ["<think>\n\n</think>\n\nhello", "<think> yes </think> yes"]


def test_students_are_distilled_where_they_are_given_and_reinforced_on_request(
    base: Checkpoint, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"qwen2-distilled", "llama-distilled"}
    compared = {"dev2-plain", "qwen2-rl", "qwen2-distilled-rl"}
    given, _ = given_to_stages(monkeypatch, base, options(files), [base, base])
    assert names(given) & {*made, *compared, "qwen2", "llama"} == made
    given, _ = given_to_stages(monkeypatch, base, options(files, compare=True), [base, base])
    assert names(given) & {*made, *compared} == made | compared
    assert given["qwen2-rl"]["task"].template is r1_zero
    assert given["qwen2-distilled-rl"]["task"].template is r1
    assert parts(given["dev2-plain"]["task"].reward["math"]) == {format_reward}


def test_every_model_is_examined_in_the_prompt_of_its_training(
    base: Checkpoint, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, _ = given_to_stages(monkeypatch, base, options(files, own={"stop": ("END",)}))
    exams = {name.removeprefix("evaluation-"): one for name, one in given.items() if name.startswith("evaluation-")}
    assert exams.keys() == {"start", "zero", "dev1", "dev2", "dev3", "r1"}
    for name, exam in exams.items():
        template = r1_zero if name in ("start", "zero") else r1
        assert exam["setting"].template is template
        assert parts(exam["setting"].reward["math"]) == {zero_format if template is r1_zero else format_reward}
        assert exam["setting"].stop == ("END",)
        assert exam["problems"][0].question.endswith(MATH_INSTRUCTION) == (template is r1)
    assert {given[name]["task"].stop for name in ("zero", "dev2", "r1")} == {("END",)}
    assert {given[name]["sampling"].stop for name in ("cold", "kept")} == {("END",)}


def test_a_template_of_the_users_is_that_of_all_models_after_r1_zero(
    base: Checkpoint, files: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own.jinja").write_text("{{ messages[-1]['content'] }} =", encoding="utf-8")
    own = {"template": str(tmp_path / "own.jinja")}
    given, _ = given_to_stages(monkeypatch, base, options(files, "preferences", own=own))
    assert given["zero"]["task"].template is r1_zero
    places = [given["dev1"], given["dev2"]["task"], given["kept"]["sampling"], given["helpfulness-scores"]]
    for place in places:
        template = place["template"] if isinstance(place, dict) else place.template
        assert template("1 + 1").endswith("1 + 1 =")
    assert all(row.prompt.endswith(" =") for row in given["helpfulness"]["data"]())
    # R1's format is asked for all the same: it is what the recipe is about.
    assert parts(given["dev2"]["task"].reward["math"]) == {format_reward, language_reward}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a prompt without problems": (
        {"own": OwnData(template="bare", stop=("END",))},
        "--test, --template, --reward and the like: give reas",
    ),
    "files without problems": ({"general": ("g.jsonl",), "compare": True}, r"--general, --compare: give reasoning pr"),
    "an assistant that nobody asks": (
        {"own": OwnData(problems=("p",)), "demonstrations": ("d",), "assistant": "http://127.0.0.1:1/v1"},
        "--assistant rewrites the cold start, and --demonstrations give it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_do_not_go_together_are_refused(case: str) -> None:
    given, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        R1.open_models(request_with(R1Options(**given)))


@pytest.fixture
def nothing_is_sampled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is refused is refused before any stage."""
    stages = stand_in(monkeypatch)
    yield
    assert not stages.given


@pytest.mark.usefixtures("nothing_is_sampled")
@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("problems", [{"question": "why?"}], "has no field|answer"),
        ("demonstrations", COLD[1:], "no response has thinking in <think> tags"),
        ("demonstrations", [{"question": "1 + 1"}], r"demonstrations.jsonl:1: it needs a question"),
        ("general", [{"response": "hello"}], r"general.jsonl:1: it needs a question"),
        ("preferences", [{"question": "a", "chosen": "b"}], r"preferences.jsonl:1: it needs a question with chosen"),
        ("preferences", PREFERENCES[:1], "they ask one question alone"),
        (
            "safety",
            [{"question": "a", "response": "b"}],
            r"safety.jsonl:1: it needs a question, a response and is_safe",
        ),
    ],
)
def test_a_file_that_cannot_be_used_ends_the_run_before_its_first_stage(
    kind: str, rows: list[dict[str, Any]], message: str, base: Checkpoint, files: dict[str, str]
) -> None:
    Path(files[kind]).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    chosen = options(files, *({kind} - {"problems"}))
    with pytest.raises(ValueError, match=message):
        R1.check(request_with(chosen), [base])


@pytest.mark.usefixtures("nothing_is_sampled")
@pytest.mark.parametrize("stage", ["dev2", "kept", "reasoning", "scenarios", "cold"])
def test_a_cap_of_any_stage_that_leaves_no_room_is_named(stage: str, base: Checkpoint, files: dict[str, str]) -> None:
    part = getattr(SCALE, stage).model_copy(update={"max_new_tokens": 5000})
    scale = SCALE.model_copy(update={stage: part})
    with pytest.raises(ValueError, match=f"--{stage}.max-new-tokens 5000"):
        R1.check(request_with(options(files), scale), [base])


@pytest.mark.usefixtures("nothing_is_sampled")
def test_students_need_positions_for_what_they_are_asked(
    base: Checkpoint, files: dict[str, str], tmp_path: Path
) -> None:
    tokenizer = world_tokenizer()
    small = tiny_config(vocab_size=tokenizer.vocab_size, max_position_embeddings=64)
    write_checkpoint(tmp_path / "small", tiny_policy(small), tokenizer, state={})
    with pytest.raises(ValueError, match="64 positions of the llama student"):
        R1.check(request_with(options(files)), [base, base, open_base(tmp_path / "small")])


def test_long_prompts_can_be_left_out_of_every_stage(
    base: Checkpoint, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {"question": "compute " + "1 + " * 400 + "1", "answer": "401"}
    Path(files["problems"]).write_text("".join(json.dumps(row) + "\n" for row in [*PROBLEMS, long]), encoding="utf-8")
    with pytest.raises(ValueError, match="--long-prompts skip"):
        R1.check(request_with(options(files)), [base])

    given, notes = given_to_stages(monkeypatch, base, options(files, own={"long_prompts": "skip"}))
    asked = [*given["zero"]["task"].problems(0, 60), *given["dev2"]["task"].problems(0, 60)]
    assert not [problem for problem in asked if problem.answer == "401"]
    assert any("1 prompts left out that are too long" in note for note in notes)


def test_the_figure_shows_what_runs_and_no_more(files: dict[str, str]) -> None:
    figure = {node.name: node for node in R1.drawn(request_with(options(files, "demonstrations", "preferences")))}
    assert figure.keys() == {"start", "cold", "dev1", "dev2", "kept", "dev3", "helpfulness", "r1"}
    assert (figure["cold"].by, figure["cold"].parents) == ("given", ())
    assert figure["helpfulness"].stages == ("helpfulness",)
    assert figure["dev3"].parents == ("start", "kept")
    assert figure["r1"].parents == ("dev3", "helpfulness")
    assert R1.drawn(request_with(R1Options())) == R1.figure


def test_the_files_are_part_of_what_may_not_change_when_a_run_goes_on(files: dict[str, str]) -> None:
    before = R1.inputs(request_with(options(files)), [])
    assert R1.inputs(request_with(options(files, "general")), []) != before
    assert R1.inputs(request_with(R1Options()), []) == {}


def test_the_doctor_examines_r1_zero_on_the_users_problems(files: dict[str, str]) -> None:
    found = R1.doctor(request_with(options(files, own={"template": "bare", "system": ""})))
    assert found is not None
    assert (found.own.problems, found.own.template) == ((files["problems"],), "r1_zero")
    assert R1.doctor(request_with(options(files, "demonstrations"))) is None


@pytest.mark.parametrize(
    ("answer", "domain", "summary"),
    [
        ("15", "math", r"The final answer is \boxed{15}."),
        (r"so \boxed{15}", "math", r"so \boxed{15}"),
        ("```python\npass\n```", "code", "```python\npass\n```"),
        ("C", "choice", "C"),
    ],
)
def test_the_rule_puts_an_answer_into_r1s_format(answer: str, domain: str, summary: str) -> None:
    problem = Problem(id="1", question="?", answer="15", domain=domain)
    assert summed_up([Draft(problem=problem, thinking="7 + 8", answer=answer)]) == [
        f"<think>\n7 + 8\n</think>\n\n{summary}"
    ]
