"""Runs the tests of model-written code in a process of their own; the code under test is at the other end of a pipe.

`aha.rewards.sandbox.guest_process` sends the source of this module into a sandbox; see `aha.rewards.sandbox.harness`.
"""

import ast
import collections.abc
import json
import operator
import os
import sys
import types
from typing import Any, NoReturn

from aha.rewards.sandbox.failures import failing_line, rebuild_exception
from aha.rewards.sandbox.plain import (
    MALFORMED,
    NotPlainError,
    class_entry,
    cut,
    decode,
    describe_error,
    encode,
    execute,
    seed_random,
    send,
    silence,
    starter_code,
)
from aha.rewards.sandbox.unit_tests import (
    CALL_FOR_EFFECT,
    UnsupportedTestError,
    free_names,
    is_pure_record,
    mark_calls_for_effect,
    new_pytest,
    run_functions,
)

__all__ = ["examine"]

_MAX_MESSAGE_BYTES = 4_000_000


class _CodeUnderTest:
    """The code under test as the tests see it: its functions are called through pipes."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.calls = os.fdopen(job["calls"], "wb")
        self.replies = os.fdopen(job["replies"], "rb")

        # A copy of standard output, which is then silenced: what a test prints must not stand in the report.
        self.report = os.fdopen(os.dup(1), "wb")
        self.entry_point: str = job["entry_point"]
        self.starter: str = job["starter"]
        self.functions: list[str] = []
        self.classes: list[str] = []
        self.begin_test({}, changes_always=False)

    def begin_test(self, namespace: dict[str, Any], *, changes_always: bool) -> None:
        """Resets the state that belongs to a single test.

        Args:
            namespace: the namespace of the test, with what the starter defines.
            changes_always: whether a call may change its arguments even if the test uses its value.
        """
        self.namespace = namespace
        self.starter_classes = [entry for entry in namespace.values() if isinstance(entry, type)]
        self.changes_always = changes_always
        self.stand_ins: dict[collections.abc.Callable[..., Any], str] = {}
        self.num_calls = 0
        self.num_withheld_changes = 0
        self.unsupported = ""
        self.raised: Exception | None = None

    def receive(self) -> dict[str, Any]:
        """Reads the next message of the code under test; ends the examination if there is none that can be read."""
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
        """Reports and exits at once; `os._exit` runs no handler of a test."""
        send(self.report, {"end": kind, "reason": cut(reason)})
        os._exit(0)

    def function(self, name: str) -> collections.abc.Callable[..., Any]:
        """A stand-in of a function of the program: it asks the other process for the value."""

        def candidate(*arguments: Any, **keywords: Any) -> Any:
            return self.call(name, arguments, keywords, changes_arguments=self.changes_always)

        candidate.__name__ = candidate.__qualname__ = name
        self.stand_ins[candidate] = name
        return candidate

    def call_for_effect(self, function: Any, /, *arguments: Any, **keywords: Any) -> Any:
        """Calls a function; if it is one of the program, its changes of the arguments are made here too."""
        if isinstance(function, types.FunctionType) and function in self.stand_ins:
            return self.call(self.stand_ins[function], arguments, keywords, changes_arguments=True)
        return function(*arguments, **keywords)

    def call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], *, changes_arguments: bool) -> Any:
        """Calls a function of the program: returns its value, or raises its exception."""
        self.num_calls += 1
        try:
            message = {"name": name, "arguments": encode(arguments), "keywords": encode(keywords)}
        except NotPlainError as error:
            self.refuse(f"a test calls {name} with what cannot be sent: {error}")

        try:
            send(self.calls, message)
        except OSError:
            self.end("gone")

        reply = self.receive()
        if "unsupported" in reply:
            self.refuse(f"a call of {name} takes or returns what cannot be sent: {cut(str(reply['unsupported']))}")
        if "changed" in reply:
            self.change((arguments, keywords), reply["changed"], is_wanted=changes_arguments)

        if "value" not in reply:
            self.raised = rebuild_exception(reply, self.starter_classes)
            raise self.raised

        return self.decode_value(reply["value"])

    def decode_value(self, node: Any) -> Any:
        """A value that the program sent, as plain data and instances of classes that the tests define."""
        try:
            return decode(node, self.find_class)
        except (NotPlainError, ValueError) as error:
            self.refuse(str(error))

    def find_class(self, name: str) -> type | None:
        """The class of a name in the starter or in the test; None where there is none.

        The program fills the fields of its instances. A class of the test is therefore refused if it has a comparison
        of its own; the classes of the starter are known to the program anyway.
        """
        entry = self.namespace.get(name)
        if not isinstance(entry, type) or entry.__module__ != "tests":
            return None
        return entry if entry in self.starter_classes or is_pure_record(entry) else None

    def change(self, call: tuple[tuple[Any, ...], dict[str, Any]], node: Any, *, is_wanted: bool) -> None:
        """Makes the changes of the program to the arguments of a call here too, or counts them as withheld."""
        if not is_wanted:
            self.num_withheld_changes += 1
            return

        if isinstance(node, dict):
            self.refuse(f"an argument was changed to what cannot be sent: {cut(str(node.get('unsupported')))}")

        arguments, keywords = call
        changed = self.decode_value(node)
        for old, new in zip(arguments, changed[0], strict=True):
            _overwrite(old, new)
        for name, old in keywords.items():
            _overwrite(old, changed[1][name])

    def refuse(self, reason: str) -> NoReturn:
        """Ends the test as one that cannot be judged, even if it catches the exception."""
        # The first reason counts: later ones may come from a test that goes on after it has caught this.
        self.unsupported = self.unsupported or reason
        raise UnsupportedTestError(reason)


def _overwrite(old: Any, new: Any) -> None:
    """Replaces the contents of a mutable value by those of another value of its type."""
    if type(old) is not type(new):
        return

    if isinstance(old, list | bytearray):
        old[:] = new
    elif isinstance(old, dict | set):
        old.clear()
        old.update(new)
    elif isinstance(old, collections.deque):
        old.clear()
        old.extend(new)
    elif type(old).__module__ == "tests" and not isinstance(old, tuple):
        names = vars(new) if class_entry(type(new), "__dict__") else class_entry(type(new), "__slots__")
        for name in names:
            object.__setattr__(old, name, operator.attrgetter(name)(new))


class _Solution:
    """A stand-in of LeetCode's `Solution()`: its methods are functions of the program."""

    def __init__(self, code_under_test: _CodeUnderTest) -> None:
        self._code_under_test = code_under_test

    def __getattr__(self, name: str) -> Any:
        # Python itself asks for such names, to copy or to print an object: these are no methods of the program.
        if name.startswith("__"):
            raise AttributeError(name)
        return self._code_under_test.function(name)


class _SolutionModule(types.ModuleType):
    """A stand-in of the program as a module, for tests that import what they call from `solution`."""

    def __init__(self, code_under_test: _CodeUnderTest) -> None:
        super().__init__("solution")
        self._code_under_test = code_under_test

    def __getattr__(self, name: str) -> Any:
        entry = None
        if not name.startswith("__"):
            entry = _find_stand_ins(self._code_under_test, {name}).get(name)
        if entry is None:
            raise AttributeError(f"the program defines no {name}")
        return entry


def _find_stand_ins(code_under_test: _CodeUnderTest, names: set[str]) -> dict[str, Any]:
    """Stand-ins of what the program defines under names, by name.

    Raises:
        UnsupportedTestError: a name is that of a class, whose instances cannot be used from here.
    """

    def new_solution(*arguments: Any, **keywords: Any) -> _Solution:
        if arguments or keywords:
            code_under_test.refuse("a test gives Solution arguments")
        return _Solution(code_under_test)

    classes = names & {*code_under_test.classes} - {"Solution"} - {code_under_test.entry_point}
    if classes:
        raise UnsupportedTestError(f"a test uses {min(classes)}, a class of the program; only functions can be called")

    functions = names & {*code_under_test.functions, code_under_test.entry_point}
    stand_ins: dict[str, Any] = {name: code_under_test.function(name) for name in sorted(functions)}
    if "Solution" in names & {*code_under_test.classes}:
        stand_ins["Solution"] = new_solution
    return stand_ins


def _new_namespace(code_under_test: _CodeUnderTest) -> dict[str, Any]:
    """A namespace with what the starter defines: helpers that tests use beside the entry point."""
    namespace: dict[str, Any] = {"__name__": "tests"}
    code = starter_code(code_under_test.starter)
    try:
        if code:
            execute(code, namespace)
    except Exception:  # a starter that fails half-way defines nothing
        namespace = {"__name__": "tests"}
    return namespace


def _run_test(code_under_test: _CodeUnderTest, source: str) -> dict[str, str]:
    """The outcome of a test.

    A test that fails may need the changes to arguments that were withheld. It is then repeated with all of them, only
    to find out that it cannot be judged.
    """
    outcome = _run_once(code_under_test, source, changes_always=False)
    if outcome["test"] != "failed" or not code_under_test.num_withheld_changes:
        return outcome

    repetition = _run_once(code_under_test, source, changes_always=True)
    if repetition["test"] != "passed":
        return outcome

    reason = "it depends on what became of an argument of a call whose value it uses as well"
    return {"test": "unsupported", "reason": reason}


def _run_once(code_under_test: _CodeUnderTest, source: str, *, changes_always: bool) -> dict[str, str]:
    """Runs a test once and returns its outcome; for `changes_always` see `_CodeUnderTest.begin_test`."""
    try:
        tree = mark_calls_for_effect(ast.parse(source))
        code = compile(tree, "<test>", "exec")
        free = free_names(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"test": "unsupported", "reason": cut(f"it does not parse: {describe_error(error)}")}

    namespace = _new_namespace(code_under_test)
    code_under_test.begin_test(namespace, changes_always=changes_always)

    try:
        _run_code(code_under_test, tree, code, free)
    except BaseException as error:  # a test fails by whatever it raises
        # A module that the test itself cannot import is no fault of the program.
        is_missing = isinstance(error, ModuleNotFoundError) and error is not code_under_test.raised
        if isinstance(error, UnsupportedTestError) or is_missing:
            code_under_test.unsupported = code_under_test.unsupported or cut(str(error))
        kind = "memory" if isinstance(error, MemoryError) else "failed"
        outcome = {"test": kind, "reason": cut(failing_line(error, source) + describe_error(error))}
    else:
        outcome = {"test": "passed", "reason": ""}

    if code_under_test.unsupported:
        return {"test": "unsupported", "reason": code_under_test.unsupported}
    if not code_under_test.num_calls and outcome["test"] == "passed":
        return {"test": "unsupported", "reason": "it passes without a call of the code under test"}

    return outcome


def _run_code(code_under_test: _CodeUnderTest, tree: ast.Module, code: types.CodeType, free: set[str]) -> None:
    """Runs a test and the functions that it defines, whose exceptions it lets through."""
    namespace = code_under_test.namespace
    entry_point = code_under_test.entry_point
    # What the starter defines hides the functions of the program, except `Solution`.
    names = free - {name for name in namespace if name != "Solution"} - sys.stdlib_module_names
    namespace |= _find_stand_ins(code_under_test, names)

    candidates = {}
    if entry_point:
        stand_in = code_under_test.function(entry_point)
        candidates = {entry_point: stand_in, "candidate": stand_in}
        namespace |= candidates

    # Many tests of data sets use modules such as `math` without an import.
    modules = (free & sys.stdlib_module_names) - set(namespace)
    namespace |= {name: __import__(name) for name in modules}
    namespace[CALL_FOR_EFFECT] = code_under_test.call_for_effect

    try:
        execute(code, namespace)
    except SystemExit as error:
        # A script may end with `sys.exit(0)`; a call of the program never raises this.
        if error.code:
            raise

    run_functions(tree, namespace, candidates)


def examine(job: dict[str, Any]) -> None:
    """Runs every test, and reports each outcome as a line of JSON."""
    code_under_test = _CodeUnderTest(job)
    silence((0, 1, 2))
    seed_random("random")
    greeting = code_under_test.receive()

    if "unparsable" in greeting:
        code_under_test.end("unparsable", str(greeting["unparsable"]))

    if "ready" not in greeting:
        error = rebuild_exception(greeting, [])
        code_under_test.end("memory" if isinstance(error, MemoryError) else "raised", describe_error(error))

    code_under_test.functions = _only_texts(greeting["ready"])
    code_under_test.classes = _only_texts(greeting.get("classes"))

    # Tests import both by name; neither is installed inside.
    sys.modules["solution"] = _SolutionModule(code_under_test)
    sys.modules["pytest"] = new_pytest()

    for source in job["tests"]:
        send(code_under_test.report, _run_test(code_under_test, source))

    code_under_test.end("done")


def _only_texts(entries: Any) -> list[str]:
    """The texts in a list that the other process sent; empty where it sent no list."""
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, str)]
