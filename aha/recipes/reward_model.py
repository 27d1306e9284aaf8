"""A reward model from a user's preferences: rankings for helpfulness, or labels for safety.

Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1 (what the two models read, and the numbers of the scale `paper`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from aha.recipes.r1.scales import R1_SCALES
from aha.recipes.recipe import Recipe, RunRequest, TrainedStage
from aha.runs.config import Config
from aha.runs.pipeline import Node
from aha.stages.config import RewardModelConfig

if TYPE_CHECKING:
    from aha.stages.reward_models.train import RewardModelSpec
    from aha.stages.run import Run
    from aha.types import Checkpoint, Preference

__all__ = ["REWARD_MODEL", "REWARD_MODEL_SCALES", "RewardModelOptions", "RewardModelRecipeConfig"]

FIGURE = (
    Node(name="start", title="Base", kind="model", by="given, or the built-in one"),
    Node(name="preferences", title="Preferences", kind="data", by="given"),
    Node(
        name="reward-model",
        title="Reward model",
        kind="reward",
        by="rankings, or labels of safety",
        stages=("reward-model",),
        parents=("start", "preferences"),
    ),
)


class RewardModelRecipeConfig(Config):
    """A reward model from preferences."""

    training: RewardModelConfig = R1_SCALES["paper"].rewards.training
    """Passes, batches and optimizer; `batch_size` counts questions."""
    max_held_out: int = Field(default=1000, ge=1)
    """Most rows that are held out of the preferences, where no rows are given for that."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that share the work. The bits of a result belong to their number."""


REWARD_MODEL_SCALES: dict[str, RewardModelRecipeConfig] = {
    name: RewardModelRecipeConfig(training=R1_SCALES[name].rewards.training) for name in R1_SCALES
}
"""The numbers by scale: those with which the recipe `r1` trains its reward models."""


@dataclass(frozen=True, kw_only=True)
class RewardModelOptions:
    """What a reward model is trained on."""

    preferences: tuple[str, ...] = ()
    """Rankings, for a model of helpfulness: JSONL or Parquet files, or hub:OWNER/NAME:FILE, whose rows have a question,
    chosen and rejected, or several responses with scores or ranks; see docs/problems.md."""
    preference_fields: str = ""
    """Which columns of the rankings hold what, as in question=ask,chosen=better,rejected=worse."""
    safety: tuple[str, ...] = ()
    """Labelled responses, for a model of safety, in place of --preferences: rows with a question, a response and
    is_safe."""
    safety_fields: str = ""
    """Which columns of the labelled responses hold what, as in question=ask,response=said,is_safe=verdict, or
    is_unsafe=harmful."""
    held_out: tuple[str, ...] = ()
    """Rows of the same kind that the model is examined on; a tenth of the questions where none are given."""
    bad_rows: Literal["stop", "skip"] = "stop"
    """What a row that cannot be used does."""
    reads: Literal["auto", "summary", "response"] = "auto"
    """What of a response the model is shown: all of it, or what follows the thinking; auto is the summary for rankings
    and the whole response for safety."""
    template: str = "auto"
    """Prompt around a question: r1_zero, r1, bare, chat (the checkpoint's own), or FILE.jinja; auto takes the
    checkpoint's own where it has one, and r1 otherwise."""
    system: str = ""
    """System message, for a chat template."""


Request = RunRequest[RewardModelRecipeConfig, RewardModelOptions]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """What is learned, and what the model is examined on.

    Attributes:
        kind: what the model reads, and its objective.
        learned: what it learns from.
        held_out: what it is examined on.
        notes: what was read and left out, for people.
    """

    kind: "RewardModelSpec"
    learned: "Sequence[Preference]"
    held_out: "Sequence[Preference]"
    notes: Sequence[str]


def _material(request: Request, model: "Checkpoint") -> _Material:
    """Read the files that a request names.

    Raises:
        ValueError: there are no preferences or two kinds of them, a row is broken, or nothing is left to learn from or
            to examine; says what to do.
    """
    from aha.problems.responses.preferences import read_labelled, read_ranked
    from aha.recipes.own.judged_rows import as_preferences, divided, without
    from aha.recipes.own.prompting import own_template
    from aha.stages.reward_models.train import HARMLESSNESS, HELPFULNESS

    options = request.options
    if bool(options.preferences) == bool(options.safety):
        raise ValueError("give either rankings with --preferences FILE.jsonl, or labelled responses with --safety FILE")

    if options.preferences:
        kind, read, addresses, mapping = HELPFULNESS, read_ranked, options.preferences, options.preference_fields
    else:
        kind, read, addresses, mapping = HARMLESSNESS, read_labelled, options.safety, options.safety_fields
    if options.reads != "auto":
        kind = replace(kind, reads=options.reads)

    rows = read(addresses, mapping=mapping, on_bad=options.bad_rows)
    notes = [rows.says]
    if options.held_out:
        held_out = read(options.held_out, mapping=mapping, on_bad=options.bad_rows)
        notes.append(f"examined on {held_out.says}")
        learned = without(rows, held_out)
        if len(learned) < len(rows):
            notes.append(f"{len(rows) - len(learned):,} rows left out whose question the examination asks too")
    else:
        learned, held_out = divided(rows, request.config.max_held_out)
        notes.append(f"examined on {len(held_out):,} of the rows, which a hash of each question picks")

    template = own_template(model, options.template, otherwise="r1", system=options.system)
    return _Material(
        kind=kind,
        learned=as_preferences(learned, template, kind.reads, "learned from"),
        held_out=as_preferences(held_out, template, kind.reads, "examined on"),
        notes=notes,
    )


def _check(request: Request, models: "Sequence[Checkpoint]") -> None:
    """Every row can be read, and the template too.

    Raises:
        ValueError: one cannot.
    """
    _material(request, models[0])


def _trained_stages(config: RewardModelRecipeConfig) -> Sequence[TrainedStage]:
    """The one stage."""
    return [TrainedStage(model=0, config=config.training)]


def _inputs(request: Request, models: "Sequence[Checkpoint]") -> dict[str, object]:
    """The files, and how they are read."""
    return {"options": asdict(request.options)}


def _run(run: "Run", request: Request, models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Train the reward model, and examine it."""
    from aha.stages.reward_models.sources import InMemoryPreferences
    from aha.stages.reward_models.train import reward_model

    material = _material(request, models[0])
    for note in material.notes:
        run.say(note)
    return reward_model(
        run,
        "reward-model",
        policy=models[0],
        data=InMemoryPreferences(preferences=material.learned),
        held_out=InMemoryPreferences(preferences=material.held_out),
        config=request.config.training,
        kind=material.kind,
    )


REWARD_MODEL = Recipe(
    name="reward_model",
    about="a reward model from a file of preferences, or of responses that are labelled as safe or not",
    config=RewardModelRecipeConfig,
    scales=REWARD_MODEL_SCALES,
    options=RewardModelOptions,
    run=_run,
    figure=FIGURE,
    learns_by_reinforcement=False,
    check=_check,
    trained_stages=_trained_stages,
    inputs=_inputs,
)
"""A reward model from preferences."""
