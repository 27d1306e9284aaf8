"""However a run is interrupted, the same command ends it as if nothing had happened, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import (
    SMALL,
    Ended,
    FinishedRun,
    ended,
    executable,
    fingerprint,
    kill,
    living,
    num_lines,
    outliving,
    run,
    started,
    wait_until,
)

from aha.recipes.base_model import BUILT_IN
from aha.training.checkpoint import weights_digest

pytestmark = pytest.mark.full

NUM_KILLS = 5


def command_for(folder: Path) -> list[str]:
    return ["run", "r1_zero", "--run", str(folder), *SMALL]


def assert_ends_as(undisturbed: FinishedRun, folder: Path) -> Ended:
    """Give the command for a folder again: it must end as the undisturbed run did."""
    resumed = run(*command_for(folder))
    assert resumed.status == 0, resumed.err
    assert fingerprint(folder) == fingerprint(undisturbed.folder)
    assert not list(folder.glob("stages/*/iteration-*"))
    assert not list(folder.rglob("*.part"))
    return resumed


def assert_failed_in_one_line(failed: Ended, text: str) -> None:
    """The command has failed, and its last line says why; nothing else looks like an error."""
    assert failed.status == 1, failed
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


def test_a_run_that_is_killed_at_random_moments(undisturbed: FinishedRun, tmp_path: Path) -> None:
    rng, folder = random.Random(20250120), tmp_path / "killed"
    moments = sorted(rng.sample(range(num_lines(undisturbed.folder)), NUM_KILLS))
    were_running = [kill(command_for(folder), folder, after=line, delay=rng.uniform(0, 0.5)) for line in moments]
    assert sum(were_running) >= NUM_KILLS - 1
    resumed = assert_ends_as(undisturbed, folder)
    assert f"model: {folder / 'stages' / 'longer' / 'final'}" in resumed.out


def test_a_finished_run_is_not_run_again(undisturbed: FinishedRun) -> None:
    def stamps() -> dict[str, int]:
        files = [path for path in undisturbed.folder.rglob("*") if path.is_file()]
        return {str(path): path.stat().st_mtime_ns for path in files if path.name not in ("report.html", ".lock")}

    before, first_seconds = stamps(), json.loads(undisturbed.ended.out)["seconds"]
    again = run(*undisturbed.command)
    assert (again.status, again.out) == (0, undisturbed.ended.out)
    assert stamps() == before
    assert json.loads((undisturbed.folder / "time.json").read_text())["seconds"] == pytest.approx(
        first_seconds, abs=0.1
    )


def test_ctrl_c_saves_and_a_damaged_checkpoint_is_passed_over(undisturbed: FinishedRun, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    metrics = folder / "metrics.jsonl"
    with started(*command_for(folder)) as process:
        wait_until(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 2, "iteration 2", process)
        os.killpg(process.pid, signal.SIGINT)
        stopped = ended(process)
        assert outliving(process) == []
    assert_failed_in_one_line(stopped, "of stage 'zero' and saved: the same command goes on from there")
    assert "stopping after this iteration (Ctrl-C again to stop at once)" in stopped.err
    *_, last = sorted(folder.glob("stages/zero/iteration-*"))
    weights = last / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    shutil.copytree(last, last.with_name(f".{last.name}.part"))
    resumed = assert_ends_as(undisturbed, folder)
    assert f"{weights} is not what was written (checksum)" in resumed.err


def test_a_time_limit_ends_a_run_that_has_saved(undisturbed: FinishedRun, tmp_path: Path) -> None:
    """What `timeout -s TERM` sends when the time is over: SIGTERM to the command, then to its process group."""
    folder = tmp_path / "ended"
    with started(*command_for(folder)) as process:
        wait_until(lambda: (folder / "stages" / "longer").exists(), "a checkpoint of the second stage", process)
        process.terminate()
        os.killpg(process.pid, signal.SIGTERM)
        stopped = ended(process)
    assert_failed_in_one_line(stopped, "of stage 'longer' and saved: the same command goes on from there")
    assert_ends_as(undisturbed, folder)


def test_a_result_that_was_damaged_later_is_not_taken_for_one(undisturbed: FinishedRun, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(undisturbed.folder, tmp_path / "copy"))
    result = folder / "stages" / "zero" / "final"
    os.truncate(result / "model.safetensors", 1000)
    failed = run(*command_for(folder))
    damage = f"{result / 'model.safetensors'} is not what was written (checksum): the checkpoint is damaged"
    assert_failed_in_one_line(failed, damage)
    assert_failed_in_one_line(failed, f"remove {result}: the same command then makes it again")


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.2])
def test_ctrl_c_while_the_processes_start(delay: float, tmp_path: Path) -> None:
    with started(*command_for(tmp_path / "early")) as process:
        wait_until(lambda: len(living(process.pid)) > 2, "the second process", process)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        stopped = ended(process, seconds=60)
        assert outliving(process) == []
    assert_failed_in_one_line(stopped, "stop")


def test_the_end_of_one_process_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    with started(*command_for(folder)) as process:
        wait_until(lambda: (folder / "metrics.jsonl").exists(), "the first iteration", process)
        os.kill(peer_of(process), signal.SIGKILL)
        failed = ended(process, seconds=60)
        assert outliving(process) == []
    reason = "another process of the run was ended from outside (exit status -9; was there enough memory?)"
    assert_failed_in_one_line(failed, f"{reason}: the same command goes on from the last checkpoint")
    assert "gloo" not in failed.err


def peer_of(process: subprocess.Popen[str]) -> int:
    """The second process of a run: of all its group the one that works, besides the first."""
    others = [pid for pid in living(process.pid) if pid != process.pid]
    return next(pid for pid in others if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_a_run_goes_on_with_other_numbers(tmp_path: Path) -> None:
    first, rest = tmp_path / "first", tmp_path / "rest"
    done = run(*command_for(first), "--longer.iterations", "0")
    assert done.status == 0, done.err
    assert not (first / "stages" / "longer" / "final").exists()

    final = first / "stages" / "zero" / "final"
    refused = run(*command_for(rest), "--continue-from", str(final), "--model", "base")
    assert_failed_in_one_line(refused, "--continue-from brings its own model: leave --model out")
    refused = run(*command_for(rest), "--continue-from", str(BUILT_IN))
    assert refused.status == 1
    assert not rest.exists()

    done = run(*command_for(rest), "--continue-from", str(final), "--zero.iterations", "2", "--force")
    assert done.status == 0, done.err
    state = json.loads((rest / "stages" / "longer" / "final" / "trainer.json").read_text())
    num_before, num_after = 4, 2 + 2
    assert state["training"]["history"]["iterations"] == num_before + num_after
    assert state["training"]["history"]["problems"] == 4 * (num_before + num_after)


def test_timeout_limits_the_time_of_a_run(tmp_path: Path) -> None:
    """`timeout` gives status 124 for its own doing, and the run that it ends has saved.

    An alarm lets `timeout` believe that its time is over, so that the test need not guess how long a start takes.
    """
    folder = tmp_path / "limited"
    command = ["timeout", "-s", "TERM", "600", executable(), *command_for(folder), "--zero.iterations=100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_until((folder / "metrics.jsonl").exists, "the first iteration", process)
        process.send_signal(signal.SIGALRM)
        stopped = ended(process)
    assert stopped.status == 124, stopped.err
    assert "of stage 'zero' and saved: the same command goes on from there" in stopped.err
    assert list(folder.glob("stages/zero/iteration-*"))
