"""The commands of LaTeX that expressions are made of, by what they stand for."""

import re
from typing import Final

__all__ = [
    "FACTORS",
    "FENCES",
    "FIGURES",
    "FUNCTIONS",
    "MATRICES",
    "NAMES",
    "OPAQUE",
    "SAME_NAMES",
    "TIMES",
]

FUNCTIONS: Final = frozenset(
    re.findall(
        r"\w+",
        "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth ln lg log exp gcd lcm max min",
    )
)
"""Functions of what follows them."""

NAMES: Final = frozenset(
    re.findall(
        r"\w+",
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma "
        "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell infty "
        "imath hbar mathbbR mathbbZ mathbbN mathbbQ mathbbC",
    )
)
"""Commands that are symbols."""

SAME_NAMES: Final = {"varepsilon": "epsilon", "imath": "i", "varphi": "phi", "vartheta": "theta"}
"""Shapes of a letter that are the same symbol."""

TIMES: Final = {"\\cdot": "*", "\\times": "*", "*": "*", "/": "/", "\\div": "/", "\\ast": "*"}
"""Signs between factors."""

FIGURES: Final = frozenset(re.findall(r"\w+", "angle triangle measuredangle overline bar widehat arc overarc"))
"""Commands before the letters of an angle, a triangle or a segment."""

FENCES: Final = {
    "lfloor": ("rfloor", "floor"),
    "lceil": ("rceil", "ceil"),
    "lvert": ("rvert", "abs"),
    "lVert": ("rVert", "abs"),
}
"""Commands that open brackets, with the one that closes them, and the operation that the pair is."""

OPAQUE: Final = frozenset(["int", "iint", "oint", "lim"])
"""Commands whose expressions are compared as they are written."""

FACTORS: Final = (
    NAMES | FUNCTIONS | FENCES.keys() | FIGURES | OPAQUE | {"sum", "prod", "frac", "sqrt", "binom", "begin"}
)
"""Commands that begin a factor."""

MATRICES: Final = frozenset(re.findall(r"\w+", "pmatrix bmatrix Bmatrix matrix vmatrix smallmatrix array"))
"""Environments of matrices."""
