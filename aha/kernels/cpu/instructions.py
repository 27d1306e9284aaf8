"""Instruction sets that the C kernels of the CPU can be built for, and the widths for which each has kernels.

This is the only place that knows either. A kernel works on whole vectors of a set's registers, so that a wider set
takes fewer widths; torch computes the others.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

__all__ = ["AVX2", "AVX512", "NATIVE", "InstructionSet", "Width", "choose_set", "cpu_features", "supported_sets"]

Width = Literal[
    "norm", "swiglu", "rotary", "attention", "product", "packed hidden", "packed head", "packed intermediate"
]
"""A width that a kernel takes.

norm and swiglu: the last dimension. rotary and attention: the size of a head. product: the columns of the result; a
projection also multiplies back, so that its input's width counts too. packed: the sizes of a whole policy that decodes
in C, each by the name that the configuration has for it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionSet:
    """What kernels are built for.

    Attributes:
        name: as `AHA_KERNELS` takes it.
        lanes: float32 numbers in a register.
        features: what the processor must have, by the names in /proc/cpuinfo.
        options: of the compiler.
    """

    name: str
    lanes: int
    features: frozenset[str]
    options: tuple[str, ...]

    def multiple(self, width: Width) -> int:
        """The number of which a width is a multiple wherever there is a kernel for it."""
        if width == "rotary":
            # Pairs of numbers: what is left behind the whole vectors is turned one by one.
            return 2

        if width == "packed hidden":
            # The result of a packed product is whole panels of two vectors, and the residual stream has no padding.
            return 2 * self.lanes
        return self.lanes

    def has_kernel(self, width: Width, count: int) -> bool:
        """Whether there is a kernel for a width of `count` numbers."""
        return count % self.multiple(width) == 0


AVX512 = InstructionSet(name="avx512", lanes=16, features=frozenset({"avx512f"}), options=("-march=native",))
AVX2 = InstructionSet(
    name="avx2", lanes=8, features=frozenset({"avx2", "fma"}), options=("-march=native", "-mno-avx512f")
)
NATIVE = InstructionSet(name="native", lanes=8, features=frozenset(), options=("-march=native",))
"""For processors of other kinds: the compiler makes of vectors of eight numbers what the processor has."""


def supported_sets(features: Collection[str]) -> tuple[InstructionSet, ...]:
    """The instruction sets of a processor, the best first; at least one.

    Args:
        features: what the processor has, as `cpu_features` returns it.
    """
    available = set(features)
    supported = tuple(candidate for candidate in (AVX512, AVX2) if candidate.features <= available)
    return supported or (NATIVE,)


def choose_set(name: str | None, features: Collection[str], *, asked_by: str) -> InstructionSet:
    """The instruction set of a name.

    Args:
        name: of the set; None or "" for the best that the processor has.
        features: what the processor has.
        asked_by: the setting that the name comes from, for the message.

    Raises:
        ValueError: the processor has no set of this name.
    """
    supported = supported_sets(features)
    if not name:
        return supported[0]

    for instructions in supported:
        if instructions.name == name:
            return instructions
    names = " and ".join(instructions.name for instructions in supported)
    raise ValueError(
        f"{asked_by} is {name!r}, but this processor has {names}: "
        f"choose one of these, 'off' to compute with torch, or unset {asked_by} for the best"
    )


@cache
def cpu_features() -> frozenset[str]:
    """What this processor has, by the names of Linux; empty where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()

    # x86 calls the line `flags`, ARM `Features`. There is one for each core: what counts is what all of them have.
    lines = (line.partition(":") for line in text.splitlines())
    cores = [frozenset(value.split()) for name, _, value in lines if name.strip() in ("flags", "Features")]
    return frozenset.intersection(*cores) if cores else frozenset()
