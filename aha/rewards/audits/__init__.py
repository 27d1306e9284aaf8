"""Audits: what a verifier, the sandbox or a reward function gets wrong on labelled rows and attacks."""

__all__ = [
    "attacks",
    "code",
    "reward",
    "verifier",
]
