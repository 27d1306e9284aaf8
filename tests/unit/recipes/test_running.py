"""What a run examines before it starts, and what it writes down of how it was ordered."""

import json
from pathlib import Path
from typing import Any

import pytest

from aha.recipes import running
from aha.recipes.own_data import OwnData
from aha.recipes.r1_scales import R1_SCALES, R1Config
from aha.recipes.running import Order, carry_out
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig
from aha.stages.config import EvaluationConfig, RLConfig

NOTHING = RLConfig(iterations=0)
LOOK = EvaluationConfig(num_problems=1, num_samples=1, max_new_tokens=4)


def refuse_to_examine(model: Any, own: OwnData, *_: Any, **__: Any) -> None:
    raise ValueError(f"examined with {own.stop}")


@pytest.mark.parametrize(
    ("recipe", "config", "stop"), [("r1_zero", R1_ZERO_SCALES["tiny"], "None"), ("r1", R1_SCALES["tiny"], r"\(\)")]
)
def test_only_r1_zero_ends_responses_where_its_base_did(
    recipe: str, config: R1ZeroConfig | R1Config, stop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages of R1 end at the end token alone, and so do the samples of the doctor before them."""
    monkeypatch.setattr(running, "examine", refuse_to_examine)
    order = Order(recipe=recipe, scale="tiny", config=config, folder=tmp_path / "run", seed=0, is_quiet=True)
    with pytest.raises(ValueError, match=f"examined with {stop}"):
        carry_out(order)


def test_a_run_that_trains_nothing_is_not_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It evaluates its model, and what is written of it is what was written before stop strings could be left open."""
    monkeypatch.setattr(running, "examine", refuse_to_examine)
    config = R1ZeroConfig(zero=NOTHING, longer=NOTHING, validation=LOOK, evaluation=LOOK)
    own = OwnData(template="bare")
    order = Order(recipe="r1_zero", scale="tiny", config=config, folder=tmp_path, seed=0, own=own, is_quiet=True)
    assert carry_out(order).stage == "base"
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["config"]["own"]["stop"] == []
