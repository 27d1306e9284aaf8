"""The pool: deadlines, memory, deaths, silence."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from aha.rewards.workers import Question, WorkerPool

TOWER = "9^{9^{9^{9}}}"
SAME, OTHER = Question("\\sqrt{8}", "2\\sqrt{2}"), Question("\\sqrt{8}", "2\\sqrt{3}")


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(num_workers=1, deadline_seconds=2) as pool:
        pool.start()
        yield pool


def test_mathematics_is_compared(pool: WorkerPool) -> None:
    assert pool.ask([SAME, OTHER, Question("x", "\\frac{"), Question("\\frac{", "x")]) == [
        "correct", "wrong", "unparsable", "gold",
    ]  # fmt: skip


def test_nothing_asked_starts_nothing() -> None:
    with WorkerPool() as pool:
        assert pool.ask([]) == []
        assert pool.pids() == []


def test_what_hangs_is_killed_and_the_others_are_answered(pool: WorkerPool) -> None:
    pids = pool.pids()
    start = time.monotonic()
    outcomes = pool.ask([SAME, Question("\\pi", f"{TOWER}+x"), OTHER, SAME])
    assert outcomes[0] == outcomes[3] == "correct"
    assert outcomes[1] in ("timeout", "crash")
    assert outcomes[2] == "wrong"
    assert time.monotonic() - start < 2 * 2 + 10
    assert pool.pids() == pids


def test_a_worker_that_is_killed_is_replaced(pool: WorkerPool) -> None:
    before = pool.pids()
    killer = threading.Timer(0.5, os.kill, (before[0], signal.SIGKILL))
    killer.start()
    outcomes = pool.ask([Question("\\pi", f"{TOWER}+y"), SAME, OTHER])
    killer.join()
    assert outcomes[1:] == ["correct", "wrong"]
    assert outcomes[0] != "correct"
    assert pool.ask([SAME]) == ["correct"]


@pytest.mark.full
def test_a_worker_that_died_between_questions_is_replaced(pool: WorkerPool) -> None:
    os.kill(pool.pids()[0], signal.SIGKILL)
    time.sleep(0.2)
    assert pool.ask([SAME, OTHER])[1] == "wrong"


@pytest.mark.full
def test_closing_ends_the_processes_and_asking_starts_new_ones() -> None:
    pool = WorkerPool(num_workers=1, deadline_seconds=5)
    pool.start()
    (pid,) = pool.pids()
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert pool.ask([SAME]) == ["correct"]
    pool.close()


def test_workers_do_not_import_torch() -> None:
    code = "import sys, aha.rewards.equivalence as e; e._judge(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("setting", [{"num_workers": 0}, {"deadline_seconds": 0}, {"max_bytes": 1}])
def test_settings_are_checked(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        WorkerPool(**setting)
