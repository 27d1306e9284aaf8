"""Distillation and rejection sampling from a teacher: what is kept is right, and everything is refused in time."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from command import Call, Ended, fingerprint, one_object
from endpoint_server import reply, serving

from aha.problems.responses.demonstrations import read_demonstrations
from aha.problems.world.questions import held_out_problems
from aha.recipes.distill import DISTILL
from aha.runs.shards import read_rows
from aha.types import Checkpoint, Problem

SAMPLING = [
    "--sampling.num-problems=16",
    "--sampling.num-samples=8",
    "--sampling.num-kept=2",
    "--sampling.shard-size=8",
]
QUICK = [
    *SAMPLING,
    "--sft.epochs=1",
    "--sft.batch-size=2",
    "--sft.checkpoint-every=2",
    "--evaluation.num-problems=2",
    "--evaluation.num-samples=2",
    "--evaluation.max-new-tokens=16",
]

Give = Callable[..., Ended]


def written(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sums(split: str, count: int) -> list[Problem]:
    """Arithmetic of the built-in world, which its base model sometimes solves."""
    problems = held_out_problems(split, 20 * count, seed=1)
    return [problem for problem in problems if problem.domain == "arithmetic"][:count]


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Problems of a user's own: those of the built-in world, as mathematics."""
    rows = [{"q": problem.question, "a": problem.answer} for problem in sums("train", 16)]
    return written(tmp_path / "train.jsonl", rows)


@pytest.fixture
def run(call: Call, tmp_path: Path) -> Give:
    """Runs a recipe in a folder."""

    def give(recipe: str, folder: str, *words: object) -> Ended:
        return call("run", recipe, "--run", tmp_path / folder, *words)

    return give


OWN = ["--fields", "question=q,answer=a,domain=math"]


@pytest.mark.full
def test_what_is_kept_is_right_and_can_be_learned(run: Give, problems: Path, tmp_path: Path) -> None:
    ended = run("rejection", "run", "--problems", problems, *OWN, *SAMPLING)
    assert ended.status == 0, ended.err
    kept = read_demonstrations([str(tmp_path / "run" / "responses.jsonl")]).items
    assert f"{len(kept)} responses kept: {tmp_path / 'run' / 'responses.jsonl'}" in ended.out + ended.err
    answers = {problem.question: problem.answer for problem in sums("train", 16)}
    assert 2 <= len(kept) <= 32
    for each in kept:
        said = each.response.split("<answer>")[1].split("</answer>")[0]
        assert float(said) == float(answers[each.question])
    assert run("rejection", "run", "--problems", problems, *OWN, *SAMPLING).status == 0


@pytest.mark.full
def test_a_student_learns_what_a_teacher_says_right(
    run: Give, base: Checkpoint, problems: Path, tmp_path: Path
) -> None:
    test = written(tmp_path / "test.jsonl", [{"q": one.question, "a": one.answer} for one in sums("test", 4)])
    words = ["--model", base.path, "--teacher", "base", "--problems", problems, "--test", test, *OWN, *QUICK]
    ended = one_object(run("distill", "one", *words, "--json"))
    assert Path(ended["model"]).parts[-3:] == ("stages", "student", "final")
    assert ended["start"]["pass@1"] is not None
    assert ended["end"]["pass@1"] is not None
    page = Path(ended["page"]).read_text(encoding="utf-8")
    assert [node.title for node in DISTILL.figure if node.title not in page] == []
    assert run("distill", "two", *words).status == 0
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")


@pytest.mark.full
def test_traces_of_a_file_are_learned(run: Give, base: Checkpoint, tmp_path: Path) -> None:
    rows = [
        {"problem": one.question, "solution": one.answer, "thought": f"it is {one.answer}"} for one in sums("train", 4)
    ]
    traces = written(tmp_path / "traces.jsonl", rows)
    fields = "question=problem,response=solution,reasoning=thought"
    ended = run("distill", "run", "--model", base.path, "--traces", traces, "--trace-fields", fields, *QUICK)
    assert ended.status == 0, ended.err
    assert f"4 demonstrations of {traces}" in ended.out + ended.err


def answers(prompt: str, count: int) -> tuple[int, object]:
    """A teacher's reply to a sum: right with its thinking, right without, and wrong."""
    numbers = re.findall(r"(?:- )?\d+", prompt.splitlines()[0])
    total = sum(int(number.replace(" ", "")) for number in numbers)
    message = {"role": "assistant", "content": rf"It is \boxed{{{total + (count == 2)}}}."}
    if count != 1:
        message["reasoning_content"] = f"I add them up: {total}."
    body = reply("")
    body["choices"][0]["message"] = message
    return 200, body


@pytest.mark.full
def test_a_teacher_behind_an_endpoint_is_asked_and_never_twice(
    run: Give, problems: Path, base: Checkpoint, tmp_path: Path
) -> None:
    english = [row for row in map(json.loads, problems.read_text().splitlines()) if row["q"].startswith("compute")][:4]
    written(problems, english)
    with serving() as server:
        server.act = answers
        words = ["--model", base.path, "--teacher", server.url, "--teacher-model", "wise", "--system", "Be brief."]
        words += ["--problems", problems, *OWN, *QUICK, "--sampling.num-samples=3", "--sft.max-tokens=256"]
        ended = run("distill", "run", *words)
        assert ended.status == 0, ended.err
        num_asked = len(server.bodies)
        assert num_asked == 3 * len(english)
        assert {body["model"] for body in server.bodies} == {"wise"}
        assert server.bodies[0]["messages"][0] == {"role": "system", "content": "Be brief."}

        # Of each problem one response has thinking and is right.
        kept = [*read_rows(tmp_path / "run" / "stages" / "traces")]
        assert len(kept) == len(english)
        assert all(row["response"].startswith("<think>\nI add them up") for row in kept)
        counts = json.loads((tmp_path / "run" / "stages" / "traces" / "data.json").read_text())["counts"]
        assert (counts["incorrect"], counts["malformed"]) == (len(english), len(english))

        # As a run that was killed before it had written the data: the answers are in its folder.
        shutil.rmtree(tmp_path / "run" / "stages" / "traces")
        shutil.rmtree(tmp_path / "run" / "stages" / "student")
        assert run("distill", "run", *words).status == 0
        assert len(server.bodies) == num_asked


@pytest.mark.parametrize(
    ("recipe", "words", "texts"),
    [
        ("distill", [], ["either --teacher MODEL", "--traces FILE.jsonl"]),
        ("distill", ["--teacher", "base", "--traces", "t.jsonl"], ["either --teacher MODEL"]),
        ("distill", ["--traces", "t.jsonl", "--problems", "p.jsonl"], ["--problems: meant for a teacher"]),
        ("distill", ["--traces", "t", "--template", "r1", "--stop", "."], ["--template, --stop: meant for a teacher"]),
        (
            "distill",
            ["--teacher", "base", "--teacher-model", "x"],
            ["--teacher-model and --teacher-per-minute are for"],
        ),
        (
            "distill",
            ["--teacher", "http://127.0.0.1:1/v1", "--stop", "."],
            ["--template and --stop are not for a teac"],
        ),
        ("distill", ["--traces", "p.jsonl"], ["p.jsonl:1: it needs a question"]),
        ("distill", ["--teacher", "nowhere"], ["nowhere"]),
        ("distill", ["--teacher", "base", "--problems", "own.jsonl", "--fields", "question=q,domain=own"], ["no rule"]),
        ("rejection", ["--problems", "p.jsonl", "--reward", "f.py:f"], ["--reward: responses are kept by the rule"]),
        ("rejection", ["--problems", "none.jsonl"], ["none.jsonl does not exist"]),
        ("rejection", ["--problems", "p.jsonl", "--test", "p.jsonl"], ["no training problem is left"]),
        ("rejection", ["--problems", "long.jsonl"], ["long.jsonl:1: the prompt has", "--sampling.max-new-tokens"]),
        ("rejection", ["--template", "none.jinja"], ["--template none.jinja: neither auto"]),
        ("rejection", ["--sampling.num-samples=3", "--processes=2"], ["cannot be shared out evenly by --processes 2"]),
    ],
)
def test_what_cannot_be_taught_is_refused_before_anything_is_computed(
    recipe: str,
    words: list[str],
    texts: list[str],
    run: Give,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "t.jsonl", [{"question": "compute 2 + 2", "response": "4"}])
    written(tmp_path / "p.jsonl", [{"question": "compute 2 + 2", "answer": "4"}])
    written(tmp_path / "own.jsonl", [{"q": "compute 2 + 2"}])
    written(tmp_path / "long.jsonl", [{"question": "compute 2 + 2 " * 800, "answer": "4"}])
    ended = run(recipe, "run", *words)
    assert ended.status != 0
    assert [text for text in texts if text not in ended.err] == []
    assert not (tmp_path / "run").exists()
