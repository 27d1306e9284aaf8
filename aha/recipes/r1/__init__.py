"""R1: the recipe of the paper's Figure 2, with its reward models and students."""

__all__ = [
    "assistant",
    "examination",
    "positions",
    "record",
    "rewards",
    "scales",
    "students",
    "train",
]
