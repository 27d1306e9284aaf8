"""The forms of unit tests: which functions of a test are called, and a small `pytest` for them.

A test is a script of asserts, HumanEval's `check(candidate)`, functions and classes as pytest collects them, or cases
of `unittest`. Of pytest there are `raises`, `approx` and `mark.parametrize`; a test that needs more cannot be run.

`aha.rewards.sandbox.guest_process` sends the source of this module into a sandbox, where it runs beside the tests and
never beside the code under test; see `aha.rewards.sandbox.harness`.
"""

import ast
import builtins
import contextlib
import itertools
import operator
import re
import symtable
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = [
    "CALL_FOR_EFFECT",
    "UnsupportedTestError",
    "free_names",
    "is_pure_record",
    "mark_calls_for_effect",
    "new_pytest",
    "run_functions",
]

CALL_FOR_EFFECT = "_aha_call_for_effect"
"""The name of the function through which a test makes calls whose effect on their arguments matters."""

_RELATIVE = 1e-6
_ABSOLUTE = 1e-12
_HARMLESS_METHODS = {"__init__", "__post_init__", "__repr__", "__str__"}


class UnsupportedTestError(Exception):
    """A test has a form that cannot be run; the message says which."""


def free_names(source: str) -> set[str]:
    """The names that a test reads, without those that it binds and without builtins.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: the test does not parse.
    """
    module = symtable.symtable(source, "<test>", "exec")
    bound = {symbol.get_name() for symbol in module.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    read: set[str] = set()

    # The list grows while it is walked: each scope adds those inside it.
    scopes = [module]
    for scope in scopes:
        scopes += scope.get_children()
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (scope is module or symbol.is_global()):
                read.add(symbol.get_name())

    return read - bound - set(vars(builtins))


# Calls whose arguments matter


class _CallMarker(ast.NodeTransformer):
    """Marks calls whose value is ignored, or only compared with constants; see `mark_calls_for_effect`."""

    def __init__(self, tree: ast.Module) -> None:
        self.harmless_names = _harmless_names(tree)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """A call whose value is assigned to names that are only compared with constants."""
        self.generic_visit(node)
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        are_harmless = len(names) == len(node.targets) and self.harmless_names.issuperset(names)
        if isinstance(node.value, ast.Call) and are_harmless:
            node.value = _mark_call(node.value)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """A call that is a statement."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Call):
            node.value = _mark_call(node.value)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """A call whose value is asserted to be a constant."""
        self.generic_visit(node)
        test = node.test
        if not isinstance(test, ast.Compare) or not all(map(_is_literal, test.comparators)):
            return node

        if isinstance(test.left, ast.Call):
            test.left = _mark_call(test.left)
        return node


def _harmless_names(tree: ast.Module) -> set[str]:
    """Names that a test only compares with constants, or uses as bounds of a slice: `assert k == 1`, `xs[:k]`."""
    nodes = list(ast.walk(tree))
    harmless_uses: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.Compare) and all(map(_is_literal, node.comparators)):
            harmless_uses.add(id(node.left))
        elif isinstance(node, ast.Slice):
            harmless_uses |= {id(node.lower), id(node.upper)}

    stored: set[str] = set()
    harmful: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stored.add(node.id)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in harmless_uses:
            harmful.add(node.id)
    return stored - harmful


def _mark_call(call: ast.Call) -> ast.Call:
    name = ast.copy_location(ast.Name(CALL_FOR_EFFECT, ast.Load()), call)
    return ast.copy_location(ast.Call(name, [call.func, *call.args], call.keywords), call)


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def mark_calls_for_effect(tree: ast.Module) -> ast.Module:
    """The test with calls `f(x)` rewritten as `CALL_FOR_EFFECT(f, x)` if their value is ignored or a constant.

    Only after such a call does the test see changes of the arguments. Otherwise, in `assert f(xs) == sorted(xs)`, a
    program could empty its argument and return the right result for an empty list.
    """
    _CallMarker(tree).visit(tree)
    return ast.fix_missing_locations(tree)


def is_pure_record(kind: type) -> bool:
    """Whether a class of a test has only fields, and no method that could make unequal instances equal."""
    for base in kind.__mro__:
        if base in (object, tuple):
            continue
        if base.__module__ != "tests":
            return False

        methods = {name for name, entry in vars(base).items() if _is_written_in_test(entry)}
        if methods - _HARMLESS_METHODS:
            return False

    return True


def _is_written_in_test(entry: object) -> bool:
    """Whether an entry is a function in the source of the test, not one made by `dataclass` or `namedtuple`."""
    return isinstance(entry, types.FunctionType) and entry.__code__.co_filename == "<test>"


# Functions that a test defines and leaves to be called


def run_functions(tree: ast.Module, namespace: Mapping[str, Any], candidates: Mapping[str, Any]) -> None:
    """Calls what a test defines and does not call itself: `check`, test functions, and methods of test classes.

    Args:
        tree: the test.
        namespace: the namespace in which it has run.
        candidates: stand-ins of the code under test, by the names of the parameters that receive them.

    Raises:
        UnsupportedTestError: a function needs something that is not supported.
        BaseException: any exception of a function.
    """
    # In the order of the source, as pytest does; `namespace` also has what was imported.
    called = {_called_name(node) for node in tree.body}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name in called:
            continue

        entry = namespace.get(node.name)
        if isinstance(node, ast.ClassDef):
            if isinstance(entry, type):
                _run_class(entry, candidates)
        elif node.name in ("check", "test") or node.name.startswith("test_"):
            if isinstance(node, ast.AsyncFunctionDef):
                raise UnsupportedTestError(f"{node.name} is asynchronous")
            _run_function(node.name, entry, candidates)


def _called_name(node: ast.stmt) -> str:
    """The name of the function that a statement of the test calls; empty where it calls none."""
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call):
        return ""

    is_marked = call.args and ast.unparse(call.func) == CALL_FOR_EFFECT
    function = call.args[0] if is_marked else call.func
    return function.id if isinstance(function, ast.Name) else ""


def _run_function(name: str, function: Any, candidates: Mapping[str, Any]) -> None:
    """Calls a function once for each row of its parametrization."""
    parameters = _parameters_without_default(function)
    for row in _parameter_rows(function):
        open_parameters = [parameter for parameter in parameters if parameter not in row]

        # HumanEval's `check` has one parameter of any name.
        if name == "check" and len(open_parameters) == 1 and candidates:
            function(candidates["candidate"])
            continue

        missing = [parameter for parameter in open_parameters if parameter not in candidates]
        if missing:
            raise UnsupportedTestError(f"{name} wants the argument {missing[0]!r}, which nothing here gives")

        stand_ins = {parameter: candidates[parameter] for parameter in open_parameters}
        function(**row, **stand_ins)


def _parameters_without_default(function: Any) -> list[str]:
    """The names of the parameters without a default; of a method, without `self`."""
    num_bound = int(isinstance(function, types.MethodType))
    function = function.__func__ if num_bound else function
    if not isinstance(function, types.FunctionType):
        raise UnsupportedTestError(f"a test is a {type(function).__name__} and no function")

    code = function.__code__
    num_needed = code.co_argcount - len(function.__defaults__ or ())
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    needed_keywords = [name for name in keywords if name not in (function.__kwdefaults__ or {})]

    return [*code.co_varnames[num_bound:num_needed], *needed_keywords]


def _run_class(kind: type, candidates: Mapping[str, Any]) -> None:
    """Runs a test case of `unittest`, or a class that pytest would collect."""
    unittest = sys.modules.get("unittest")
    if unittest is not None and issubclass(kind, unittest.TestCase):
        # `debug` lets exceptions through, where `run` would collect them.
        unittest.defaultTestLoader.loadTestsFromTestCase(kind).debug()
    elif kind.__name__.startswith("Test"):
        _run_methods(kind, candidates)


def _run_methods(kind: type, candidates: Mapping[str, Any]) -> None:
    """Calls the test methods of a class, each on a new instance."""
    names = dir(kind)
    for name in filter(re.compile("test_").match, names):
        instance = kind()
        methods = [method for method in ("setup_method", name, "teardown_method") if method in names]
        for method in methods:
            _run_function(method, operator.attrgetter(method)(instance), candidates)


# What there is of pytest


class _Raises(contextlib.AbstractContextManager[Any]):
    """The context manager of `pytest.raises`: it expects an exception, and keeps it."""

    def __init__(self, kinds: Any, match: str | None) -> None:
        self.kinds = kinds
        self.match = match
        self.value: BaseException | None = None
        self.type: type | None = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        """Checks the exception; returns whether it is swallowed, because it is the expected one."""
        del trace
        assert kind is not None, f"it does not raise {self.kinds}"
        if not issubclass(kind, self.kinds):
            return False
        assert self.match is None or re.search(self.match, str(error)), f"{str(error)!r} does not match {self.match!r}"
        self.value = error
        self.type = kind
        return True


def _raises(kinds: Any, *call: Any, match: str | None = None, **keywords: Any) -> Any:
    """`pytest.raises`: expects an exception of the following block, or of a call."""
    expectation = _Raises(kinds, match)
    if not call:
        return expectation
    with expectation:
        call[0](*call[1:], **keywords)
    return expectation


class _Approximation:
    """`pytest.approx`: equals numbers, sequences and dictionaries of numbers that are close to the expected ones."""

    __hash__ = None  # type: ignore[assignment]  # equal values cannot have equal hashes

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None) -> None:
        self.expected = expected

        # As in pytest, an absolute tolerance alone switches the relative one off.
        if rel is None:
            rel = _RELATIVE if abs is None else 0.0
        if abs is None:
            abs = _ABSOLUTE
        self.tolerances = (rel, abs)

    def __eq__(self, actual: object) -> bool:
        return _is_near(actual, self.expected, self.tolerances)

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"


def _is_near(actual: Any, expected: Any, tolerances: tuple[float, float]) -> bool:
    """Whether a value is close to an expected one, within the larger of the relative and the absolute tolerance."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict) or actual.keys() != expected.keys():
            return False
        return all(_is_near(actual[key], expected[key], tolerances) for key in expected)

    if isinstance(expected, list | tuple):
        if not isinstance(actual, list | tuple) or len(actual) != len(expected):
            return False
        return all(_is_near(left, right, tolerances) for left, right in zip(actual, expected, strict=True))

    # Equality first: infinities are equal to themselves, and have no difference.
    if isinstance(expected, bool | str | bytes) or actual == expected:
        return bool(actual == expected)

    relative, absolute = tolerances
    try:
        return bool(abs(actual - expected) <= max(relative * abs(expected), absolute))
    except TypeError:
        return False


def _parametrize(names: Any, values: Any, **others: Any) -> Callable[[Any], Any]:
    """`pytest.mark.parametrize`: marks a function to be called with each of several values."""
    if others.keys() - {"ids"}:
        raise UnsupportedTestError(f"pytest.mark.parametrize with {', '.join(others)}")

    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

    # With a single name, a value is the argument itself and not a row of one.
    if len(names) == 1:
        rows = [{names[0]: value} for value in values]
    else:
        rows = [dict(zip(names, value, strict=True)) for value in values]

    def mark(function: Any) -> Any:
        if not isinstance(function, types.FunctionType):
            raise UnsupportedTestError("a class is marked with pytest.mark.parametrize")
        vars(function).setdefault("parameter_rows", []).append(rows)
        return function

    return mark


def _parameter_rows(function: Any) -> Iterator[dict[str, Any]]:
    """The arguments that marks give a function, in every combination; a single empty row where it has no marks."""
    function = function.__func__ if isinstance(function, types.MethodType) else function
    marks = vars(function).get("parameter_rows", [])
    for rows in itertools.product(*marks):
        arguments: dict[str, Any] = {}
        for row in rows:
            arguments |= row
        yield arguments


class _Namespace(types.ModuleType):
    """A module of which only a part is supported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnsupportedTestError(f"{self.__name__}.{name} is not supported")


def new_pytest() -> types.ModuleType:
    """A module `pytest` with the functions that most tests use."""
    module = _Namespace("pytest")
    marks = _Namespace("pytest.mark")
    vars(marks).update(parametrize=_parametrize)
    vars(module).update(raises=_raises, approx=_Approximation, mark=marks)
    return module
