"""DeepSeek-R1's training system as one program.

The folders are the nouns of the paper. Read in this order they are the path of the data: problems, prompts, policy,
engines, rewards, advantages, objectives, training. Actors hold a model with all of it, and algorithms say how it
learns; around them stages, recipes and commands. Kernels and runs are below all of it, the report above. The nouns
themselves are in `aha.types`.

For scripts and notebooks `run`, `evaluate` and `sample` of `aha.library` are names of the package as well.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aha.library import evaluate, run, sample
    from aha.types import Problem, Rollout, Verdict

__version__ = "0.1.0"

# Imported when they are first used: `import aha` is quick, and so is `aha --help`.
_HOMES = {
    "evaluate": "aha.library",
    "run": "aha.library",
    "sample": "aha.library",
    "Problem": "aha.types",
    "Rollout": "aha.types",
    "Verdict": "aha.types",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aha' has no attribute {name!r}")
    return vars(importlib.import_module(_HOMES[name]))[name]


__all__ = [
    "Problem",
    "Rollout",
    "Verdict",
    "__version__",
    "actors",
    "advantages",
    "algorithms",
    "cli",
    "commands",
    "engines",
    "evaluate",
    "evaluation",
    "kernels",
    "library",
    "objectives",
    "policy",
    "problems",
    "prompts",
    "recipes",
    "report",
    "rewards",
    "run",
    "runs",
    "sample",
    "stages",
    "training",
    "types",
]
