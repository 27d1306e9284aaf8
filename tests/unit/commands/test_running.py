"""What a run examines before it starts, and what it writes down of how it was ordered."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from leaves import with_value
from run_requests import r1_request, zero_request

from aha.commands import running
from aha.commands.running import carry_out
from aha.recipes.own.own_data import OwnData
from aha.recipes.r1.built_in import check_prompts
from aha.recipes.r1.scales import R1_SCALES, R1Config
from aha.recipes.scales import R1_ZERO_SCALES, R1ZeroConfig
from aha.stages.config import EvaluationConfig, RLConfig

NOTHING = RLConfig(iterations=0)
LOOK = EvaluationConfig(num_problems=1, num_samples=1, max_new_tokens=4)


def refuse_to_examine(model: Any, own: OwnData, *_: Any, **__: Any) -> None:
    raise ValueError(f"examined with {own.stop}")


@pytest.mark.parametrize(
    ("request_of", "config", "stop"),
    [(zero_request, R1_ZERO_SCALES["tiny"], "None"), (r1_request, R1_SCALES["tiny"], r"\(\)")],
)
def test_only_r1_zero_ends_responses_where_its_base_did(
    request_of: Callable[..., Any],
    config: R1ZeroConfig | R1Config,
    stop: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stages of R1 end at the end token alone, and so do the samples of the doctor before them."""
    monkeypatch.setattr(running, "examine", refuse_to_examine)
    monkeypatch.setattr("aha.recipes.r1.positions.check_positions", lambda *_, **__: None)
    with pytest.raises(ValueError, match=f"examined with {stop}"):
        carry_out(request_of(config, tmp_path / "run"))


def test_a_run_that_trains_nothing_is_not_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It evaluates its model, and what is written of it is what was written before stop strings could be left open."""
    monkeypatch.setattr(running, "examine", refuse_to_examine)
    config = R1ZeroConfig(zero=NOTHING, longer=NOTHING, validation=LOOK, evaluation=LOOK)
    own = OwnData(template="bare")
    assert carry_out(zero_request(config, tmp_path, own=own)).stage == "base"
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["config"]["own"]["stop"] == []


@pytest.mark.full
def test_a_run_that_failed_may_go_on_in_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> int:
        raise OSError(f"no steps in {folder}")

    config = R1ZeroConfig(zero=NOTHING, longer=NOTHING, validation=LOOK, evaluation=LOOK)
    request = zero_request(config, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(running, "_num_steps", fail)
        # What failed is kept here, and with it all that its functions held.
        with pytest.raises(OSError, match="no steps") as failure:
            carry_out(request)
    assert carry_out(request).stage == "base"
    del failure


@pytest.mark.parametrize(
    ("path", "count", "complaint"),
    [
        ("rewards.safety", 133, "the train split has fewer than 133 different prompts of harmful"),
        ("rewards.helpful", 106_000, "the train split has fewer than 106000 different prompts of fact, "),
    ],
)
def test_more_prompts_than_there_are_end_a_run_before_its_first_stage(
    path: str, count: int, complaint: str, tmp_path: Path
) -> None:
    config = with_value(R1_SCALES["tiny"], f"{path}.num_problems", count)
    request = r1_request(config, tmp_path / "run")
    with pytest.raises(ValueError, match=f"^--{path}.num-problems: {complaint}.*: lower it$"):
        carry_out(request)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.full
def test_the_built_in_scales_ask_for_no_more_prompts_than_there_are() -> None:
    for name in ("tiny", "gpu"):
        check_prompts(R1_SCALES[name], seed=0)
