"""Plain data between processes: what the tests and the code under test may say to each other, and how they are run.

This module runs on both sides of the sandbox's wall and needs the standard library alone.
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
    "described",
    "encode",
    "execute",
    "send",
    "settle",
    "silence",
    "starter_code",
]

MALFORMED = (ValueError, TypeError, LookupError, RecursionError, ArithmeticError, MemoryError, AttributeError)
"""What reading hostile data may raise."""

ClassFinder = Callable[[str], type | None]
"""From the name of a class to the class that this side has under that name; None where it has none."""

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
    """A dataclass of the other side whose class this side does not know: equal by name of the class and by fields."""

    def __init__(self, kind: str, fields: dict[str, Any]) -> None:
        """Its attributes are the fields; the name of its class is found by `type`."""
        self.__class__ = type(kind, (Record,), {})
        vars(self).update(fields)

    def __eq__(self, other: object) -> bool:
        """Whether the other one is a record of an equally named class with equal fields."""
        if not isinstance(other, Record):
            return NotImplemented
        return type(self).__name__ == type(other).__name__ and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Of the fields, all of which need one."""
        return hash((type(self).__name__, *vars(self).values()))

    def __repr__(self) -> str:
        """As a dataclass has it."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def encode(value: Any) -> Any:
    """Plain data as JSON data: lists whose first entry is the type, and scalars.

    A value is sent by its contents, read with the methods of its plain class, so that what a derived class makes of
    comparison or iteration does not reach the other side. Dataclasses, and instances of classes of the program or of
    the tests, are sent as the name of the class and the fields.

    Args:
        value: what is sent.

    Returns:
        What `decode` turns back.

    Raises:
        NotPlainError: the value, or a part of it, is nothing plain, or is nested too deeply.
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
        return number if number.bit_length() <= _MAX_INT_BITS else ["int", hex(number)]
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, tuple) and class_entry(type(value), "_fields"):
        fields = tuple(class_entry(type(value), "_fields"))
        return ["namedtuple", type(value).__name__, _encode(fields), *map(_encode, tuple.__iter__(value))]
    for name, group in _GROUPS.items():
        if isinstance(value, group):
            return [name, *map(_encode, group.__iter__(value))]  # type: ignore[attr-defined]  # each has it
    if isinstance(value, dict):
        return _encode_dict(value)
    return _encode_rare(value)


def _encode_dict(value: dict[Any, Any]) -> Any:
    """A dictionary of any kind: its kind, and keys and values by turns."""
    items = dict.items(value)
    tag: list[Any] = ["dict"]
    if isinstance(value, collections.Counter):
        tag = ["Counter"]
    elif isinstance(value, collections.defaultdict):
        factory = value.default_factory
        tag = ["defaultdict", next((name for name, kind in _FACTORIES.items() if kind is factory), None)]
    elif isinstance(value, collections.OrderedDict):
        # Its order is not that of the dictionary which it derives from.
        tag, items = ["OrderedDict"], collections.OrderedDict.items(value)
    return [*tag, *map(_encode, itertools.chain.from_iterable(items))]


def _encode_rare(value: Any) -> Any:
    """What is neither a scalar, a group nor a dictionary."""
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
    """A number of a library, or what is no number."""
    if _is_a(value, "fractions", "Fraction"):
        return ["Fraction", _encode(value.numerator), _encode(value.denominator)]
    if _is_a(value, "decimal", "Decimal"):
        return ["Decimal", str(value)]
    if _is_a(value, "numpy", "generic") and isinstance(value.item(), bool | int | float | complex | str | bytes):
        return _encode(value.item())
    return _encode_instance(value)


def _encode_instance(value: Any) -> Any:
    """A dataclass, or an instance of a class of the program or the tests: the names of its class and of its fields."""
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
    """What a class, or the nearest one that it derives from, has under a name; None where it has nothing."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def _field_names(kind: type) -> list[str]:
    """The names of the fields of a dataclass."""
    import dataclasses  # slow to import, and there already where a dataclass is

    return [field.name for field in dataclasses.fields(kind)]


def _is_a(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class of a library, which nobody can have made where the library is not loaded."""
    home = sys.modules.get(module)
    return home is not None and isinstance(value, vars(home)[name])


def _no_class(name: str) -> None:
    """Finds none."""
    del name


def decode(node: Any, find_class: ClassFinder = _no_class) -> Any:
    """The plain data that `encode` wrote, every value of exactly its plain class.

    Args:
        node: JSON data from an untrusted process.
        find_class: says which classes of this side may be filled with fields that the other side sent.

    Raises:
        ValueError: it is nothing that `encode` writes.
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
    """An instance of the class of this side, or else a record."""
    name, *pairs = entries
    fields = _paired(*pairs)
    if not all(isinstance(field, str) and field.isidentifier() and field[:2] != "__" for field in fields):
        raise ValueError("no names of fields")
    kind = find_class(name)
    is_dataclass = kind is not None and isinstance(class_entry(kind, "__dataclass_fields__"), dict)
    if kind is not None and not (is_dataclass and _field_names(kind) != list(fields)):
        instance: Any = object.__new__(kind)
        for field, value in fields.items():
            object.__setattr__(instance, field, value)
        return instance
    if tag == "record":
        return Record(name, fields)
    raise NotPlainError(f"a value of class {name!r}, which only one side defines, is no plain data")


def _member(kind: type | None, kind_name: str, name: str) -> Any:
    """A member of an enumeration of this side."""
    members = class_entry(kind or type, "_member_map_")
    if not isinstance(members, dict) or name not in members:
        raise NotPlainError(f"a member of {kind_name!r}, which only one side defines, is no plain data")
    return members[name]


def _new_namedtuple(kind: type | None, name: str, fields: tuple[str, ...], values: list[Any]) -> Any:
    """A named tuple of the class of this side, or of one that is made for it."""
    if len(fields) != len(values) or not all(field.isidentifier() and field[0] != "_" for field in fields):
        raise ValueError("no named tuple")
    if kind is None or not issubclass(kind, tuple) or class_entry(kind, "_fields") != fields:
        # `collections.namedtuple` would run text that it makes of the names.
        entries = {field: property(operator.itemgetter(index)) for index, field in enumerate(fields)}
        kind = type(name, (tuple,), {"__slots__": (), "_fields": fields, **entries})
    return tuple.__new__(kind, values)


def _paired(*entries: Any) -> dict[Any, Any]:
    """Keys and values that come by turns, as a dictionary."""
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
    "dict": _paired,
    "Counter": lambda *entries: collections.Counter(_paired(*entries)),
    "OrderedDict": lambda *entries: collections.OrderedDict(_paired(*entries)),
    "defaultdict": lambda name, *entries: collections.defaultdict(_FACTORIES.get(name), _paired(*entries)),
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
"""From a tag to the function that makes a value of entries; each raises on what `encode` does not write."""


def send(stream: BinaryIO, message: Any) -> None:
    """Writes JSON data as one line."""
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def cut(text: str) -> str:
    """Text that came from anywhere, on one line and not long."""
    line = " ".join(text[: 4 * _MAX_REASON].split())
    return line if len(line) <= _MAX_REASON else line[: _MAX_REASON - 3] + "..."


def described(error: BaseException) -> str:
    """An exception in one short line, whatever its text is made of."""
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
    """Points descriptors to where nothing is read and nothing is kept."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def settle(program: str) -> None:
    """Seeds what would else differ from run to run."""
    if "random" in program:
        import random  # slow to import, rarely needed

        random.seed(0)


def starter_code(starter: str) -> types.CodeType | None:
    """The code of a starter, which may end where its function or method has no body yet; None where it is no Python."""
    for text in (starter, f"{starter.rstrip()} pass"):
        try:
            return compile(text, "<starter>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None
