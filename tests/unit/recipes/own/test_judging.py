"""What counts as the answer reaches every judge, and without a choice nothing is another than it was."""

import json
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from aha.prompts.templates import bare, r1_zero
from aha.recipes.base_model import open_base
from aha.recipes.distill import DISTILL, DISTILL_SCALES, DistillOptions
from aha.recipes.own.assignment import assigned
from aha.recipes.own.examination import open_examination, read_tests
from aha.recipes.own.judging import built_in_rules, judges, reading_in_words
from aha.recipes.own.own_data import OwnData, as_record
from aha.recipes.own.teaching import prepare_teaching
from aha.recipes.recipe import Recipe, RunRequest
from aha.recipes.rejection import REJECTION, REJECTION_SCALES, RejectionOptions
from aha.recipes.scales import R1_ZERO_SCALES
from aha.recipes.sft import SFT, SFT_SCALES, SFTOptions
from aha.recipes.zero_recipe import R1_ZERO, ZeroOptions
from aha.rewards.accuracy import accuracy
from aha.rewards.extraction.reader import AUTO, JudgeOfReadAnswers, answer_reader, reader_of
from aha.rewards.summary import format_reward
from aha.rewards.table import RULES, identities, rules
from aha.rewards.verifier import MathVerifier
from aha.types import Checkpoint

pytestmark = pytest.mark.usefixtures("few_are_measured")

SCALE = R1_ZERO_SCALES["tiny"]
ASKED = REJECTION_SCALES["tiny"].sampling
EXAMINED = SFT_SCALES["tiny"].evaluation


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "own.jsonl"
    rows = [{"question": f"compute {n} + {n * n}", "answer": str(n + n * n)} for n in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def letters(tmp_path: Path) -> str:
    path = tmp_path / "letters.jsonl"
    rows = [{"question": f"which is {n} ?", "choices": ["one", "two"], "answer": "B"} for n in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_every_domain_is_judged_by_what_was_chosen() -> None:
    reader = answer_reader("box")
    with ExitStack() as stack:
        functions = judges({"math", "text", "choice", "own"}, stack, reader=reader)
        assert set(functions) == {"math", "text", "choice"}
        assert all(reader_of({function: 1.0}) is reader for function in functions.values())
        plain = judges({"math", "text"}, stack)
        assert plain["text"] is accuracy
        assert isinstance(plain["math"], MathVerifier)


def test_the_rewards_of_the_built_in_world_are_what_they_were() -> None:
    assert built_in_rules(AUTO) == RULES
    assert built_in_rules(AUTO, format_reward) == rules(form=format_reward)
    table = built_in_rules(answer_reader("tags"))
    assert table.keys() == RULES.keys()
    assert all(reader_of(row).choice == "tags" for row in table.values())


@pytest.mark.parametrize(
    ("choice", "domains", "said"),
    [
        ("auto", ["math"], []),
        ("box", ["math", "own"], ["answers are read as --answer box says"]),
        ("box", ["code", "math"], ["answers are read as --answer box says, but not programs (domain code)"]),
        (
            "box",
            ["own"],
            ["answers are read as --answer box says: there are none, since rewards of your own alone judge"],
        ),
    ],
)
def test_a_run_says_how_answers_are_read(choice: str, domains: list[str], said: list[str]) -> None:
    assert reading_in_words(answer_reader(choice), domains) == said


@pytest.mark.parametrize("choice", ["tags", "box", "last-number", "regex:[0-9]+"])
def test_training_on_a_file_is_judged_by_what_was_chosen(choice: str, file: str) -> None:
    own = OwnData(problems=(file,), answer=choice)
    with (
        assigned(own, open_base(), SCALE, seed=0) as chosen,
        assigned(replace(own, answer="auto"), open_base(), SCALE, seed=0) as plain,
    ):
        assert reader_of(chosen.reward["math"]).choice == choice
        assert [one.__name__ for one in chosen.reward["math"]] == [one.__name__ for one in plain.reward["math"]]
        assert f"answers are read as --answer {choice} says" in chosen.notes
        assert not any("--answer" in note for note in plain.notes)
        # A stage with another choice is another stage; the format reward is the same.
        assert chosen.task(SCALE).key != plain.task(SCALE).key
        assert chosen.setting.key() != plain.setting.key()
        assert identities(plain.reward)["math"] == {"accuracy:math:3": 1.0, "format.format_reward": 1.0}


def test_the_built_in_world_can_be_read_by_tags_and_not_by_the_last_number() -> None:
    with assigned(OwnData(answer="tags"), open_base(), SCALE, seed=0) as assignment:
        assert reader_of(assignment.reward["pair"]).choice == "tags"
    with (
        pytest.raises(ValueError, match="--answer last-number: an answer of domain pair is no number"),
        assigned(OwnData(answer="last-number"), open_base(), SCALE, seed=0),
    ):
        pass


NOWHERE = Checkpoint(path=Path("nowhere"), stage="", step=0, key="")


@pytest.mark.parametrize(("choice", "complaint"), [("regex:(", "cannot be searched for"), ("boxed", "is unknown")])
def test_a_choice_that_cannot_be_read_is_refused_before_anything_else(choice: str, complaint: str) -> None:
    own = OwnData(answer=choice, problems=("nowhere.jsonl",), test=("nowhere.jsonl",))
    with pytest.raises(ValueError, match=complaint), assigned(own, NOWHERE, SCALE, seed=0):
        pass
    with pytest.raises(ValueError, match=complaint), ExitStack() as stack:
        prepare_teaching(own, NOWHERE, ASKED, stack, seed=0)
    with pytest.raises(ValueError, match=complaint):
        read_tests(own, NOWHERE, r1_zero, EXAMINED)


def test_a_teachers_responses_are_kept_by_what_was_chosen(file: str) -> None:
    base = open_base()
    with ExitStack() as stack:
        built_in = prepare_teaching(OwnData(), base, ASKED, stack, seed=0)
        assert not built_in.sampling.keep.rules
        by_tags = prepare_teaching(OwnData(answer="tags"), base, ASKED, stack, seed=0)
        assert {reader_of({rule: 1.0}).choice for rule in by_tags.sampling.keep.rules.values()} == {"tags"}
        assert by_tags.sampling.keep.rules.keys() == {problem.domain for problem in by_tags.sampling.problems}
        assert by_tags.sampling.keep.key != built_in.sampling.keep.key

        own = prepare_teaching(OwnData(problems=(file,), answer="last-number"), base, ASKED, stack, seed=0)
        assert isinstance(own.sampling.keep.rules["math"], JudgeOfReadAnswers)
        assert "answers are read as --answer last-number says" in own.notes


def test_an_examination_is_judged_by_what_was_chosen(file: str, letters: str) -> None:
    base = open_base()
    data = SFTOptions(test=(file,), answer="box")
    with ExitStack() as stack:
        tests = read_tests(data, base, bare, EXAMINED)
        exam = open_examination(data, tests, bare, EXAMINED, stack)
        assert reader_of(exam.setting.reward["math"]).choice == "box"
        assert exam.notes == ["answers are read as --answer box says"]
        assert not open_examination(SFTOptions(test=(file,)), tests, bare, EXAMINED, stack).notes
    with pytest.raises(ValueError, match="--answer last-number: an answer of domain choice is no number"):
        read_tests(SFTOptions(test=(letters,), answer="last-number"), base, bare, EXAMINED)


def test_options_without_a_choice_are_recorded_as_before_there_was_one() -> None:
    own = OwnData(stop=(), system="briefly")
    assert as_record(own) == {name: value for name, value in asdict(own).items() if name != "answer"}
    assert as_record(replace(own, answer="box")) == asdict(replace(own, answer="box"))


@pytest.mark.parametrize(
    ("recipe", "plain", "chosen"),
    [
        (R1_ZERO, ZeroOptions(own=OwnData(system="x")), ZeroOptions(own=OwnData(answer="box"))),
        (REJECTION, RejectionOptions(), RejectionOptions(own=OwnData(answer="box"))),
        (DISTILL, DistillOptions(), DistillOptions(own=OwnData(answer="box"))),
        (SFT, SFTOptions(), SFTOptions(answer="box")),
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_a_run_that_goes_on_knows_the_choice(recipe: Recipe, plain: object, chosen: object, tmp_path: Path) -> None:  # type: ignore[type-arg]  # any recipe
    def recorded(options: object) -> str:
        config = {"r1_zero": R1_ZERO_SCALES, "distill": DISTILL_SCALES}.get(recipe.name, SFT_SCALES)["tiny"]
        request = RunRequest(
            recipe=recipe.name, scale="tiny", config=config, options=options, folder=tmp_path, seed=0, device="cpu"
        )
        return json.dumps(recipe.inputs(request, [NOWHERE]))

    assert '"answer"' not in recorded(plain)
    assert '"answer": "box"' in recorded(chosen)
