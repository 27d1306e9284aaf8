"""Values in an equivalent form: plus-or-minus written out as two values, the argument of a function renamed."""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final

from aha.rewards.math.nodes import (
    CONSTANTS,
    Collection,
    Named,
    Node,
    Number,
    Operation,
    Quantity,
    Symbol,
    Value,
    symbols_of,
    walk,
)

__all__ = ["rename_argument", "with_both_signs"]

_FUNCTION: Final = re.compile(r"([^()]+)\(([a-z])\)")


def with_both_signs(value: Value) -> Value:
    """A value in which plus-or-minus is written out as two values."""
    match value:
        case Quantity(node):
            # All signs of an expression go together, so that two of them give two values and not four.
            if _has_sign(node):
                upper = replace(value, node=_choose_sign(node, is_upper=True))
                lower = replace(value, node=_choose_sign(node, is_upper=False))
                return Collection("", (upper, lower))
        case Named(name, inner):
            return Named(name, with_both_signs(inner))
        case Collection("" | "{}" as brackets, items, is_endless):
            # A coordinate or the end of an interval cannot be two values: other brackets stay as they are.
            expanded = [with_both_signs(item) for item in items]
            if expanded != list(items):
                flat = _without_inner_lists(expanded)
                return Collection(brackets, tuple(flat), is_endless)

    return value


def _without_inner_lists(items: Sequence[Value]) -> list[Value]:
    r"""Items with the values of lists among them: MATH has `\{1\pm\sqrt{5},-2\}`, a set of three."""
    flat: list[Value] = []
    for item in items:
        if isinstance(item, Collection) and not item.brackets:
            flat += item.items
        else:
            flat.append(item)
    return flat


def _has_sign(node: Node) -> bool:
    operations = {part.name for part in walk(node) if isinstance(part, Operation)}
    return not operations.isdisjoint(("pm", "mp"))


def _choose_sign(node: Node, *, is_upper: bool) -> Node:
    r"""An expression with the upper or the lower of its signs: `\pm` is `+` above and `-` below."""
    if not isinstance(node, Operation):
        return node

    operands = tuple(_choose_sign(operand, is_upper=is_upper) for operand in node.operands)
    if node.name in ("pm", "mp"):
        # The parser puts a zero before a leading sign, which must not turn up in a value: `-x` is no `0-x` as written.
        sign = "+" if (node.name == "pm") == is_upper else "-"
        if operands[0] == Number(Fraction(0)):
            return operands[1] if sign == "+" else Operation("neg", operands[1:])
        return Operation(sign, operands)

    return Operation(node.name, operands)


def rename_argument(gold: Named, answer: Named) -> Named | None:
    """Turns `f(t) = t + 1` into `f(x) = x + 1` where the reference has x.

    Returns:
        The answer with the argument of the reference; None where the two do not define the same function, or where one
        of the two letters means something else in the other definition.
    """
    gold_name = _FUNCTION.fullmatch(gold.name)
    answer_name = _FUNCTION.fullmatch(answer.name)
    if gold_name is None or answer_name is None or gold_name[1] != answer_name[1]:
        return None

    new = gold_name[2]
    old = answer_name[2]
    if {new, old} & CONSTANTS or not isinstance(gold.value, Quantity) or not isinstance(answer.value, Quantity):
        return None

    # f(a) = a^2 + 1 is no f(x) = ax + 1: a letter that means something else would be renamed into the argument.
    if new in symbols_of(answer.value.node) or old in symbols_of(gold.value.node):
        return None

    renamed = _rename(answer.value.node, old, new)
    return Named(gold.name, replace(answer.value, node=renamed))


def _rename(node: Node, old: str, new: str) -> Node:
    """An expression with another name for a symbol."""
    if node == Symbol(old):
        return Symbol(new)
    if isinstance(node, Operation):
        operands = tuple(_rename(operand, old, new) for operand in node.operands)
        return Operation(node.name, operands)
    return node
