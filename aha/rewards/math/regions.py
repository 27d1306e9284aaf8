"""Sets of real numbers: inequalities that are solved, unions of intervals, numbers that are left out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aha.rewards.math.arithmetic import real_value
from aha.rewards.math.nodes import (
    EVERYTHING,
    Interval,
    Node,
    Operation,
    Quantity,
    Region,
    Relation,
    Several,
    Symbol,
    Value,
    symbols_of,
)
from aha.rewards.math.points import are_equal
from aha.rewards.math.tokens import UnreadableError

_UNKNOWNS = (Symbol("x"), Symbol("y"), Symbol("z"), Symbol("t"))

__all__ = ["as_region", "between", "combined", "region_difference", "region_of"]


def region_of(sides: Sequence[Node], signs: Sequence[str]) -> Region | None:
    """The numbers that a solved inequality allows: `x > 5`, `-2 <= x < 7`, `x != 0`; None where it is not solved."""
    variables = [index for index, side in enumerate(sides) if isinstance(side, Symbol) and symbols_of(side)]
    if len(variables) > 1:
        # Of 0 < x < a it is the one in the middle; of x < a it is x.
        unknowns = [index for index in variables if sides[index] in _UNKNOWNS]
        variables = [1] if len(sides) == 3 and 1 in variables else unknowns
    if len(variables) != 1:
        return None
    index = variables[0]
    name = next(iter(symbols_of(sides[index])))
    if any(name in symbols_of(side) for place, side in enumerate(sides) if place != index):
        return None

    if signs == ["!="]:
        return Region((EVERYTHING,), name, holes=(sides[1 - index],))
    is_rising = all(sign in ("<", "<=") for sign in signs)
    if not is_rising and not all(sign in (">", ">=") for sign in signs):
        return None
    if not is_rising:
        sides, signs = list(reversed(sides)), list(reversed(signs))
        index = len(sides) - 1 - index
    if len(sides) > 3 or (len(sides) == 3 and index != 1):
        return None

    low = sides[index - 1] if index > 0 else None
    high = sides[index + 1] if index + 1 < len(sides) else None
    return Region(
        (
            Interval(
                _bounded(low),
                _bounded(high),
                low is not None and signs[index - 1].endswith("="),
                high is not None and signs[index].endswith("="),
            ),
        ),
        name,
    )


def as_region(value: Value) -> Region | None:
    """An interval in brackets, a list of them, an inequality about `f(x)`, as a region; None where a value is none."""
    if isinstance(value, Region):
        return value
    if isinstance(value, Relation):
        return region_of([_called(side) for side in value.sides], value.signs)
    if isinstance(value, Several) and not value.brackets and not value.is_endless:
        parts = [None if isinstance(item, Several) and not item.brackets else as_region(item) for item in value.items]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return Region(tuple(interval for part in known for interval in part.intervals))

    if isinstance(value, Several) and value.brackets in ("()", "[]", "(]", "[)") and len(value.items) == 2:
        ends = [_end(item) for item in value.items]
        if None in ends or value.is_endless:
            return None
        low, high = (end for end in ends if end is not None)
        return Region((Interval(_bounded(low), _bounded(high), value.brackets[0] == "[", value.brackets[1] == "]"),))
    return None


def _called(node: Node) -> Node:
    """`f(x)` as one symbol; any other expression as it is."""
    match node:
        case Operation("apply", (Symbol(function), Symbol(argument))):
            return Symbol(f"{function}({argument})")
    return node


def combined(left: Value, right: Value, operator: str) -> Value:
    r"""Two sets under `cup`, `cap` or `setminus`.

    Raises:
        UnreadableError: they are no sets, or not such as can be read.
    """
    is_set = [isinstance(value, Several) and value.brackets == "{}" for value in (left, right)]
    points = [_points(value) for value in (left, right)]
    first, second = as_region(left), as_region(right)

    # Two finite sets stay one; beside an interval, the elements of a set are intervals of a single point.
    if operator == "cup" and isinstance(left, Several) and isinstance(right, Several) and all(is_set):
        return Several("{}", (*left.items, *right.items))
    if operator == "cup" and (first or points[0]) and (second or points[1]):
        sides = [known or _region_of_points(nodes) for known, nodes in zip((first, second), points, strict=True)]
        return between(sides, ["or"])

    if operator in ("setminus", "backslash", "-") and first is not None and points[1]:
        return Region(first.intervals, first.variable, (*first.holes, *points[1]))
    raise UnreadableError(f"it has a {operator} of what are no intervals")


def _points(value: Value) -> list[Node]:
    """The elements of a finite set; none where a value is no such set."""
    if not isinstance(value, Several) or value.brackets != "{}" or value.is_endless:
        return []
    nodes = [node for item in value.items if (node := _end(item)) is not None]
    return nodes if len(nodes) == len(value.items) else []


def _region_of_points(nodes: Sequence[Node]) -> Region:
    return Region(tuple(Interval(node, node, True, True) for node in nodes))


def between(regions: Sequence[Region], separators: Sequence[str]) -> Region:
    """Several regions as one: their union; with `and` or a comma what they have in common, if they have anything.

    `x > 1 and x < 3` lies between 1 and 3; `x < 1 and x > 3` can only mean both sides. Numbers that are left out are
    left out of all.

    Raises:
        UnreadableError: they are about different variables, or a number is left out of only one of them.
    """
    variables = {region.variable for region in regions}
    if len(variables) > 1:
        raise UnreadableError("its inequalities are about different variables")
    holes = tuple(hole for region in regions for hole in region.holes)
    if holes and "or" in separators:
        raise UnreadableError("it leaves a number out of one part only")

    intervals = tuple(one for region in regions for one in region.intervals if one != EVERYTHING or not region.holes)
    if len(intervals) == len(separators) + 1 and "or" not in separators:
        common: Interval | None = intervals[0]
        for one in intervals[1:]:
            common = common and _overlap(common, one)
        intervals = (common,) if common else intervals
    return Region(intervals or (EVERYTHING,), variables.pop(), holes)


def _overlap(first: Interval, second: Interval) -> Interval | None:
    """What lies in two intervals; None where nothing does, or where an end is no number."""
    both = (first, second)
    lows: list[tuple[Any, bool, Node]] = [
        (real_value(one.low), not one.has_low, one.low) for one in both if one.low is not None
    ]
    highs: list[tuple[Any, bool, Node]] = [
        (real_value(one.high), one.has_high, one.high) for one in both if one.high is not None
    ]
    if any(value is None for value, _, _ in (*lows, *highs)):
        return None

    # Of two equal ends, the one that leaves the number out holds.
    low = max(lows, key=lambda end: end[:2], default=None)
    high = min(highs, key=lambda end: end[:2], default=None)
    if low and high and low[0] > high[0]:
        return None
    return Interval(low and low[2], high and high[2], bool(low and not low[1]), bool(high and high[1]))


def _end(item: Value) -> Node | None:
    """The expression of an end."""
    return item.node if isinstance(item, Quantity) and not item.is_percent else None


def _bounded(node: Node | None) -> Node | None:
    """An end; None for infinity, which is no bound."""
    infinity = Symbol("infty")
    return None if node in (infinity, Operation("neg", (infinity,))) else node


def region_difference(gold: Region | None, answer: Region | None) -> str:
    """Two sets of real numbers."""
    if gold is None or answer is None:
        return "another kind of set"
    if gold.variable and answer.variable and gold.variable != answer.variable:
        return f"it is about {answer.variable}, not {gold.variable}"
    golds, answers = _merged(gold), _merged(answer)
    if len(golds) != len(answers):
        return "another set"
    for left, right in zip(golds, answers, strict=True):
        if (left.has_low, left.has_high) != (right.has_low, right.has_high):
            return "an end belongs to only one of the two"
        for ours, theirs in ((left.low, right.low), (left.high, right.high)):
            if (ours is None) != (theirs is None):
                return "another end"
            if ours is not None and theirs is not None and not are_equal(ours, theirs):
                return "another end"
    return ""


def _merged(region: Region) -> list[Interval]:
    """The intervals from left to right, split at the holes; in the order of the text where ends are no numbers."""
    intervals = list(region.intervals)
    for hole in region.holes:
        split: list[Interval] = []
        for one in intervals:
            if _lies_in(hole, one):
                split += [replace(one, high=hole, has_high=False), replace(one, low=hole, has_low=False)]
            else:
                split.append(one)
        intervals = split

    keys = [None if one.low is None else real_value(one.low) for one in intervals]
    if any(key is None and one.low is not None for key, one in zip(keys, intervals, strict=True)):
        return intervals
    ordered = sorted(
        zip(keys, intervals, strict=True), key=lambda pair: (pair[0] is not None, 0 if pair[0] is None else pair[0])
    )
    merged: list[Interval] = []
    for _, one in ordered:
        if merged and _touch(merged[-1], one):
            last = merged.pop()
            highs = [real_value(end.high) if end.high is not None else None for end in (last, one)]
            if last.high is None or (highs[0] is not None and highs[1] is not None and highs[0] > highs[1]):
                one = replace(one, high=last.high, has_high=last.has_high)
            one = replace(one, low=last.low, has_low=last.has_low)
        merged.append(one)
    return merged


def _lies_in(node: Node, interval: Interval) -> bool:
    value = real_value(node)
    low = None if interval.low is None else real_value(interval.low)
    high = None if interval.high is None else real_value(interval.high)
    return value is not None and (low is None or low < value) and (high is None or value < high)


def _touch(left: Interval, right: Interval) -> bool:
    """Whether two intervals, the first beginning before the second, leave no number between them."""
    if left.high is None or right.low is None:
        return True
    end, start = real_value(left.high), real_value(right.low)
    if end is None or start is None:
        return False
    return bool(start < end or (start == end and (left.has_high or right.has_low)))
