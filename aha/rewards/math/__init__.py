"""Answers of mathematics: read by one grammar into typed values, compared type by type, computed at points.

Modules:
    tokens: text into tokens; notation that changes nothing is dropped here and nowhere else.
    grammar: tokens into values.
    nodes: what a value can be.
    units: units and nouns after a number.
    arithmetic: the value of an expression, exactly or at points.
    comparison: are two values the same answer?
"""

__all__ = ["arithmetic", "comparison", "grammar", "nodes", "tokens", "units"]
