"""Sets of real numbers: solved inequalities, unions of intervals, excluded numbers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aha.rewards.math.arithmetic import real_value
from aha.rewards.math.nodes import (
    EVERYTHING,
    Collection,
    Interval,
    Node,
    Operation,
    Quantity,
    Region,
    Relation,
    Symbol,
    Value,
    symbols_of,
)
from aha.rewards.math.points import are_equal
from aha.rewards.math.reading.tokens import UnreadableError

_UNKNOWNS = (Symbol("x"), Symbol("y"), Symbol("z"), Symbol("t"))

__all__ = ["as_region", "combine_sets", "join_regions", "region_difference", "region_of"]


def region_of(sides: Sequence[Node], signs: Sequence[str]) -> Region | None:
    """The numbers that a solved inequality allows: `x > 5`, `-2 <= x < 7`, `x != 0`; None where it is not solved."""
    # Constants such as e are symbols too, but `symbols_of` leaves them out.
    candidates = [index for index, side in enumerate(sides) if isinstance(side, Symbol) and symbols_of(side)]
    if len(candidates) > 1:
        # The variable of 0 < x < a is the one in the middle; that of x < a is x.
        unknowns = [index for index in candidates if sides[index] in _UNKNOWNS]
        candidates = [1] if len(sides) == 3 and 1 in candidates else unknowns

    if len(candidates) != 1:
        return None

    # x < 2x - 1 has its variable on both sides: it is not solved.
    index = candidates[0]
    name = next(iter(symbols_of(sides[index])))
    for other, side in enumerate(sides):
        if other != index and name in symbols_of(side):
            return None

    if signs == ["!="]:
        return Region((EVERYTHING,), name, holes=(sides[1 - index],))

    is_rising = all(sign in ("<", "<=") for sign in signs)
    if not is_rising and not all(sign in (">", ">=") for sign in signs):
        return None

    # Sides from the smallest to the largest; the signs keep whether an end belongs to the set.
    if not is_rising:
        sides = list(reversed(sides))
        signs = list(reversed(signs))
        index = len(sides) - 1 - index

    # In a < b < x both other sides would be bounds of the same kind.
    if len(sides) > 3 or (len(sides) == 3 and index != 1):
        return None

    low = sides[index - 1] if index > 0 else None
    high = sides[index + 1] if index + 1 < len(sides) else None
    interval = Interval(
        _finite_end(low),
        _finite_end(high),
        has_low=low is not None and signs[index - 1].endswith("="),
        has_high=high is not None and signs[index].endswith("="),
    )
    return Region((interval,), name)


def as_region(value: Value) -> Region | None:
    """A value as a region: an interval in brackets, a list of them, an inequality about `f(x)`; None for others."""
    if isinstance(value, Region):
        return value
    if isinstance(value, Relation):
        sides = [_call_as_symbol(side) for side in value.sides]
        return region_of(sides, value.signs)
    if not isinstance(value, Collection) or value.is_endless:
        return None

    if not value.brackets:
        intervals: list[Interval] = []
        for item in value.items:
            # A list within a list is no union of intervals.
            is_list = isinstance(item, Collection) and not item.brackets
            region = None if is_list else as_region(item)
            if region is None:
                return None
            intervals += region.intervals
        return Region(tuple(intervals))

    # Only here does a pair become an interval: the same text may as well be a point.
    if value.brackets in ("()", "[]", "(]", "[)") and len(value.items) == 2:
        low, high = (_end_node(item) for item in value.items)
        if low is None or high is None:
            return None
        has_low = value.brackets[0] == "["
        has_high = value.brackets[1] == "]"
        interval = Interval(_finite_end(low), _finite_end(high), has_low, has_high)
        return Region((interval,))

    return None


def _call_as_symbol(node: Node) -> Node:
    """`f(x)` as one symbol; any other expression unchanged."""
    match node:
        case Operation("apply", (Symbol(function), Symbol(argument))):
            return Symbol(f"{function}({argument})")
    return node


def combine_sets(left: Value, right: Value, operator: str) -> Value:
    r"""The union of two sets, or their difference.

    Args:
        left: the left operand.
        right: the right operand.
        operator: `cup`, `setminus`, `backslash` or `-`; `cap` is refused.

    Raises:
        UnreadableError: the operands are no sets, or the operation is not supported.
    """
    left_region = as_region(left)
    right_region = as_region(right)
    left_points = _points(left)
    right_points = _points(right)

    # The union of two finite sets is a finite set.
    if isinstance(left, Collection) and isinstance(right, Collection):
        are_sets = left.brackets == right.brackets == "{}"
        if operator == "cup" and are_sets:
            items = (*left.items, *right.items)
            return Collection("{}", items)

    # Beside an interval, the elements of a set are intervals of a single point.
    if operator == "cup" and (left_region or left_points) and (right_region or right_points):
        left_region = left_region or _region_of_points(left_points)
        right_region = right_region or _region_of_points(right_points)
        return join_regions([left_region, right_region], ["or"])

    if operator in ("setminus", "backslash", "-") and left_region is not None and right_points:
        holes = (*left_region.holes, *right_points)
        return Region(left_region.intervals, left_region.variable, holes)

    raise UnreadableError(f"it has a {operator} of what are no intervals")


def _points(value: Value) -> list[Node]:
    """The elements of a finite set of expressions; an empty list where a value is no such set."""
    if not isinstance(value, Collection) or value.brackets != "{}" or value.is_endless:
        return []

    nodes: list[Node] = []
    for item in value.items:
        node = _end_node(item)
        if node is None:
            return []
        nodes.append(node)
    return nodes


def _region_of_points(nodes: Sequence[Node]) -> Region:
    return Region(tuple(Interval(node, node, True, True) for node in nodes))


def join_regions(regions: Sequence[Region], separators: Sequence[str]) -> Region:
    """The union of regions, or their intersection if they are joined by `and` or a comma and have one.

    `x > 1 and x < 3` lies between 1 and 3, while `x < 1 and x > 3` can only mean both sides. Excluded numbers are
    excluded from the whole.

    Raises:
        UnreadableError: they are about different variables, or a number is excluded from only one part of a union.
    """
    variables = {region.variable for region in regions}
    if len(variables) > 1:
        raise UnreadableError("its inequalities are about different variables")

    holes = tuple(hole for region in regions for hole in region.holes)
    if holes and "or" in separators:
        raise UnreadableError("it leaves a number out of one part only")

    # `x != 4`, as in CARP, is all numbers but one: beside other inequalities only the excluded number counts.
    intervals: list[Interval] = []
    for region in regions:
        intervals += [interval for interval in region.intervals if interval != EVERYTHING or not region.holes]

    # Each part must be a single interval: a union has no intersection here that is an interval again.
    if len(intervals) == len(separators) + 1 and "or" not in separators:
        common: Interval | None = intervals[0]
        for interval in intervals[1:]:
            common = common and _overlap(common, interval)
        if common:
            intervals = [common]

    return Region(tuple(intervals) or (EVERYTHING,), variables.pop(), holes)


def _overlap(first: Interval, second: Interval) -> Interval | None:
    """The intersection of two intervals; None where it is empty, or where an end is no number."""
    # An end is its value, a flag that makes the narrower of two equal ends win, and its expression.
    lows: list[tuple[Any, bool, Node]] = []
    highs: list[tuple[Any, bool, Node]] = []
    for interval in (first, second):
        if interval.low is not None:
            lows.append((real_value(interval.low), not interval.has_low, interval.low))
        if interval.high is not None:
            highs.append((real_value(interval.high), interval.has_high, interval.high))

    if any(value is None for value, _, _ in (*lows, *highs)):
        return None

    # Expressions have no order: only the first two parts of an end are compared.
    low = max(lows, key=lambda end: end[:2], default=None)
    high = min(highs, key=lambda end: end[:2], default=None)
    if low and high and low[0] > high[0]:
        return None

    return Interval(
        low=low[2] if low else None,
        high=high[2] if high else None,
        # The flag of a lower end says that it is left out, that of an upper one that it belongs.
        has_low=bool(low and not low[1]),
        has_high=bool(high and high[1]),
    )


def _end_node(item: Value) -> Node | None:
    """The expression of an end or of an element; None where an item is no plain expression."""
    return item.node if isinstance(item, Quantity) and not item.is_percent else None


def _finite_end(node: Node | None) -> Node | None:
    """The expression of an end; None for infinity, which is no bound."""
    infinity = Symbol("infty")
    negative_infinity = Operation("neg", (infinity,))
    return None if node in (infinity, negative_infinity) else node


def region_difference(gold: Region | None, answer: Region | None) -> str:
    """Why a set of real numbers is not the reference; empty where it is. None stands for a value of another kind."""
    if gold is None or answer is None:
        return "another kind of set"
    # An interval in brackets names no variable, and answers an inequality about any.
    if gold.variable and answer.variable and gold.variable != answer.variable:
        return f"it is about {answer.variable}, not {gold.variable}"

    golds = _merge_intervals(gold)
    answers = _merge_intervals(answer)
    if len(golds) != len(answers):
        return "another set"

    for left, right in zip(golds, answers, strict=True):
        if (left.has_low, left.has_high) != (right.has_low, right.has_high):
            return "an end belongs to only one of the two"
        if not _are_same_end(left.low, right.low) or not _are_same_end(left.high, right.high):
            return "another end"

    return ""


def _are_same_end(gold: Node | None, answer: Node | None) -> bool:
    if gold is None or answer is None:
        return gold is answer
    return are_equal(gold, answer)


def _merge_intervals(region: Region) -> list[Interval]:
    """The disjoint intervals of a region from left to right, split at its holes.

    Where an end is no number, they stay in the order of the text.
    """
    intervals = _split_at_holes(region)

    # An interval without a lower bound comes first.
    lows = [None if interval.low is None else real_value(interval.low) for interval in intervals]
    for low, interval in zip(lows, intervals, strict=True):
        if low is None and interval.low is not None:
            return intervals

    # Ends stay as they are written; only their order follows from their values.
    keys = [(False, 0) if low is None else (True, low) for low in lows]
    order = sorted(range(len(intervals)), key=keys.__getitem__)

    merged: list[Interval] = []
    for index in order:
        interval = intervals[index]
        if merged and _are_adjacent(merged[-1], interval):
            interval = _union(merged.pop(), interval)
        merged.append(interval)

    return merged


def _split_at_holes(region: Region) -> list[Interval]:
    """The intervals of a region, each divided at the excluded numbers within it."""
    intervals = list(region.intervals)
    for hole in region.holes:
        pieces: list[Interval] = []
        for interval in intervals:
            if _lies_in(hole, interval):
                pieces.append(replace(interval, high=hole, has_high=False))
                pieces.append(replace(interval, low=hole, has_low=False))
            else:
                pieces.append(interval)
        intervals = pieces
    return intervals


def _union(left: Interval, right: Interval) -> Interval:
    """The union of two intervals that overlap or touch, of which `left` begins first."""
    left_high = None if left.high is None else real_value(left.high)
    right_high = None if right.high is None else real_value(right.high)

    contains_right = left_high is not None and right_high is not None and left_high > right_high
    if left.high is None or contains_right:
        return left
    return replace(right, low=left.low, has_low=left.has_low)


def _lies_in(node: Node, interval: Interval) -> bool:
    value = real_value(node)
    low = None if interval.low is None else real_value(interval.low)
    high = None if interval.high is None else real_value(interval.high)
    if value is None:
        return False
    return (low is None or low < value) and (high is None or value < high)


def _are_adjacent(left: Interval, right: Interval) -> bool:
    """Whether two intervals, of which the first begins before the second, leave no number between them."""
    if left.high is None or right.low is None:
        return True
    end = real_value(left.high)
    start = real_value(right.low)
    if end is None or start is None:
        return False

    # (0,1) and (1,2) leave out the 1, (0,1] and (1,2) leave out nothing.
    is_end_covered = left.has_high or right.has_low
    return bool(start < end or (start == end and is_end_covered))
