"""The algorithms that can be chosen by name: the only place that lists them."""

from typing import Annotated

from pydantic import Field

from aha.algorithms.algorithm import Algorithm
from aha.algorithms.dr_grpo import DrGRPO
from aha.algorithms.grpo import GRPO
from aha.algorithms.grpo_sequence import GRPOSequence
from aha.algorithms.rloo import RLOO

__all__ = ["ALGORITHMS", "AnyAlgorithm", "algorithm_named", "with_settings_of"]

AnyAlgorithm = Annotated[GRPO | GRPOSequence | RLOO | DrGRPO, Field(discriminator="name")]
"""An algorithm with its settings; its name tells which of the classes it is of."""

# The same classes once more: a type checker can read the union above only where it is written out.
_CLASSES: tuple[type[Algorithm], ...] = (GRPO, GRPOSequence, RLOO, DrGRPO)

ALGORITHMS: dict[str, type[Algorithm]] = {kind.model_fields["name"].default: kind for kind in _CLASSES}
"""The algorithms by name."""


def algorithm_named(name: str) -> type[Algorithm]:
    """An algorithm by its name.

    Raises:
        ValueError: there is none of that name; the message lists all names.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"--algorithm {name}: there is no such algorithm, only {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def with_settings_of(kind: type[Algorithm], source: Algorithm) -> Algorithm:
    """An algorithm with the settings of another one, as far as both have them.

    A scale names its numbers once: chosen in place of GRPO, an algorithm with a clip interval gets the one that the
    scale names. What the scale leaves to GRPO's defaults, it leaves to the defaults of the chosen one.
    """
    # Of the source's settings only those that were set: a default is a decision of its own class.
    shared = kind.model_fields.keys() & source.model_fields_set
    settings = {name: value for name, value in source if name in shared and name != "name"}
    return kind.model_validate(settings)
