"""Actors: who owns a model, with what samples from it and what updates it, and how much of it fits into memory."""

__all__ = [
    "actor",
    "local",
    "local_actors",
    "trainable",
    "workload",
]
