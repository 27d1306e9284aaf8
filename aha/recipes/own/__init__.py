"""Problems, rewards and prompts of the user's own."""

__all__ = [
    "assignment",
    "examination",
    "judged_rows",
    "judging",
    "own_data",
    "prompt_lengths",
    "prompting",
    "references",
    "teaching",
]
