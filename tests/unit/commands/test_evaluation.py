"""A model is asked as it was trained: its responses end at the texts that its checkpoint names."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from aha.commands.evaluation import EvaluationOrder, SampleOrder, SuiteOrder, evaluate_order, sample_once
from aha.engines.engine import Decoding
from aha.problems.world.questions import held_out_problems
from aha.prompts.templates import r1, r1_zero
from aha.recipes.base_model import BUILT_IN
from aha.rewards.accuracy import accuracy
from aha.rewards.extraction.reader import AUTO, reader_of
from aha.rewards.format import format_reward as zero_format
from aha.rewards.summary import format_reward as r1_format
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import Setting
from aha.stages.run import Run
from aha.training.checkpoint import read_model, write_checkpoint
from aha.training.world import World
from aha.types import Problem, Report, Row

LOOK = EvaluationConfig(num_problems=2, num_samples=2, max_new_tokens=40)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The built-in base as if it had been trained with responses that end where they begin to think."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    policy, tokenizer = read_model(BUILT_IN)
    write_checkpoint(folder, policy, tokenizer.trained_with(r1_zero, ("<think>",)), state={})
    return str(folder)


def test_a_sample_ends_where_training_ended_a_response(model: str) -> None:
    def text(stop: tuple[str, ...] | None) -> str:
        order = SampleOrder(
            model=model, question="compute 2 + 2", decoding=Decoding(max_new_tokens=40), seed=0, stop=stop
        )
        return str(sample_once(order)["text"])

    assert text(None).endswith("<think>")
    assert text(("</think>",)).endswith("</think>")
    assert len(text(())) > len(text(None))


def test_an_evaluation_ends_responses_where_training_did(model: str) -> None:
    def length(stop: tuple[str, ...] | None) -> tuple[float, str]:
        report, said = evaluate_order(EvaluationOrder(model=model, config=LOOK, seed=0, stop=stop))
        return report.row("length").value, said

    (own, said), (without, silence), (other, _) = (length(stop) for stop in (None, (), ("</think>",)))
    assert own < other < without
    assert "responses end at '<think>'" in said
    assert "responses end" not in silence


def test_a_model_that_names_no_texts_is_asked_without(tmp_path: Path) -> None:
    report, said = evaluate_order(EvaluationOrder(model=None, config=LOOK, seed=0))
    assert "responses end" not in said
    assert report.row("length").value > 5


@pytest.mark.parametrize("split", ["test", "hard"])
def test_a_cap_that_no_prompt_leaves_room_for_is_refused_with_its_option(split: str) -> None:
    config = LOOK.model_copy(update={"max_new_tokens": 1024})
    line = rf"{split}: its longest prompt has \d+ tokens and the model 1,024 positions.*lower --max-new-tokens"
    with pytest.raises(ValueError, match=line):
        evaluate_order(EvaluationOrder(model=None, config=config, seed=0, split=split))


def test_a_sample_longer_than_the_positions_is_refused_in_one_line() -> None:
    """The prompt may be a whole document, so the error does not repeat it."""
    order = SampleOrder(model=None, prompt="compute " * 400, decoding=Decoding(max_new_tokens=1000), seed=0)
    with pytest.raises(ValueError, match=r"^the prompt has 400 tokens and the model 1,024 positions.*624 for a resp"):
        sample_once(order)
    with pytest.raises(ValueError, match=r"^the prompt has no token: give one at least$"):
        sample_once(SampleOrder(model=None, prompt="", decoding=Decoding(max_new_tokens=10), seed=0))


@pytest.mark.parametrize(("num_cut", "is_told"), [(3, False), (4, True)])
def test_more_than_three_cut_responses_of_ten_are_warned_of(
    num_cut: int, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = Row(suite="all", metric="truncated", value=num_cut / 10, low=0.0, high=1.0, n=10)
    report = Report(rows=(cut,), checkpoint="", decoding={"max_new_tokens": 1024}, seed=0)
    monkeypatch.setattr("aha.commands.evaluation.evaluate", lambda *_, **__: report)
    _, said = evaluate_order(EvaluationOrder(model="base", config=LOOK, seed=0))
    warning = "WARNING: 40% of the responses are cut at 1,024 tokens and count as wrong: raise --max-new-tokens"
    assert (warning in said) == is_told
    assert ("WARNING" in said) == is_told


@pytest.mark.parametrize(("template", "has_instruction"), [("r1_zero", False), ("r1", True), ("bare", True)])
def test_a_suite_is_asked_with_its_instruction_unless_the_template_has_one(
    template: str, has_instruction: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"question": "compute 2 + 2", "answer": "#### 4"}\n')
    asked: list[Problem] = []

    def evaluate(*_: object, problems: list[Problem], **__: object) -> Report:
        asked.extend(problems)
        none_cut = Row(suite="all", metric="truncated", value=0.0, low=0.0, high=0.0, n=1)
        return Report(rows=(none_cut,), checkpoint="", decoding={"max_new_tokens": 8}, seed=0)

    monkeypatch.setattr("aha.commands.evaluation.evaluate", evaluate)
    suite = SuiteOrder(name=str(path), num_samples=1, max_new_tokens=8)
    evaluate_order(EvaluationOrder(model="base", config=LOOK, seed=0, suite=suite, template=template))
    (problem,) = asked
    assert (problem.question != "compute 2 + 2") == has_instruction
    assert problem.question.startswith("compute 2 + 2")


@pytest.mark.parametrize("template", ["r1_zero", "r1"])
@pytest.mark.parametrize("choice", ["auto", "tags"])
@pytest.mark.parametrize("is_suite", [True, False])
def test_answers_are_read_as_the_order_says(
    choice: str, template: str, is_suite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"question": "compute 2 + 2", "answer": "#### 4"}\n')
    settings: list[Setting] = []

    def evaluate(*_: object, setting: Setting, **__: object) -> Report:
        settings.append(setting)
        none_cut = Row(suite="all", metric="truncated", value=0.0, low=0.0, high=0.0, n=1)
        return Report(rows=(none_cut,), checkpoint="", decoding={"max_new_tokens": 8}, seed=0)

    monkeypatch.setattr("aha.commands.evaluation.evaluate", evaluate)
    suite = SuiteOrder(name=str(path), num_samples=1, max_new_tokens=8) if is_suite else None
    order = EvaluationOrder(model="base", config=LOOK, seed=0, suite=suite, template=template, answer=choice)
    _, said = evaluate_order(order)
    (setting,) = settings
    assert {reader_of(row).choice for row in setting.reward.values()} == {choice}
    assert ("answers are read as --answer tags says" in said) == (choice == "tags")
    forms = {part.__module__ for row in setting.reward.values() for part in row if part.__name__ == "format_reward"}
    assert forms == {"aha.rewards.format" if template == "r1_zero" else "aha.rewards.summary"}


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [("regex:[", "--answer: the pattern .* cannot be searched for"), ("last-number", "domain pair is no number")],
)
def test_a_choice_of_answers_that_cannot_be_is_refused(choice: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        evaluate_order(EvaluationOrder(model="base", config=LOOK, seed=0, answer=choice))


# What is evaluated on, and how


@dataclass
class Evaluated:
    """The evaluations that were asked for; nothing is computed."""

    given: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, run: Run, name: str, **arguments: Any) -> Report:
        """Write down what is asked for."""
        self.given.append({"run": run, "name": name, **arguments})
        none_cut = Row(suite="all", metric="truncated", value=0.0, low=0.0, high=0.0, n=1)
        return Report(rows=(none_cut,), checkpoint="", decoding={"max_new_tokens": 8}, seed=0)


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Evaluated:
    """What is asked for, in a folder with a file of three problems of five words at most."""
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"compute {n} + 2", "answer": f"#### {n + 2}"} for n in range(3)]
    Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    evaluated = Evaluated()
    monkeypatch.setattr("aha.commands.evaluation.evaluate", evaluated)
    return evaluated


def ordered(suite: SuiteOrder | None = None, **others: Any) -> tuple[Report, str]:
    return evaluate_order(EvaluationOrder(**{"model": "base", "config": LOOK, "seed": 5, "suite": suite} | others))


@pytest.mark.parametrize(("template", "form"), [("auto", zero_format), ("r1", r1_format)])
def test_the_built_in_world_is_judged_in_the_form_that_its_prompt_asks_for(
    template: str, form: object, evaluated: Evaluated
) -> None:
    ordered(template=template, split="hard")
    (given,) = evaluated.given
    assert (given["name"], given["problems"], given["config"]) == ("hard", held_out_problems("hard", 2), LOOK)
    setting = given["setting"]
    assert {*setting.reward["arithmetic"]} == {accuracy, form}
    assert setting.template is (r1 if template == "r1" else r1_zero)
    run = given["run"]
    assert (run.seed, run.folder.is_writer, run.folder.path.exists()) == (5, True, False)


def test_a_suite_has_numbers_of_its_own_unless_the_order_names_some(evaluated: Evaluated) -> None:
    """The papers' caps are longer than many models have positions."""

    def numbers(**given: Any) -> tuple[int, int, int]:
        _, said = ordered(SuiteOrder(name="own.jsonl", **given), template="bare")
        assert said.startswith("3 problems of own.jsonl" if not given.get("limit") else f"{given['limit']} problems")
        config = evaluated.given[-1]["config"]
        return config.num_problems, config.num_samples, config.max_new_tokens

    num_problems, num_samples, capacity = numbers()
    assert (num_problems, num_samples) == (3, 64)
    assert 900 < capacity < 1024
    assert evaluated.given[-1]["name"] == "own"
    assert numbers(limit=2, num_samples=8, max_new_tokens=9) == (2, 8, 9)
    # A prompt and a response may fill the positions, and no more.
    assert numbers(max_new_tokens=capacity)[2] == capacity
    line = rf"^suite own: its longest prompt has {1024 - capacity} tokens and the model 1,024 positions, which leaves "
    with pytest.raises(ValueError, match=line + rf"{capacity} for a response: .*, or leave out the longest problems$"):
        numbers(max_new_tokens=capacity + 1)


def test_a_suite_with_a_prompt_that_fills_the_model_is_refused(evaluated: Evaluated) -> None:
    for num_words, is_room in ((1022, True), (1023, False), (1024, False), (2000, False)):
        row = {"question": "compute " * num_words, "answer": "4", "domain": "text"}
        Path("long.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        suite = SuiteOrder(name="long.jsonl", fields="question=question,answer=answer,domain=text")
        if is_room:
            ordered(suite, template="bare")
            assert evaluated.given[-1]["config"].max_new_tokens == 1024 - num_words
        elif num_words == 1023:
            ordered(suite, template="bare")
            assert evaluated.given[-1]["config"].max_new_tokens == 1
        else:
            with pytest.raises(ValueError, match=r"which leaves 0 for a response"):
                ordered(suite, template="bare")


def test_samples_that_the_processes_cannot_share_are_refused(evaluated: Evaluated) -> None:
    """Of the built-in world before a model is read; of a suite, whose numbers it must know, once it is opened."""
    with pytest.raises(ValueError, match=r"^--samples 2 cannot be shared out evenly by --processes 3$"):
        ordered(model="nowhere", num_processes=3)
    suite = SuiteOrder(name="own.jsonl", num_samples=4, max_new_tokens=8)
    order = EvaluationOrder(model="base", config=LOOK, seed=0, suite=suite, num_processes=3, template="bare")
    with pytest.raises(ValueError, match=r"^--samples 4 cannot be shared out evenly by --processes 3$"):
        order.prepare()(World())
    replace(order, num_processes=2).prepare()(World())


def test_several_processes_share_an_evaluation_and_the_first_one_writes(
    evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[object] = []

    @contextmanager
    def among_peers(job: object) -> Iterator[World]:
        jobs.append(job)
        yield World()

    monkeypatch.setattr("aha.commands.evaluation.among_peers", among_peers)
    ordered(num_processes=2)
    order = EvaluationOrder(model="base", config=LOOK, seed=5, num_processes=2)
    assert jobs == [order]
    order.prepare()(World(rank=1))
    ordered()
    assert len(jobs) == 1
    assert [given["run"].folder.is_writer for given in evaluated.given] == [True, False, True]


def test_code_of_a_suite_is_judged_as_the_order_allows(evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[dict[str, object]] = []

    def judges(domains: set[str], stack: object, **given: object) -> dict[str, object]:
        allowed.append({"domains": domains, **given})
        return dict.fromkeys(domains, accuracy)

    monkeypatch.setattr("aha.commands.evaluation.judges", judges)
    ordered(SuiteOrder(name="own.jsonl"), template="bare")
    ordered(SuiteOrder(name="own.jsonl", weak_sandbox=True, packages=("numpy",)), template="bare")
    assert allowed == [
        {"domains": {"math"}, "allow_weak": False, "packages": (), "reader": AUTO},
        {"domains": {"math"}, "allow_weak": True, "packages": ("numpy",), "reader": AUTO},
    ]


def test_a_prompt_and_its_response_may_fill_the_positions() -> None:
    """The built-in base has 1,024 positions."""
    sampled = sample_once(
        SampleOrder(model=None, prompt="compute " * 1020 + "zebra", decoding=Decoding(max_new_tokens=3), seed=0)
    )
    assert len(sampled["prompt_tokens"]) == 1021
    assert len(sampled["tokens"]) <= 3
    assert sampled["unknown"] == ["zebra"]
    with pytest.raises(
        ValueError, match=r"^the prompt has 1021 tokens .* leaves 3 for a response: .*, or shorten the prompt$"
    ):
        sample_once(SampleOrder(model=None, prompt="compute " * 1021, decoding=Decoding(max_new_tokens=4), seed=0))


def test_a_question_is_put_into_the_template_and_a_prompt_is_not() -> None:
    def prompt(**given: Any) -> str:
        return str(sample_once(SampleOrder(model=None, decoding=Decoding(max_new_tokens=2), seed=0, **given))["prompt"])

    assert prompt(prompt="compute 2 + 2") == "compute 2 + 2"
    assert prompt(question="compute 2 + 2") == r1_zero("compute 2 + 2")
    assert prompt(question="compute 2 + 2", template="r1") == r1("compute 2 + 2")


def test_a_sample_depends_on_its_seed_alone() -> None:
    def text(seed: int) -> str:
        decoding = Decoding(max_new_tokens=12)
        return str(sample_once(SampleOrder(model=None, question="compute 2 + 2", decoding=decoding, seed=seed))["text"])

    assert text(1) == text(1) != text(2)
