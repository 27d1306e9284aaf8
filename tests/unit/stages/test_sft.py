"""Fine-tuning: what counts, what it learns, and that an interruption changes nothing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from aha.prompts.templates import r1
from aha.runs.folder import RunFolder
from aha.stages.config import SupervisedConfig
from aha.stages.harvests.harvest import write_demonstrations
from aha.stages.run import Interrupted, Run
from aha.stages.sft import sft
from aha.training.checkpoint import read_model, weights_digest
from aha.training.config import OptimizerConfig
from aha.types import Checkpoint, Dataset, Demonstration

CONFIG = SupervisedConfig(
    epochs=2, batch_size=2, max_tokens=48, optimizer=OptimizerConfig(learning_rate=1e-2, final_share=0.1)
)
NewRun = Callable[[], Run]


@pytest.fixture
def new_run(tmp_path_factory: pytest.TempPathFactory) -> NewRun:
    return lambda: Run(folder=RunFolder(tmp_path_factory.mktemp("run")), seed=0)


def sums(count: int = 12) -> list[Demonstration]:
    return [
        Demonstration(
            problem_id=f"p{n}",
            question=f"compute {n} + 1",
            response=rf"<think> {n} + 1 = {n + 1} </think> so the answer is \boxed {{ {n + 1} }} .",
            domain="arithmetic",
            language="en",
            source="test",
        )
        for n in range(count)
    ]


def tuned(run: Run, base: Checkpoint, rows: Sequence[Demonstration], config: SupervisedConfig = CONFIG) -> Checkpoint:
    data = write_demonstrations(run, "given", rows, key=repr(rows))
    return sft(run, "dev1", policy=base, data=[data], config=config)


def losses(run: Run) -> list[float]:
    lines = (run.folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines if json.loads(line)["stage"] == "dev1"]


@pytest.fixture(scope="module")
def whole(base: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """A finished run on the sums, and the digest of its model."""
    run = Run(folder=RunFolder(tmp_path_factory.mktemp("whole")), seed=0)
    return run, weights_digest(tuned(run, base, sums()).path)


def test_the_same_inputs_make_the_same_model_and_every_input_counts(
    base: Checkpoint, new_run: NewRun, whole: tuple[Run, str]
) -> None:
    rows, (_, digest) = sums(), whole
    assert weights_digest(tuned(new_run(), base, rows).path) == digest
    other = [replace(rows[0], response=f"{rows[0].response} yes"), *rows[1:]]
    assert weights_digest(tuned(new_run(), base, other).path) != digest
    asked = [replace(rows[0], question="compute 2 + 2"), *rows[1:]]
    assert weights_digest(tuned(new_run(), base, asked).path) != digest


def test_how_often_it_saves_changes_no_result(base: Checkpoint, new_run: NewRun, whole: tuple[Run, str]) -> None:
    often = CONFIG.model_copy(update={"checkpoint_every": 1})
    assert weights_digest(tuned(new_run(), base, sums(), often).path) == whole[1]


def test_interrupted_and_resumed_is_uninterrupted(base: Checkpoint, tmp_path: Path, whole: tuple[Run, str]) -> None:
    first = Run(folder=RunFolder(tmp_path), seed=0)
    made: list[int] = []

    def report(*_: object) -> None:
        made.append(1)
        first._asked_to_stop = len(made) == 4

    first.report = report
    with pytest.raises(Interrupted, match="after update 4 of"):
        tuned(first, base, sums())
    again = Run(folder=RunFolder(tmp_path), seed=0)
    assert weights_digest(tuned(again, base, sums()).path) == whole[1]
    assert losses(again) == losses(whole[0])


def test_a_finished_stage_is_not_repeated(base: Checkpoint, whole: tuple[Run, str]) -> None:
    again, made = Run(folder=whole[0].folder, seed=0), list[object]()
    again.report = lambda *figures: made.append(figures)
    assert weights_digest(tuned(again, base, sums()).path) == whole[1]
    assert made == []


def test_a_stale_key_says_what_changed(base: Checkpoint, whole: tuple[Run, str]) -> None:
    other = CONFIG.model_copy(update={"epochs": 1})
    with pytest.raises(ValueError, match=r"stage 'dev1' .* changed: config\.epochs: 2 -> 1: name another folder"):
        tuned(Run(folder=whole[0].folder, seed=0), base, sums(), other)


def test_the_checkpoint_is_prompted_as_it_was_trained(whole: tuple[Run, str]) -> None:
    _, tokenizer = read_model(whole[0].folder.path / "stages" / "dev1" / "final")
    assert "<｜Assistant｜>" in tokenizer.chat_template
    assert tokenizer.unknown_words(r1("compute 1 + 1")) == []


def test_what_does_not_fit_is_left_out_and_said(base: Checkpoint, new_run: NewRun) -> None:
    run, said = new_run(), list[str]()
    run.say = said.append
    rows = [*sums(), replace(sums(1)[0], response="1 + " * 40)]
    tuned(run, base, rows)
    assert any("1 of 13 demonstrations are longer than 48 tokens" in line for line in said)
    with pytest.raises(ValueError, match="no demonstration of at most 16 tokens"):
        tuned(new_run(), base, sums(), CONFIG.model_copy(update={"max_tokens": 16}))


def test_data_of_two_stages_is_one_set(base: Checkpoint, new_run: NewRun, whole: tuple[Run, str]) -> None:
    run = new_run()
    parts: list[Dataset] = [
        write_demonstrations(run, name, sums()[part], key=name)
        for name, part in (("first", slice(0, 5)), ("second", slice(5, 12)))
    ]
    both = sft(run, "dev1", policy=base, data=parts, config=CONFIG)
    assert weights_digest(both.path) == whole[1]
    assert both.parents == (base.key, *(part.key for part in parts))


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.full)])
def test_adapters_learn_resume_and_leave_a_model(
    base: Checkpoint, tmp_path: Path, new_run: NewRun, precision: str
) -> None:
    optimizer = {"learning_rate": 5e-2, "lora": {"rank": 8}, "precision": precision}
    config = SupervisedConfig.model_validate(CONFIG.model_dump() | {"epochs": 10, "optimizer": optimizer})
    whole = new_run()
    digest = weights_digest(tuned(whole, base, sums(), config).path)
    assert losses(whole)[-1] < 0.6 * losses(whole)[0]
    first = Run(folder=RunFolder(tmp_path), seed=0)
    first.report = lambda *_: first.__setattr__("_asked_to_stop", True)
    with pytest.raises(Interrupted):
        tuned(first, base, sums(), config)
    assert weights_digest(tuned(Run(folder=RunFolder(tmp_path), seed=0), base, sums(), config).path) == digest
    assert (tmp_path / "stages" / "dev1" / "adapter" / "adapter_model.safetensors").exists()
