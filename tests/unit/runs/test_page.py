import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aha.prompts import language
from aha.runs import page
from aha.runs.page import summary, write_page

MakeRun = Callable[..., Path]

HOSTILE = "</script><script>alert(1)</script><!--<script><img src=x onerror=alert(2)> \u2028 & \ud800 {{ 7 * 7 }}"


class Outline(HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1] == ("script", {}):
            self.scripts.append(data)
            self.elements.append(("/script", {}))


def written(run: Path) -> str:
    return write_page(run).read_text(encoding="utf-8")


def shelves(text: str) -> list[dict[str, object]]:
    found = re.findall(r'</noscript><script type="application/json">(.*?)</script>', text)
    return [json.loads(data) for data in found]


def test_the_page_replaces_itself_and_leaves_nothing_beside_it(make_run: MakeRun) -> None:
    run = make_run()
    before = {path.name for path in run.iterdir()}
    path = write_page(run)
    assert path == (run / "report.html").resolve()
    first = path.read_bytes()
    assert write_page(run).read_bytes() == first
    assert {path.name for path in run.iterdir()} == before | {"report.html"}


def test_the_page_holds_every_part(make_run: MakeRun) -> None:
    text = written(make_run())
    assert "<h1>r1_zero" in text
    assert ">finished<" in text
    assert "14 March 2026, 09:26 UTC" in text
    assert "5 min 12 s" in text
    assert "3f9c2d1a7be0" in text
    assert text.count('<figure class="chart">') == 6 + 12
    assert text.count('<svg class="dumbbell"') == 2 * 19
    assert "zero.reward.accuracy" in text
    assert "cpu_threads" in text
    assert [len(shelf["columns"]) for shelf in shelves(text)] == [2, 1]


def test_headlines_are_the_evaluations_of_start_and_end(make_run: MakeRun) -> None:
    run = make_run()
    figures = summary(run)
    text = written(run)
    start, end = figures["start"]["length"], figures["end"]["length"]
    assert f'<span class="from">{start["value"]:.1f}</span>' in text
    assert f'<span class="to">{end["value"]:.1f}</span>' in text
    assert f"<span>{end['low']:.1f} \N{EN DASH} {end['high']:.1f}</span>" in text
    assert f"\N{MULTIPLICATION SIGN} {end['value'] / start['value']:.1f}" in text


def test_the_results_table_has_base_and_trained_on_both_splits(make_run: MakeRun) -> None:
    table = written(make_run()).split('<table class="results">')[1].split("</table>")[0]
    assert re.findall(r'<th scope="row">([^<]+)<small>([^<]+)</small>', table) == [
        ("base model", "200 problems"),
        ("trained model", "200 problems"),
        ("base model", "hard split, 60 problems"),
        ("trained model", "hard split, 60 problems"),
    ]
    assert re.findall(r'<th scope="col">([^<]+)</th>', table) == [
        "model",
        "pass@1",
        "cons@16",
        "pass@16",
        "length, tokens",
        "reflective words",
        "language mixing",
    ]
    assert table.count("<td>") == 4 * 6


def test_an_evaluation_on_the_hard_split_joins_the_table(make_run: MakeRun) -> None:
    run = make_run()
    row = {"suite": "all", "metric": "pass@1", "value": 0.25, "low": 0.2, "high": 0.3, "n": 48}
    report = {"rows": [row], "checkpoint": "", "decoding": {}, "seed": 0}
    with (run / "evaluations.jsonl").open("a") as file:
        file.write(json.dumps({"name": "end-hard", "report": report}) + "\n")
    table = written(run).split('<table class="results">')[1].split("</table>")[0]
    assert "trained model<small>hard split, 48 problems</small>" in table
    assert "<small>20.0 \N{EN DASH} 30.0\N{NO-BREAK SPACE}%</small>" in table


def test_the_page_asks_the_network_for_nothing(make_run: MakeRun) -> None:
    text = written(make_run())
    assert not re.search(r"https?://|@import|url\(", text)
    outline = Outline(text)
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in outline.elements}
    assert not [attrs for _, attrs in outline.elements if {"src", "href", "srcset", "action"} & attrs.keys()]


def test_hostile_text_stays_text(make_run: MakeRun) -> None:
    clean = Outline(written(make_run("clean")))
    run = make_run("hostile")
    for name in ("run.json", "metrics.jsonl", "evaluations.jsonl"):
        content = (run / name).read_text()
        hostile = json.dumps(HOSTILE)[1:-1]
        for word in ("r1_zero", "tiny", "zero_long", "3f9c2d1a7be0c4d58e", "arithmetic"):
            content = content.replace(word, word + hostile)
        (run / name).write_text(content)
    for path in (run / "rollouts").glob("evaluation-*"):
        lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        texts = {"text": HOSTILE, "question": HOSTILE, "language": HOSTILE, "finish": HOSTILE}
        path.write_bytes(gzip.compress("".join(json.dumps(line | texts) + "\n" for line in lines).encode()))
    text = written(run)
    outline = Outline(text)
    assert "alert(1)" in text
    assert "{{ 7 * 7 }}" in text
    assert not {"img"} & {tag for tag, _ in outline.elements}
    assert not [name for _, attrs in outline.elements for name in attrs if name.startswith("on")]
    assert outline.scripts == clean.scripts
    assert len([1 for tag, attrs in outline.elements if tag == "script" and not attrs]) == 1
    shown = shelves(text)[0]["problems"][0]["sides"][0][0]["text"]
    assert shown == HOSTILE.replace("\ud800", "?")


def test_only_our_own_script_may_run(make_run: MakeRun) -> None:
    text = written(make_run())
    outline = Outline(text)
    assert len(outline.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(outline.scripts[0].encode()).digest()).decode()
    policy = next(attrs["content"] for tag, attrs in outline.elements if tag == "meta" and "http-equiv" in attrs)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert "innerHTML" not in outline.scripts[0]


def test_a_run_in_progress_says_what_is_missing(make_run: MakeRun) -> None:
    run = make_run(is_finished=False, has_rollouts=False)
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    text = written(run)
    assert ">not finished<" in text
    assert "The trained model has not been evaluated yet" in text
    assert "metrics.jsonl: 1 line could not be read" in text
    assert text.count("No rollouts are recorded here yet.") == 2
    assert "wall time so far" in text


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"recipe": "r1_zero", "started": 1773480413.0}')
    text = written(tmp_path)
    assert "No training iteration is recorded yet." in text
    assert "The base model has not been evaluated yet." in text
    assert "No model has been evaluated yet." in text
    assert "No evaluation by domain is recorded yet." in text
    assert "14 March 2026, 09:26 UTC" in text
    assert text.count("not recorded yet") == 4 + 12


def test_half_a_comparison_is_shown_as_one(make_run: MakeRun) -> None:
    text = written(make_run(is_finished=False))
    assert "Only the base model has answered so far." in text


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no run folder"):
        write_page(tmp_path)
    with pytest.raises(ValueError, match="is no run folder"):
        summary(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_page_of_long_responses_stays_small(make_run: MakeRun) -> None:
    run = make_run()
    for path in (run / "rollouts").iterdir():
        lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        body = "".join(json.dumps(line | {"text": "thinking " * 3000}) + "\n" for line in lines)
        path.write_bytes(gzip.compress(body.encode(), compresslevel=1))
    assert write_page(run).stat().st_size < 3_000_000


def test_reflective_words_are_those_that_are_counted() -> None:
    assert set(page.REFLECTIVE_WORDS) == language.REFLECTIVE_WORDS


def test_summary_of_a_finished_run(make_run: MakeRun) -> None:
    run = make_run()
    before = summary(run)
    assert before["page"] is None
    path = write_page(run)
    figures = summary(run)
    assert list(figures) == ["start", "end", "model", "page", "seconds", "seed", "steps"]
    assert list(figures["end"]) == ["pass@1", "cons@16", "length", "reflection", "mixing"]
    end = figures["end"]["pass@1"]
    assert 0 < figures["start"]["pass@1"]["value"] < end["low"] < end["value"] < end["high"] <= 1
    assert figures["model"] == str(run / "model")
    assert figures["page"] == str(path)
    assert (figures["seconds"], figures["seed"], figures["steps"]) == (312.4, 0, 120)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_summary_of_a_run_in_progress(make_run: MakeRun) -> None:
    run = make_run(is_finished=False)
    (run / "evaluations.jsonl").unlink()
    figures = summary(run)
    assert set(figures["start"].values()) == set(figures["end"].values()) == {None}
    assert figures["model"] is None
    assert figures["steps"] == 120
    assert figures["seconds"] > 0


def test_summary_reads_a_model_folder_named_within_the_run(make_run: MakeRun) -> None:
    run = make_run()
    (run / "result.json").write_text('{"model": "stages/zero", "seconds": 1, "steps": 5}')
    assert summary(run)["model"] == str((run / "stages" / "zero").resolve())
    assert summary(run)["steps"] == 5
