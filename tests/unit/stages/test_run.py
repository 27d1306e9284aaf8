"""A run in progress: how it is asked to stop, and which checkpoints it keeps."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import policy_actor, tiny_config, tiny_policy

from aha.runs.folder import RunFolder
from aha.stages.run import Run, Saved
from aha.training.checkpoint import read_state


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run that heeds signals; the handlers of before are put back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    run = Run(folder=RunFolder(tmp_path), seed=0)
    run.stop_on_signals()
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_second_ctrl_c_ends_a_run_at_once(run: Run) -> None:
    assert not run.should_stop()
    send(signal.SIGINT)
    assert run.should_stop()
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_sigterm_that_arrives_twice_asks_to_stop_once(run: Run) -> None:
    """`timeout` sends its signal to the command, and once more to the command's process group."""
    send(signal.SIGTERM)
    send(signal.SIGTERM)
    assert run.should_stop()
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


KEY = "key"


def progress(iteration: int) -> Saved:
    """What a stage without moments saves."""
    return Saved(actor=policy_actor(tiny_policy(tiny_config())), iteration=iteration, step=iteration)


def names(folder: Path) -> list[str]:
    """What lies in the folder of the stage, but for what it was made of."""
    return sorted(path.name for path in (folder / "stages" / "sft").iterdir() if path.is_dir())


def test_a_stage_keeps_its_last_two_checkpoints_and_at_its_end_the_result(tmp_path: Path) -> None:
    run = Run(folder=RunFolder(tmp_path), seed=0)
    for iteration in (9, 10, 11):
        run.save("sft", KEY, progress(iteration))
    assert names(tmp_path) == ["iteration-000010", "iteration-000011"]

    resumed = run.resume("sft", KEY)
    assert resumed is not None
    assert (resumed.folder.name, resumed.iteration, resumed.step) == ("iteration-000011", 11, 11)
    assert run.finish("sft", KEY, progress(12), parents=("base",)).parents == ("base",)
    assert names(tmp_path) == ["final"]


def test_what_a_kill_left_behind_is_removed(tmp_path: Path) -> None:
    """A checkpoint that is half written has a dot before its name; one beside the result was about to be dropped."""
    run = Run(folder=RunFolder(tmp_path), seed=0)
    run.save("sft", KEY, progress(1))
    (tmp_path / "stages" / "sft" / ".iteration-000002").mkdir()
    assert run.resume("sft", KEY) is not None
    assert names(tmp_path) == ["iteration-000001"]

    run.finish("sft", KEY, progress(2), parents=())
    (tmp_path / "stages" / "sft" / "iteration-000001").mkdir()
    assert run.finished("sft", KEY) is not None
    assert names(tmp_path) == ["final"]


@pytest.mark.parametrize("training", [{"history": {}}, None])
def test_the_result_of_a_training_that_can_go_on_holds_its_state(
    training: dict[str, object] | None, tmp_path: Path
) -> None:
    """Checkpoints on the way hold it in any case."""
    run = Run(folder=RunFolder(tmp_path), seed=0)
    saved = replace(progress(1), reference=policy_actor(tiny_policy(tiny_config(), seed=1)), training=training)
    run.save("sft", KEY, saved)
    on_the_way = run.resume("sft", KEY)
    assert on_the_way is not None
    assert on_the_way.tensors

    state, tensors = read_state(run.finish("sft", KEY, saved, parents=()).path)
    assert state.get("training") == training
    assert tensors.keys() == (on_the_way.tensors.keys() if training is not None else set())


def test_only_the_process_that_writes_removes_checkpoints(tmp_path: Path) -> None:
    writer = Run(folder=RunFolder(tmp_path), seed=0)
    reader = Run(folder=RunFolder(tmp_path, is_writer=False), seed=0)
    for iteration in (1, 2):
        writer.save("sft", KEY, progress(iteration))
    (tmp_path / "stages" / "sft" / ".iteration-000003").mkdir()

    reader.save("sft", KEY, progress(3))
    assert reader.resume("sft", KEY) is not None
    assert names(tmp_path) == [".iteration-000003", "iteration-000001", "iteration-000002"]

    assert writer.resume("sft", KEY) is not None
    writer.finish("sft", KEY, progress(3), parents=())
    (tmp_path / "stages" / "sft" / "iteration-000001").mkdir()
    assert reader.finish("sft", KEY, progress(3), parents=()).step == 3
    assert reader.finished("sft", KEY) is not None
    assert names(tmp_path) == ["final", "iteration-000001"]
