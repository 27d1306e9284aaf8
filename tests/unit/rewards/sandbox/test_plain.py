"""Plain data crosses by value: what a class makes of comparison stays behind, and hostile data is refused."""

import collections
import json
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest

from aha.rewards.sandbox.plain import NotPlainError, Record, decode, encode


class Pair(NamedTuple):
    x: int
    y: list[int]


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0
    origin: ClassVar[int] = 7


class Node:
    def __init__(self, value: object) -> None:
        self.value = value


Node.__module__ = "tests"
CLASSES: dict[str, type] = {"Pair": Pair, "Point": Point, "Node": Node}


def there_and_back(value: object) -> Any:
    """A value that was sent to a process which knows `CLASSES`."""
    return decode(json.loads(json.dumps(encode(value))), CLASSES.get)


def test_a_value_comes_back_as_what_it_was() -> None:
    for value in [
        Fraction(-1, 3),
        Fraction(2**9000, 3),
        Decimal("1.10"),
        Decimal("-Infinity"),
        collections.deque([1, [2]], maxlen=5),
        collections.Counter({"a": 2, "b": 0}),
        collections.defaultdict(list, {1: [2]}),
        collections.OrderedDict([("b", 1), ("a", 2)]),
        bytearray(b"\0x"),
        frozenset({(1, 2), frozenset({3})}),
        Pair(1, [2]),
        Point(1, 2),
        {Point(1): {"deep": (Pair(3, []), [Point(4)])}},
    ]:
        found = there_and_back(value)
        assert found == value, value
        assert type(found) is type(value), value


def test_what_is_more_than_its_items_comes_back_too() -> None:
    assert there_and_back(collections.deque([1], maxlen=5)).maxlen == 5
    assert there_and_back(collections.defaultdict(list))[3] == []
    moved = collections.OrderedDict([("b", 1), ("a", 2)])
    moved.move_to_end("b")
    assert list(there_and_back(moved)) == ["a", "b"]
    assert str(there_and_back(Decimal("1.10"))) == "1.10"
    assert there_and_back({1: 2}.keys()) == {1}
    assert there_and_back({1: [2]}.items()) == {1: [2]}.items()
    assert list(there_and_back({1: [2]}.values())) == [[2]]


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.complex128(1j), 1j),
        (np.str_("a"), "a"),
    ],
    ids=repr,
)
def test_scalars_of_numpy_are_numbers(scalar: object, plain: object) -> None:
    found = there_and_back(scalar)
    assert found == plain
    assert type(found) is type(plain)


def test_the_methods_of_a_derived_class_stay_behind() -> None:
    def lies(*_: object) -> bool:
        return True

    bases = (Fraction, Decimal, collections.deque, collections.Counter, collections.OrderedDict, set, tuple, str, int)
    for base in bases:
        liar = type("Liar", (base,), {"__eq__": lies, "__hash__": base.__hash__})()
        assert liar == "anything"
        found = there_and_back(liar)
        assert found == base()
        assert type(found) is base


def test_a_dataclass_that_nobody_knows_is_a_record() -> None:
    one, same, other = (decode(encode(Point(x))) for x in (1, 1, 2))
    assert (one.x, one.y) == (1, 0)
    assert one == same != other
    assert hash(one) == hash(same)
    assert repr(one) == "Point(x=1, y=0)"
    assert one != Record("Size", {"x": 1, "y": 0})
    assert one != Point(1)


def test_an_instance_is_rebuilt_only_where_its_class_is_known() -> None:
    found = there_and_back(Node([Node(3)]))
    assert type(found) is Node
    assert found.value[0].value == 3
    with pytest.raises(NotPlainError, match="class 'Node'"):
        decode(encode(Node(3)))


@pytest.mark.parametrize(
    "value",
    [print, lambda: 1, object(), Node, np.zeros(2), np.longdouble(1), type, [[print]], {1: print}],
    ids=lambda value: type(value).__name__,
)
def test_what_is_nothing_plain_is_refused(value: object) -> None:
    with pytest.raises(NotPlainError, match="is no plain data"):
        encode(value)


def test_what_is_nested_too_deeply_is_refused() -> None:
    nested: list[object] = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(NotPlainError, match="nested too deeply"):
        encode(nested)


@pytest.mark.parametrize(
    "node",
    [
        {"list": 1},
        [],
        ["__import__", "os"],
        [["list"]],
        ["Fraction", 1, 0],
        ["Fraction", 1.5, 2],
        ["Decimal", "one"],
        ["dict", 1],
        ["set", ["list"]],
        ["namedtuple", "Pair", ["tuple", "x"]],
        ["namedtuple", "Pair", ["tuple", "_x"], 1],
        ["namedtuple", "Pair", ["tuple", "x y"], 1],
        ["namedtuple", "Pair", 5],
        ["record", "Point", "x"],
        ["record", "Point", "__class__", 1],
        ["record", "Point", "x y", 1],
        ["record", "Point", 5, 1],
        ["record", "a\0b", "x", 1],
        ["record", ["list"], "x", 1],
        ["object", "Pair", "x", 1],
        ["member", "Point"],
        ["member", ["list"], "x"],
        ["deque", "many", 1],
        ["bytes", "zz"],
        ["int", "0x"],
    ],
    ids=repr,
)
def test_hostile_data_is_refused(node: object) -> None:
    with pytest.raises(ValueError, match="not plain data"):
        decode(node, CLASSES.get)


def test_fields_that_a_known_class_has_not_do_not_fill_it() -> None:
    found = decode(["record", "Point", "x", 1], CLASSES.get)
    assert type(found) is not Point
    with pytest.raises(NotPlainError):
        decode(["object", "Point", "z", 1], CLASSES.get)
