"""The program that runs inside the sandbox: it starts model-written code, and the tests of it, in processes apart.

`aha.rewards.sandbox.guest_process` sends the texts of this module and of those that it imports into a sandbox and
starts them there: nothing here is called in the process that trains. Four roles exist:

- `script` runs a program as Python would;
- `repeat` runs a program once for each input and reports what each run printed;
- `serve` runs a program and then calls its functions, or the methods of its `Solution`, on request;
- `examine` runs tests whose candidate is a stand-in: each call goes through a pipe to a process that serves.

The tests and the code under test therefore never share an interpreter, and what comes back from a call is plain data,
rebuilt by its exact type; `aha.rewards.sandbox.plain` says which types there are. An object that claims to equal
everything, a patched builtin, an early exit or a forged `passed` do not reach the tests.
"""

import ast
import builtins
import contextlib
import json
import operator
import os
import resource
import select
import signal
import sys
import time
import types
from _sitebuiltins import Quitter
from typing import Any, BinaryIO, TypeGuard

from aha.rewards.sandbox.plain import (
    NotPlainError,
    class_entry,
    decode,
    described,
    encode,
    execute,
    send,
    settle,
    silence,
    starter_code,
)

__all__ = ["main"]


def _confine(limits: dict[str, int]) -> None:
    """Puts hard limits on this process and all that it starts."""
    for name, value in limits.items():
        kind = vars(resource)[name]
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _new_module(name: str) -> dict[str, Any]:
    """The namespace of a new module, which dataclasses and pickles of its classes find by name."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module.__dict__


# The code under test


_PREAMBLE = """
import bisect, collections, functools, heapq, itertools, math, random, re, string
from typing import *
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
"""
"""What LeetCode imports before a class `Solution`, for the most part."""


def _defines(tree: ast.Module, name: str) -> bool:
    """A statement at the top binds the name, or a class `Solution` has a method of that name."""
    bound = (node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef))
    assigned = (node for top in tree.body if isinstance(top, ast.Assign) for node in top.targets)
    methods = (node for top in tree.body if _is_solution(top) for node in top.body)
    return (
        name in bound
        or any(isinstance(node, ast.Name) and node.id == name for node in assigned)
        or any(isinstance(node, ast.FunctionDef) and node.name == name for node in methods)
    )


def _is_solution(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    """A statement defines LeetCode's class."""
    return isinstance(node, ast.ClassDef) and node.name == "Solution"


def _assembled(program: str, starter: str, entry_point: str) -> tuple[types.CodeType | None, types.CodeType, bool]:
    """The code alone where it parses and defines the entry point, else what it continues.

    Returns:
        What is run before, if anything: a starter whose imports and helpers the code may leave out. The code. Whether
        it defines a class `Solution`.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: neither parses.
    """
    fault: Exception | None = None
    for text in [program, *([f"{starter}{program}", f"{starter}\n{program}"] if starter else [])]:
        try:
            tree = ast.parse(text)
            code = compile(tree, "<program>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            fault = fault or error
            continue
        if not starter or not entry_point or text is not program or _defines(tree, entry_point):
            before = starter_code(starter) if starter and text is program else None
            return before, code, any(map(_is_solution, tree.body))
    raise fault or SyntaxError(f"it does not define {entry_point!r}")


def serve(job: dict[str, Any]) -> None:
    """Runs the program, says that it is ready, and answers calls until nobody asks any more."""
    calls, replies = os.fdopen(job["calls"], "rb"), os.fdopen(job["replies"], "wb")
    silence((0, 1, 2))
    namespace = _new_module("candidate")
    try:
        before, code, has_solution = _assembled(job["program"], job["starter"], job["entry_point"])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return send(replies, {"unparsable": described(error)})
    try:
        settle(job["program"])
        if has_solution:
            execute(compile(_PREAMBLE, "<preamble>", "exec"), namespace)
        if before:
            _run_starter(before, namespace)
        given = dict(namespace)
        execute(code, namespace)
        own = {name: value for name, value in namespace.items() if value is not given.get(name)}
        if job["entry_point"]:
            _find_function(own, job["entry_point"])
    except BaseException as error:  # whatever ends the program is reported
        return send(replies, _failure(error))
    classes = [name for name, value in own.items() if isinstance(value, type)]
    functions = [name for name, value in own.items() if callable(value) and name not in classes]
    send(replies, {"ready": functions, "classes": classes})
    for line in calls:
        send(replies, _answer(own, namespace, json.loads(line)))


def _run_starter(code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Runs a starter as far as it goes."""
    with contextlib.suppress(Exception):
        execute(code, namespace)


def _find_function(own: dict[str, Any], name: str) -> Any:
    """The function of the program that has a name, or else the method of a new `Solution`.

    Args:
        own: what the program defines, without what it was given.
        name: of the function.

    Raises:
        NameError: there is none.
    """
    solution = own.get("Solution")
    if callable(own.get(name)):
        return own[name]
    if isinstance(solution, type) and callable(class_entry(solution, name)):
        return operator.attrgetter(name)(solution())
    if isinstance(solution, type) and isinstance(class_entry(solution, name), staticmethod | classmethod):
        return operator.attrgetter(name)(solution)
    raise NameError(f"it does not define the function {name!r}")


def _answer(own: dict[str, Any], namespace: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    """What a call of one of the program's own functions returns or raises, and its arguments where they changed."""

    def find_class(name: str) -> type | None:
        found = namespace.get(name)
        return found if isinstance(found, type) else None

    try:
        arguments, keywords = decode(call["arguments"], find_class), decode(call["keywords"], find_class)
        reply = _called(_find_function(own, call["name"]), arguments, keywords)
    except NotPlainError as error:
        return {"unsupported": str(error)}
    except BaseException as error:  # an argument's class is the program's, too
        return _failure(error)
    try:
        after = encode([arguments, keywords])
    except BaseException as error:
        return reply | {"changed": {"unsupported": described(error)}}
    return reply | ({} if after[1:] == [call["arguments"], call["keywords"]] else {"changed": after})


def _called(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
    """What a call returns or raises."""
    try:
        return {"value": encode(function(*arguments, **keywords))}
    except NotPlainError as error:
        return {"unsupported": str(error)}
    except BaseException as error:  # what the code raises is raised in the test
        return _failure(error)


def _failure(error: BaseException) -> dict[str, Any]:
    text = described(error).partition(": ")[2]
    return {"error": [kind.__name__ for kind in type(error).__mro__], "text": text}


# Whole programs


def script(job: dict[str, Any]) -> None:
    """Runs a program as Python would; its input and output are this process's."""
    sys.argv = ["program"]
    code = compile(job["program"], "<program>", "exec")
    settle(job["program"])
    execute(code, _new_module("__main__"))


def repeat(job: dict[str, Any]) -> None:
    """Runs a program once for each input, each time in a new process, until one takes too long."""
    report = os.fdopen(os.dup(1), "wb")
    silence((0, 1, 2))
    try:
        code = compile(job["program"], "<program>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return send(report, {"unparsable": described(error)})
    for text in job["inputs"]:
        outcome = _run_once(job, code, text, report)
        send(report, outcome)
        if outcome["is_late"]:
            break


def _run_once(job: dict[str, Any], code: types.CodeType, text: str, report: BinaryIO) -> dict[str, Any]:
    (into, into_end), (out, out_end), (err, err_end) = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        report.close()
        os.setsid()
        for descriptor, target in ((into, 0), (out_end, 1), (err_end, 2)):
            os.dup2(descriptor, target)
        os.closerange(3, 64)
        sys.stdin = os.fdopen(0, encoding="utf-8", errors="replace", closefd=False)
        raise _RebornError(code)
    for descriptor in (into, out_end, err_end):
        os.close(descriptor)
    start = time.monotonic()
    deadline = start + job["seconds"]
    texts = _collect((out, err), job["output_bytes"], deadline, (into_end, text.encode(errors="replace")))
    status = _reaped(child, deadline)
    if job["is_alone"]:
        _kill_all_others()
    seconds = time.monotonic() - start
    return {
        "output": texts[0],
        "errors": texts[1][-2000:],
        "seconds": seconds,
        "status": status,
        "is_late": status is None,
    }


def _kill_all_others() -> None:
    """Kills what a run has left behind. In a namespace of its own, this process has nobody else around it."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        # Nothing was left.
        return


class _RebornError(BaseException):
    """This process has become a child: it goes back to the top, so that it ends as an interpreter does."""

    def __init__(self, code: types.CodeType) -> None:
        super().__init__()
        self.code = code


def _collect(descriptors: tuple[int, int], cap: int, deadline: float, given: tuple[int, bytes]) -> list[str]:
    """What is written before the deadline until both ends are closed, and of each no more than just above the cap.

    Args:
        descriptors: what is read.
        cap: bytes of each.
        deadline: on the monotonic clock, seconds.
        given: a descriptor and what is written to it meanwhile, as far as it is taken.
    """
    chunks = {descriptor: b"" for descriptor in descriptors}
    (into, text), open_ends = given, set(descriptors)
    os.set_blocking(into, False)
    while open_ends and (left := deadline - time.monotonic()) > 0:
        readable, writable, _ = select.select(list(open_ends), [into] if text else [], [], left)
        text = _written(into, text) if writable else text
        for descriptor in readable:
            data = os.read(descriptor, 65536)
            chunks[descriptor] += data
            if not data or len(chunks[descriptor]) > cap:
                # Closed at once: a program that still writes would wait for ever.
                open_ends.remove(descriptor)
                os.close(descriptor)
        if not text and into >= 0:
            os.close(into)
            into = -1
    for descriptor in (*open_ends, *([into] if into >= 0 else [])):
        os.close(descriptor)
    return [chunks[descriptor][: cap + 1].decode(errors="replace") for descriptor in descriptors]


def _written(descriptor: int, text: bytes) -> bytes:
    """Writes some of a text; what is left of it, nothing where nobody reads."""
    try:
        return text[os.write(descriptor, text[:65536]) :]
    except BrokenPipeError:
        return b""


def _reaped(child: int, deadline: float) -> int | None:
    """The exit status of a child, or the negative signal that ended it; None where it had to be killed."""
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main(job: dict[str, Any]) -> None:
    """Does a job under the limits given there.

    Args:
        job: its `role`, `limits` by their names in `resource`, folders of `packages`, whether it `is_alone` in a
            namespace of processes, a descriptor `started` that is told, and what the role needs.
    """
    os.write(job["started"], b"1")
    os.close(job["started"])
    sys.path = [folder for folder in sys.path if folder] + job["packages"]
    # The module `site`, which is not loaded here, would give them to every program.
    vars(builtins).update({name: Quitter(name, "the end of the input") for name in ("exit", "quit")})
    _confine(job["limits"])
    if job["role"] == "examine":
        # Only this role gets the module sent.
        from aha.rewards.sandbox.examiner import examine

        return examine(job)
    try:
        {"serve": serve, "repeat": repeat, "script": script}[job["role"]](job)
    except _RebornError as reborn:
        code = reborn.code
    else:
        return None
    sys.argv = ["program"]
    settle(job["program"])
    return execute(code, _new_module("__main__"))
