"""However a run is interrupted, the same command ends it as if nothing had happened, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import (
    SMALL,
    Call,
    Ended,
    FinishedRun,
    assert_fails,
    ended,
    fingerprint,
    handlers_restored,
    kill,
    living,
    num_lines,
    one_object,
    outliving,
    run,
    started,
    wait_until,
)

from aha.cli import main
from aha.recipes.base_model import BUILT_IN
from aha.runs.folder import RunFolder
from aha.training.checkpoint import verify, weights_digest

pytestmark = pytest.mark.full

MountDisk = Callable[[str], Path]

WRITES = ((os, "fsync"), (os, "replace"), (RunFolder, "append"))
"""What changes a run folder for good, or makes sure that it has."""

NUM_WRITES = 120
"""How often, at least, the run of one process does so."""

KILLED_BEFORE = sorted(random.Random(20250120).sample(range(NUM_WRITES), 5))
"""The writes before which a run is killed."""


def command_for(folder: Path) -> list[str]:
    return ["run", "r1_zero", "--run", str(folder), *SMALL]


def command_alone(folder: Path) -> list[str]:
    """The same by one process, whose sums are others in the last bits."""
    return [*command_for(folder), "--processes", "1"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The small run from beginning to end in one go."""
    folder = tmp_path_factory.mktemp("undisturbed") / "r1_zero"
    command = [*command_for(folder), "--json"]
    ended = run(*command)
    assert ended.status == 0, ended.err
    return FinishedRun(folder=folder, command=command, ended=ended)


@dataclass(frozen=True)
class Alone:
    """A run of one process, in one go.

    Attributes:
        finished: where its folder is.
        marks: the folder's fingerprint.
        folder: where it was while it ran.
        killed: copies of it that were made during the run, by the write before which they were made.
    """

    finished: Path
    marks: dict[str, str]
    folder: Path
    killed: dict[int, Path]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """The small run by one process; a copy of its folder is what a `kill -9` at that moment would have left."""
    place = tmp_path_factory.mktemp("alone")
    folder, killed = place / "run", dict[int, Path]()
    num_writes = 0

    def watched(write: Callable[..., object]) -> Callable[..., object]:
        def copy_and_write(*arguments: object) -> object:
            nonlocal num_writes
            if num_writes in KILLED_BEFORE:
                killed[num_writes] = shutil.copytree(folder, place / f"killed-{num_writes}")
            num_writes += 1
            return write(*arguments)

        return copy_and_write

    with handlers_restored(), pytest.MonkeyPatch.context() as patch:
        for owner, name in WRITES:
            patch.setattr(owner, name, watched(getattr(owner, name)))
        with pytest.raises(SystemExit, match=r"^0$"):
            main(command_alone(folder))
    assert [*killed] == KILLED_BEFORE
    assert any(list(copy.rglob(".*.part")) for copy in killed.values()), "no checkpoint was being written"
    marks = fingerprint(folder)
    return Alone(finished=folder.rename(place / "finished"), marks=marks, folder=folder, killed=killed)


def assert_ends_with(marks: dict[str, str], command: Sequence[str], folder: Path, call: Call) -> Ended:
    """Give the command for a folder again: it must end with this fingerprint."""
    resumed = call(*command)
    assert resumed.status == 0, resumed.err
    assert fingerprint(folder) == marks
    assert not list(folder.glob("stages/*/iteration-*"))
    assert not list(folder.rglob("*.part"))
    return resumed


def assert_failed_in_one_line(failed: Ended, text: str, *, status: int = 1) -> None:
    """The command has failed, and its last line says why; nothing else looks like an error."""
    assert failed.status == status, failed
    assert "Traceback" not in failed.err
    assert failed.out == ""
    complaints = [line for line in failed.err.splitlines() if line.startswith("aha: ")]
    assert len(complaints) == 1, failed.err
    assert text in complaints[0]


def test_the_undisturbed_run_learns_something_and_says_where_it_is(undisturbed: FinishedRun) -> None:
    model = json.loads(undisturbed.ended.out)["model"]
    assert Path(model) == undisturbed.folder / "stages" / "longer" / "final"
    assert weights_digest(Path(model)) != weights_digest(BUILT_IN)
    marks = fingerprint(undisturbed.folder)
    assert {"metrics.jsonl", "evaluations.jsonl", "stages/longer/final/model.safetensors"} < set(marks)
    assert len([name for name in marks if name.startswith("rollouts/")]) == 4 + 2 + 4
    assert num_lines(undisturbed.folder) == 6 + 3 + 3 + 4
    assert_has_learned_from(Path(model), num_iterations=4 + 2)


def test_a_run_as_json(undisturbed: FinishedRun, call: Call) -> None:
    report = one_object(undisturbed.ended)
    assert undisturbed.ended.err == ""
    assert report == one_object(call("report", undisturbed.folder, "--json"))
    assert set(report) == {"start", "end", "model", "page", "seconds", "seed", "steps"}
    for moment in ("start", "end"):
        assert list(report[moment]) == ["pass@1", "cons@16", "length", "reflection", "mixing"]
        for figure in report[moment].values():
            assert set(figure) == {"value", "low", "high"}
            assert figure["low"] <= figure["value"] <= figure["high"]
    assert (report["seed"], report["steps"]) == (0, (4 + 2) * 2)
    assert 0 < report["seconds"] < 600
    assert (Path(report["model"]) / "model.safetensors").is_file()
    assert Path(report["page"]).read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("moment", KILLED_BEFORE)
def test_a_run_that_is_killed_at_a_random_moment(moment: int, alone: Alone, call: Call) -> None:
    folder = alone.killed[moment].rename(alone.folder)
    try:
        assert_ends_with(alone.marks, command_alone(folder), folder, call)
    finally:
        shutil.rmtree(folder)


def test_a_finished_run_is_not_run_again(undisturbed: FinishedRun, call: Call) -> None:
    def stamps() -> dict[str, int]:
        files = [path for path in undisturbed.folder.rglob("*") if path.is_file()]
        return {str(path): path.stat().st_mtime_ns for path in files if path.name not in ("report.html", ".lock")}

    before, first_seconds = stamps(), json.loads(undisturbed.ended.out)["seconds"]
    again = call(*undisturbed.command)
    assert (again.status, again.out) == (0, undisturbed.ended.out)
    assert stamps() == before
    assert json.loads((undisturbed.folder / "time.json").read_text())["seconds"] == pytest.approx(
        first_seconds, abs=0.1
    )


def test_a_run_that_is_stopped_in_every_way(undisturbed: FinishedRun, tmp_path: Path, call: Call) -> None:
    """It loses a process, is stopped by Ctrl-C, finds its last checkpoint damaged, and is ended by a time limit.

    At last it is killed in its second stage.
    """
    folder = tmp_path / "stopped"
    lose_a_process(folder)
    press_ctrl_c(folder)

    *_, last = sorted(folder.glob("stages/zero/iteration-*"))
    weights = last / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    shutil.copytree(last, last.with_name(f".{last.name}.part"))

    limited = reach_a_time_limit(folder)
    assert f"{weights} is not what was written (checksum)" in limited.err

    assert kill(command_for(folder), folder, after=num_lines(folder) + 1, delay=0.0)
    resumed = assert_ends_with(fingerprint(undisturbed.folder), command_for(folder), folder, call)
    assert f"model: {folder / 'stages' / 'longer' / 'final'}" in resumed.out


def lose_a_process(folder: Path) -> None:
    """The second process of a run is killed: the first one ends too, and says why."""
    with started(*command_for(folder)) as process:
        wait_until(lambda: (folder / "metrics.jsonl").exists(), "the first iteration", process)
        # Its two processes, and the one that Python starts beside them to tidy up.
        assert len(living(process.pid)) == 3
        os.kill(peer_of(process), signal.SIGKILL)
        failed = ended(process, seconds=60)
        assert outliving(process) == []
    reason = "another process of the run was ended from outside (exit status -9; was there enough memory?)"
    assert_failed_in_one_line(failed, f"{reason}: the same command goes on from the last checkpoint")
    assert "gloo" not in failed.err


def press_ctrl_c(folder: Path) -> None:
    """A run that goes on is asked to stop, which it does after the iteration in progress."""
    before = set(folder.glob("stages/zero/iteration-*"))
    with started(*command_for(folder)) as process:
        wait_until(lambda: set(folder.glob("stages/zero/iteration-*")) > before, "another checkpoint", process)
        os.killpg(process.pid, signal.SIGINT)
        stopped = ended(process)
        assert outliving(process) == []
    assert_failed_in_one_line(stopped, "of stage 'zero' and saved: the same command goes on from there")
    assert "stopping after this iteration (Ctrl-C again to stop at once)" in stopped.err


def reach_a_time_limit(folder: Path) -> Ended:
    """`timeout` sends SIGTERM to the command, then to its process group, and ends with a status of its own, 124.

    An alarm lets it believe that its time is over, so that the test need not guess how long a start takes.
    """
    with started(*command_for(folder), within=["timeout", "-s", "TERM", "600"]) as process:
        wait_until(lambda: (folder / "stages" / "longer").exists(), "a checkpoint of the second stage", process)
        process.send_signal(signal.SIGALRM)
        stopped = ended(process)
        assert outliving(process) == []
    assert_failed_in_one_line(stopped, "of stage 'longer' and saved: the same command goes on from there", status=124)
    return stopped


def peer_of(process: subprocess.Popen[str]) -> int:
    """The second process of a run: of all its group the one that works, besides the first."""
    others = [pid for pid in living(process.pid) if pid != process.pid]
    return next(pid for pid in others if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_ctrl_c_while_the_processes_start(tmp_path: Path) -> None:
    with started(*command_for(tmp_path / "early")) as process:
        wait_until(lambda: len(living(process.pid)) > 2, "the second process", process)
        os.killpg(process.pid, signal.SIGINT)
        stopped = ended(process, seconds=60)
        assert outliving(process) == []
    assert_failed_in_one_line(stopped, "stop")


def test_a_result_that_was_damaged_later_is_not_taken_for_one(alone: Alone, tmp_path: Path, call: Call) -> None:
    folder = Path(shutil.copytree(alone.finished, tmp_path / "copy"))
    result = folder / "stages" / "zero" / "final"
    os.truncate(result / "model.safetensors", 1000)
    failed = call(*command_alone(folder))
    damage = f"{result / 'model.safetensors'} is not what was written (checksum): the checkpoint is damaged"
    assert_failed_in_one_line(failed, damage)
    assert_failed_in_one_line(failed, f"remove {result}: the same command then makes it again")


def test_a_run_goes_on_with_other_numbers(alone: Alone, tmp_path: Path, call: Call) -> None:
    rest, final = tmp_path / "rest", alone.finished / "stages" / "zero" / "final"
    refused = call(*command_alone(rest), "--continue-from", final, "--model", "base")
    assert_failed_in_one_line(refused, "--continue-from brings its own model: leave --model out")
    refused = call(*command_alone(rest), "--continue-from", BUILT_IN)
    assert refused.status == 1
    assert not rest.exists()

    numbers = ("--zero.iterations", 2, "--longer.iterations", 0)
    done = call(*command_alone(rest), "--continue-from", final, *numbers, "--force")
    assert done.status == 0, done.err
    assert not (rest / "stages" / "longer" / "final").exists()
    assert_has_learned_from(rest / "stages" / "zero" / "final", num_iterations=4 + 2)


def assert_has_learned_from(final: Path, *, num_iterations: int) -> None:
    """The result of a stage counts the iterations before it, of four problems each."""
    history = json.loads((final / "trainer.json").read_text())["training"]["history"]
    assert history["iterations"] == num_iterations
    assert history["problems"] == 4 * num_iterations


# A disk that is full

DISK_SIZES = {0.03: [], 10.0: ["iteration-000001", "iteration-000002"]}
"""Size in sizes of the model, and the checkpoints that fit; one takes four (policy, reference, two moments)."""


def test_a_full_disk(mount_disk: MountDisk, alone: Alone, call: Call) -> None:
    """Full before the first checkpoint, then after two of them, then large enough."""
    model_bytes = (BUILT_IN / "model.safetensors").stat().st_size
    for num_models, expected in DISK_SIZES.items():
        folder = mount_disk(f"size={int(num_models * model_bytes)}") / "run"
        # Forced, since a run that will not fit is refused before it starts.
        command = [*command_alone(folder), "--json", "--force"]
        failed = call(*command)
        assert_fails(failed, f"No space left on device: {folder}", "free some space, then give the same command again")
        checkpoints = sorted(path.name for path in folder.glob("stages/*/*") if path.is_dir())
        assert checkpoints == expected
        for name in checkpoints:
            verify(folder / "stages" / "zero" / name)
        assert not list(folder.rglob("*.part"))

    mount_disk("size=256m")
    assert one_object(call(*command))["steps"] == 12
    assert fingerprint(folder) == alone.marks
