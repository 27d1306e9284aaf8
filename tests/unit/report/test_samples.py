import gzip
import json
from collections.abc import Callable
from pathlib import Path

from aha.report.progress import survey
from aha.report.record import read_record
from aha.report.samples import MAX_CHARACTERS, NUM_SAMPLES, Sample, samples_of

MakeRun = Callable[..., Path]


def samples(run: Path, name: str) -> list[Sample]:
    record = read_record(run)
    box = next(box for box in survey(record, []) if box.node.name == name)
    return samples_of(record, box, [])


def test_thinking_and_summary_stand_apart(make_pipeline_run: MakeRun) -> None:
    (sample,) = samples(make_pipeline_run(), "cold")
    assert sample.thinking == "<think> 2 + 3 = 5 </think>"
    assert sample.summary == "The result is 5 ."
    assert (sample.question, sample.language, sample.label) == ("compute 2 + 3", "en", "source: Dev2")


def test_a_model_shows_its_first_response_to_each_problem(make_pipeline_run: MakeRun) -> None:
    found = samples(make_pipeline_run(), "r1")
    assert len(found) == NUM_SAMPLES
    assert len({sample.question for sample in found}) == NUM_SAMPLES
    assert {sample.label for sample in found} <= {"correct", "wrong"}
    assert [sample.language for sample in found] == ["en", "zh-Hans", "en"]


def test_a_reward_model_shows_the_best_and_the_worst_of_a_prompt(make_pipeline_run: MakeRun) -> None:
    best, worst = samples(make_pipeline_run(), "helpfulness")
    assert (best.label, worst.label) == ("label 1", "label 0.25")
    assert (best.summary, worst.summary, worst.thinking) == ("Hello .", "no", "")
    assert best.question == "User: hi"


def test_what_has_not_begun_has_no_samples(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run(num_stages=0)
    assert [samples(run, name) for name in ("zero", "cold", "helpfulness")] == [[], [], []]


def test_odd_rows_are_shown_as_far_as_they_go(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    rows = [{"shard": 0}, {"responses": [], "qualities": []}, {"response": 7, "question": None}, {}]
    (run / "stages" / "cold" / "shard-000000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [sample.summary for sample in samples(run, "cold")] == ["7", ""]


def test_a_very_long_response_keeps_its_two_ends(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    text = "<think> first " + "x" * 9000 + " last </think> short"
    path = run / "rollouts" / "evaluation-zero.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"problem_id": "a", "text": text}).encode()))
    (sample,) = samples(run, "zero")
    assert sample.summary == "short"
    assert sample.thinking.startswith("<think> first")
    assert sample.thinking.endswith("last </think>")
    assert len(sample.thinking) < MAX_CHARACTERS + 60
