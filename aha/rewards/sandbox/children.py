"""Child processes of the harness: their input and output, their end, and what they leave behind.

`aha.rewards.sandbox.guest_process` sends the source of this module into a sandbox; see `aha.rewards.sandbox.harness`.
"""

import contextlib
import os
import select
import signal
import time

__all__ = ["feed_and_read", "kill_all_others", "wait_for"]


def feed_and_read(descriptors: tuple[int, int], max_bytes: int, deadline: float, stdin: tuple[int, bytes]) -> list[str]:
    """Reads two descriptors until both are closed or the deadline, and feeds the input meanwhile.

    Args:
        descriptors: the descriptors to read.
        max_bytes: bytes of each after which it is closed; what is returned may have one byte more.
        deadline: on the monotonic clock, seconds.
        stdin: the descriptor of the input and its content; the process need not read all of it.

    Returns:
        The text of each descriptor.
    """
    chunks = {descriptor: b"" for descriptor in descriptors}
    open_descriptors = set(descriptors)
    stdin_end, text = stdin
    os.set_blocking(stdin_end, False)

    # Both directions at once: a program that prints before it has read all its input would else wait for ever.
    while open_descriptors and (remaining := deadline - time.monotonic()) > 0:
        readable, writable, _ = select.select(list(open_descriptors), [stdin_end] if text else [], [], remaining)
        if writable:
            text = _write_some(stdin_end, text)

        for descriptor in readable:
            data = os.read(descriptor, 65536)
            chunks[descriptor] += data
            if not data or len(chunks[descriptor]) > max_bytes:
                # Closed at once: a program that goes on writing would otherwise block for ever.
                open_descriptors.remove(descriptor)
                os.close(descriptor)

        # The program waits for the end of its input.
        if not text and stdin_end >= 0:
            os.close(stdin_end)
            stdin_end = -1

    if stdin_end >= 0:
        os.close(stdin_end)
    for descriptor in open_descriptors:
        os.close(descriptor)

    return [chunks[descriptor][: max_bytes + 1].decode(errors="replace") for descriptor in descriptors]


def _write_some(descriptor: int, text: bytes) -> bytes:
    """Writes a part of a text; returns the rest, which is empty if nobody reads."""
    try:
        return text[os.write(descriptor, text[:65536]) :]
    except BrokenPipeError:
        return b""


def wait_for(child: int, deadline: float) -> int | None:
    """The exit status of a child, or the negative number of its signal; None where it had to be killed."""
    while time.monotonic() < deadline:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def kill_all_others() -> None:
    """Kills all processes that a run has left behind; only for a process that is alone in its namespace."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
