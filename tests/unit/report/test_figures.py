import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from aha.report.figures import comparisons, large_figures, small_figures, vote_metric
from aha.report.record import find_row, read_record

MakeRun = Callable[..., Path]


def titles(figures: list[str]) -> list[str]:
    return [re.findall("<figcaption><b>([^<]+)</b>", figure)[0] for figure in figures]


def test_the_papers_figures_come_first(make_run: MakeRun) -> None:
    figures = large_figures(read_record(make_run()))
    assert titles(figures) == [
        "Accuracy during training",
        "Response length during training",
        "Reflection during training",
        "Language mixing during training",
        "Accuracy by domain",
        "Length by domain",
    ]
    assert all("<svg" in figure for figure in figures)


def test_accuracy_shows_both_metrics_with_bands_and_both_ends_with_whiskers(make_run: MakeRun) -> None:
    accuracy = large_figures(read_record(make_run()))[0]
    assert re.findall(r"<li[^>]*>([^<]+)</li>", accuracy) == [
        "pass@1",
        "cons@16",
        "pass@1, start and end",
        "cons@16, start and end",
    ]
    assert accuracy.count('class="band"') == 2
    assert accuracy.count('class="whisker"') == 4
    assert re.findall(r'class="stage"[^>]*>([^<]+)<', accuracy) == ["zero", "zero_long"]


def test_every_training_curve_is_drawn(make_run: MakeRun) -> None:
    figures = small_figures(read_record(make_run()))
    assert {"Reward", "KL to the reference", "Entropy", "Clip fraction", "Truncated"} < set(titles(figures))
    assert {"Gradient norm", "Learning rate", "Groups without spread"} < set(titles(figures))
    assert all("<svg" in figure for figure in figures)
    assert re.findall(r"<li[^>]*>([^<]+)</li>", figures[0]) == ["total", "accuracy", "format"]
    unreadable = figures[titles(figures).index("Unreadable answers")]
    assert re.findall(r"<li[^>]*>([^<]+)</li>", unreadable) == ["unparsable", "timeout", "crash", "unsupported"]


def test_a_metric_that_was_not_logged_is_said_to_be_missing(make_run: MakeRun) -> None:
    run = make_run()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line | {"kl": None}) + "\n" for line in lines))
    figures = dict(zip(titles(small_figures(read_record(run))), small_figures(read_record(run)), strict=True))
    assert "not recorded yet" in figures["KL to the reference"]
    assert "not recorded yet" not in figures["Entropy"]


def test_the_time_is_stacked_up_to_the_whole_iteration(make_run: MakeRun) -> None:
    record = read_record(make_run())
    drawing = small_figures(record)[-1]
    assert titles([drawing]) == ["Where the time went"]
    assert re.findall(r"<li[^>]*>([^<]+)</li>", drawing) == ["sampling", "scoring", "reference", "learning", "other"]
    bands = [outline(path) for path in re.findall(r'class="band" d="([^"]+)Z"', drawing)]
    assert len(bands) == 5
    half, axis = len(bands[0]) // 2, bands[0][-1][1]
    for below, above in pairwise(bands):
        assert below[:half] == above[: half - 1 : -1]
    heights = [axis - y for _, y in bands[-1][1:half]]
    seconds = [update.metrics["seconds"] for update in record.updates]
    assert len(heights) == len(seconds)
    assert [height / heights[-1] for height in heights] == pytest.approx([s / seconds[-1] for s in seconds], abs=2e-3)
    stops = json.loads(drawing.split('<script type="application/json">')[1].split("</script>")[0])
    assert stops[-1][2][1] == [2, "scoring", "0.1"]


def outline(path: str) -> list[tuple[float, float]]:
    """The corners of a path."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path)]


def test_a_single_iteration_has_a_width(make_run: MakeRun) -> None:
    run = make_run()
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text().splitlines(keepends=True)[0])
    band = outline(re.findall(r'class="band" d="([^"]+)Z"', small_figures(read_record(run))[-1])[0])
    assert band[0][0] < band[1][0]


def test_a_run_of_before_the_parts_were_timed_is_still_drawn(make_run: MakeRun) -> None:
    run = make_run()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in line.items() if not name.startswith("seconds_")} for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    figures = dict(zip(titles(small_figures(read_record(run))), small_figures(read_record(run)), strict=True))
    assert "not recorded yet" in figures["Where the time went"]
    assert "not recorded yet" not in figures["Seconds per iteration"]


def test_a_run_of_one_stage_has_no_borders(make_run: MakeRun) -> None:
    run = make_run()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(line for line in lines if '"zero"' in line))
    (run / "evaluations.jsonl").unlink()
    assert not any('class="border"' in figure for figure in large_figures(read_record(run)))


def test_comparisons_list_each_domain_and_its_levels_in_order(make_run: MakeRun) -> None:
    record = read_record(make_run())
    rows = comparisons(record)
    assert [(row.domain, row.level) for row in rows][:6] == [
        ("arithmetic", ""),
        ("arithmetic", "1"),
        ("arithmetic", "2"),
        ("arithmetic", "3"),
        ("countdown", ""),
        ("countdown", "1"),
    ]
    assert {row.domain for row in rows} == {"arithmetic", "countdown", "linear", "pair", "quadratic"}
    assert rows[0].accuracy == (
        find_row(record.start, "pass@1", "arithmetic"),
        find_row(record.end, "pass@1", "arithmetic"),
    )
    assert rows[0].num_problems == 40


def test_levels_are_ordered_by_number(make_run: MakeRun) -> None:
    run = make_run()
    rows = [
        {"suite": f"pair/{level}", "metric": "pass@1", "value": 0.5, "low": 0, "high": 1, "n": 1} for level in (10, 9)
    ]
    report = {"rows": rows, "checkpoint": "", "decoding": {}, "seed": 0}
    (run / "evaluations.jsonl").write_text(json.dumps({"name": "start", "report": report}) + "\n")
    assert [row.level for row in comparisons(read_record(run))] == ["9", "10"]


def test_there_is_nothing_to_compare_before_the_first_evaluation(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert comparisons(read_record(tmp_path)) == []


def test_the_vote_metric_is_the_one_that_was_evaluated(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    assert vote_metric(read_record(run)) == "cons@16"
    path = run / "evaluations.jsonl"
    path.write_text(path.read_text().replace("cons@16", "cons@64"))
    assert vote_metric(read_record(run)) == "cons@64"

    # Validations with another number of samples do not decide what the headline shows.
    lines = path.read_text().splitlines(keepends=True)
    changed = [line.replace("cons@64", "cons@16") if '"name": "validation"' in line else line for line in lines]
    assert changed != lines
    path.write_text("".join(changed))
    assert vote_metric(read_record(run)) == "cons@64"
