"""DeepSeek-R1's training system as one program.

The folders are the nouns of the paper. Read in this order they are the path of the data: problems, prompts, policy,
rollouts, rewards, advantages, objectives, training; around them stages, recipes and runs. The nouns themselves are in
`aha.types`.
"""

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "advantages",
    "cli",
    "commands",
    "evaluation",
    "objectives",
    "policy",
    "problems",
    "prompts",
    "recipes",
    "rewards",
    "rollouts",
    "runs",
    "stages",
    "training",
    "types",
]
