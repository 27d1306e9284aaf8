"""The tests of model-written code, run in a process of their own: the code under test is at the other end of a pipe.

`aha.rewards.inmate` sends the text of this module into a sandbox; see `aha.rewards.harness`.
"""

import ast
import builtins
import collections.abc
import json
import os
import sys
from typing import Any, NoReturn

from aha.rewards.plain import MALFORMED, NotPlainError, cut, decode, described, encode, execute, send, settle, silence

__all__ = ["examine"]

_MAX_MESSAGE_BYTES = 4_000_000
# An end of iteration that comes out of a call would silently end a loop of the test around it.
_UNRAISABLE = (StopIteration, StopAsyncIteration)


class _Stand:
    """The far end of the calls: what the tests know of the code under test."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.calls = os.fdopen(job["calls"], "wb")
        self.replies = os.fdopen(job["replies"], "rb")
        self.report = os.fdopen(os.dup(1), "wb")
        self.num_calls = 0

    def receive(self) -> dict[str, Any]:
        """The next message of the code under test; ends the examination where there is none that can be read."""
        line = self.replies.readline(_MAX_MESSAGE_BYTES + 1)
        if not line.endswith(b"\n"):
            self.end("overflow" if len(line) > _MAX_MESSAGE_BYTES else "gone")
        try:
            message = json.loads(line)
        except MALFORMED:
            message = None
        if not isinstance(message, dict):
            self.end("forged")
        return dict(message)

    def end(self, kind: str, reason: str = "") -> NoReturn:
        """Reports and leaves at once: no handler of a test can hold it back."""
        send(self.report, {"end": kind, "reason": cut(reason)})
        os._exit(0)

    def function(self, name: str) -> collections.abc.Callable[..., Any]:
        """A function that asks the other process for its value."""

        def candidate(*arguments: Any, **keywords: Any) -> Any:
            self.num_calls += 1
            try:
                message = {"name": name, "arguments": encode(arguments), "keywords": encode(keywords)}
            except NotPlainError as error:
                self.end("broken", f"a test calls {name} with what cannot be sent: {error}")
            try:
                send(self.calls, message)
            except OSError:
                self.end("gone")
            reply = self.receive()
            if "value" not in reply:
                raise _rebuilt(reply)
            return decode(reply["value"])

        candidate.__name__ = candidate.__qualname__ = name
        return candidate


def _rebuilt(reply: dict[str, Any]) -> Exception:
    """The exception that the code under test raised, as the nearest builtin one."""
    names, text = reply.get("error"), cut(str(reply.get("text")))
    names = [name for name in names[:50] if isinstance(name, str)] if isinstance(names, list) else []
    for name in names:
        kind = vars(builtins).get(name)
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, _UNRAISABLE):
            continue
        try:
            return kind(text)
        except TypeError:
            continue
    return RuntimeError(cut(f"{names[0] if names else 'error'}: {text}"))


def _free_names(tree: ast.Module) -> set[str]:
    """Names that a test reads and neither binds nor finds among the builtins."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    return {node.id for node in names} - bound - set(vars(builtins))


def _calls_check(tree: ast.Module) -> bool:
    """The test defines `check` and leaves calling it to us."""
    defined = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    called = any(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "check"
        for node in tree.body
    )
    return defined and not called


def _given(job: dict[str, Any]) -> dict[str, Any]:
    """What the starter defines: the helpers that tests use beside the entry point."""
    namespace: dict[str, Any] = {}
    try:
        execute(compile(job["starter"], "<starter>", "exec"), namespace)
    except Exception:  # a starter may stop in the middle, then it helps nobody
        namespace.clear()
    return namespace


def _tested(stand: _Stand, source: str, job: dict[str, Any], offered: list[str]) -> dict[str, str]:
    """The outcome of one test."""
    try:
        tree = ast.parse(source)
        code = compile(tree, "<test>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        stand.end("broken", f"a test does not parse: {described(error)}")
    entry_point, is_check = job["entry_point"], _calls_check(tree)
    if is_check and not entry_point:
        stand.end("broken", "a test defines check(candidate), and the problem names no entry point")
    namespace, free = {**_given(job), "__name__": "tests"}, _free_names(tree)
    asked = ((set(offered) - sys.stdlib_module_names) & free - set(namespace)) | (
        {entry_point} if entry_point else set()
    )
    namespace |= {name: __import__(name) for name in free - set(namespace) - asked if name in sys.stdlib_module_names}
    namespace |= {name: stand.function(name) for name in asked}
    if entry_point:
        namespace["candidate"] = namespace[entry_point]
    stand.num_calls = 0
    try:
        execute(code, namespace)
        if is_check:
            namespace["check"](namespace["candidate"])
    except BaseException as error:  # a test fails by whatever it raises
        is_memory = isinstance(error, MemoryError)
        return {"test": "memory" if is_memory else "failed", "reason": cut(_place(error, source) + described(error))}
    if not stand.num_calls:
        return {"test": "idle", "reason": "it passes without a call of the code under test"}
    return {"test": "passed", "reason": ""}


def _place(error: BaseException, source: str) -> str:
    """The line of the test where it failed."""
    trace, number = error.__traceback__, 0
    while trace is not None:
        number = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "<test>" else number
        trace = trace.tb_next
    lines = source.splitlines()
    return f"{lines[number - 1].strip()[:150]!r} " if 0 < number <= len(lines) else ""


def examine(job: dict[str, Any]) -> None:
    """Runs every test and reports each outcome as a line."""
    stand = _Stand(job)
    silence((0, 1, 2))
    settle("random")
    greeting = stand.receive()
    if "unparsable" in greeting:
        stand.end("unparsable", str(greeting["unparsable"]))
    if "ready" not in greeting:
        error = _rebuilt(greeting)
        stand.end("memory" if isinstance(error, MemoryError) else "raised", described(error))
    offered = greeting["ready"] if isinstance(greeting["ready"], list) else []
    offered = [name for name in offered if isinstance(name, str)]
    for source in job["tests"]:
        send(stand.report, _tested(stand, source, job, offered))
    stand.end("done")
