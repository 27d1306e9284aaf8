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
from aha.report import page
from aha.report.diagram import anchor
from aha.report.page import models_in_words, summary, write_page

MakeRun = Callable[..., Path]
LIMIT = 6_000_000

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


@pytest.fixture(scope="module")
def page_of_a_run(finished_run: Path) -> str:
    return written(finished_run)


@pytest.fixture(scope="module")
def page_of_a_pipeline(finished_pipeline_run: Path) -> str:
    return written(finished_pipeline_run)


def shelves(text: str) -> list[dict[str, object]]:
    found = re.findall(r'</noscript><script type="application/json">(.*?)</script>', text)
    return [json.loads(data) for data in found]


@pytest.mark.full
def test_the_page_replaces_itself_and_leaves_nothing_beside_it(make_run: MakeRun) -> None:
    run = make_run()
    before = {path.name for path in run.iterdir()}
    path = write_page(run)
    assert path == (run / "report.html").resolve()
    first = path.read_bytes()
    assert write_page(run).read_bytes() == first
    assert {path.name for path in run.iterdir()} == before | {"report.html"}


def test_the_page_holds_every_part(page_of_a_run: str) -> None:
    text = page_of_a_run
    assert "<h1>r1_zero" in text
    assert ">finished<" in text
    assert "14 March 2026, 09:26 UTC" in text
    assert "5 min 12 s" in text
    assert "3f9c2d1a7be0" in text
    assert text.count('<figure class="chart">') == 6 + 14
    assert text.count('<svg class="dumbbell"') == 2 * 19
    assert "zero.reward.accuracy" in text
    assert "cpu_threads" in text
    assert [len(shelf["columns"]) for shelf in shelves(text)] == [2, 1]


def test_headlines_are_the_evaluations_of_start_and_end(finished_run: Path, page_of_a_run: str) -> None:
    figures = summary(finished_run)
    text = page_of_a_run
    start, end = figures["start"]["length"], figures["end"]["length"]
    assert f'<span class="from">{start["value"]:.1f}</span>' in text
    assert f'<span class="to">{end["value"]:.1f}</span>' in text
    assert f"<span>{end['low']:.1f} \N{EN DASH} {end['high']:.1f}</span>" in text
    assert f"\N{MULTIPLICATION SIGN} {end['value'] / start['value']:.1f}" in text


def test_the_results_table_has_base_and_trained_on_both_splits(page_of_a_run: str) -> None:
    table = page_of_a_run.split('<table class="results">')[1].split("</table>")[0]
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


def test_the_page_asks_the_network_for_nothing(page_of_a_run: str) -> None:
    text = page_of_a_run
    assert not re.search(r"https?://|@import|url\(", text)
    outline = Outline(text)
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in outline.elements}
    assert not [attrs for _, attrs in outline.elements if {"src", "href", "srcset", "action"} & attrs.keys()]


def test_hostile_text_stays_text(make_run: MakeRun, page_of_a_run: str) -> None:
    clean = Outline(page_of_a_run)
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


def test_only_our_own_script_may_run(page_of_a_run: str) -> None:
    outline = Outline(page_of_a_run)
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
    assert text.count("not recorded yet") == 4 + 14


@pytest.mark.full
def test_half_a_comparison_is_shown_as_one(make_run: MakeRun) -> None:
    text = written(make_run(is_finished=False))
    assert "Only the base model has answered so far." in text


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no run folder"):
        write_page(tmp_path)
    with pytest.raises(ValueError, match="is no run folder"):
        summary(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
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


# Runs with a pipeline


def rewrite(path: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    """Change every line of a file."""
    is_zipped = path.suffix == ".gz"
    content = gzip.decompress(path.read_bytes()) if is_zipped else path.read_bytes()
    text = "".join(json.dumps(change(json.loads(line))) + "\n" for line in content.splitlines()).encode()
    path.write_bytes(gzip.compress(text) if is_zipped else text)


def test_the_page_of_a_pipeline_holds_every_part(page_of_a_pipeline: str) -> None:
    text = page_of_a_pipeline
    headings = re.findall("<h2>([^<]+)</h2>", text)
    assert [heading for heading in headings if heading[0].isupper()] == [
        "The pipeline",
        "From stage to stage",
        "What the cold start is worth",
        "What the language reward is worth",
        "Learned rewards and the truth",
        "Distillation",
        "What the filters dropped",
        "Cost",
        "How R1-Zero learned",
        "By domain and level",
        "Responses to problems",
        "Responses to general prompts",
        "Box by box",
        "Configuration and provenance",
    ]
    assert text.count('<figure class="chart">') == 1 + 3 + 3 + 6
    assert text.count('class="results models"') == 4
    assert text.count('<div class="card sieve">') == 7
    assert text.count("reward hacking.") == 1
    assert ">finished<" in text


def test_every_box_leads_to_its_section(page_of_a_pipeline: str) -> None:
    outline = Outline(page_of_a_pipeline)
    ids = [attrs["id"] for _, attrs in outline.elements if "id" in attrs]
    links = [attrs["href"] for tag, attrs in outline.elements if tag == "a"]
    assert len(set(ids)) == len(ids)
    assert {link for link in links if link} <= {f"#{name}" for name in ids}
    boxes = [attrs["href"] for tag, attrs in outline.elements if tag == "a" and "box" in (attrs.get("class") or "")]
    assert len(boxes) == 2 * 18
    assert f"#{anchor('dev2-plain')}" in boxes


def test_the_total_is_the_sum_of_the_bills(page_of_a_pipeline: str) -> None:
    table = page_of_a_pipeline.split('class="results bills"')[1].split("</table>")[0]
    rows = [re.findall("<td>([^<]*)</td>", row) for row in table.split("<tr")[2:]]
    sampled = [int(row[2].replace(",", "")) for row in rows]
    assert sampled[-1] == sum(sampled[:-1]) > 0
    assert rows[-1][1] == "100.0\N{NO-BREAK SPACE}%"


@pytest.mark.full
def test_what_became_of_responses_adds_up_though_a_row_holds_several(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    counts = {"items": 64, "equally good": 24, "kept": 10}
    (run / "stages" / "helpfulness-train" / "data.json").write_text(json.dumps({"num_rows": 10, "counts": counts}))
    (card,) = (part for part in written(run).split('<div class="card sieve">') if "<span>helpfulness-train<" in part)
    assert "64 responses, 10 rows of data kept" in card
    assert re.findall(r'<th scope="row">([^<]+)</th><td>(\d+)</td>', card) == [("kept", "40"), ("equally good", "24")]


def test_every_model_can_be_read_and_two_are_chosen(page_of_a_pipeline: str) -> None:
    text = page_of_a_pipeline
    problems, general = shelves(text)
    assert len(problems["columns"]) == len(general["columns"]) == 13
    assert [problems["columns"][index] for index in problems["picked"]] == ["R1-Zero", "R1"]
    assert all(len(problem["sides"]) == 13 for problem in problems["problems"])
    assert {len(side) for problem in problems["problems"] for side in problem["sides"]} == {2}
    (section,) = (part for part in text.split("<article") if part.startswith(' class="card node model" id="node-dev1"'))
    column = re.search(r'data-column="(\d+)"', section)
    assert column is not None
    assert problems["columns"][int(column[1])] == "Dev1"


@pytest.mark.full
@pytest.mark.parametrize(("num_stages", "num_done"), [(0, None), (0, 0), (2, 1), (8, 2), (16, 2)])
def test_a_run_in_progress_has_a_page(make_pipeline_run: MakeRun, num_stages: int, num_done: int | None) -> None:
    run = make_pipeline_run(num_stages=num_stages, num_done=num_done)
    text = written(run)
    assert ">not finished<" in text
    assert 'class="box model not-begun"' in text
    assert json.loads(json.dumps(summary(run), allow_nan=False))["end"]["pass@1"] is None


def test_a_pipeline_that_has_just_begun_has_a_page(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run(num_stages=0)
    for path in (run / "evaluations.jsonl", *(run / "rollouts").iterdir()):
        path.unlink()
    text = written(run)
    for sentence in (
        "No model of the pipeline has been evaluated yet.",
        "No student has been evaluated yet.",
        "No data has been sampled yet.",
        "Nothing has been computed yet.",
        "No evaluation by domain is recorded yet.",
    ):
        assert sentence in text
    assert text.count("No responses are recorded here yet.") == 2
    assert text.count("not recorded yet") == 1 + 3 + 3 + 4


@pytest.mark.full
@pytest.mark.parametrize(
    "kept", [["zero"], ["zero", "dev2", "r1"], ["start", "cold"], ["dev1", "qwen2", "helpfulness"]]
)
def test_a_pipeline_without_some_boxes_has_a_page(make_pipeline_run: MakeRun, kept: list[str]) -> None:
    run = make_pipeline_run()
    path = run / "pipeline.json"
    nodes = [node for node in json.loads(path.read_text())["nodes"] if node["name"] in kept]
    path.write_text(json.dumps({"nodes": nodes}))
    text = written(run)
    # Each box is drawn for wide and for narrow pages.
    assert text.count('class="box ') == 2 * len(kept)
    # A comparison needs both of its models.
    assert ('id="cold-start"' in text) == ({"zero", "dev2"} <= set(kept))
    assert 'id="language"' not in text


def test_the_page_of_a_pipeline_asks_the_network_for_nothing(page_of_a_pipeline: str) -> None:
    text = page_of_a_pipeline
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    outline = Outline(text)
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in outline.elements}
    assert not [attrs for _, attrs in outline.elements if {"src", "srcset", "action"} & attrs.keys()]
    assert all((attrs.get("href") or "#").startswith("#") for _, attrs in outline.elements)


@pytest.mark.full
def test_hostile_text_of_a_pipeline_stays_text(make_pipeline_run: MakeRun, page_of_a_pipeline: str) -> None:
    clean = Outline(page_of_a_pipeline)
    run = make_pipeline_run("hostile")
    texts = {"text": HOSTILE, "question": HOSTILE, "language": HOSTILE, "finish": HOSTILE}
    for path in (run / "rollouts").iterdir():
        rewrite(path, lambda line: line | texts)
    for path in (run / "stages").glob("*/shard-*"):
        rewrite(path, lambda line: line | texts | {"response": HOSTILE, "prompt": HOSTILE, "source": HOSTILE})
    for path in (run / "stages").glob("*/data.json"):
        path.write_text(json.dumps({"num_rows": 1, "counts": {"items": 9, "kept": 1, HOSTILE: 8}}))
    nodes = json.loads((run / "pipeline.json").read_text())["nodes"]
    changed = [node | {"title": node["title"] + HOSTILE, "by": HOSTILE} for node in nodes]
    (run / "pipeline.json").write_text(json.dumps({"nodes": changed}))
    text = written(run)
    outline = Outline(text)
    assert "alert(1)" in text
    assert "{{ 7 * 7 }}" in text
    assert not {"img"} & {tag for tag, _ in outline.elements}
    assert not [name for _, attrs in outline.elements for name in attrs if name.startswith("on")]
    assert outline.scripts == clean.scripts
    assert len([1 for tag, attrs in outline.elements if tag == "script" and not attrs]) == 1
    assert shelves(text)[0]["problems"][0]["sides"][0][0]["text"] == HOSTILE.replace("\ud800", "?")


@pytest.mark.full
def test_the_page_of_a_pipeline_of_long_responses_stays_small(make_pipeline_run: MakeRun) -> None:
    """Of characters that take most bytes on the page, where they are escaped."""
    word = "<<<<<<<<"
    run = make_pipeline_run()
    for path in (run / "rollouts").iterdir():
        rewrite(path, lambda line: line | {"text": word * 3000})
    for path in (run / "stages").glob("*/shard-*"):
        rewrite(path, lambda line: line | {"response": word * 3000})
    assert write_page(run).stat().st_size < LIMIT


def test_summary_of_a_pipeline(make_pipeline_run: MakeRun) -> None:
    run = make_pipeline_run()
    figures = summary(run)
    assert list(figures) == ["start", "end", "model", "page", "seconds", "seed", "steps", "stages"]
    r1 = next(entry for entry in figures["stages"] if entry["name"] == "r1")
    assert figures["end"]["pass@1"] == r1["metrics"]["pass@1"]
    assert figures["end"]["cons@16"] == r1["metrics"]["cons@16"]
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_only_a_pipeline_has_stages(finished_run: Path, finished_pipeline_run: Path) -> None:
    assert "stages" not in summary(finished_run)
    assert models_in_words(finished_run) == ""
    assert "R1-Zero" in models_in_words(finished_pipeline_run)
