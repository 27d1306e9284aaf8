"""A model is asked as it was trained: its responses end at the texts that its checkpoint names."""

from pathlib import Path

import pytest

from aha.commands.evaluation import EvaluationOrder, SampleOrder, SuiteOrder, evaluate_order, sample_once
from aha.engines.engine import Decoding
from aha.prompts.templates import r1_zero
from aha.recipes.base_model import BUILT_IN
from aha.rewards.extraction.reader import reader_of
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import Setting
from aha.training.checkpoint import read_model, write_checkpoint
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
