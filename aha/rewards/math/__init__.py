"""Answers of mathematics: read by one grammar into typed values, compared type by type, computed at points.

Modules:
    tokens: text into tokens; notation that means nothing is dropped here and nowhere else.
    reader: reads tokens one by one.
    parser, amounts, grammar: tokens into expressions, amounts with units, and values.
    nodes: what a value can be.
    units: units and nouns after a number.
    vocabulary: commands of LaTeX by what they stand for.
    arithmetic: the value of an expression, exactly or at a point.
    points: are two expressions equal?
    quantities, regions, relations, comparison: are two values the same answer?
    forms: values in another form that says the same.
    statements: names, equations and inequalities.
    near_misses: answers that are nearly right, for audits and tests.
"""

__all__ = [
    "arithmetic",
    "comparison",
    "forms",
    "near_misses",
    "nodes",
    "points",
    "quantities",
    "reading",
    "regions",
    "relations",
    "statements",
]
