"""What a run is set to learn: from files of the user's, nothing that is evaluated on is trained on."""

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aha.prompts.templates import bare, r1, r1_zero
from aha.recipes.base_model import BUILT_IN, open_base
from aha.recipes.own.assignment import assigned
from aha.recipes.own.judging import judges, rules_of
from aha.recipes.own.own_data import OwnData
from aha.recipes.own.prompting import named_template
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig
from aha.rewards.accuracy import accuracy
from aha.rewards.code import CodeReward
from aha.rewards.language import LanguageReward
from aha.rewards.table import RULES, part_name, score
from aha.rewards.verifier import MathVerifier
from aha.stages.evaluate import solving
from aha.training.checkpoint import read_model, write_checkpoint
from aha.types import Group, Problem, Rollout

pytestmark = pytest.mark.usefixtures("few_are_measured")

SCALE = R1_ZERO_SCALES["tiny"]
NAMES = ["Ann", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Jon"]


def write(path: Path, count: int, *, offset: int = 0) -> str:
    """Word problems with nothing in common but their form."""
    rows = [
        {"question": f"{NAMES[n % 10]} has {n} and gets {n * n % 97 + n}: how many?", "answer": f"so #### {n + 1:,}"}
        for n in range(offset, offset + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def questions(problems: object) -> set[str]:
    assert isinstance(problems, list | tuple)
    return {problem.question for problem in problems if isinstance(problem, Problem)}


def test_without_files_it_is_the_built_in_world() -> None:
    with assigned(OwnData(), open_base(), SCALE, seed=1) as assignment:
        assert assignment.reward == RULES
        assert assignment.template is r1_zero
        assert list(assignment.suites) == ["", "hard"]
        assert assignment.problems(0, 3)[0].domain in RULES


def test_a_share_of_a_file_is_held_out_and_never_trained_on(tmp_path: Path) -> None:
    own = OwnData(problems=(write(tmp_path / "own.jsonl", 100),))
    with assigned(own, open_base(), SCALE, seed=0) as assignment:
        test, watched = questions(assignment.suites[""]), questions(assignment.watched)
        trained = questions([problem for step in range(40) for problem in assignment.problems(step * 12, 12)])
        assert len(test) == 20
        assert len(watched) == 16
        assert len(trained) == 64
        assert not trained & test
        assert not trained & watched
        assert not test & watched
        assert {problem.answer for problem in assignment.problems(0, 99)} <= {str(n) for n in range(1, 101)}
        assert {part_name(one) for one in assignment.reward["math"]} == {"accuracy", "format"}
        assert "100 problems" in assignment.notes[0]


def test_training_problems_that_the_test_asks_too_are_left_out(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", 60)
    test = write(tmp_path / "test.jsonl", 30, offset=50)
    with assigned(OwnData(problems=(train,), test=(test,)), open_base(), SCALE, seed=0) as assignment:
        trained = questions([problem for step in range(20) for problem in assignment.problems(step * 12, 12)])
        assert not trained & questions(assignment.suites[""])
        assert any("left out" in note for note in assignment.notes)


@pytest.mark.parametrize("is_same", [True, False])
def test_what_is_trained_on_overlaps_with_nothing_that_is_held_out(is_same: bool, tmp_path: Path) -> None:
    """Two files ask alike, in other letters or with another end; what one of them holds out, the other must not teach.

    Ten words in a row are enough: the questions of a pair differ in the eleventh.
    """
    words = [
        "{} walks to the market and buys {} red apples for {}",
        "{} WALKS to the market and buys {} red apples  for {}",
    ]
    ends = [" euros", " euros"] if is_same else [" euros", " francs"]
    paths = []
    for number, (text, end) in enumerate(zip(words, ends, strict=True)):
        rows = [
            {"question": text.format(NAMES[n % 10], n, n * n % 97) + end, "answer": str(n)} for n in range(100, 160)
        ]
        paths.append(tmp_path / f"{number}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with assigned(OwnData(problems=tuple(map(str, paths))), open_base(), SCALE, seed=0) as assignment:
        trained = {beginning(text) for text in questions(list(assignment.pool))}
        test, watched = questions(assignment.suites[""]), questions(assignment.watched)
        assert len(trained) > 20
        assert min(len(test), len(watched)) > 10
        assert not trained & {beginning(text) for text in test}
        assert not trained & {beginning(text) for text in watched}


def test_an_instruction_around_every_question_is_no_overlap(tmp_path: Path) -> None:
    """As in the rows that verl writes of GSM8K: twelve words are the same in all of them."""
    path = tmp_path / "own.jsonl"
    write(path, 100)
    instruction = 'Let\'s think step by step and output the final answer after "####".'
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{row['question']} {instruction}"}],
            "reward_model": {"ground_truth": row["answer"].rpartition("#### ")[2]},
        }
        for row in rows
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with assigned(OwnData(problems=(str(path),)), open_base(), SCALE, seed=0) as assignment:
        assert len(assignment.pool) == 64
        assert all(problem.question.endswith(instruction) for problem in assignment.pool)


@pytest.mark.full
@pytest.mark.parametrize("family", [pytest.param("countdown", marks=pytest.mark.full), "knights_knaves"])
def test_what_a_program_makes_from_one_form_is_kept(family: str, tmp_path: Path) -> None:
    """Also from a file of such rows; the same question is still left out."""
    gym = pytest.importorskip("reasoning_gym")
    rows = [gym.create_dataset(family, size=60, seed=3)[index] for index in range(60)]
    rows = list({row["question"]: row for row in rows}.values())
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")
    small = SCALE.model_copy(update={"evaluation": SCALE.evaluation.model_copy(update={"max_new_tokens": 16})})
    for address in (f"gym:{family}:60", str(path)):
        own = OwnData(problems=(address,), long_prompts="skip")
        with assigned(own, open_base(), small, seed=0) as assignment:
            assert len(assignment.pool) > 25
            assert not questions(list(assignment.pool)) & questions(list(assignment.suites[""]))


@pytest.mark.full
def test_problems_that_a_program_makes_are_held_out_whatever_the_seed_of_the_run() -> None:
    pytest.importorskip("reasoning_gym")
    own = OwnData(problems=("gym:letter_counting:60",), long_prompts="skip")
    held_out = []
    for seed in (0, 1):
        with assigned(own, open_base(), SCALE, seed=seed) as assignment:
            held_out.append([problem.id for problem in assignment.suites[""]])
    assert held_out[0] == held_out[1]


def test_who_has_no_problem_left_is_told_what_they_share(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    shared = "one two three four five six seven eight nine ten"
    for path, numbers in ((train, range(5)), (test, range(5, 10))):
        rows = [{"question": f"{shared} {n}", "answer": str(n)} for n in numbers]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    own = OwnData(problems=(str(train),), test=(str(test),))
    with (
        pytest.raises(ValueError, match=rf"no training problem is left.*such as '{shared}'"),
        assigned(own, open_base(), SCALE, seed=0),
    ):
        pass


def beginning(question: str) -> str:
    """Its first ten words, whatever its letters and blanks."""
    return " ".join(question.casefold().split()[:10])


def test_the_draws_follow_the_seed_and_the_contents(tmp_path: Path) -> None:
    def key(seed: int, path: str) -> str:
        with assigned(OwnData(problems=(path,)), open_base(), SCALE, seed=seed) as assignment:
            return assignment.problems.key

    one, other = write(tmp_path / "own.jsonl", 50), write(tmp_path / "other.jsonl", 51)
    assert key(0, one) == key(0, one)
    assert len({key(0, one), key(1, one), key(0, other)}) == 3


def test_a_reward_of_the_users_own_joins_every_domain(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def short(problem, rollout):\n    return -len(rollout.tokens)\n")
    own = OwnData(reward=(f"{tmp_path / 'mine.py'}:short=0.1",))
    with assigned(own, open_base(), SCALE, seed=0) as assignment:
        assert {part_name(one): weight for one, weight in assignment.reward["pair"].items()} == {
            "accuracy": 1.0,
            "format": 1.0,
            "short": 0.1,
        }


def test_the_language_reward_joins_by_name(tmp_path: Path) -> None:
    own = OwnData(problems=(write(tmp_path / "train.jsonl", 40),), reward=("language=0.5",))
    with assigned(own, open_base(), SCALE, seed=0) as assignment:
        table = assignment.reward["math"]
        reward, weight = next((one, weight) for one, weight in table.items() if isinstance(one, LanguageReward))
    assert weight == 0.5
    german = replace(assignment.watched[0], language="de")
    response = "<think> Das ist ein einfacher Satz auf Deutsch. </think> <answer> 3 </answer>"
    rollout = Rollout(
        problem_id="p",
        prompt_tokens=torch.zeros(1),
        tokens=torch.zeros(1),
        logp=torch.zeros(1),
        text=response,
        finish="stop",
    )
    assert reward(german, rollout).score == 1.0
    assert reward(assignment.watched[0], rollout).score == 0.0
    bad = replace(own, reward=("language=much",))
    with (
        pytest.raises(ValueError, match="--reward language=much: 'much' is no weight"),
        assigned(bad, open_base(), SCALE, seed=0),
    ):
        pass


def test_stop_strings_reach_training_and_evaluation(tmp_path: Path) -> None:
    with assigned(OwnData(stop=("</answer>",)), open_base(), SCALE, seed=0) as assignment:
        assert assignment.task(SCALE).stop == ("</answer>",)
        assert assignment.setting.stop == ("</answer>",)
        assert assignment.setting.key()["stop"] == ["</answer>"]


def test_a_run_from_a_checkpoint_ends_responses_as_its_training_did(tmp_path: Path) -> None:
    policy, tokenizer = read_model(BUILT_IN)
    write_checkpoint(tmp_path / "model", policy, tokenizer.trained_with(r1_zero, ("</answer>",)), state={})
    start = open_base(tmp_path / "model")
    for given, expected in ((None, ("</answer>",)), (("User:",), ("User:",)), ((), ())):
        with assigned(OwnData(stop=given), start, SCALE, seed=0) as assignment:
            assert assignment.stop == assignment.task(SCALE).stop == assignment.setting.stop == expected
            assert any("end at '</answer>'" in note for note in assignment.notes) is (given is None)


def prompts_without_answers(folder: Path) -> OwnData:
    """Texts to write, and a reward of one's own that judges them."""
    rows = [{"text": f"Write {n} words about {NAMES[n % 10]}."} for n in range(60)]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "mine.py").write_text("def short(problem, rollout):\n    return -len(rollout.tokens)\n", encoding="utf-8")
    return OwnData(
        problems=(str(folder / "own.jsonl"),),
        fields="question=text,domain=own",
        reward=(f"{folder / 'mine.py'}:short",),
    )


def test_prompts_without_answers_are_judged_by_own_rewards_alone(tmp_path: Path) -> None:
    with assigned(prompts_without_answers(tmp_path), open_base(), SCALE, seed=0) as assignment:
        assert {problem.answer for problem in assignment.pool} == {""}
        assert {part_name(one): weight for one, weight in assignment.reward["own"].items()} == {
            "format": 1.0,
            "short": 1.0,
        }


def test_an_evaluation_has_no_figures_of_accuracy_where_nothing_is_right_or_wrong(tmp_path: Path) -> None:
    with assigned(prompts_without_answers(tmp_path), open_base(), SCALE, seed=0) as assignment:
        (problem, *_) = assignment.suites[""]
        tokens = torch.tensor([5, 6])
        rollout = Rollout(
            problem_id=problem.id, prompt_tokens=tokens, tokens=tokens, logp=torch.zeros(2), text="two", finish="stop"
        )
        reward = score(assignment.reward, problem, rollout)
        measured = solving(Group(problem=problem, rollouts=(rollout,), rewards=(reward,)))
        assert reward.total == -2.0
        assert measured["length"] == 2
        assert not measured.keys() & {"pass@1", "pass@k", "cons@k"}


def test_without_a_reward_of_ones_own_nothing_could_judge_them(tmp_path: Path) -> None:
    own = replace(prompts_without_answers(tmp_path), reward=())
    with pytest.raises(ValueError, match="give one with --reward"), assigned(own, open_base(), SCALE, seed=0):
        pass


def with_long_ones(path: Path, *lines: int, count: int = 60) -> str:
    """Problems of which those in some lines have more words than the model has positions."""
    write(path, count)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        rows[line - 1]["question"] += " and one more" * 700
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(("place", "option"), [("train", "longer"), ("test", "evaluation")])
def test_a_prompt_that_is_too_long_is_refused_before_the_start(tmp_path: Path, place: str, option: str) -> None:
    files = {
        name: with_long_ones(tmp_path / f"{name}.jsonl", *((8, 31) if name == place else ()))
        for name in ("train", "test")
    }
    own = OwnData(problems=(files["train"],), test=(files["test"],))
    with pytest.raises(ValueError, match=rf"{place}\.jsonl:8: ") as refused, assigned(own, open_base(), SCALE, seed=0):
        pass
    message = str(refused.value)
    assert f"{place} prompts do not" in message
    assert f"--{option}.max-new-tokens 192" in message
    assert "--long-prompts skip" in message


def without_parts(*skipped: str, **caps: int) -> R1ZeroConfig:
    """The numbers with parts of R1-Zero left out, and with some length caps."""
    config = SCALE.model_dump()
    for name in skipped:
        config[name]["iterations"] = 0
    for name, cap in caps.items():
        config[name]["max_new_tokens"] = cap
    return R1ZeroConfig.model_validate(config)


@pytest.mark.parametrize("part", ["zero", "longer"])
def test_the_length_cap_of_a_part_that_is_left_out_does_not_count(tmp_path: Path, part: str) -> None:
    own = OwnData(problems=(write(tmp_path / "own.jsonl", 60),))
    with assigned(own, open_base(), without_parts(part, **{part: 100_000}), seed=0) as assignment:
        assert not assignment.left_out
    with (
        pytest.raises(ValueError, match=rf"--{part}.max-new-tokens 100000"),
        assigned(own, open_base(), without_parts(**{part: 100_000}), seed=0),
    ):
        pass


def test_a_run_that_trains_nothing_has_no_length_cap_of_training(tmp_path: Path) -> None:
    scale = without_parts("zero", "longer", zero=100_000, longer=100_000, validation=100_000)
    for own in (OwnData(problems=(write(tmp_path / "own.jsonl", 60),)), OwnData()):
        with assigned(own, open_base(), scale, seed=0) as assignment:
            assert assignment.suites[""]


def test_prompts_that_are_too_long_are_left_out_and_named(tmp_path: Path) -> None:
    path = with_long_ones(tmp_path / "own.jsonl", *range(1, 60, 3))
    with assigned(OwnData(problems=(path,), long_prompts="skip"), open_base(), SCALE, seed=0) as assignment:
        kept = questions([*assignment.pool, *assignment.watched, *assignment.suites[""]])
        assert len(kept) == 40
        assert not any("one more" in question for question in kept)
        assert f"{path}:1 " in " ".join(assignment.left_out)
        assert len(assignment.left_out) == 20
        assert any("20 prompts" in note and f"{path}:" in note for note in assignment.notes)


def test_a_cap_that_leaves_no_room_is_named_whatever_is_done_about_long_prompts(tmp_path: Path) -> None:
    config = SCALE.model_dump()
    config["validation"]["max_new_tokens"] = 100_000
    scale = R1ZeroConfig.model_validate(config)
    for own in (OwnData(problems=(write(tmp_path / "own.jsonl", 60),), long_prompts="skip"), OwnData()):
        with (
            pytest.raises(ValueError, match=r"--validation.max-new-tokens 100000"),
            assigned(own, open_base(), scale, seed=0),
        ):
            pass


def test_too_few_problems_are_refused(tmp_path: Path) -> None:
    own = OwnData(problems=(write(tmp_path / "own.jsonl", 5),), test=(write(tmp_path / "test.jsonl", 5),))
    with pytest.raises(ValueError, match="no training problem is left"), assigned(own, open_base(), SCALE, seed=0):
        pass


def test_the_control_is_of_the_built_in_world(tmp_path: Path) -> None:
    own = OwnData(problems=(write(tmp_path / "own.jsonl", 50),))
    with (
        pytest.raises(ValueError, match="leave --problems out"),
        assigned(own, open_base(), SCALE, seed=0, is_shuffled=True),
    ):
        pass


def test_every_domain_has_the_judge_that_can_read_its_answers() -> None:
    with ExitStack() as stack:
        found = judges(["math", "text", "choice", "pair", "code", "own"], stack, allow_weak=True)
    assert set(found) == {"math", "text", "choice", "pair", "code"}
    assert found["text"] is found["choice"] is found["pair"] is accuracy
    assert isinstance(found["math"], MathVerifier)
    assert isinstance(found["code"], CodeReward)
    assert {part_name(one) for one in found.values()} == {"accuracy"}


def test_the_format_is_that_of_the_template() -> None:
    start = open_base()
    with ExitStack() as stack:
        functions = judges(["text"], stack)
        forms = {
            name: rules_of(functions, template) for name, template in (("zero", r1_zero), ("r1", r1), ("bare", bare))
        }
    assert [len(table["text"]) for table in forms.values()] == [2, 2, 1]
    assert [str(one.__name__) for one in forms["zero"]["text"]] == ["accuracy", "format_reward"]
    assert named_template("auto", start) is r1_zero
    assert named_template("chat", start)("compute 2 + 2") == r1_zero("compute 2 + 2")


def test_references_that_cannot_be_read_are_named_before_anything_runs_or_skipped(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [{"question": f"what is {n}?", "answer": str(n)} for n in range(30)]
    rows[7]["answer"], rows[20]["answer"] = r"\frac{1}{", r"\sqrt{"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    own = OwnData(problems=(str(path),))
    with pytest.raises(ValueError, match="2 reference answers cannot be read") as refused:
        assigned(own, open_base(), SCALE, seed=0).__enter__()
    assert [line.split(": ")[0] for line in str(refused.value).splitlines()[1:3]] == [f"{path}:8", f"{path}:21"]
    assert str(refused.value).endswith("--bad-rows skip leaves them out")

    with assigned(replace(own, bad_rows="skip"), open_base(), SCALE, seed=0) as assignment:
        assert len(assignment.pool) + len(assignment.watched) + sum(map(len, assignment.suites.values())) >= 28
        answers = {problem.answer for problem in assignment.pool}
        assert not answers & {r"\frac{1}{", r"\sqrt{"}
        assert any("2 with reference answers that cannot be read left out" in note for note in assignment.notes)


def test_the_test_file_of_a_folder_is_evaluated_on_and_never_trained_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train-00000-of-00002.jsonl", 40)
    write(tmp_path / "data" / "train-00001-of-00002.jsonl", 40, offset=100)
    write(tmp_path / "data" / "test-00000-of-00001.jsonl", 10, offset=200)
    (tmp_path / "dev").mkdir()
    write(tmp_path / "dev" / "part.jsonl", 10, offset=300)
    with assigned(OwnData(problems=(str(tmp_path),)), open_base(), SCALE, seed=0) as assignment:
        assert {int(problem.answer) - 1 for problem in assignment.pool} == {*range(40), *range(100, 140)}
        assert {int(problem.answer) - 1 for problem in assignment.suites[""]} == {*range(200, 210)}
        assert {int(problem.answer) - 1 for problem in assignment.watched} == {*range(300, 310)}
        assert any("train: 2 files" in note and "test: 1 file" in note for note in assignment.notes)


def test_the_test_file_of_a_folder_is_not_trained_on_where_another_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.jsonl", 60)
    write(tmp_path / "data" / "test.jsonl", 20, offset=50)
    own = OwnData(problems=(str(tmp_path / "data"),), test=(write(tmp_path / "other.jsonl", 10, offset=200),))
    with assigned(own, open_base(), SCALE, seed=0) as assignment:
        asked = {int(problem.answer) - 1 for problem in assignment.pool}
        assert asked <= {*range(50)}
        assert {int(problem.answer) - 1 for problem in assignment.suites[""]} == {*range(200, 210)}


def test_a_folder_with_nothing_but_a_test_file_is_not_trained_on(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", 40)
    own = OwnData(problems=(str(tmp_path),))
    with pytest.raises(ValueError, match="holds no training file"), assigned(own, open_base(), SCALE, seed=0):
        pass


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("test.jsonl", "test"),
        ("gsm8k-test-00000-of-00001.jsonl", "test"),
        ("test/part.jsonl", "test"),
        ("dev.jsonl", "validation"),
        ("train.jsonl", ""),
        ("latest.jsonl", ""),
        ("testing ground/part.jsonl", ""),
    ],
)
def test_who_trains_on_a_test_file_is_told(name: str, split: str, tmp_path: Path) -> None:
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True)
    with assigned(OwnData(problems=(write(path, 60),)), open_base(), SCALE, seed=0) as assignment:
        told = [note for note in assignment.notes if "by its name" in note]
        assert [f"{path} is by its name a {split} file" in note for note in told] == ([True] if split else [])
        assert assignment.pool


def test_every_test_file_is_evaluated_on(tmp_path: Path) -> None:
    scale = SCALE.model_copy(update={"evaluation": SCALE.evaluation.model_copy(update={"num_problems": 30})})
    own = OwnData(
        problems=(write(tmp_path / "train.jsonl", 40),),
        test=(write(tmp_path / "one.jsonl", 80, offset=100), write(tmp_path / "two.jsonl", 10, offset=200)),
    )
    with assigned(own, open_base(), scale, seed=0) as assignment:
        assert len(assignment.suites[""]) == 30
        assert list(assignment.suites) == ["", "one", "two"]
        assert [*assignment.suites["one"], *assignment.suites["two"]] == assignment.suites[""]
        assert len(assignment.suites["two"]) == 3
        assert any("27 of 80" in note or "26 of 80" in note for note in assignment.notes)


def test_what_is_held_out_does_not_depend_on_the_seed(tmp_path: Path) -> None:
    own = OwnData(problems=(write(tmp_path / "own.jsonl", 100),))
    found = []
    for seed in (0, 1):
        with assigned(own, open_base(), SCALE, seed=seed) as assignment:
            found.append((list(assignment.suites[""]), list(assignment.watched)))
    assert found[0] == found[1]


def test_a_name_of_the_hub_without_its_mark_is_told_how_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"there is no folder Qwen/Qwen2\.5-0\.5B.*--model hub:Qwen/Qwen2\.5-0\.5B"):
        open_base("Qwen/Qwen2.5-0.5B")
    with pytest.raises(ValueError, match="no model folder at /nowhere/at/all"):
        open_base("/nowhere/at/all")
