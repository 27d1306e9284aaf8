"""Failures of tests: exceptions of the program, rebuilt on the side of the tests, and the line that failed.

`aha.rewards.sandbox.guest_process` sends the source of this module into a sandbox; see `aha.rewards.sandbox.harness`.
"""

import builtins
from typing import Any

from aha.rewards.sandbox.plain import cut

__all__ = ["failing_line", "rebuild_exception"]

# An end of iteration that comes out of a call would silently end a loop of the test around it.
_UNRAISABLE = (StopIteration, StopAsyncIteration)


def rebuild_exception(reply: dict[str, Any], classes: list[type]) -> Exception:
    """The exception that the program raised: the first of its class and base classes that is known here.

    Known are the classes given, those of the starter, and the builtin ones.
    """
    names = reply.get("error")
    names = [name for name in names[:50] if isinstance(name, str)] if isinstance(names, list) else []
    text = cut(str(reply.get("text")))

    exceptions = dict(vars(builtins))
    for kind in classes:
        exceptions[kind.__name__] = kind

    for name in names:
        exception = exceptions.get(name)
        if not (isinstance(exception, type) and issubclass(exception, Exception)):
            continue
        if issubclass(exception, _UNRAISABLE):
            continue
        try:
            return exception(text)
        except Exception:  # its class wants other arguments
            continue

    return RuntimeError(cut(f"{names[0] if names else 'error'}: {text}"))


def failing_line(error: BaseException, source: str) -> str:
    """The line of the test at which it failed, quoted and followed by a blank; empty where there is none."""
    number = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<test>":
            number = trace.tb_lineno
        trace = trace.tb_next

    lines = source.splitlines()
    if not 0 < number <= len(lines):
        return ""
    return f"{lines[number - 1].strip()[:150]!r} "
