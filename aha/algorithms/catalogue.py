"""The algorithms that can be chosen by name: the only list of them."""

from typing import Annotated, get_args

from pydantic import Field

from aha.algorithms.algorithm import Algorithm
from aha.algorithms.grpo import GRPO
from aha.algorithms.grpo_sequence import GRPOSequence

__all__ = ["ALGORITHMS", "AnyAlgorithm", "algorithm_named", "with_settings_of"]

AnyAlgorithm = Annotated[GRPO | GRPOSequence, Field(discriminator="name")]
"""An algorithm with its settings."""

ALGORITHMS: dict[str, type[Algorithm]] = {
    kind.model_fields["name"].default: kind for kind in get_args(get_args(AnyAlgorithm)[0])
}
"""The algorithms by name."""


def algorithm_named(name: str) -> type[Algorithm]:
    """An algorithm by its name.

    Raises:
        ValueError: there is none of that name; lists those that there are.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"--algorithm {name}: there is no such algorithm, only {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def with_settings_of(kind: type[Algorithm], other: Algorithm) -> Algorithm:
    """An algorithm with the settings of another one, as far as both have them.

    A scale names its numbers once: chosen in place of GRPO, an algorithm with a clip interval gets the one of the
    scale.
    """
    shared = kind.model_fields.keys() & type(other).model_fields.keys() - {"name"}
    return kind.model_validate({name: value for name, value in other if name in shared})
