"""R1: the recipe of the paper's Figure 2, with its reward models and students."""

__all__ = [
    "assistant",
    "built_in",
    "examination",
    "material",
    "options",
    "own_limits",
    "own_material",
    "own_rewards",
    "positions",
    "record",
    "rewards",
    "scales",
    "students",
    "train",
]
