"""Are two values the same answer? One rule for each type of value; expressions are computed, never rewritten."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aha.rewards.math.forms import with_argument_of, with_both_signs
from aha.rewards.math.nodes import (
    Chain,
    Interval,
    Matrix,
    Named,
    Operation,
    Quantity,
    Region,
    Relation,
    Several,
    Symbol,
    Value,
    Words,
    symbols_of,
    walk,
)
from aha.rewards.math.points import are_equal, zero_ratio
from aha.rewards.math.quantities import has_same_value, quantity_difference
from aha.rewards.math.regions import as_region, region_difference
from aha.rewards.math.statements import coordinates, measured

__all__ = ["difference"]

_NAME: Final = re.compile(r"([^_(]*)((?:_[^(]*)?)((?:\(.*)?)", re.DOTALL)
_OPPOSITE: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def difference(gold: Value, answer: Value) -> str:
    """Why an answer is not the reference; empty where it is.

    Args:
        gold: the reference.
        answer: what a model wrote.

    Raises:
        TooLargeError: a computation passes its limits.
    """
    gold, answer = with_both_signs(gold), with_both_signs(answer)
    if isinstance(gold, Chain):
        gold = gold.sides[-1]
    if isinstance(answer, Chain):
        return _chain(gold, answer)
    if isinstance(gold, Named) or isinstance(answer, Named):
        return _named(gold, answer)

    # A set with one element is that element, unless the other is a set too.
    match gold, answer:
        case Several("{}", (single,), False), (Several("()") | Quantity() | Words()):
            return difference(single, answer)
        case ((Several("()") | Quantity() | Words()), Several("{}", (single,), False)):
            return difference(gold, single)

    if isinstance(gold, Several | Region | Matrix) and isinstance(answer, Several | Region | Matrix):
        return _collections(gold, answer)

    if isinstance(answer, Quantity):
        gold = measured(gold)
    if isinstance(gold, Quantity):
        answer = measured(answer)
    if Relation in (type(gold), type(answer)):
        gold, answer = _as_inequality(gold), _as_inequality(answer)
    return _by_type(gold, answer)


def _by_type(gold: Value, answer: Value) -> str:
    """Where neither has a name, and at most one of the two is several values."""
    match gold, answer:
        case Quantity(), Quantity():
            return quantity_difference(gold, answer)
        case (Several(":", (_, _)), Quantity()) | (Quantity(), Several(":", (_, _))):
            return quantity_difference(_as_fraction(gold), _as_fraction(answer))
        case ((Words() | Quantity()), (Words() | Quantity())):
            return "" if _letters(gold) == _letters(answer) != "" else "other words"
        case Relation(), Relation():
            return _relations(gold, answer)
        case Relation(), (Several() | Region()):
            return region_difference(as_region(gold), as_region(answer))
        case Several(brackets="", items=(single,), is_endless=False), _:
            return difference(single, answer)
    return f"another kind of answer: {_KINDS[type(answer)]}"


_KINDS: Final[dict[type, str]] = {
    Quantity: "a value",
    Words: "words",
    Several: "several values",
    Region: "an inequality or a set",
    Matrix: "a matrix",
    Relation: "an equation or inequality that is not solved",
}


def _letters(value: Value) -> str:
    """A word, or letters side by side, in small letters; a letter alone is a variable and has a case."""
    if isinstance(value, Words):
        return value.text
    nodes = list(walk(value.node)) if isinstance(value, Quantity) else []
    if any(not isinstance(one, Symbol) and not (isinstance(one, Operation) and one.name == "*") for one in nodes):
        return ""
    letters = "".join(one.name for one in nodes if isinstance(one, Symbol))
    return letters.lower() if len(letters) > 1 else letters


def _as_fraction(value: Value) -> Quantity:
    """A ratio of two as a fraction."""
    match value:
        case Several(":", (Quantity(over), Quantity(under))):
            return Quantity(Operation("/", (over, under)))
    assert isinstance(value, Quantity)
    return value


def _chain(gold: Value, answer: Chain) -> str:
    """A chain of equations: all its sides are worth the same, and the first or the last of them is the answer."""
    for side in answer.sides:
        is_worth_it = isinstance(gold, Quantity) and isinstance(side, Quantity) and has_same_value(gold, side)
        if not is_worth_it and (why := difference(gold, side)):
            return why
    return difference(gold, answer.sides[-1]) and difference(gold, answer.sides[0])


# Names and equations


def _named(gold: Value, answer: Value) -> str:
    """Where at least one of two values has a name."""
    if isinstance(gold, Named) and isinstance(answer, Named):
        if _same_name(gold.name, answer.name):
            return difference(gold.value, answer.value)
        renamed = with_argument_of(gold, answer)
        if renamed is not None:
            return difference(gold.value, renamed.value)
        left, right = _as_relation(gold), _as_relation(answer)
        if left is not None and right is not None and len(_symbols(left)) > 1:
            return _relations(left, right)
        return f"it is about {answer.name}, not {gold.name}"
    if isinstance(gold, Named):
        return _for_named(gold, answer)
    assert isinstance(answer, Named)
    return _by_named(gold, answer)


def _for_named(gold: Named, answer: Value) -> str:
    """A reference with a name, an answer without."""
    if isinstance(answer, Several) and _has_names(answer):
        return _roots(gold, answer)

    # An equation between several variables may be written in any way; what a single one is worth must be solved.
    relation = _as_relation(gold)
    if isinstance(answer, Relation):
        if relation is None or len(_symbols(relation)) < 2:
            return "an equation that is not solved"
        return _relations(relation, answer)
    return difference(gold.value, answer)


def _by_named(gold: Value, answer: Named) -> str:
    """A reference without a name, an answer with one."""
    match gold:
        case Several() if _has_names(gold):
            return _roots(answer, gold)
        case Relation():
            relation = _as_relation(answer)
            return "it is not the statement that was asked for" if relation is None else _relations(gold, relation)
        case Region(variable=variable) if variable and variable != answer.name:
            return f"it is about {answer.name}, not {variable}"
        case Words():
            return "a statement is no word"
    return difference(gold, answer.value)


def _same_name(left: str, right: str) -> bool:
    """Whether two names are the same; a subscript, or the brackets of a function, may be missing in one of them."""
    if "y" in (left, right) and any(re.fullmatch(r"[fgh]\(x\)", name) for name in (left, right)):
        return True
    bases, subscripts, arguments = zip(*(_NAME.fullmatch(name).groups() for name in (left, right)), strict=True)  # type: ignore[union-attr]  # anything matches
    return bases[0] == bases[1] and all(one == other or "" in (one, other) for one, other in (subscripts, arguments))


def _as_relation(value: Named) -> Relation | None:
    """`y = 2x` as an equation; None where the value is no expression."""
    if isinstance(value.value, Quantity) and not value.value.unit:
        return Relation((Symbol(value.name), value.value.node), ("=",))
    return None


def _symbols(relation: Relation) -> frozenset[str]:
    return symbols_of(relation.sides[0]) | symbols_of(relation.sides[1])


def _relations(gold: Relation, answer: Relation) -> str:
    """Two equations or inequalities: the same up to a factor, which must not turn an inequality round."""
    if len(gold.sides) != len(answer.sides):
        return "it is not the statement that was asked for"
    if gold.sides == answer.sides and gold.signs == answer.signs:
        return ""
    if len(gold.sides) > 2:
        is_same = gold.signs == answer.signs and all(map(are_equal, gold.sides, answer.sides))
        return "" if is_same else "another statement"

    ratio = zero_ratio(gold.sides, answer.sides)
    if ratio is None:
        return "another statement"
    sign = answer.signs[0] if ratio > 0 else _OPPOSITE[answer.signs[0]]
    return "" if sign == gold.signs[0] else "its sign points the other way"


def _as_inequality(value: Value) -> Value:
    """`y < 5 - x`, which is solved for `y`, as an inequality between its variables."""
    match value:
        case Region((Interval(low, None, has_end, False),), name, ()) if low is not None and symbols_of(low):
            return Relation((Symbol(name), low), (">=" if has_end else ">",))
        case Region((Interval(None, high, False, has_end),), name, ()) if high is not None and symbols_of(high):
            return Relation((Symbol(name), high), ("<=" if has_end else "<",))
    return value


# Several values


def _collections(gold: Several | Region | Matrix, answer: Several | Region | Matrix) -> str:
    """Lists, sets, intervals and matrices."""
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        return _matrices(gold, answer)
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return _vectors(gold, answer)
    if isinstance(gold, Several) and isinstance(answer, Several):
        return _assignments(gold, answer) if _has_names(gold) or _has_names(answer) else _several(gold, answer)
    return region_difference(as_region(gold), as_region(answer))


def _roots(named: Named, several: Several) -> str:
    """`x = 1, 3` beside `x_1 = 1, x_2 = 3`, or `(m,n) = (1,3)` beside `m = 1, n = 3`."""
    unknowns = named.name.split(",")
    if len(unknowns) > 1 and isinstance(named.value, Several):
        if len(unknowns) != len(named.value.items):
            return "more or fewer values than unknowns"
        return difference(coordinates(unknowns, named.value), several)
    names = _names(several)
    if not names or not all(_same_name(named.name, name) for name in names) or not isinstance(named.value, Several):
        return "it names other unknowns"
    return _matched(named.value.items, [_unnamed(item) for item in several.items])


def _assignments(gold: Several, answer: Several) -> str:
    """Values of several unknowns, of which at least one side gives the names."""
    golds, answers = _names(gold), _names(answer)
    if _has_names(gold) and _has_names(answer):
        if not golds:
            return _several(gold, answer)
        if sorted(golds) != sorted(answers):
            return "it names other unknowns"
        return _in_order(gold.items, [answer.items[answers.index(name)] for name in golds])
    if not golds and not answers:
        return "it names some of the values only"

    # x_1 = 1, x_2 = 3 are the roots 1 and 3 in any order; x = 1, y = 2 is (1, 2), in the order of the reference, or of
    # the alphabet where that has no names.
    items = [[_unnamed(item) for item in side.items] for side in (gold, answer)]
    are_roots = len({name.partition("_")[0] for name in golds or answers}) == 1
    if are_roots and {gold.brackets, answer.brackets} <= {"", "{}"}:
        return _matched(*items)
    if not {gold.brackets, answer.brackets} <= {"", "()"}:
        return "other brackets"
    if answers:
        items[1] = [items[1][index] for index in sorted(range(len(answers)), key=answers.__getitem__)]
    return _in_order(*items)


def _several(gold: Several, answer: Several) -> str:
    """Lists, tuples, sets and ratios: as sets, in any order, or item by item, as the brackets say."""
    if gold.is_endless != answer.is_endless:
        return "one of the two goes on without end"
    brackets = {gold.brackets, answer.brackets}
    if gold.is_endless and len(brackets) == 1:
        return _in_order(gold.items, answer.items)
    if brackets == {"{}"}:
        return _covered(gold.items, answer.items) or _covered(answer.items, gold.items)
    if brackets <= {"", "{}"}:
        return _matched(gold.items, answer.items)

    # A vector of three may have brackets of either kind; two numbers may be an interval, where each kind means another.
    is_vector = brackets <= {"()", "[]"} and len(gold.items) != 2
    if len(brackets) == 1 or brackets == {"", "()"} or is_vector:
        return _in_order(gold.items, answer.items)
    return "other brackets"


def _has_names(several: Several) -> bool:
    return any(isinstance(item, Named) for item in several.items)


def _names(several: Several) -> list[str]:
    """The different names of all items; empty where one has none, or two have the same."""
    names = [item.name for item in several.items if isinstance(item, Named)]
    return names if len(names) == len(set(names)) == len(several.items) else []


def _in_order(gold: Sequence[Value], answer: Sequence[Value]) -> str:
    if len(gold) != len(answer):
        return "more or fewer values"
    return next((why for pair in zip(gold, answer, strict=True) if (why := difference(*pair))), "")


def _unnamed(value: Value) -> Value:
    return value.value if isinstance(value, Named) else value


def _covered(gold: Sequence[Value], answer: Sequence[Value]) -> str:
    """Whether every item has its equal."""
    return "" if all(any(not difference(one, other) for other in answer) for one in gold) else "another set"


def _matched(gold: Sequence[Value], answer: Sequence[Value]) -> str:
    """Whether the items of two lists are the same in some order."""
    if len(gold) != len(answer):
        return "more or fewer values"
    left = list(answer)
    for one in gold:
        index = next((index for index, other in enumerate(left) if not difference(one, other)), None)
        if index is None:
            return "a value is missing"
        left.pop(index)
    return ""


def _matrices(gold: Matrix, answer: Matrix) -> str:
    if [len(row) for row in gold.rows] != [len(row) for row in answer.rows]:
        return "a matrix of another shape"
    pairs = [pair for rows in zip(gold.rows, answer.rows, strict=True) for pair in zip(*rows, strict=True)]
    return next((why for left, right in pairs if (why := quantity_difference(Quantity(left), Quantity(right)))), "")


def _vectors(gold: Value, answer: Value) -> str:
    """A matrix against a list of its rows, or of its elements where it has one row or column."""
    sides = [_elements(value) for value in (gold, answer)]
    if not sides[0] or not sides[1]:
        return "a matrix is no list"
    return _in_order(*sides)


def _elements(value: Value) -> Sequence[Value]:
    """What stands in a matrix or a tuple, rows as tuples; nothing where a value is neither."""
    if isinstance(value, Matrix):
        rows = [[Quantity(one) for one in row] for row in value.rows]
        is_vector = len(rows) == 1 or len(rows[0]) == 1
        return [one for row in rows for one in row] if is_vector else [Several("[]", tuple(row)) for row in rows]
    if not isinstance(value, Several) or value.brackets not in ("()", "[]"):
        return ()
    return [replace(one, brackets="[]") if isinstance(one, Several) else one for one in value.items]
