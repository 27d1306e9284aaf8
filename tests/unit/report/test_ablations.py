import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from aha.report.ablations import (
    cold_start,
    cold_start_in_words,
    drifts,
    language_ablation,
    reward_hacking,
    zero_record,
)
from aha.report.progress import Progress, survey
from aha.report.record import Record, read_record

MakeRun = Callable[..., Path]


def opened(run: Path) -> tuple[Record, dict[str, Progress]]:
    record = read_record(run)
    return record, {box.node.name: box for box in survey(record, [])}


def set_validations(run: Path, values: dict[str, list[float]]) -> None:
    """Give the validations of some stages these values of pass@1, at steps 0, 8, 16, ..."""
    lines = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    kept = [line for line in lines if line["name"] != "validation"]
    for stage, shares in values.items():
        for index, value in enumerate(shares):
            row = {"suite": "all", "metric": "pass@1", "value": value, "low": value, "high": value, "n": 9}
            report = {"rows": [row], "checkpoint": "", "decoding": {}, "seed": 0}
            kept.append({"name": "validation", "stage": stage, "iteration": index, "step": 8 * index, "report": report})
    (run / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))


@pytest.mark.parametrize(
    ("warm", "words"),
    [
        ([0.3, 0.4, 0.55], "Dev2 begins at 30.0 % and reaches that after 16 steps."),
        ([0.6, 0.4], "Dev2 begins at 60.0 % and reaches that at once."),
        ([0.3, 0.4], "Dev2 begins at 30.0 % and has not reached that in 8 steps."),
    ],
)
def test_the_cold_start_in_words(make_pipeline_run: MakeRun, warm: list[float], words: str) -> None:
    run = make_pipeline_run()
    set_validations(run, {"zero": [0.1, 0.4], "longer": [0.4, 0.5], "dev2": warm})
    record, boxes = opened(run)
    text = cold_start_in_words(record, boxes["zero"], boxes["dev2"]).replace("\N{NO-BREAK SPACE}", " ")
    assert text == f"R1-Zero ends at 50.0 % in validation after 48 steps. {words}"
    assert "where R1-Zero ends" in cold_start(record, boxes["zero"], boxes["dev2"])


def test_before_both_have_begun_there_are_no_words(make_pipeline_run: MakeRun) -> None:
    record, boxes = opened(make_pipeline_run(num_stages=1))
    assert cold_start_in_words(record, boxes["zero"], boxes["dev2"]) == ""
    assert "where R1-Zero is now" in cold_start(record, boxes["zero"], boxes["dev2"])
    record, boxes = opened(make_pipeline_run("new", num_stages=0))
    assert "not recorded yet" in cold_start(record, boxes["zero"], boxes["dev2"])


def test_the_language_ablation_shows_both_models(make_pipeline_run: MakeRun) -> None:
    record, boxes = opened(make_pipeline_run())
    figures = language_ablation(record, [boxes["dev2"], boxes["dev2-plain"]])
    assert [re.search("<b>(.*?)</b>", figure)[1] for figure in figures] == [
        "Language consistency",
        "Language mixing",
        "Accuracy",
    ]
    for figure in figures:
        assert '<li class="tone-1' in figure
        assert "Dev2 without the language reward" in figure
    assert "step 32" in figures[0]


def test_learned_rewards_stand_beside_the_truth(make_pipeline_run: MakeRun) -> None:
    record, boxes = opened(make_pipeline_run())
    helpful, harmless, meanwhile = reward_hacking(record, boxes["r1"])
    assert "as learned" in helpful
    assert "in truth" in harmless
    assert "R1, validation pass@1" in meanwhile
    assert "general prompts, right" in meanwhile
    found = {drift.name: drift for drift in drifts(record, boxes["r1"])}
    assert found["helpfulness"].has_parted
    assert not found["harmlessness"].has_parted
    learned = [0.5 + 0.3 * (iteration + 1) / 12 for iteration in range(12)]
    assert found["helpfulness"].learned == pytest.approx((sum(learned[:4]) / 4, sum(learned[-4:]) / 4))


def test_noise_is_no_drift(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["stage"] == "r1":
            line["true_helpfulness"] = 0.5 - 0.001 * line["iteration"] + (0.2 if line["iteration"] % 2 else 0.0)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record, boxes = opened(run)
    drift = drifts(record, boxes["r1"])[0]
    assert drift.true[0] > drift.true[1]
    assert not drift.has_parted


def test_there_is_no_drift_before_three_iterations(make_pipeline_run: MakeRun) -> None:
    record, boxes = opened(make_pipeline_run(num_stages=4))
    assert drifts(record, boxes["r1"]) == []
    assert all("not recorded yet" in figure for figure in reward_hacking(record, boxes["r1"]))


def test_r1_zero_is_drawn_from_base_to_its_own_evaluation(make_pipeline_run: MakeRun) -> None:
    record, boxes = opened(make_pipeline_run())
    zero = zero_record(record, boxes["zero"])
    assert [stage.name for stage in zero.stages] == ["zero", "longer"]
    assert zero.start == record.start
    assert zero.end == record.named("zero")[0]
    assert [one.running_step for one in zero.evaluations if one.name in ("start", "end")] == [0, 60]
