"""The commands and their options, as typed configurations: help derives from them, and so does a TOML file.

The docstrings of the fields are what `aha COMMAND --help` shows.
"""

from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from aha.algorithms.catalogue import ALGORITHMS
from aha.recipes.catalogue import RECIPES
from aha.recipes.own.own_data import Device, OwnData
from aha.recipes.recipe import Recipe
from aha.recipes.scales import BaseConfig, R1ZeroConfig
from aha.runs.config import Config
from aha.training.config import ExportDtype, Precision

__all__ = [
    "AlgorithmChoice",
    "AuditCommand",
    "BenchCommand",
    "Command",
    "DoctorCommand",
    "EvalCommand",
    "ExportCommand",
    "ListCommand",
    "ModelChoice",
    "PretrainCommand",
    "ReportCommand",
    "RunCommand",
    "SampleCommand",
    "StartCommand",
    "doctor_command",
    "run_command",
]


@dataclass(frozen=True, kw_only=True)
class StartCommand:
    """What decides how a run starts."""

    scale: Literal["tiny", "small", "gpu", "paper"] = "tiny"
    """Where the numbers come from that are not given here; chosen to fit --model and the machine where none is
    given."""
    fit: tyro.conf.Suppress[tyro.conf.Fixed[str]] = ""
    """Which scale was chosen and why."""
    # `config` is taken: it holds the numbers of a recipe.
    option_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """TOML file of the same options; what is given on the command line holds over it."""
    seed: int = 0
    """Run seed: every random draw derives from it."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA where there is one and the scale is not tiny. Bits belong to the device."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The option of whatever starts from a model."""

    model: Annotated[str | None, tyro.conf.arg(aliases=("--base",))] = None
    """Model to start from: a folder, also of an adapter, a GGUF file, or hub:OWNER/NAME; the built-in base if none."""


@dataclass(frozen=True, kw_only=True)
class AlgorithmChoice:
    """The option of whatever learns by reinforcement."""

    algorithm: Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(ALGORITHMS)}}}")] = "grpo"
    """How rewards become gradients, in every stage of reinforcement. Each algorithm has options of its own."""


@dataclass(frozen=True, kw_only=True)
class RunCommand(StartCommand):
    """Run a recipe; the same command again resumes it. Each recipe has options of its own: `aha run RECIPE --help`."""

    recipe: tyro.conf.Positional[str]
    """What to run; see `aha list`."""
    config: Any
    """The numbers of the recipe."""
    options: tyro.conf.Suppress[tyro.conf.Fixed[Any]] = None
    """What the recipe takes besides numbers."""
    run: Path | None = None
    """Run folder; runs/RECIPE-SEED where none is given."""
    fresh: bool = False
    """Throw away an earlier run in the folder."""
    force: bool = False
    """Start even where the doctor finds that nothing can be learned."""
    keep_rollouts: int = 1
    """Write the rollouts of every how-many-th training iteration only, to save disk; changes no result."""


def run_command(recipe: Recipe[Any, Any], numbers: type[Config]) -> type[RunCommand]:
    """The command that runs a recipe, made from its record: `RunCommand` with the recipe's own numbers and options.

    Args:
        recipe: the record.
        numbers: class of the numbers, that of the record or what the help shows of it.
    """
    one_of: Any = Literal
    positional: Any = tyro.conf.Positional
    without_prefix: Any = tyro.conf.OmitArgPrefixes

    # The types of these fields are the recipe's; their help stands in `RunCommand`.
    recipe_names = tuple(each_recipe.name for each_recipe in RECIPES)
    scales = tuple(recipe.scales)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("recipe", positional[one_of[recipe_names]]),
        ("scale", one_of[scales], field(default=scales[0])),
        # Without a name of its own: `--dev1.epochs`, not `--config.dev1.epochs`.
        ("config", Annotated[numbers, tyro.conf.arg(name="")]),
    ]
    if recipe.options is not None:
        options: Any = Annotated[without_prefix[recipe.options], tyro.conf.arg(name="")]
        fields.append(("options", options, field(default_factory=recipe.options)))

    # A recipe has these options only where they mean something, so that its help shows no others.
    bases: list[type[Any]] = [RunCommand]
    if recipe.starts_from_model:
        bases.append(ModelChoice)
    if recipe.learns_by_reinforcement:
        bases.append(AlgorithmChoice)
    return make_dataclass(
        "RecipeCommand",
        fields,
        bases=tuple(bases),
        namespace={"__doc__": RunCommand.__doc__},
        frozen=True,
        kw_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class PretrainCommand:
    """Train the built-in base model from scratch."""

    config: Annotated[BaseConfig, tyro.conf.arg(name="")]
    out: Path | None = None
    """Model folder to write, with its provenance."""
    run: Path | None = None
    """Run folder; runs/base-SEED where none is given."""
    seed: int = 0
    """Run seed."""
    fresh: bool = False
    """Throw away an earlier run in the folder."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class DoctorCommand(StartCommand, ModelChoice, AlgorithmChoice):
    """Examine a run before compute is spent; ends with status 1 where nothing could be learned."""

    config: Annotated[R1ZeroConfig, tyro.conf.arg(name="")]
    own: Annotated[OwnData, tyro.conf.arg(name="")] = field(default_factory=OwnData)
    groups: int = 8
    """Problems that are sampled, a group for each."""


def doctor_command(numbers: type[Config]) -> type[DoctorCommand]:
    """The command of the doctor with a class of numbers.

    Args:
        numbers: that of R1-Zero, or what the help shows of it.
    """
    return make_dataclass(
        "DoctorCommand",
        [("config", Annotated[numbers, tyro.conf.arg(name="")])],
        bases=(DoctorCommand,),
        # tyro shows the docstring as the text of the help, and `make_dataclass` does not inherit it.
        namespace={"__doc__": DoctorCommand.__doc__},
        frozen=True,
        kw_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class AuditCommand:
    """Check the verifier against labelled answers, the sandbox against labelled code, or a reward against responses.

    With a reward: ends with status 1 where something is wrong with it.
    """

    # One word is a file or a reward: `names_reward` tells them apart.
    file: tyro.conf.Positional[Path]
    """JSONL: rows with gold, answer, correct; with --code, rows with code, tests, passes. Or a reward:
    FILE.py:FUNCTION, MODULE:FUNCTION, accuracy, math, choice, format, summary or language, with =WEIGHT if not 1."""
    rows: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[ROWS]")] = None
    """For a reward: rows with question, answer, response, correct, and if needed domain and language. It is attacked on
    example problems where none are given."""
    code: bool = False
    """The rows are code."""
    weak_sandbox: bool = False
    """Run the code with less isolation where bubblewrap is missing."""
    allow_packages: tuple[str, ...] = ()
    """Installed packages that the code may import besides the standard library, such as numpy."""
    attacks: bool = False
    """Attack the reward of each problem of the rows: several answers, spam, near misses and others."""
    beside: tuple[str, ...] = ()
    """Further rewards; the weighted sum of all is audited."""
    threshold: float = 0.5
    """From this reward on a response counts as rewarded."""
    allow: int = 0
    """Responses with something wrong about their reward that still end with status 0."""
    show: int = 20
    """Disagreements that are listed."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Measure a model on this machine: generation, reference and update beside the fastest matrix product."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = "base"
    """Model folder, GGUF file, or hub:OWNER/NAME; `base` is the built-in one."""
    threads: int = 1
    """Threads of torch; each process of a run has one."""
    seconds: float = 10.0
    """Rounds begin until this much time has passed; one in any case."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Evaluate a model on the built-in world, or on a suite of your own files."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Model folder, folder of a finished run, GGUF file, or hub:OWNER/NAME; `base` is the built-in one."""
    suite: str | None = None
    """A suite (gsm8k, math500, aime24, humaneval, gpqa), NAME=FILE, or a file of problems; see docs/problems.md. The
    built-in world where none is given."""
    data: Path | None = None
    """Folder with the files of named suites; AHA_DATA where none is given."""
    fields: str = ""
    """Which fields of the file hold what, as in question=problem,answer=solution."""
    bad_rows: Literal["stop", "skip"] = "stop"
    """What a row that cannot be used does."""
    weak_sandbox: bool = False
    """Run code of the model with less isolation where bubblewrap is missing."""
    allow_packages: tuple[str, ...] = ()
    """Installed packages that code of the model may import besides the standard library, such as numpy."""
    template: str = "auto"
    """Prompt around a question: r1_zero, r1, bare, chat (the checkpoint's own), or FILE.jinja; auto takes the one that
    the model was trained with."""
    system: str = ""
    """System message, for a chat template; where none is given, that with which the model was trained."""
    split: Literal["test", "hard", "validation"] = "test"
    """Which held-out problems of the built-in world; `hard` lies beyond the training range."""
    # None is told from a number: the world's numbers and those of a suite differ.
    problems: int | None = None
    """How many; 200 of the built-in world and all of a suite where none is given."""
    samples: int | None = None
    """Responses for each (k); 16 of the built-in world and the papers' number of a suite where none is given."""
    temperature: float = 0.6
    """0 takes the most likely token."""
    top_p: float = 0.95
    """Nucleus."""
    max_new_tokens: int | None = None
    """Length cap of a response; 192 in the built-in world and the papers' 32,768 for a suite where none is given."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA where there is one, but not for the built-in base."""
    precision: Precision = "float32"
    """Type of the weights that compute."""
    processes: int = 1
    """Processes that share the work; each takes an equal part of the samples."""
    stop: tuple[str, ...] | None = None
    """Texts that end a response besides the model's end token; those that the model was trained with where the option
    is not given, none where it is given alone."""
    answer: str = "auto"
    """What of a response counts as its answer: auto (the answer block, or else the last box), tags (the answer block
    alone), box (the last box), last-number, or regex:PATTERN (the last match, or its first group); see docs/own.md."""
    seed: int = 0
    """Seed of the draws."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class SampleCommand:
    """Sample one response."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Model folder, folder of a finished run, GGUF file, or hub:OWNER/NAME; `base` is the built-in one."""
    prompt: str | None = None
    """Text given to the model as it is."""
    question: str | None = None
    """A question, given to the model inside a template."""
    template: str = "auto"
    """Prompt around the question: r1_zero, r1, bare, chat (the checkpoint's own), or FILE.jinja; auto takes the one
    that the model was trained with."""
    system: str = ""
    """System message, for a chat template; where none is given, that with which the model was trained."""
    temperature: float = 0.6
    """0 takes the most likely token."""
    top_p: float = 1.0
    """Nucleus."""
    max_new_tokens: int = 192
    """Length cap of the response."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA where there is one, but not for the built-in base."""
    precision: Precision = "float32"
    """Type of the weights that compute."""
    stop: tuple[str, ...] | None = None
    """Texts that end the response besides the model's end token; those that the model was trained with where the option
    is not given, none where it is given alone."""
    seed: int = 0
    """Seed of the draws."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write a model alone, to be served: weights, settings and tokenizer, with a provenance.json."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL_OR_RUN")]
    """Model folder, folder of a finished run, GGUF file, or hub:OWNER/NAME; `base` is the built-in one."""
    out: Path
    """Folder to write; new or empty."""
    dtype: ExportDtype = "auto"
    """Type of the weights; auto takes the one in which the start of the run was stored, or else the model's own."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write a run's page and print its figures."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class ListCommand:
    """List recipes and scales."""

    json: bool = False
    """Print one JSON object."""


# The command line derives the first two from the classes of numbers that the words name.
Command = (
    RunCommand
    | DoctorCommand
    | AuditCommand
    | BenchCommand
    | PretrainCommand
    | EvalCommand
    | SampleCommand
    | ExportCommand
    | ReportCommand
    | ListCommand
)
