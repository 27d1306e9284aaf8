"""Rejection sampling on its own: a model answers problems many times, and what is right and readable becomes data.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.3.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from aha.recipes.own.own_data import OwnData, as_record
from aha.recipes.r1.scales import R1_SCALES
from aha.recipes.recipe import Recipe, RunRequest
from aha.runs.config import Config
from aha.runs.pipeline import Node
from aha.stages.config import RejectionConfig

if TYPE_CHECKING:
    from aha.stages.run import Run
    from aha.types import Checkpoint

__all__ = ["REJECTION", "REJECTION_SCALES", "RejectionOptions", "RejectionRecipeConfig"]

FIGURE = (
    Node(name="start", title="Model", kind="model", by="given, or the built-in one"),
    Node(
        name="kept",
        title="Responses",
        kind="data",
        by="sample, keep what is right",
        stages=("kept",),
        parents=("start",),
    ),
)

DATA_FILE = "responses.jsonl"
"""What was kept, in the run folder: rows that `sft --demonstrations` reads."""


class RejectionRecipeConfig(Config):
    """Rejection sampling."""

    sampling: RejectionConfig = RejectionConfig()
    """Problems, samples, and how many are kept."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that share the work. The bits of a result belong to their number."""

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        """Every process takes an equal part of the samples of a problem."""
        count = self.sampling.num_samples
        if count % self.processes:
            raise ValueError(
                f"--sampling.num-samples: {count} cannot be shared out evenly by --processes {self.processes}"
            )
        return self


REJECTION_SCALES: dict[str, RejectionRecipeConfig] = {
    name: RejectionRecipeConfig(sampling=R1_SCALES[name].kept) for name in R1_SCALES
}
"""The numbers by scale: those with which the recipe `r1` samples from Dev2."""


@dataclass(frozen=True, kw_only=True)
class RejectionOptions:
    """What rejection sampling takes besides numbers."""

    own: OwnData = field(default_factory=OwnData)
    """Problems of the user's own; auto takes the model's own template where it has one."""
    form: Literal["auto", "thinking", "any"] = "auto"
    """Which responses may be kept: those with thinking and an answer after it, in one language and without loops, or
    all that are right; auto looks for thinking where the template asks for it."""


Request = RunRequest[RejectionRecipeConfig, RejectionOptions]


def _check(request: Request, models: "Sequence[Checkpoint]") -> None:
    """The problems can be read, asked and judged.

    Raises:
        ValueError: they cannot; says what to do.
    """
    from aha.recipes.own.teaching import prepare_teaching

    options = request.options
    with ExitStack() as stack:
        prepare_teaching(options.own, models[0], request.config.sampling, stack, seed=request.seed, form=options.form)


def _inputs(request: Request, models: "Sequence[Checkpoint]") -> dict[str, object]:
    """The files, and how they are read."""
    own = request.options.own
    # Whether no stop strings were given or an empty list of them, the keys of the stages hold those in use.
    options = replace(request.options, own=replace(own, stop=own.stop or ()))
    return {"options": as_record(options)}


def _run(run: "Run", request: Request, models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Sample, keep, and write what was kept into one file."""
    from aha.recipes.own.teaching import prepare_teaching
    from aha.runs.folder import as_json, write_atomically
    from aha.runs.shards import read_rows

    model = models[0]
    config = request.config.sampling
    options = request.options
    with ExitStack() as stack:
        teaching = prepare_teaching(options.own, model, config, stack, seed=run.seed, form=options.form)
        for note in teaching.notes:
            run.say(note)
        data = teaching.sample(run, "kept", model, config)

    lines = [as_json(dict(row)) + "\n" for row in read_rows(data.path)]
    file = run.folder.path / DATA_FILE
    if run.folder.is_writer:
        write_atomically(file, "".join(lines))
    run.say(f"{len(lines):,} responses kept: {file}")
    return model


REJECTION = Recipe(
    name="rejection",
    about="rejection sampling: a model answers problems, and its right responses become a file of demonstrations",
    config=RejectionRecipeConfig,
    scales=REJECTION_SCALES,
    options=RejectionOptions,
    run=_run,
    figure=FIGURE,
    learns_by_reinforcement=False,
    check=_check,
    inputs=_inputs,
)
"""Rejection sampling."""
