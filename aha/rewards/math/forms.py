"""Values in another form that says the same: both signs of plus or minus written out, an argument by another name."""

import re
from dataclasses import replace
from fractions import Fraction
from typing import Final

from aha.rewards.math.nodes import (
    CONSTANTS,
    Named,
    Node,
    Number,
    Operation,
    Quantity,
    Several,
    Symbol,
    Value,
    symbols_of,
    walk,
)

__all__ = ["with_argument_of", "with_both_signs"]

_FUNCTION: Final = re.compile(r"([^()]+)\(([a-z])\)")


def with_both_signs(value: Value) -> Value:
    """A value in which plus-or-minus is written out as two values."""
    match value:
        case Quantity(node):
            if _has_sign(node):
                return Several("", tuple(replace(value, node=_signed(node, is_upper=upper)) for upper in (True, False)))
        case Named(name, inner):
            return Named(name, with_both_signs(inner))
        case Several("" | "{}" as brackets, items, is_endless):
            expanded = [with_both_signs(item) for item in items]
            if expanded != list(items):
                flat = [
                    one
                    for item in expanded
                    for one in (item.items if isinstance(item, Several) and not item.brackets else (item,))
                ]
                return Several(brackets, tuple(flat), is_endless)
    return value


def _has_sign(node: Node) -> bool:
    return any(isinstance(one, Operation) and one.name in ("pm", "mp") for one in walk(node))


def _signed(node: Node, *, is_upper: bool) -> Node:
    """An expression with the upper or the lower of its signs."""
    if not isinstance(node, Operation):
        return node
    operands = tuple(_signed(one, is_upper=is_upper) for one in node.operands)
    if node.name in ("pm", "mp"):
        sign = "+" if (node.name == "pm") == is_upper else "-"
        if operands[0] == Number(Fraction(0)):
            return operands[1] if sign == "+" else Operation("neg", operands[1:])
        return Operation(sign, operands)
    return Operation(node.name, operands)


def with_argument_of(gold: Named, answer: Named) -> Named | None:
    """`f(t) = t + 1` as `f(x) = x + 1` where the reference has x; None where the two are not such definitions.

    Neither of the two letters may stand in the other value: there it is a letter of its own.
    """
    names = [_FUNCTION.fullmatch(value.name) for value in (gold, answer)]
    if names[0] is None or names[1] is None or names[0][1] != names[1][1]:
        return None
    new, old = names[0][2], names[1][2]
    if {new, old} & CONSTANTS or not isinstance(gold.value, Quantity) or not isinstance(answer.value, Quantity):
        return None
    if new in symbols_of(answer.value.node) or old in symbols_of(gold.value.node):
        return None
    return Named(gold.name, replace(answer.value, node=_renamed(answer.value.node, old, new)))


def _renamed(node: Node, old: str, new: str) -> Node:
    """An expression with another name for a symbol."""
    if node == Symbol(old):
        return Symbol(new)
    if isinstance(node, Operation):
        return Operation(node.name, tuple(_renamed(one, old, new) for one in node.operands))
    return node
