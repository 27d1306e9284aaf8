"""Seeds: every random draw of a run comes from a generator that these two functions make.

A draw depends on the names given here (run seed, stage, iteration, problem, index) and on nothing else: not on what
was drawn before, not on its neighbours in a batch, not on the number of processes.
"""

import hashlib
import random

import numpy as np

__all__ = ["derive_seed", "generator", "uniforms"]


def derive_seed(*names: int | str) -> int:
    """A 64-bit seed from a path of names, stable across machines and Python versions."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*names: int | str) -> random.Random:
    """A generator for discrete choices, seeded by a path of names."""
    return random.Random(derive_seed(*names))


def uniforms(count: int, *names: int | str) -> np.ndarray:
    """Uniform draws in [0, 1), [count], float64; a shorter request is a prefix of a longer one."""
    return np.random.Generator(np.random.Philox(key=derive_seed(*names))).random(count)
