"""The forms in which unit tests are written: which functions of a test are to be called, and what `pytest` gives them.

A test is a script of asserts, HumanEval's `check(candidate)`, functions and classes as pytest collects them, or cases
of `unittest`. Of pytest there are `raises`, `approx` and `mark.parametrize`; a test that asks for more cannot be run.

`aha.rewards.sandbox.guest_process` sends the text of this module into a sandbox, where it runs beside the tests and
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
"""The name under which a test finds the function that makes a call for the sake of its effect."""

_RELATIVE, _ABSOLUTE = 1e-6, 1e-12
_HARMLESS_METHODS = {"__init__", "__post_init__", "__repr__", "__str__"}


class UnsupportedTestError(Exception):
    """A test has a form that cannot be run; the message says which."""


def free_names(source: str) -> set[str]:
    """Names that a test reads and neither binds nor finds among the builtins.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: the test does not parse.
    """
    scopes = [symtable.symtable(source, "<test>", "exec")]
    bound = {symbol.get_name() for symbol in scopes[0].get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    read: set[str] = set()
    for scope in scopes:
        is_top = scope.get_type() == "module"
        scopes += scope.get_children()
        read |= {
            symbol.get_name()
            for symbol in scope.get_symbols()
            if symbol.is_referenced() and (is_top or symbol.is_global())
        }
    return read - bound - set(vars(builtins))


# Calls whose arguments matter


class _CallMarker(ast.NodeTransformer):
    """Hands calls over whose value is thrown away, or compared with nothing but a constant."""

    def __init__(self, tree: ast.Module) -> None:
        self.harmless_names = _harmless_names(tree)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """A call whose value gets a name that is used for nothing else."""
        self.generic_visit(node)
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if (
            isinstance(node.value, ast.Call)
            and len(names) == len(node.targets)
            and self.harmless_names.issuperset(names)
        ):
            node.value = _marked(node.value)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """A call that is a statement."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Call):
            node.value = _marked(node.value)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """A call whose value is asserted to be a constant."""
        self.generic_visit(node)
        test = node.test
        if (
            isinstance(test, ast.Compare)
            and isinstance(test.left, ast.Call)
            and all(map(_is_literal, test.comparators))
        ):
            test.left = _marked(test.left)
        return node


def _harmless_names(tree: ast.Module) -> set[str]:
    """Names that a test only compares with constants, or uses as bounds of a slice: `assert k == 1`, `xs[:k]`."""
    nodes = list(ast.walk(tree))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    compared = [
        node.left for node in nodes if isinstance(node, ast.Compare) and all(map(_is_literal, node.comparators))
    ]
    bounds = [bound for node in nodes if isinstance(node, ast.Slice) for bound in (node.lower, node.upper)]
    harmless_uses = {id(node) for node in (*compared, *bounds)}
    harmful = {node.id for node in names if isinstance(node.ctx, ast.Load) and id(node) not in harmless_uses}
    return {node.id for node in names if isinstance(node.ctx, ast.Store)} - harmful


def _marked(call: ast.Call) -> ast.Call:
    name = ast.copy_location(ast.Name(CALL_FOR_EFFECT, ast.Load()), call)
    return ast.copy_location(ast.Call(name, [call.func, *call.args], call.keywords), call)


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def mark_calls_for_effect(tree: ast.Module) -> ast.Module:
    """The test with such calls handed to the function `CALL_FOR_EFFECT`, as `f(x)` is to `CALL_FOR_EFFECT(f, x)`.

    Only after such a call does the test see what became of the arguments. Where the value counts, as in
    `assert f(xs) == sorted(xs)`, a program that empties its argument could else return what is right for an empty one.
    """
    _CallMarker(tree).visit(tree)
    return ast.fix_missing_locations(tree)


def is_pure_record(kind: type) -> bool:
    """Whether a class of a test has fields alone, and no method that could make unequal things equal."""
    own = [base for base in kind.__mro__ if base not in (object, tuple)]
    methods = [name for base in own for name, entry in vars(base).items() if _is_written_in_test(entry)]
    return all(base.__module__ == "tests" for base in own) and not set(methods) - _HARMLESS_METHODS


def _is_written_in_test(entry: object) -> bool:
    """Whether it is a function of the test's own text, and not one that `dataclass` or `namedtuple` made."""
    return isinstance(entry, types.FunctionType) and entry.__code__.co_filename == "<test>"


# Functions that a test defines and leaves to be called


def run_functions(tree: ast.Module, namespace: Mapping[str, Any], candidates: Mapping[str, Any]) -> None:
    """Calls what the test defines and does not call itself: `check`, test functions, and methods of test classes.

    Args:
        tree: the test.
        namespace: what running it left.
        candidates: stand-ins of the code under test by the names of parameters that get them.

    Raises:
        UnsupportedTestError: a function wants what is not here.
        BaseException: whatever a function raises.
    """
    called = {_called_name(node) for node in tree.body}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name in called:
            continue
        found = namespace.get(node.name)
        if isinstance(node, ast.ClassDef):
            if isinstance(found, type):
                _run_class(found, candidates)
        elif node.name in ("check", "test") or node.name.startswith("test_"):
            if isinstance(node, ast.AsyncFunctionDef):
                raise UnsupportedTestError(f"{node.name} is asynchronous")
            _run_function(node.name, found, candidates)


def _called_name(node: ast.stmt) -> str:
    """The name of the function that a statement of the test calls, also for its effect; empty where there is none."""
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call):
        return ""
    function = call.args[0] if call.args and ast.unparse(call.func) == CALL_FOR_EFFECT else call.func
    return function.id if isinstance(function, ast.Name) else ""


def _run_function(name: str, function: Any, candidates: Mapping[str, Any]) -> None:
    """Calls a function once for each row of its parameters."""
    wanted = _parameters_without_default(function)
    for row in _parameter_rows(function):
        given = [parameter for parameter in wanted if parameter not in row]
        if name == "check" and len(given) == 1 and candidates:
            # HumanEval's, whatever it calls its parameter.
            function(candidates["candidate"])
            continue
        missing = [parameter for parameter in given if parameter not in candidates]
        if missing:
            raise UnsupportedTestError(f"{name} wants the argument {missing[0]!r}, which nothing here gives")
        function(**row, **{parameter: candidates[parameter] for parameter in given})


def _parameters_without_default(function: Any) -> list[str]:
    """The names of the arguments that have to be given; those of a method without its instance."""
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
    """Runs the cases of a class of `unittest`, or of one that pytest would collect."""
    unittest = sys.modules.get("unittest")
    if unittest is not None and issubclass(kind, unittest.TestCase):
        unittest.defaultTestLoader.loadTestsFromTestCase(kind).debug()
    elif kind.__name__.startswith("Test"):
        _run_methods(kind, candidates)


def _run_methods(kind: type, candidates: Mapping[str, Any]) -> None:
    """Calls the test methods of a class, each of an instance of its own."""
    names = dir(kind)
    for name in filter(re.compile("test_").match, names):
        instance = kind()
        methods = [method for method in ("setup_method", name, "teardown_method") if method in names]
        for method in methods:
            _run_function(method, operator.attrgetter(method)(instance), candidates)


# What there is of pytest


class _Raises(contextlib.AbstractContextManager[Any]):
    """Wants an exception of a kind, and holds it."""

    def __init__(self, kinds: Any, match: str | None) -> None:
        self.kinds = kinds
        self.match = match
        self.value: BaseException | None = None
        self.type: type | None = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        """Whether the exception is the one that was wanted."""
        del trace
        assert kind is not None, f"it does not raise {self.kinds}"
        if not issubclass(kind, self.kinds):
            return False
        assert self.match is None or re.search(self.match, str(error)), f"{str(error)!r} does not match {self.match!r}"
        self.value, self.type = error, kind
        return True


def _raises(kinds: Any, *call: Any, match: str | None = None, **keywords: Any) -> Any:
    """Wants an exception of the block that follows, or of a call."""
    expectation = _Raises(kinds, match)
    if not call:
        return expectation
    with expectation:
        call[0](*call[1:], **keywords)
    return expectation


class _Approximation:
    """Equals numbers, and sequences and dictionaries of numbers, that differ from the expected ones by little."""

    __hash__ = None  # type: ignore[assignment]  # equal values cannot have equal hashes

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None) -> None:
        self.expected = expected
        relative = (_RELATIVE if abs is None else 0.0) if rel is None else rel
        self.tolerances = (relative, _ABSOLUTE if abs is None else abs)

    def __eq__(self, actual: object) -> bool:
        return _is_near(actual, self.expected, self.tolerances)

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"


def _is_near(actual: Any, expected: Any, tolerances: tuple[float, float]) -> bool:
    """Whether a value is near an expected one, within the larger of the tolerances, relative and absolute."""
    if isinstance(expected, dict):
        return (
            isinstance(actual, dict)
            and actual.keys() == expected.keys()
            and all(_is_near(actual[key], expected[key], tolerances) for key in expected)
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(actual, list | tuple)
            and len(actual) == len(expected)
            and all(_is_near(one, other, tolerances) for one, other in zip(actual, expected, strict=True))
        )
    if isinstance(expected, bool | str | bytes) or actual == expected:
        return bool(actual == expected)
    try:
        return bool(abs(actual - expected) <= max(tolerances[0] * abs(expected), tolerances[1]))
    except TypeError:
        return False


def _parametrize(names: Any, values: Any, **others: Any) -> Callable[[Any], Any]:
    """Marks a function to be called with each of several values."""
    if others.keys() - {"ids"}:
        raise UnsupportedTestError(f"pytest.mark.parametrize with {', '.join(others)}")
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows = [dict(zip(names, [value] if len(names) == 1 else value, strict=True)) for value in values]

    def mark(function: Any) -> Any:
        if not isinstance(function, types.FunctionType):
            raise UnsupportedTestError("a class is marked with pytest.mark.parametrize")
        vars(function).setdefault("parameter_rows", []).append(rows)
        return function

    return mark


def _parameter_rows(function: Any) -> Iterator[dict[str, Any]]:
    """The parameters that marks give a function: every combination; one without any where it has no marks."""
    function = function.__func__ if isinstance(function, types.MethodType) else function
    marks = vars(function).get("parameter_rows", [])
    for rows in itertools.product(*marks):
        yield {name: value for row in rows for name, value in row.items()}


class _Namespace(types.ModuleType):
    """A module of which only a part is here."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnsupportedTestError(f"{self.__name__}.{name} is not supported")


def new_pytest() -> types.ModuleType:
    """A module `pytest` with what tests of functions mostly use."""
    module, marks = _Namespace("pytest"), _Namespace("pytest.mark")
    vars(marks).update(parametrize=_parametrize)
    vars(module).update(raises=_raises, approx=_Approximation, mark=marks)
    return module
