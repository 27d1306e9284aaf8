"""DeepSeek-R1's training system as one program.

The folders are the nouns of the paper. Read in this order they are the path of the data: problems, prompts, policy,
engines, rewards, advantages, objectives, training. Actors hold a model with all of it, and algorithms say how it
learns; around them stages, recipes and commands. Kernels and runs are below all of it, the report above. The nouns
themselves are in `aha.types`.
"""

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "actors",
    "advantages",
    "algorithms",
    "cli",
    "commands",
    "engines",
    "evaluation",
    "kernels",
    "objectives",
    "policy",
    "problems",
    "prompts",
    "recipes",
    "report",
    "rewards",
    "runs",
    "stages",
    "training",
    "types",
]
