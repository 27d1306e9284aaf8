"""Plain data between processes: what the tests and the code under test may say to each other, and how they are run.

This module runs on both sides of the sandbox's wall and needs the standard library alone.
"""

import builtins
import collections.abc
import itertools
import json
import os
import types
from typing import Any, BinaryIO

__all__ = ["MALFORMED", "NotPlainError", "cut", "decode", "described", "encode", "execute", "send", "settle", "silence"]

MALFORMED = (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError, MemoryError)
"""What reading hostile data may raise."""

_MAX_REASON = 300
_MAX_ITEMS = 100_000
_MAX_INT_BITS = 4_000
_GROUPS: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class NotPlainError(TypeError):
    """A value that cannot be sent between processes as plain data."""


def encode(value: Any) -> Any:
    """Plain data as JSON data: lists whose first entry is the type, and scalars.

    Args:
        value: what is sent; a value of a derived class, such as a `Counter`, is sent as its plain class.

    Returns:
        What `decode` turns back.

    Raises:
        NotPlainError: the value, or a part of it, is nothing plain.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int.__int__(value)
        return number if number.bit_length() <= _MAX_INT_BITS else ["int", hex(number)]
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    for name, group in _GROUPS.items():
        if isinstance(value, group):
            return [name, *map(encode, group.__iter__(value))]  # type: ignore[attr-defined]  # each has it
    return _encode_rare(value)


def _encode_rare(value: Any) -> Any:
    """What is neither a scalar nor a group."""
    if isinstance(value, dict):
        return ["dict", *([encode(key), encode(entry)] for key, entry in dict.items(value))]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, bytes):
        return ["bytes", bytes.hex(value)]
    if isinstance(value, range):
        return ["range", value.start, value.stop, value.step]
    if isinstance(value, collections.abc.Iterator):
        return ["iterator", *map(encode, itertools.islice(value, _MAX_ITEMS))]
    raise NotPlainError(f"a value of type {type(value).__name__!r} is no plain data")


def decode(node: Any) -> Any:
    """The plain data that `encode` wrote, every value of exactly its plain class.

    Args:
        node: JSON data from an untrusted process.

    Raises:
        ValueError: it is nothing that `encode` writes.
    """
    try:
        return _decode(node)
    except MALFORMED as error:
        raise ValueError(f"not plain data: {type(error).__name__}") from None


def _decode(node: Any) -> Any:
    if not isinstance(node, list | dict):
        return node
    tag, *items = node
    if tag in _GROUPS:
        return _GROUPS[tag](map(_decode, items))
    if tag == "dict":
        return {_decode(key): _decode(entry) for key, entry in items}
    rare = {
        "int": lambda text: int(text, 16),
        "complex": lambda real, imag: complex(float(real), float(imag)),
        "bytes": bytes.fromhex,
        "range": range,
        "iterator": lambda *entries: iter([_decode(entry) for entry in entries]),
    }
    return rare[tag](*items)  # type: ignore[operator]  # each takes what encode wrote, and raises on the rest


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
