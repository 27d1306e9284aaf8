"""The tests of model-written code, run in a process of their own: the code under test is at the other end of a pipe.

`aha.rewards.sandbox.guest_process` sends the text of this module into a sandbox; see `aha.rewards.sandbox.harness`.
"""

import ast
import builtins
import collections.abc
import json
import operator
import os
import sys
import types
from typing import Any, NoReturn

from aha.rewards.sandbox.plain import (
    MALFORMED,
    NotPlainError,
    class_entry,
    cut,
    decode,
    described,
    encode,
    execute,
    send,
    settle,
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
# An end of iteration that comes out of a call would silently end a loop of the test around it.
_UNRAISABLE = (StopIteration, StopAsyncIteration)


class _Stand:
    """The far end of the calls: what the tests know of the code under test."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.calls = os.fdopen(job["calls"], "wb")
        self.replies = os.fdopen(job["replies"], "rb")
        self.report = os.fdopen(os.dup(1), "wb")
        self.entry_point: str = job["entry_point"]
        self.starter: str = job["starter"]
        self.functions: list[str] = []
        self.classes: list[str] = []
        self.begin_test({}, changes_always=False)

    def begin_test(self, namespace: dict[str, Any], *, changes_always: bool) -> None:
        """Forgets the test before.

        Args:
            namespace: what the test finds, its starter so far.
            changes_always: arguments change after every call, and not only after calls for the effect.
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
            return self.call(name, arguments, keywords, changes_arguments=self.changes_always)

        candidate.__name__ = candidate.__qualname__ = name
        self.stand_ins[candidate] = name
        return candidate

    def call_for_effect(self, function: Any, /, *arguments: Any, **keywords: Any) -> Any:
        """Calls a function; where it is one of the program, what it changes in its arguments is changed here too."""
        if isinstance(function, types.FunctionType) and function in self.stand_ins:
            return self.call(self.stand_ins[function], arguments, keywords, changes_arguments=True)
        return function(*arguments, **keywords)

    def call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], *, changes_arguments: bool) -> Any:
        """The value that a function of the program returns; raises what it raises."""
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
            self.raised = _rebuilt(reply, self.starter_classes)
            raise self.raised
        return self.decoded(reply["value"])

    def decoded(self, node: Any) -> Any:
        """What the program sent, as plain data and instances of classes that the tests define."""
        try:
            return decode(node, self.find_class)
        except (NotPlainError, ValueError) as error:
            self.refuse(str(error))

    def find_class(self, name: str) -> type | None:
        """The class that the starter, which the program knows too, or the test has under a name.

        What the program sends fills its fields, so that classes of the test that compare in a way of their own are
        none of them.
        """
        found = self.namespace.get(name)
        if not isinstance(found, type) or found.__module__ != "tests":
            return None
        return found if found in self.starter_classes or is_pure_record(found) else None

    def change(self, call: tuple[tuple[Any, ...], dict[str, Any]], node: Any, *, is_wanted: bool) -> None:
        """Makes the arguments of a call what the program made of them."""
        if not is_wanted:
            self.num_withheld_changes += 1
            return
        if isinstance(node, dict):
            self.refuse(f"an argument was changed to what cannot be sent: {cut(str(node.get('unsupported')))}")
        changed = self.decoded(node)
        for old, new in zip(call[0], changed[0], strict=True):
            _overwrite(old, new)
        for name, old in call[1].items():
            _overwrite(old, changed[1][name])

    def refuse(self, reason: str) -> NoReturn:
        """Ends the test, whatever it catches: it cannot be judged."""
        self.unsupported = self.unsupported or reason
        raise UnsupportedTestError(reason)


def _overwrite(old: Any, new: Any) -> None:
    """Gives a mutable value the contents of another one of its type."""
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


def _rebuilt(reply: dict[str, Any], classes: list[type]) -> Exception:
    """The exception that the code under test raised, as the nearest one of the starter's classes or of the builtin."""
    names, text = reply.get("error"), cut(str(reply.get("text")))
    names = [name for name in names[:50] if isinstance(name, str)] if isinstance(names, list) else []
    known = {**vars(builtins), **{kind.__name__: kind for kind in classes}}
    for name in names:
        kind = known.get(name)
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, _UNRAISABLE):
            continue
        try:
            return kind(text)
        except Exception:  # its class wants other arguments
            continue
    return RuntimeError(cut(f"{names[0] if names else 'error'}: {text}"))


class _Solution:
    """A stand-in of LeetCode's `Solution()`: its methods are functions of the program."""

    def __init__(self, stand: _Stand) -> None:
        self._stand = stand

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._stand.function(name)


class _SolutionModule(types.ModuleType):
    """A stand-in of the program as a module, for tests that import what they call from `solution`."""

    def __init__(self, stand: _Stand) -> None:
        super().__init__("solution")
        self._stand = stand

    def __getattr__(self, name: str) -> Any:
        found = _asked(self._stand, {name}).get(name) if not name.startswith("__") else None
        if found is None:
            raise AttributeError(f"the program defines no {name}")
        return found


def _asked(stand: _Stand, names: set[str]) -> dict[str, Any]:
    """Stand-ins of what the program defines under names.

    Raises:
        UnsupportedTestError: one of them is a class, whose instances cannot be used from here.
    """

    def new_solution(*arguments: Any, **keywords: Any) -> _Solution:
        if arguments or keywords:
            stand.refuse("a test gives Solution arguments")
        return _Solution(stand)

    classes = names & {*stand.classes} - {"Solution"} - {stand.entry_point}
    if classes:
        raise UnsupportedTestError(f"a test uses {min(classes)}, a class of the program; only functions can be called")
    functions = {name: stand.function(name) for name in sorted(names & {*stand.functions, stand.entry_point})}
    return functions | ({"Solution": new_solution} if "Solution" in names & {*stand.classes} else {})


def _new_namespace(stand: _Stand) -> dict[str, Any]:
    """What the starter defines: the helpers that tests use beside the entry point."""
    namespace: dict[str, Any] = {"__name__": "tests"}
    code = starter_code(stand.starter)
    try:
        if code:
            execute(code, namespace)
    except Exception:  # a starter may stop in the middle, then it helps nobody
        namespace = {"__name__": "tests"}
    return namespace


def _tested(stand: _Stand, source: str) -> dict[str, str]:
    """The outcome of one test."""
    found = _run(stand, source, changes_always=False)
    if found["test"] == "failed" and stand.num_withheld_changes:
        again = _run(stand, source, changes_always=True)
        if again["test"] == "passed":
            reason = "it depends on what became of an argument of a call whose value it uses as well"
            return {"test": "unsupported", "reason": reason}
    return found


def _run(stand: _Stand, source: str, *, changes_always: bool) -> dict[str, str]:
    """The outcome of one test; for `changes_always` see `_Stand.begin_test`."""
    try:
        tree = mark_calls_for_effect(ast.parse(source))
        code, free = compile(tree, "<test>", "exec"), free_names(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"test": "unsupported", "reason": cut(f"it does not parse: {described(error)}")}
    namespace = _new_namespace(stand)
    stand.begin_test(namespace, changes_always=changes_always)
    try:
        _run_code(stand, tree, code, free)
    except BaseException as error:  # a test fails by whatever it raises
        is_missing = isinstance(error, ModuleNotFoundError) and error is not stand.raised
        if isinstance(error, UnsupportedTestError) or is_missing:
            stand.unsupported = stand.unsupported or cut(str(error))
        kind = "memory" if isinstance(error, MemoryError) else "failed"
        outcome = {"test": kind, "reason": cut(_place(error, source) + described(error))}
    else:
        outcome = {"test": "passed", "reason": ""}
    if stand.unsupported:
        return {"test": "unsupported", "reason": stand.unsupported}
    if not stand.num_calls and outcome["test"] == "passed":
        return {"test": "unsupported", "reason": "it passes without a call of the code under test"}
    return outcome


def _run_code(stand: _Stand, tree: ast.Module, code: types.CodeType, free: set[str]) -> None:
    """Runs a test and the functions that it defines; raises what they raise."""
    namespace, entry_point = stand.namespace, stand.entry_point
    names = free - {name for name in namespace if name != "Solution"} - sys.stdlib_module_names
    namespace |= _asked(stand, names)
    candidates = {}
    if entry_point:
        stand_in = stand.function(entry_point)
        candidates = {entry_point: stand_in, "candidate": stand_in}
        namespace |= candidates
    modules = (free & sys.stdlib_module_names) - set(namespace)
    namespace |= {name: __import__(name) for name in modules}
    namespace[CALL_FOR_EFFECT] = stand.call_for_effect
    try:
        execute(code, namespace)
    except SystemExit as error:
        # A script may say at its end that all is well; no call of the program raises this.
        if error.code:
            raise
    run_functions(tree, namespace, candidates)


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
        error = _rebuilt(greeting, [])
        stand.end("memory" if isinstance(error, MemoryError) else "raised", described(error))
    stand.functions, stand.classes = _texts(greeting["ready"]), _texts(greeting.get("classes"))
    sys.modules["solution"], sys.modules["pytest"] = _SolutionModule(stand), new_pytest()
    for source in job["tests"]:
        send(stand.report, _tested(stand, source))
    stand.end("done")


def _texts(entries: Any) -> list[str]:
    """The texts of a list that another process sent."""
    return [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
