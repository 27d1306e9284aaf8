"""Plain data between processes: the messages between tests and code under test, and how both are run.

This module runs inside and outside of the sandbox, and uses the standard library alone.
"""

import builtins
import collections
import collections.abc
import itertools
import json
import operator
import os
import sys
import types
from collections.abc import Callable
from typing import Any, BinaryIO

__all__ = [
    "MALFORMED",
    "ClassFinder",
    "NotPlainError",
    "Record",
    "class_entry",
    "cut",
    "decode",
    "describe_error",
    "encode",
    "execute",
    "seed_random",
    "send",
    "silence",
    "starter_code",
]

MALFORMED = (ValueError, TypeError, LookupError, RecursionError, ArithmeticError, MemoryError, AttributeError)
"""The exceptions that reading hostile data may raise."""

ClassFinder = Callable[[str], type | None]
"""Finds the class of a name on this side; None where there is none."""

_MAX_REASON = 300
_MAX_ITEMS = 100_000
_MAX_INT_BITS = 4_000
_OWN_MODULES = ("candidate", "tests")
_GROUPS: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_ITERABLES: dict[str, Any] = {
    "keys": collections.abc.KeysView,
    "values": collections.abc.ValuesView,
    "items": collections.abc.ItemsView,
    "iterator": collections.abc.Iterator,
}
_FACTORIES = {kind.__name__: kind for kind in (int, float, bool, str, list, tuple, set, dict)}


class NotPlainError(Exception):
    """A value that cannot be sent between processes as plain data."""


class Record:
    """An instance of a dataclass that only the other side knows; compared by the name of the class and the fields."""

    def __init__(self, kind: str, fields: dict[str, Any]) -> None:
        """Sets the fields as attributes, and gives the instance a class of the same name."""
        self.__class__ = type(kind, (Record,), {})
        vars(self).update(fields)

    def __eq__(self, other: object) -> bool:
        """Whether both are records of classes of the same name with equal fields."""
        if not isinstance(other, Record):
            return NotImplemented
        return type(self).__name__ == type(other).__name__ and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Hash of the fields, all of which must be hashable."""
        return hash((type(self).__name__, *vars(self).values()))

    def __repr__(self) -> str:
        """The same text as that of a dataclass."""
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"


def encode(value: Any) -> Any:
    """Plain data as JSON data: scalars, and lists whose first entry is the type.

    The contents are read with the methods of the plain class, so that a derived class with its own comparison or
    iteration does not reach the other side. Dataclasses, and instances of classes of the program or of the tests, are
    sent as the name of the class and the fields.

    Args:
        value: the value to send.

    Returns:
        JSON data, which `decode` reads.

    Raises:
        NotPlainError: the value or a part of it is no plain data, or is nested too deeply.
    """
    try:
        return _encode(value)
    except RecursionError:
        raise NotPlainError("a value is nested too deeply") from None


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value

    if isinstance(value, int):
        number = int.__int__(value)
        # Python refuses to print or read larger integers as decimals.
        return number if number.bit_length() <= _MAX_INT_BITS else ["int", hex(number)]

    # With the methods of the builtin class: a derived class may lie about its value.
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)

    if isinstance(value, tuple) and class_entry(type(value), "_fields"):
        fields = tuple(class_entry(type(value), "_fields"))
        entries = map(_encode, tuple.__iter__(value))
        return ["namedtuple", type(value).__name__, _encode(fields), *entries]

    for name, group in _GROUPS.items():
        if isinstance(value, group):
            entries = map(_encode, group.__iter__(value))  # type: ignore[attr-defined]  # each has it
            return [name, *entries]

    if isinstance(value, dict):
        return _encode_dict(value)

    return _encode_rare(value)


def _encode_dict(value: dict[Any, Any]) -> Any:
    """A dictionary of any kind: its type, then keys and values in turn."""
    items = dict.items(value)
    tag: list[Any] = ["dict"]

    if isinstance(value, collections.Counter):
        tag = ["Counter"]
    elif isinstance(value, collections.defaultdict):
        factory = value.default_factory
        names = [name for name, kind in _FACTORIES.items() if kind is factory]
        tag = ["defaultdict", names[0] if names else None]
    elif isinstance(value, collections.OrderedDict):
        # It keeps an order of its own, which `dict.items` does not follow.
        tag = ["OrderedDict"]
        items = collections.OrderedDict.items(value)

    return [*tag, *map(_encode, itertools.chain.from_iterable(items))]


def _encode_rare(value: Any) -> Any:
    """A complex number, bytes, a range, a deque, a view or an iterator; else see `_encode_number`."""
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, bytes | bytearray):
        return ["bytes" if isinstance(value, bytes) else "bytearray", bytes(value).hex()]
    if isinstance(value, range):
        return ["range", value.start, value.stop, value.step]
    if isinstance(value, collections.deque):
        return ["deque", value.maxlen, *map(_encode, collections.deque.__iter__(value))]

    for name, kind in _ITERABLES.items():
        if isinstance(value, kind):
            return [name, *map(_encode, itertools.islice(value, _MAX_ITEMS))]

    return _encode_number(value)


def _encode_number(value: Any) -> Any:
    """A number of `fractions`, `decimal` or numpy; else see `_encode_instance`."""
    if _is_a(value, "fractions", "Fraction"):
        return ["Fraction", _encode(value.numerator), _encode(value.denominator)]
    if _is_a(value, "decimal", "Decimal"):
        return ["Decimal", str(value)]
    if _is_a(value, "numpy", "generic") and isinstance(value.item(), bool | int | float | complex | str | bytes):
        return _encode(value.item())
    return _encode_instance(value)


def _encode_instance(value: Any) -> Any:
    """An enumeration member, or an instance of a dataclass or of a class of the program or the tests."""
    kind = type(value)
    if _is_a(value, "enum", "Enum"):
        return ["member", kind.__name__, value.name]

    if isinstance(class_entry(kind, "__dataclass_fields__"), dict):
        names = _field_names(kind)
        values = [operator.attrgetter(name)(value) for name in names]
        return ["record", kind.__name__, *map(_encode, itertools.chain(*zip(names, values, strict=True)))]

    if kind.__module__ in _OWN_MODULES and not isinstance(value, type) and class_entry(kind, "__dict__"):
        return ["object", kind.__name__, *map(_encode, itertools.chain.from_iterable(vars(value).items()))]

    raise NotPlainError(f"a value of type {kind.__name__!r} is no plain data")


def class_entry(kind: type, name: str) -> Any:
    """The attribute of a class or its nearest base class, read without running its code; None where there is none."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def _field_names(kind: type) -> list[str]:
    """The names of the fields of a dataclass."""
    import dataclasses  # slow to import, and there already where a dataclass is

    return [field.name for field in dataclasses.fields(kind)]


def _is_a(value: Any, module: str, name: str) -> bool:
    """Whether a value is an instance of a library's class; if the library is not loaded, it cannot be one."""
    library = sys.modules.get(module)
    return library is not None and isinstance(value, vars(library)[name])


def _find_no_class(name: str) -> None:
    """The class finder of a side without classes."""
    del name


def decode(node: Any, find_class: ClassFinder = _find_no_class) -> Any:
    """Reads the plain data that `encode` wrote; every value has exactly its plain class.

    Args:
        node: JSON data from an untrusted process.
        find_class: finds the classes of this side whose fields the other side may fill.

    Raises:
        ValueError: it is not what `encode` writes.
        NotPlainError: it has an instance of a class that this side does not know.
    """
    try:
        return _decode(node, find_class)
    except MALFORMED as error:
        raise ValueError(f"not plain data: {type(error).__name__}") from None


def _decode(node: Any, find_class: ClassFinder) -> Any:
    if not isinstance(node, list | dict):
        return node
    if isinstance(node, dict):
        raise ValueError("an object")

    tag, *items = node
    entries = [_decode(item, find_class) for item in items]

    if tag in ("record", "object"):
        return _decode_instance(tag, entries, find_class)

    if tag == "member":
        name, member = entries
        return _member(find_class(name), name, member)

    if tag == "namedtuple":
        name, fields, *values = entries
        return _new_namedtuple(find_class(name), name, fields, values)

    return _BUILDERS[tag](*entries)


def _decode_instance(tag: str, entries: list[Any], find_class: ClassFinder) -> Any:
    """An instance of the class on this side, or else a record."""
    name, *pairs = entries
    fields = _to_dict(*pairs)
    if not all(isinstance(field, str) and field.isidentifier() and field[:2] != "__" for field in fields):
        raise ValueError("no names of fields")

    kind = find_class(name)
    is_dataclass = kind is not None and isinstance(class_entry(kind, "__dataclass_fields__"), dict)
    if kind is not None and not (is_dataclass and _field_names(kind) != list(fields)):
        # No `__init__` and no `__setattr__` of the class runs.
        instance: Any = object.__new__(kind)
        for field, value in fields.items():
            object.__setattr__(instance, field, value)
        return instance

    if tag == "record":
        return Record(name, fields)

    raise NotPlainError(f"a value of class {name!r}, which only one side defines, is no plain data")


def _member(kind: type | None, kind_name: str, name: str) -> Any:
    """A member of an enumeration on this side."""
    members = class_entry(kind or type, "_member_map_")
    if not isinstance(members, dict) or name not in members:
        raise NotPlainError(f"a member of {kind_name!r}, which only one side defines, is no plain data")
    return members[name]


def _new_namedtuple(kind: type | None, name: str, fields: tuple[str, ...], values: list[Any]) -> Any:
    """A named tuple of the class on this side, or of a new class."""
    if len(fields) != len(values) or not all(field.isidentifier() and field[0] != "_" for field in fields):
        raise ValueError("no named tuple")
    if kind is None or not issubclass(kind, tuple) or class_entry(kind, "_fields") != fields:
        # `collections.namedtuple` would evaluate source text that contains the names.
        entries = {field: property(operator.itemgetter(index)) for index, field in enumerate(fields)}
        kind = type(name, (tuple,), {"__slots__": (), "_fields": fields, **entries})
    return tuple.__new__(kind, values)


def _to_dict(*entries: Any) -> dict[Any, Any]:
    """A dictionary of keys and values in turn."""
    return dict(zip(entries[::2], entries[1::2], strict=True))


def _new_fraction(numerator: int, denominator: int) -> Any:
    from fractions import Fraction  # slow to import, rarely needed

    return Fraction(numerator, denominator)


def _new_decimal(text: str) -> Any:
    from decimal import Decimal  # slow to import, rarely needed

    return Decimal(text)


_BUILDERS: dict[str, Callable[..., Any]] = {
    "list": lambda *entries: list(entries),
    "tuple": lambda *entries: entries,
    "set": lambda *entries: set(entries),
    "frozenset": lambda *entries: frozenset(entries),
    "dict": _to_dict,
    "Counter": lambda *entries: collections.Counter(_to_dict(*entries)),
    "OrderedDict": lambda *entries: collections.OrderedDict(_to_dict(*entries)),
    "defaultdict": lambda name, *entries: collections.defaultdict(_FACTORIES.get(name), _to_dict(*entries)),
    "deque": lambda maxlen, *entries: collections.deque(entries, maxlen),
    "keys": lambda *entries: dict.fromkeys(entries).keys(),
    "values": lambda *entries: dict(enumerate(entries)).values(),
    "items": lambda *entries: dict(entries).items(),
    "iterator": lambda *entries: iter(list(entries)),
    "int": lambda text: int(text, 16),
    "complex": lambda real, imag: complex(float(real), float(imag)),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "range": range,
    "Fraction": _new_fraction,
    "Decimal": _new_decimal,
}
"""The function that builds a value from its entries, by tag; it raises where `encode` does not write such entries."""


def send(stream: BinaryIO, message: Any) -> None:
    """Writes JSON data as one line."""
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def cut(text: str) -> str:
    """Untrusted text on one line, cut to a maximal length."""
    line = " ".join(text[: 4 * _MAX_REASON].split())
    return line if len(line) <= _MAX_REASON else line[: _MAX_REASON - 3] + "..."


def describe_error(error: BaseException) -> str:
    """An exception as one short line; its text may be untrusted code."""
    try:
        text = str(error)
    except BaseException as problem:  # str() of a foreign exception is foreign code
        text = f"(its text raises {type(problem).__name__})"
    return cut(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def execute(code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Runs the code of a module in a namespace."""
    # Functions of C that import something, such as `strptime`, look for the builtins here.
    namespace.setdefault("__builtins__", builtins)
    types.FunctionType(code, namespace)()


def silence(descriptors: tuple[int, ...]) -> None:
    """Redirects descriptors to the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def seed_random(program: str) -> None:
    """Seeds the `random` module, so that equal programs print equal text."""
    if "random" in program:
        import random  # slow to import, rarely needed

        random.seed(0)


def starter_code(starter: str) -> types.CodeType | None:
    """The code of a starter; None where it is no Python."""
    # A starter may end with the head of a function whose body is missing.
    for text in (starter, f"{starter.rstrip()} pass"):
        try:
            return compile(text, "<starter>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None
