"""The record of the built-in base model: pretraining from scratch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aha.recipes.recipe import Recipe, RunRequest, no_model
from aha.recipes.scales import BASE_SCALES, BaseConfig
from aha.runs.pipeline import Node

if TYPE_CHECKING:
    from aha.stages.run import Run
    from aha.types import Checkpoint

__all__ = ["BASE"]

FIGURE = (
    Node(name="corpus", title="Corpus", kind="data", by="written as it is read"),
    Node(name="base", title="Base", kind="model", by="pretraining", stages=("base",), parents=("corpus",)),
)


def _run(run: "Run", request: RunRequest[BaseConfig, None], models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Pretrain the base model."""
    # Inside, since it imports torch, and `aha --help` imports this record.
    from aha.recipes.base_model import base

    return base(run, request.config)


BASE: Recipe[BaseConfig, None] = Recipe(
    name="base",
    about="the built-in base model: pretraining from scratch on the corpus of the built-in world",
    config=BaseConfig,
    scales=BASE_SCALES,
    options=None,
    run=_run,
    figure=FIGURE,
    learns_by_reinforcement=False,
    open_models=no_model,
)
"""The built-in base model."""
