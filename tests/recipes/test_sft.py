"""Fine-tuning on a user's demonstrations: it learns, it resumes, and it is refused before anything is computed."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from command import Call, Ended, assert_fails, fingerprint, one_object
from tiny import tiny_config, tiny_policy, world_tokenizer

from aha.policy.pretrained import read_config
from aha.problems.world.questions import held_out_problems
from aha.prompts.pretrained import read_tokenizer
from aha.recipes.sft import SFT
from aha.runs.shards import read_rows
from aha.stages import sft as stage
from aha.training.checkpoint import write_checkpoint
from aha.types import Checkpoint, Problem

QUICK = [
    "--sft.epochs=2",
    "--sft.batch-size=4",
    "--sft.max-tokens=128",
    "--sft.checkpoint-every=2",
    "--sft.optimizer.learning-rate=0.01",
    "--sft.optimizer.warmup-steps=0",
    "--evaluation.num-problems=4",
    "--evaluation.num-samples=2",
    "--evaluation.max-new-tokens=24",
]

Tune = Callable[..., Ended]


def written(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def demonstration(problem: Problem) -> dict[str, str]:
    """A short right answer."""
    return {"question": problem.question, "response": f"<think> so </think> {problem.answer}"}


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """Demonstrations for problems of the built-in world."""
    return [demonstration(problem) for problem in held_out_problems("train", 40, seed=1)]


@pytest.fixture
def tune(call: Call, base: Checkpoint, tmp_path: Path) -> Tune:
    """Fine-tunes a tiny model in a folder, by default on the rows of the file `rows.jsonl`."""

    def give(folder: str, *words: object, model: Path = base.path) -> Ended:
        given = ["--model", model, "--demonstrations", tmp_path / "rows.jsonl", "--run", tmp_path / folder, "--json"]
        return call("run", "sft", *given, *QUICK, *words)

    return give


@pytest.mark.full
def test_it_learns_and_is_examined_before_and_after(tune: Tune, rows: list[dict[str, str]], tmp_path: Path) -> None:
    written(tmp_path / "rows.jsonl", rows[:24])
    tests = [{"q": problem.question, "a": problem.answer} for problem in held_out_problems("test", 8)]
    test = written(tmp_path / "test.jsonl", tests)

    ended = one_object(tune("run", "--test", test, "--fields", "question=q,answer=a,domain=text"))
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in metrics]
    assert losses[-1] < 0.6 * losses[0]
    for when in ("start", "end"):
        assert 0 <= ended[when]["pass@1"]["value"] <= 1
    assert Path(ended["model"]).parts[-3:] == ("stages", "sft", "final")
    assert {stage for node in SFT.figure for stage in node.stages} == {
        path.name for path in (tmp_path / "run" / "stages").iterdir() if path.is_dir()
    }
    page = Path(ended["page"]).read_text(encoding="utf-8")
    assert [node.title for node in SFT.figure if f"{node.title}: " not in page] == []
    assert "not begun" not in re.findall(r"<li id=.*</li>", page)[-1]


@pytest.mark.full
def test_a_run_that_failed_goes_on_to_the_same_result(
    tune: Tune, rows: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "rows.jsonl", rows[:24])
    assert tune("whole").status == 0

    calls = 0
    loss = stage.next_token_loss

    def fail_later(*arguments: Any, **signals: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise RuntimeError("the power went out")
        return loss(*arguments, **signals)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "next_token_loss", fail_later)
        assert_fails(tune("torn"), "the power went out")
    assert not (tmp_path / "torn" / "result.json").exists()
    assert tune("torn").status == 0
    assert fingerprint(tmp_path / "torn") == fingerprint(tmp_path / "whole")

    assert_fails(tune("torn", "--bad-rows", "skip"), "bad_rows", "skip")


def test_a_broken_row_is_refused_before_anything_is_computed(
    tune: Tune, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    written(tmp_path / "rows.jsonl", [*rows[:2], {"question": "2 + 2?"}, rows[2]])
    ended = tune("run")
    assert (ended.status, ended.out) == (1, "")
    assert "rows.jsonl:3: it needs a question" in ended.err
    assert ended.err.endswith("\n--bad-rows skip leaves them out\n")
    assert not (tmp_path / "run").exists()
    assert tune("run", "--bad-rows", "skip").status == 0


def test_what_is_to_be_learned_must_be_given(call: Call, tmp_path: Path) -> None:
    assert_fails(call("run", "sft", "--run", tmp_path / "run"), "--demonstrations FILE.jsonl")


@pytest.mark.full
def test_a_demonstration_longer_than_the_model_has_positions_is_named(
    tune: Tune, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    """One that fits into a chunk would be learned at positions that the model does not have."""
    written(tmp_path / "rows.jsonl", [*rows[:4], {"question": "2 + 2 ?", "response": "4 " * 40}])
    tokenizer = world_tokenizer()
    short = tmp_path / "short"
    config = tiny_config(vocab_size=tokenizer.vocab_size, max_position_embeddings=100)
    write_checkpoint(short, tiny_policy(config), tokenizer, state={})
    assert_fails(tune("run", model=short), "rows.jsonl:5: ", "100 positions", "--sft.max-tokens 100")
    assert tune("run", "--sft.max-tokens", 100, model=short).status == 0


def test_questions_of_the_test_are_not_learned(tune: Tune, rows: list[dict[str, str]], tmp_path: Path) -> None:
    problems = held_out_problems("test", 4)
    written(tmp_path / "rows.jsonl", [*rows[:6], *map(demonstration, problems)])
    test = written(tmp_path / "test.jsonl", [{"question": one.question, "answer": one.answer} for one in problems])
    words = ["--test", test, "--fields", "question=question,answer=answer,domain=text", "--sft.epochs", 1]
    assert tune("run", *words).status == 0
    learned = {row["question"] for row in read_rows(tmp_path / "run" / "stages" / "demonstrations")}
    assert learned == {row["question"] for row in rows[:6]}

    written(tmp_path / "rows.jsonl", list(map(demonstration, problems)))
    assert_fails(tune("other", *words), "no demonstration is left beside the test problems")


@pytest.mark.full
def test_auto_takes_the_template_of_the_checkpoint(tune: Tune, rows: list[dict[str, str]], tmp_path: Path) -> None:
    def asked(folder: str) -> str:
        """The prompt that the result names."""
        model = tmp_path / folder / "stages" / "sft" / "final"
        return read_tokenizer(model, room=read_config(model).vocab_size).chat_template

    written(tmp_path / "rows.jsonl", rows[:6])
    assert tune("zero", "--sft.epochs", 1, "--template", "r1_zero").status == 0
    model = tmp_path / "zero" / "stages" / "sft" / "final"
    assert tune("again", "--sft.epochs", 1, model=model).status == 0
    assert tune("r1", "--sft.epochs", 1, "--template", "r1", model=model).status == 0
    assert asked("zero") == asked("again") != asked("r1")
