"""A model is asked as it was trained: its responses end at the texts that its checkpoint names."""

from pathlib import Path

import pytest

from aha.prompts.templates import r1_zero
from aha.recipes.base_model import BUILT_IN
from aha.recipes.evaluation import EvaluationOrder, SampleOrder, evaluate_order, sample_once
from aha.rollouts.engine import Decoding
from aha.stages.config import EvaluationConfig
from aha.training.checkpoint import read_model, write_checkpoint

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
