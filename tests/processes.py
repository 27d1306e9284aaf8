"""Processes that begin at once: each is forked from a server that has imported what a process of a training imports.

The imports take five seconds of CPU. The server takes them once for all tests of a process, and computes nothing, so
that a fork of it is as good as a new process.
"""

import multiprocessing
from collections.abc import Callable

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch._dynamo", "aha.commands.running"])


def run_processes(target: Callable[..., None], *arguments: object, count: int = 2, seconds: float = 60) -> None:
    """Call a function in several processes, with the number of each before the arguments, and wait for all of them.

    Raises:
        AssertionError: one of them failed, or took longer than it may.
    """
    processes = [CONTEXT.Process(target=target, args=(rank, *arguments), daemon=True) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds)
        process.kill()
        process.join()
    codes = [process.exitcode for process in processes]
    assert codes == [0] * count, codes
