"""The program that runs inside the sandbox: it runs model-written code, and its tests in a separate process.

`aha.rewards.sandbox.guest_process` sends the sources of this module and of those that it imports into a sandbox and
starts them there; the training process calls nothing of it. There are four roles:

- `script` runs a program as Python would;
- `repeat` runs a program once for each input and reports the output of each run;
- `serve` runs a program and then calls its functions, or the methods of its `Solution`, on request;
- `examine` runs tests whose candidate is a stand-in: each call goes through a pipe to a process in the role `serve`.

The tests and the code under test therefore never share an interpreter, and the result of a call is plain data, rebuilt
with its exact type (see `aha.rewards.sandbox.plain`). An object that claims to equal everything, a patched builtin, an
early exit or a forged `passed` do not reach the tests.
"""

import ast
import builtins
import contextlib
import json
import operator
import os
import resource
import sys
import time
import types
from _sitebuiltins import Quitter
from typing import Any, BinaryIO, TypeGuard

from aha.rewards.sandbox.children import feed_and_read, kill_all_others, wait_for
from aha.rewards.sandbox.plain import (
    NotPlainError,
    class_entry,
    decode,
    describe_error,
    encode,
    execute,
    seed_random,
    send,
    silence,
    starter_code,
)

__all__ = ["main"]


def _confine(limits: dict[str, int]) -> None:
    """Puts hard limits on this process and its descendants."""
    for name, value in limits.items():
        kind = vars(resource)[name]
        _, hard_limit = resource.getrlimit(kind)
        # A hard limit can only be lowered.
        limit = value if hard_limit == resource.RLIM_INFINITY else min(value, hard_limit)
        resource.setrlimit(kind, (limit, limit))


def _new_module(name: str) -> dict[str, Any]:
    """The namespace of a new module, registered by name so that dataclasses and pickles find it."""
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
"""Most of what LeetCode imports before a class `Solution`."""


def _defines(tree: ast.Module, name: str) -> bool:
    """Whether a top-level statement binds the name, or a class `Solution` has a method of that name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and node.name == name:
            return True

        if isinstance(node, ast.Assign):
            is_defined = any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
        elif _is_solution(node):
            is_defined = any(isinstance(entry, ast.FunctionDef) and entry.name == name for entry in node.body)
        else:
            is_defined = False
        if is_defined:
            return True

    return False


def _is_solution(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    """Whether a statement defines LeetCode's class `Solution`."""
    return isinstance(node, ast.ClassDef) and node.name == "Solution"


def _compile_program(
    program: str, starter: str, entry_point: str
) -> tuple[types.CodeType | None, types.CodeType, bool]:
    """Compiles a program: alone if it parses and defines the entry point, otherwise as a continuation of the starter.

    Returns:
        Code to run before it, or None: a starter whose imports and helpers the program may leave out. The code of the
        program. Whether it defines a class `Solution`.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: neither parses.
    """
    texts = [program]
    if starter:
        texts += [f"{starter}{program}", f"{starter}\n{program}"]

    fault: Exception | None = None
    for text in texts:
        try:
            tree = ast.parse(text)
            code = compile(tree, "<program>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            fault = fault or error
            continue

        is_alone = text is program
        if not starter or not entry_point or not is_alone or _defines(tree, entry_point):
            before = starter_code(starter) if starter and is_alone else None
            return before, code, any(map(_is_solution, tree.body))

    raise fault or SyntaxError(f"it does not define {entry_point!r}")


def serve(job: dict[str, Any]) -> None:
    """Runs the program, reports that it is ready, and answers calls until the other side closes its pipe."""
    calls = os.fdopen(job["calls"], "rb")
    replies = os.fdopen(job["replies"], "wb")

    # What a program prints here is no result of a function.
    silence((0, 1, 2))
    namespace = _new_module("candidate")

    try:
        before, code, has_solution = _compile_program(job["program"], job["starter"], job["entry_point"])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return send(replies, {"unparsable": describe_error(error)})

    try:
        seed_random(job["program"])
        if has_solution:
            execute(compile(_PREAMBLE, "<preamble>", "exec"), namespace)
        if before:
            _run_starter(before, namespace)

        # What the preamble and the starter define is not the program's own.
        before_program = dict(namespace)
        execute(code, namespace)
        defined = {name: value for name, value in namespace.items() if value is not before_program.get(name)}
        if job["entry_point"]:
            _find_function(defined, job["entry_point"])
    except BaseException as error:  # whatever ends the program is reported
        return send(replies, _failure(error))

    classes = [name for name, value in defined.items() if isinstance(value, type)]
    functions = [name for name, value in defined.items() if callable(value) and name not in classes]
    send(replies, {"ready": functions, "classes": classes})

    for line in calls:
        send(replies, _answer(defined, namespace, json.loads(line)))


def _run_starter(code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Runs a starter up to its first error."""
    with contextlib.suppress(Exception):
        execute(code, namespace)


def _find_function(defined: dict[str, Any], name: str) -> Any:
    """The program's function of a name, or else the method of a new `Solution`.

    Args:
        defined: what the program itself defines, by name.
        name: name of the function.

    Raises:
        NameError: there is none.
    """
    # A `Solution` is made for each call: what an earlier call has left in its attributes is gone.
    solution = defined.get("Solution")
    if callable(defined.get(name)):
        return defined[name]
    if isinstance(solution, type) and callable(class_entry(solution, name)):
        return operator.attrgetter(name)(solution())
    if isinstance(solution, type) and isinstance(class_entry(solution, name), staticmethod | classmethod):
        return operator.attrgetter(name)(solution)
    raise NameError(f"it does not define the function {name!r}")


def _answer(defined: dict[str, Any], namespace: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    """Calls a function of the program; the reply holds its value or exception, and the arguments if they changed."""

    def find_class(name: str) -> type | None:
        entry = namespace.get(name)
        return entry if isinstance(entry, type) else None

    try:
        arguments = decode(call["arguments"], find_class)
        keywords = decode(call["keywords"], find_class)
        reply = _call(_find_function(defined, call["name"]), arguments, keywords)
    except NotPlainError as error:
        return {"unsupported": str(error)}
    except BaseException as error:  # an argument's class may be one of the program
        return _failure(error)

    try:
        after = encode([arguments, keywords])
    except BaseException as error:
        return reply | {"changed": {"unsupported": describe_error(error)}}

    # The first entry of an encoded list is its type.
    if after[1:] == [call["arguments"], call["keywords"]]:
        return reply
    return reply | {"changed": after}


def _call(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
    """Calls a function; the reply holds its value or its exception."""
    try:
        return {"value": encode(function(*arguments, **keywords))}
    except NotPlainError as error:
        return {"unsupported": str(error)}
    except BaseException as error:  # what the code raises is raised in the test
        return _failure(error)


def _failure(error: BaseException) -> dict[str, Any]:
    text = describe_error(error).partition(": ")[2]
    return {"error": [kind.__name__ for kind in type(error).__mro__], "text": text}


# Whole programs


def script(job: dict[str, Any]) -> None:
    """Runs a program as Python would, with the input and output of this process."""
    sys.argv = ["program"]
    code = compile(job["program"], "<program>", "exec")
    seed_random(job["program"])
    execute(code, _new_module("__main__"))


def repeat(job: dict[str, Any]) -> None:
    """Runs a program once for each input, each time in a new process, until a run takes too long."""
    report = os.fdopen(os.dup(1), "wb")
    silence((0, 1, 2))

    try:
        code = compile(job["program"], "<program>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return send(report, {"unparsable": describe_error(error)})

    for text in job["inputs"]:
        outcome = _run_once(job, code, text, report)
        send(report, outcome)

        # A program that was too slow once would take the time of all the other inputs too.
        if outcome["is_late"]:
            break


def _run_once(job: dict[str, Any], code: types.CodeType, text: str, report: BinaryIO) -> dict[str, Any]:
    """Runs a program in a child process, and returns its output, its status and its time.

    Raises:
        _ForkedChildError: in the child, which then leaves all functions and runs the program.
    """
    stdin, stdin_end = os.pipe()
    stdout, stdout_end = os.pipe()
    stderr, stderr_end = os.pipe()

    child = os.fork()
    if not child:
        report.close()
        os.setsid()
        for descriptor, target in ((stdin, 0), (stdout_end, 1), (stderr_end, 2)):
            os.dup2(descriptor, target)
        # The child must not hold the report, nor the other ends of its own pipes.
        os.closerange(3, 64)
        sys.stdin = os.fdopen(0, encoding="utf-8", errors="replace", closefd=False)
        raise _ForkedChildError(code)

    for descriptor in (stdin, stdout_end, stderr_end):
        os.close(descriptor)

    start = time.monotonic()
    deadline = start + job["seconds"]
    output, errors = feed_and_read(
        (stdout, stderr), job["output_bytes"], deadline, (stdin_end, text.encode(errors="replace"))
    )
    status = wait_for(child, deadline)

    # A server that the first run leaves behind would else answer the second.
    if job["is_alone"]:
        kill_all_others()

    seconds = time.monotonic() - start
    return {
        "output": output,
        "errors": errors[-2000:],
        "seconds": seconds,
        "status": status,
        "is_late": status is None,
    }


class _ForkedChildError(BaseException):
    """Raised in a forked child: it unwinds to `main`, so that the child ends as an interpreter does."""

    def __init__(self, code: types.CodeType) -> None:
        super().__init__()
        self.code = code


def main(job: dict[str, Any]) -> None:
    """Does a job under its limits.

    Args:
        job: its `role`; `limits` by their names in `resource`; the folders of `packages`; whether it `is_alone` in a
            namespace of processes; a descriptor `started`, which gets a byte; and the fields of the role.
    """
    os.write(job["started"], b"1")
    os.close(job["started"])
    sys.path = [folder for folder in sys.path if folder] + job["packages"]

    # Programs expect `exit` and `quit`, which the module `site` would define; it is not loaded here.
    vars(builtins).update({name: Quitter(name, "the end of the input") for name in ("exit", "quit")})

    # In here, where the user namespace exists: set outside, the limit would count all processes of the user.
    _confine(job["limits"])

    if job["role"] == "examine":
        # Only this role gets the module sent.
        from aha.rewards.sandbox.examiner import examine

        return examine(job)

    roles = {"serve": serve, "repeat": repeat, "script": script}
    try:
        roles[job["role"]](job)
    except _ForkedChildError as error:
        code = error.code
    else:
        return None

    sys.argv = ["program"]
    seed_random(job["program"])
    return execute(code, _new_module("__main__"))
