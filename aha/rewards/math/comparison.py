"""The comparison of two values: one rule for each type; expressions are computed, never rewritten.

A comparison returns why the answer is not the reference, and an empty text where it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aha.rewards.math.forms import rename_argument, with_both_signs
from aha.rewards.math.nodes import (
    Chain,
    Collection,
    Matrix,
    Named,
    Operation,
    Quantity,
    Region,
    Relation,
    Symbol,
    Value,
    Words,
    walk,
)
from aha.rewards.math.quantities import has_same_value, quantity_difference
from aha.rewards.math.regions import as_region, region_difference
from aha.rewards.math.relations import are_same_name, as_inequality, as_relation, relation_difference, relation_symbols
from aha.rewards.math.statements import coordinates, measured_value

__all__ = ["difference"]


def difference(gold: Value, answer: Value) -> str:
    """Why an answer is not the reference; empty where it is.

    Args:
        gold: the value of the reference.
        answer: the value of a model's answer.

    Raises:
        TooLargeError: a computation exceeds its limits.
    """
    gold = with_both_signs(gold)
    answer = with_both_signs(answer)

    # The last side of a chain is what a reference works out.
    if isinstance(gold, Chain):
        gold = gold.sides[-1]
    if isinstance(answer, Chain):
        return _compare_chain(gold, answer)
    if isinstance(gold, Named) or isinstance(answer, Named):
        return _compare_named(gold, answer)

    # A set with one element is that element, unless the other is a set too: `\{(1,2)\}` is the solution (1,2).
    match gold, answer:
        case Collection("{}", (single,), False), (Collection("()") | Quantity() | Words()):
            return difference(single, answer)
        case ((Collection("()") | Quantity() | Words()), Collection("{}", (single,), False)):
            return difference(gold, single)

    if isinstance(gold, Collection | Region | Matrix) and isinstance(answer, Collection | Region | Matrix):
        return _compare_collections(gold, answer)

    # `m + n = 5` is worth 5 only beside a value; two equations are compared as equations.
    if isinstance(answer, Quantity):
        gold = measured_value(gold)
    if isinstance(gold, Quantity):
        answer = measured_value(answer)

    if Relation in (type(gold), type(answer)):
        gold = as_inequality(gold)
        answer = as_inequality(answer)

    return _compare_by_type(gold, answer)


def _compare_by_type(gold: Value, answer: Value) -> str:
    """Compares values of which neither has a name and at most one is a collection."""
    match gold, answer:
        case Quantity(), Quantity():
            return quantity_difference(gold, answer)
        # Only a ratio of two numbers is a fraction, and 3:2 is 3/2, never 2/3.
        case (Collection(":", (_, _)), Quantity()) | (Quantity(), Collection(":", (_, _))):
            return quantity_difference(_as_fraction(gold), _as_fraction(answer))
        case ((Words() | Quantity()), (Words() | Quantity())):
            return "" if _letters(gold) == _letters(answer) != "" else "other words"
        case Relation(), Relation():
            return relation_difference(gold, answer)
        # 0 < f(x) < 1 asks for a range, so that an interval answers it.
        case Relation(), (Collection() | Region()):
            return region_difference(as_region(gold), as_region(answer))
        case Collection(brackets="", items=(single,), is_endless=False), _:
            return difference(single, answer)

    return f"another kind of answer: {_KINDS[type(answer)]}"


_KINDS: Final[dict[type, str]] = {
    Quantity: "a value",
    Words: "words",
    Collection: "several values",
    Region: "an inequality or a set",
    Matrix: "a matrix",
    Relation: "an equation or inequality that is not solved",
}


def _letters(value: Value) -> str:
    """Words, or a product of letters as a word, in lower case; empty for other values.

    A single letter is a variable and keeps its case.
    """
    if isinstance(value, Words):
        return value.text
    if not isinstance(value, Quantity):
        return ""

    # `VW` is read as a product of two letters, where MATH has `\text{VW}`.
    letters = ""
    for part in walk(value.node):
        if isinstance(part, Symbol):
            letters += part.name
        elif not isinstance(part, Operation) or part.name != "*":
            return ""
    return letters.lower() if len(letters) > 1 else letters


def _as_fraction(value: Value) -> Quantity:
    """A ratio of two numbers as a fraction; a quantity unchanged."""
    match value:
        case Collection(":", (Quantity(first), Quantity(second))):
            return Quantity(Operation("/", (first, second)))
    assert isinstance(value, Quantity)
    return value


def _compare_chain(gold: Value, answer: Chain) -> str:
    """Compares a chain of equations: all sides must have the value of the reference, and the first or last its form."""
    # Every side is checked: `5 = 4` holds the right value, and is false.
    for side in answer.sides:
        if isinstance(gold, Quantity) and isinstance(side, Quantity) and has_same_value(gold, side):
            continue
        reason = difference(gold, side)
        if reason:
            return reason

    # Equal values are not enough: `40+6 = 12+34` is not worked out, and answers no 46.
    return difference(gold, answer.sides[-1]) and difference(gold, answer.sides[0])


# Names and equations


def _compare_named(gold: Value, answer: Value) -> str:
    """Compares values of which at least one has a name."""
    if isinstance(gold, Named) and isinstance(answer, Named):
        if are_same_name(gold.name, answer.name):
            return difference(gold.value, answer.value)

        # The argument of a function is a name that anyone may choose.
        renamed = rename_argument(gold, answer)
        if renamed is not None:
            return difference(gold.value, renamed.value)

        # y = 2x + 3 may be solved for x instead, but x = 5 must not be named y.
        left = as_relation(gold)
        right = as_relation(answer)
        if left is not None and right is not None and len(relation_symbols(left)) > 1:
            return relation_difference(left, right)

        return f"it is about {answer.name}, not {gold.name}"

    if isinstance(gold, Named):
        return _compare_named_gold(gold, answer)

    assert isinstance(answer, Named)
    return _compare_named_answer(gold, answer)


def _compare_named_gold(gold: Named, answer: Value) -> str:
    """Compares a reference with a name and an answer without."""
    if isinstance(answer, Collection) and _has_names(answer):
        return _compare_roots(gold, answer)

    # An equation between several variables may have any form; the value of a single variable must be worked out.
    relation = as_relation(gold)
    if isinstance(answer, Relation):
        if relation is None or len(relation_symbols(relation)) < 2:
            return "an equation that is not solved"
        return relation_difference(relation, answer)

    return difference(gold.value, answer)


def _compare_named_answer(gold: Value, answer: Named) -> str:
    """Compares a reference without a name and an answer with one."""
    match gold:
        case Collection() if _has_names(gold):
            return _compare_roots(answer, gold)
        case Relation():
            relation = as_relation(answer)
            if relation is None:
                return "it is not the statement that was asked for"
            return relation_difference(gold, relation)
        case Region(variable=variable) if variable and variable != answer.name:
            return f"it is about {answer.name}, not {variable}"
        case Words():
            return "a statement is no word"

    return difference(gold, answer.value)


# Several values


def _compare_collections(gold: Collection | Region | Matrix, answer: Collection | Region | Matrix) -> str:
    """Compares lists, sets, intervals and matrices."""
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        return _compare_matrices(gold, answer)
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return _compare_vectors(gold, answer)
    if isinstance(gold, Region) or isinstance(answer, Region):
        return region_difference(as_region(gold), as_region(answer))
    if _has_names(gold) or _has_names(answer):
        return _compare_assignments(gold, answer)
    return _compare_items(gold, answer)


def _compare_roots(named: Named, several: Collection) -> str:
    """Compares `x = 1, 3` with `x_1 = 1, x_2 = 3`, or `(m,n) = (1,3)` with `m = 1, n = 3`."""
    unknowns = named.name.split(",")
    if len(unknowns) > 1 and isinstance(named.value, Collection):
        # Without this check `coordinates` returns the value as it is, and the comparison calls itself without end.
        if len(unknowns) != len(named.value.items):
            return "more or fewer values than unknowns"
        return difference(coordinates(unknowns, named.value), several)

    names = _names(several)
    are_roots = bool(names) and all(are_same_name(named.name, name) for name in names)
    if not are_roots or not isinstance(named.value, Collection):
        return "it names other unknowns"

    roots = [_without_name(item) for item in several.items]
    return _compare_in_any_order(named.value.items, roots)


def _compare_assignments(gold: Collection, answer: Collection) -> str:
    """Compares values of several unknowns, of which at least one side gives the names."""
    golds = _names(gold)
    answers = _names(answer)

    if _has_names(gold) and _has_names(answer):
        if not golds:
            return _compare_items(gold, answer)
        if sorted(golds) != sorted(answers):
            return "it names other unknowns"
        # Names say which value is which, so that their order is open.
        reordered = [answer.items[answers.index(name)] for name in golds]
        return _compare_in_order(gold.items, reordered)

    if not golds and not answers:
        return "it names some of the values only"

    # x_1 = 1, x_2 = 3 are the roots 1 and 3 in any order.
    gold_items = [_without_name(item) for item in gold.items]
    answer_items = [_without_name(item) for item in answer.items]
    are_roots = len({name.partition("_")[0] for name in golds or answers}) == 1
    if are_roots and {gold.brackets, answer.brackets} <= {"", "{}"}:
        return _compare_in_any_order(gold_items, answer_items)
    if not {gold.brackets, answer.brackets} <= {"", "()"}:
        return "other brackets"

    # x = 1, y = 2 is (1, 2), in the order of the reference, or of the alphabet where the reference has no names.
    if answers:
        alphabetical = sorted(range(len(answers)), key=answers.__getitem__)
        answer_items = [answer_items[index] for index in alphabetical]

    return _compare_in_order(gold_items, answer_items)


def _compare_items(gold: Collection, answer: Collection) -> str:
    """Compares lists, tuples, sets and ratios: as sets, in any order, or item by item, as the brackets say."""
    if gold.is_endless != answer.is_endless:
        return "one of the two goes on without end"

    brackets = {gold.brackets, answer.brackets}
    if gold.is_endless and len(brackets) == 1:
        return _compare_in_order(gold.items, answer.items)
    # Both directions, because sets may repeat an element: {1,2} is {2,1,1}.
    if brackets == {"{}"}:
        return _compare_elements(gold.items, answer.items) or _compare_elements(answer.items, gold.items)
    if brackets <= {"", "{}"}:
        return _compare_in_any_order(gold.items, answer.items)

    # The brackets of a vector of three mean nothing; two numbers may be an interval, where they say which ends belong.
    is_vector = brackets <= {"()", "[]"} and len(gold.items) != 2
    if len(brackets) == 1 or brackets == {"", "()"} or is_vector:
        return _compare_in_order(gold.items, answer.items)

    return "other brackets"


def _has_names(several: Collection) -> bool:
    return any(isinstance(item, Named) for item in several.items)


def _names(several: Collection) -> list[str]:
    """The names of all items; empty where an item has none, or two have the same."""
    names = [item.name for item in several.items if isinstance(item, Named)]
    return names if len(names) == len(set(names)) == len(several.items) else []


def _compare_in_order(gold: Sequence[Value], answer: Sequence[Value]) -> str:
    if len(gold) != len(answer):
        return "more or fewer values"

    for expected, item in zip(gold, answer, strict=True):
        reason = difference(expected, item)
        if reason:
            return reason
    return ""


def _without_name(value: Value) -> Value:
    return value.value if isinstance(value, Named) else value


def _compare_elements(gold: Sequence[Value], answer: Sequence[Value]) -> str:
    """Checks that every element of the first set has an equal in the second."""
    for expected in gold:
        if all(difference(expected, element) for element in answer):
            return "another set"
    return ""


def _compare_in_any_order(gold: Sequence[Value], answer: Sequence[Value]) -> str:
    """Compares two lists whose items may be in any order."""
    if len(gold) != len(answer):
        return "more or fewer values"

    # Each item answers one item alone: 1, 2, 2 is not 1, 1, 2.
    remaining = list(answer)
    for expected in gold:
        for index, item in enumerate(remaining):
            if not difference(expected, item):
                remaining.pop(index)
                break
        else:
            return "a value is missing"

    return ""


def _compare_matrices(gold: Matrix, answer: Matrix) -> str:
    if [len(row) for row in gold.rows] != [len(row) for row in answer.rows]:
        return "a matrix of another shape"

    for gold_row, answer_row in zip(gold.rows, answer.rows, strict=True):
        for expected, element in zip(gold_row, answer_row, strict=True):
            reason = quantity_difference(Quantity(expected), Quantity(element))
            if reason:
                return reason
    return ""


def _compare_vectors(gold: Value, answer: Value) -> str:
    """Compares a matrix with a list of its rows, or of its elements where it has one row or column."""
    gold_elements = _elements(gold)
    answer_elements = _elements(answer)
    if not gold_elements or not answer_elements:
        return "a matrix is no list"
    return _compare_in_order(gold_elements, answer_elements)


def _elements(value: Value) -> Sequence[Value]:
    """The elements of a vector, or the rows of a matrix or a tuple of tuples; empty for other values.

    Rows get the same brackets wherever they come from.
    """
    # A column is written `(1,2)` as well, and a matrix as a list of its rows, `[[1,2],[3,4]]`.
    elements: list[Value] = []
    if isinstance(value, Matrix):
        is_vector = len(value.rows) == 1 or len(value.rows[0]) == 1
        for row in value.rows:
            quantities = [Quantity(element) for element in row]
            if is_vector:
                elements += quantities
            else:
                elements.append(Collection("[]", tuple(quantities)))

    if isinstance(value, Collection) and value.brackets in ("()", "[]"):
        for item in value.items:
            elements.append(replace(item, brackets="[]") if isinstance(item, Collection) else item)

    return elements
