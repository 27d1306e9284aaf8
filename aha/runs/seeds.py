"""Seeds: every random draw of a run comes from a generator that is seeded here.

A draw depends on the names given here (run seed, stage, iteration, problem, index) and on nothing else: not on what
was drawn before, not on its neighbours in a batch, not on the number of processes.
"""

import hashlib
import random

import numpy as np

__all__ = ["derive_seed", "generator", "uniforms"]


def derive_seed(*names: int | str) -> int:
    """A 64-bit seed from a path of names, stable across machines and Python versions."""
    # Types and separators keep 1 apart from "1", and ("a", "b") from ("ab",). Python's own hash differs by process.
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def generator(*names: int | str) -> random.Random:
    """A generator for discrete choices, seeded by a path of names."""
    return random.Random(derive_seed(*names))


def uniforms(count: int, *names: int | str) -> np.ndarray:
    """Uniform draws in [0, 1), [count], float64; a shorter request is a prefix of a longer one."""
    # Philox turns a counter into draws: its state is the key alone, and neighbouring keys are independent.
    bits = np.random.Philox(key=derive_seed(*names))
    return np.random.Generator(bits).random(count)
