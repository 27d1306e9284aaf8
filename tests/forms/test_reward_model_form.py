"""Reward models are their plain form, number by number: every update, the held-out share, and the reward they give."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from forms.plain_draws import rows_of
from forms.plain_policy import read_config, read_weights
from forms.plain_reward_model import first_weights, pairs_of, plain_bias, plain_reward_model, score
from forms.plain_update import distance, moments_distance
from tokenizers import Tokenizer

from aha.actors.local_actors import LocalActors
from aha.prompts.templates import r1
from aha.runs.folder import RunFolder
from aha.stages.config import SupervisedConfig
from aha.stages.reward_models.sources import InMemoryPreferences
from aha.stages.reward_models.train import HARMLESSNESS, HELPFULNESS, reward_model
from aha.stages.run import Interrupted, Run
from aha.training.config import OptimizerConfig
from aha.types import Checkpoint, Preference, Problem, Rollout

SETTINGS = SupervisedConfig(
    epochs=2,
    batch_size=3,
    max_tokens=256,
    optimizer=OptimizerConfig(learning_rate=5e-3, warmup_steps=2, final_share=0.1, grad_clip=0.5, weight_decay=0.1),
)
ROUNDING = 1e-3
"""As in the form of fine-tuning."""


def preferences(count: int, *, is_helpful: bool, start: int = 0) -> list[Preference]:
    """Two to four responses each, two of them equally good; or safe and unsafe ones."""
    made = []
    for number in range(start, start + count):
        texts = tuple(f"{number} + {extra} = {number + extra} yes" for extra in range(2 + number % 3))
        ranks = [float(place % 3) for place in range(len(texts))]
        labels = [float((number + place) % 2) for place in range(len(texts))]
        made.append(
            Preference(
                problem_id=f"p{number}",
                prompt=f"<｜User｜>compute {number} + 2<｜Assistant｜>",
                responses=texts,
                qualities=tuple(ranks if is_helpful else labels),
                source="test",
            )
        )
    return made


def train(folder: Path, base: Checkpoint, *, is_helpful: bool, stop_after: int = 0) -> Checkpoint:
    """The stage, from its start or from where it was stopped."""
    run, made = Run(folder=RunFolder(folder), seed=7), list[int]()

    def report(*_: object) -> None:
        made.append(1)
        run._asked_to_stop = len(made) == stop_after

    run.report = report
    return reward_model(
        run,
        "rm",
        policy=base,
        data=InMemoryPreferences(preferences=preferences(8, is_helpful=is_helpful)),
        held_out=InMemoryPreferences(preferences=preferences(4, is_helpful=is_helpful, start=20)),
        config=SETTINGS,
        kind=HELPFULNESS if is_helpful else HARMLESSNESS,
    )


def share_right(one: Preference, scores: Sequence[torch.Tensor], *, is_helpful: bool) -> float:
    """Share of a preference's pairs, or of its responses, that scores tell rightly."""
    if is_helpful:
        gaps = pairs_of(asdict(one), scores)
        return sum(float(gap) > 0 for gap in gaps) / len(gaps)
    return sum((float(found) > 0) == (label == 1) for found, label in zip(scores, one.qualities, strict=True)) / len(
        scores
    )


@pytest.mark.parametrize("is_helpful", [True, False])
def test_every_update_is_that_of_the_plain_form_and_a_stop_changes_none(
    is_helpful: bool, base: Checkpoint, tmp_path: Path
) -> None:
    given = [asdict(one) for one in preferences(8, is_helpful=is_helpful)]
    start = first_weights(base.path, 7, "rm")
    form = plain_reward_model(base.path, given, SETTINGS.model_dump(), is_helpful=is_helpful, seed=7, stage="rm")

    # Half of the updates, and what the checkpoint holds then.
    with pytest.raises(Interrupted, match="after update 3 of 6"):
        train(tmp_path, base, is_helpful=is_helpful, stop_after=3)
    (saved,) = (tmp_path / "stages" / "rm").glob("iteration-*")
    expected = []
    for _ in range(3):
        training, metrics = next(form)
        expected.append(metrics)
    assert distance(read_weights(saved), training.copy(), start) < ROUNDING
    assert moments_distance(saved, training.moments()) < ROUNDING

    done = train(tmp_path, base, is_helpful=is_helpful)
    states = list(form)
    training = states[-1][0]
    expected += [metrics for _, metrics in states]
    weights = training.copy()
    assert distance(read_weights(done.path), weights, start) < ROUNDING

    logged = rows_of(tmp_path / "metrics.jsonl", stage="rm")
    assert [row["step"] for row in logged] == list(range(1, 7))
    for row, metrics in zip(logged, expected, strict=True):
        assert {name: row[name] for name in metrics} == pytest.approx(metrics, rel=ROUNDING, abs=1e-5)
        assert row.keys() - metrics.keys() == {"stage", "iteration", "step", "seconds"}

    # The origin of the scores, and how often the model is right where it has not learned.
    described = json.loads((done.path / "reward_model.json").read_text(encoding="utf-8"))
    bias = plain_bias(weights, base.path, given) if is_helpful else 0.0
    assert described == {"bias": pytest.approx(bias, rel=ROUNDING), "reads": "summary" if is_helpful else "response"}
    config, tokenizer = read_config(base.path), Tokenizer.from_file(str(base.path / "tokenizer.json"))
    shares = [
        share_right(
            one,
            [score(weights, config, tokenizer, one.prompt, text) for text in one.responses],
            is_helpful=is_helpful,
        )
        for one in preferences(4, is_helpful=is_helpful, start=20)
    ]
    held_out = json.loads((tmp_path / "stages" / "rm.json").read_text(encoding="utf-8"))["held_out"]
    assert held_out["accuracy"] == pytest.approx(sum(shares) / 4)
    assert held_out["n"] == 4

    # As a reward it shows the model the question in its template, and what the model was trained to read.
    reward = LocalActors().learned_reward(done, name="reward", template=r1)
    problem = Problem(id="p", question="compute 5 + 2", answer="7", domain="essay")
    text = "<think> 5 + 2 = 7 </think> it is 7 ."
    read = "it is 7 ." if is_helpful else text
    shown = score(weights, config, tokenizer, "<｜User｜>compute 5 + 2<｜Assistant｜>", read).item()
    nothing = torch.zeros(1)
    rollout = Rollout(
        problem_id="p", prompt_tokens=nothing.long(), tokens=nothing.long(), logp=nothing, text=text, finish="stop"
    )
    assert reward(problem, rollout).score == pytest.approx(1 / (1 + math.exp(bias - shown)), abs=1e-4)
