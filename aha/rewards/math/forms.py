"""Values in an equivalent form: plus-or-minus written out as two values, the argument of a function renamed."""

import re
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
            if _has_sign(node):
                upper = replace(value, node=_choose_sign(node, is_upper=True))
                lower = replace(value, node=_choose_sign(node, is_upper=False))
                return Collection("", (upper, lower))
        case Named(name, inner):
            return Named(name, with_both_signs(inner))
        case Collection("" | "{}" as brackets, items, is_endless):
            expanded = [with_both_signs(item) for item in items]
            if expanded != list(items):
                flat: list[Value] = []
                for item in expanded:
                    flat += item.items if isinstance(item, Collection) and not item.brackets else (item,)
                return Collection(brackets, tuple(flat), is_endless)

    return value


def _has_sign(node: Node) -> bool:
    return any(isinstance(part, Operation) and part.name in ("pm", "mp") for part in walk(node))


def _choose_sign(node: Node, *, is_upper: bool) -> Node:
    r"""An expression with the upper or the lower of its signs: `\pm` is `+` above and `-` below."""
    if not isinstance(node, Operation):
        return node

    operands = tuple(_choose_sign(operand, is_upper=is_upper) for operand in node.operands)
    if node.name in ("pm", "mp"):
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
    if new in symbols_of(answer.value.node) or old in symbols_of(gold.value.node):
        return None

    return Named(gold.name, replace(answer.value, node=_rename(answer.value.node, old, new)))


def _rename(node: Node, old: str, new: str) -> Node:
    """An expression with another name for a symbol."""
    if node == Symbol(old):
        return Symbol(new)
    if isinstance(node, Operation):
        return Operation(node.name, tuple(_rename(operand, old, new) for operand in node.operands))
    return node
