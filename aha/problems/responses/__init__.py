"""Rows with responses, of files of users: what a model imitates, and what a reward model learns from."""

__all__ = [
    "demonstrations",
    "preferences",
    "reading",
]
