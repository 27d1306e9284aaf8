"""What a user asks for, as tests ask for it: scale tiny, seed 0, no progress shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aha.recipes.r1.assistant import BUILT_IN, Assistant
from aha.recipes.r1.built_in import built_in_material
from aha.recipes.r1.options import R1Options
from aha.recipes.r1.scales import R1Config
from aha.recipes.r1.train import train_r1
from aha.recipes.recipe import Recipe, RunRequest
from aha.recipes.scales import R1ZeroConfig
from aha.recipes.zero_recipe import ZeroOptions
from aha.stages.run import Run
from aha.types import Checkpoint


def zero_request(
    config: R1ZeroConfig, folder: Path, *, recipe: str = "r1_zero", **options: Any
) -> RunRequest[R1ZeroConfig, ZeroOptions]:
    """A run of R1-Zero; other arguments are its options."""
    return RunRequest(
        recipe=recipe,
        scale="tiny",
        config=config,
        options=ZeroOptions(**options),
        folder=folder,
        seed=0,
        is_quiet=True,
    )


def r1_request(
    config: R1Config, folder: Path, *, force: bool = False, **options: Any
) -> RunRequest[R1Config, R1Options]:
    """A run of R1; other arguments are its options."""
    return RunRequest(
        recipe="r1",
        scale="tiny",
        config=config,
        options=R1Options(**options),
        folder=folder,
        seed=0,
        force=force,
        is_quiet=True,
    )


def train_built_in(
    run: Run, base: Checkpoint, scale: R1Config, students: Sequence[Checkpoint] = (), assistant: Assistant = BUILT_IN
) -> Checkpoint:
    """R1 in the built-in world, from a run that has begun."""
    material = built_in_material(scale, seed=run.seed, assistant=assistant)
    return train_r1(run, base, scale, material, students)


def single_request(
    recipe: Recipe[Any, Any], config: Any, options: Any, folder: Path, *, seed: int = 0, model: str | None = None
) -> RunRequest[Any, Any]:
    """A run of a recipe of one stage."""
    return RunRequest(
        recipe=recipe.name,
        scale="tiny",
        config=config,
        options=options,
        folder=folder,
        seed=seed,
        model=model,
        is_quiet=True,
    )
