"""A run in progress: how it is asked to stop, and which rollouts it writes down."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aha.runs.folder import RunFolder
from aha.stages.run import Run


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
