"""Problems (q): where questions come from. The built-in world with its corpus, and the files of users."""

__all__ = [
    "datasets",
    "mixture",
    "responses",
    "splits",
    "world",
]
