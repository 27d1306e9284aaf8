"""An evaluation is its plain form, number by number, from the responses that it records."""

from typing import Any

import pytest
import torch
from forms.plain_draws import rows_of
from forms.plain_evaluation import TEMPLATE, answer_of, figures_of, is_right, plain_evaluation
from forms.plain_policy import read_config, read_weights, response_distribution
from tokenizers import Tokenizer

from aha.problems.world.questions import held_out_problems
from aha.recipes.base_model import open_base
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig
from aha.stages.evaluate import evaluate
from aha.stages.run import Run
from aha.types import Report

SETTINGS = EvaluationConfig(num_problems=12, num_samples=6, temperature=0.8, top_p=0.9, max_new_tokens=40)
ROUNDING = 1e-4
"""Largest gap between a log-probability in float32 and in float64, nats; files keep six decimals."""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, list[dict[str, Any]]]:
    """What the built-in base makes of sums and equations, and the responses that were recorded."""
    folder = tmp_path_factory.mktemp("evaluated")
    problems = [
        *held_out_problems("test", 7, families=("arithmetic",)),
        *held_out_problems("hard", 3, families=("arithmetic",)),
        *held_out_problems("test", 2, families=("linear",)),
    ]
    report = evaluate(
        Run(folder=RunFolder(folder), seed=3), "start", policy=open_base(), problems=problems, config=SETTINGS
    )
    return report, rows_of(folder / "rollouts" / "evaluation-start.jsonl.gz")


def test_every_figure_is_that_of_the_plain_form(evaluated: tuple[Report, list[dict[str, Any]]]) -> None:
    report, rows = evaluated
    expected = plain_evaluation(rows)
    metrics = {metric for _, metric in expected}
    found = {
        (row.suite, row.metric): (row.value, row.low, row.high, row.n) for row in report.rows if row.metric in metrics
    }
    assert found.keys() == expected.keys()
    for name, figures in expected.items():
        assert found[name] == pytest.approx(figures, rel=2e-3, abs=1e-6), name

    # What would hide a fault: a vote is neither the best of the verdicts nor the first one, and some are cut.
    by_problem = [figures_of(rows[start : start + 6]) for start in range(0, len(rows), 6)]
    assert any(one["cons@6"] < one["pass@6"] for one in by_problem)
    assert any(one["cons@6"] > is_right(rows[6 * place]) for place, one in enumerate(by_problem))
    assert 0 < found["all", "truncated"][0] < 1
    assert 0 < found["all", "format"][0] < 1


def test_a_response_answers_the_question_in_its_template(evaluated: tuple[Report, list[dict[str, Any]]]) -> None:
    _, rows = evaluated
    tokenizer = Tokenizer.from_file(str(open_base().path / "tokenizer.json"))
    for row in rows:
        assert row["prompt_tokens"] == tokenizer.encode(TEMPLATE.format(question=row["question"])).ids
        has_ended = row["tokens"][-1] == tokenizer.token_to_id("<eos>")
        assert row["finish"] == ("stop" if has_ended else "length")
        assert len(row["tokens"]) == 40 or has_ended
        assert row["text"] == tokenizer.decode(row["tokens"])
        assert row["reward"]["parts"]["accuracy"] == is_right(row)


def test_every_token_is_of_the_nucleus_and_has_its_own_probability(
    evaluated: tuple[Report, list[dict[str, Any]]],
) -> None:
    _, rows = evaluated
    folder = open_base().path
    weights, config = read_weights(folder), read_config(folder)
    for row in rows[::5]:
        logp_TV = response_distribution(weights, config, row["prompt_tokens"], row["tokens"], temperature=0.8)
        logp_T1 = logp_TV.gather(1, torch.tensor(row["tokens"])[:, None])
        assert row["logp"] == pytest.approx(logp_T1[:, 0].tolist(), abs=ROUNDING)

        # The tokens that are likelier do not reach the nucleus by themselves.
        before_T = logp_TV.exp().masked_fill(logp_TV <= logp_T1, 0.0).sum(dim=1)
        assert float(before_T.max()) < SETTINGS.top_p + 1e-6


def test_what_a_vote_is() -> None:
    """Three agree on a wrong answer and two on the right one; thinking does not vote."""
    texts = [f"<think> 1 </think> <answer> {number} </answer>" for number in (4, 5, 4, 5, 4)]
    texts.append("<think> <answer> 5 </answer> </think> 5")
    assert [answer_of(text) for text in texts] == [4, 5, 4, 5, 4, None]
    rows = [{"text": text, "reference": "5", "tokens": [1], "finish": "stop"} for text in texts]
    assert figures_of(rows)["cons@6"] == 0.0
    assert figures_of(rows)["pass@1"] == pytest.approx(2 / 6)
