"""Fine-tuning on demonstrations: a model learns to write the responses of a user's file.

Problems with answers, where they are given, examine the model before and after.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.4.2 (the numbers of the scale `paper`).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from aha.recipes.own.own_data import as_record
from aha.recipes.r1.scales import R1_SCALES
from aha.recipes.recipe import Recipe, RunRequest, TrainedStage
from aha.runs.config import Config
from aha.runs.pipeline import Node
from aha.stages.config import EvaluationConfig, SupervisedConfig

if TYPE_CHECKING:
    from aha.problems.datasets.sets import ProblemSet
    from aha.problems.responses.demonstrations import DemonstrationSet
    from aha.prompts.templates import Template
    from aha.stages.run import Run
    from aha.types import Checkpoint

__all__ = ["SFT", "SFT_SCALES", "SFTConfig", "SFTOptions"]

FIGURE = (
    Node(name="start", title="Base", kind="model", by="given, or the built-in one"),
    Node(name="demonstrations", title="Demonstrations", kind="data", by="given", stages=("demonstrations",)),
    Node(name="end", title="Fine-tuned", kind="model", by="SFT", stages=("sft",), parents=("start", "demonstrations")),
)


class SFTConfig(Config):
    """Fine-tuning on demonstrations."""

    sft: SupervisedConfig = SupervisedConfig()
    """Passes, batches and optimizer."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How the model is examined before and after, where there are problems."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that share the work. The bits of a result belong to their number."""

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        """Every process takes an equal part of the samples of a problem."""
        count = self.evaluation.num_samples
        if count % self.processes:
            raise ValueError(
                f"--evaluation.num-samples: {count} cannot be shared out evenly by --processes {self.processes}"
            )
        return self


SFT_SCALES: dict[str, SFTConfig] = {
    name: SFTConfig(sft=numbers.dev1, evaluation=numbers.zero.evaluation, processes=2 if name == "small" else 1)
    for name, numbers in R1_SCALES.items()
}
"""The numbers by scale: those with which the recipe `r1` fine-tunes Dev1 and Dev3, and examines its models."""


@dataclass(frozen=True, kw_only=True)
class SFTOptions:
    """What fine-tuning takes besides numbers."""

    demonstrations: tuple[str, ...] = ()
    """What is learned: JSONL or Parquet files, or hub:OWNER/NAME:FILE, whose rows have a question and a response, an
    instruction and an output, or messages; see docs/problems.md."""
    demonstration_fields: str = ""
    """Which columns of the demonstrations hold what, as in question=problem,response=solution,reasoning=trace."""
    test: tuple[str, ...] = ()
    """Problems with answers that examine the model before and after: files, or hub:OWNER/NAME:FILE; see
    docs/problems.md. Nothing is examined where none are given."""
    format: str = "auto"
    """What the files of problems hold: auto tells gsm8k, math, aime, humaneval, choice and others by their fields."""
    fields: str = ""
    """Which fields of the problems hold what, as in question=problem,answer=solution."""
    bad_rows: Literal["stop", "skip"] = "stop"
    """What a row that cannot be used does."""
    template: str = "auto"
    """Prompt around a question: r1_zero, r1, bare, chat (the checkpoint's own), or FILE.jinja; auto takes the
    checkpoint's own where it has one, and r1 otherwise."""
    system: str = ""
    """System message, for a chat template; the checkpoint remembers it."""
    answer: str = "auto"
    """What of a response to a problem counts as its answer: auto (the answer block, or else the last box), tags (the
    answer block alone), box (the last box), last-number, or regex:PATTERN (the last match, or its first group)."""
    weak_sandbox: bool = False
    """Run code of the model with less isolation where bubblewrap is missing."""
    allow_packages: tuple[str, ...] = ()
    """Installed packages that code of the model may import besides the standard library, such as numpy."""


Request = RunRequest[SFTConfig, SFTOptions]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """What is learned, and what the model is examined on.

    Attributes:
        template: the prompt around a question.
        learned: the demonstrations, without those whose question is one of the test.
        tests: the problems of the test files.
        notes: what was read and left out, for people.
    """

    template: "Template"
    learned: "DemonstrationSet"
    tests: "Sequence[ProblemSet]"
    notes: Sequence[str]


def _material(request: Request, model: "Checkpoint") -> _Material:
    """Read the files that a request names.

    Raises:
        ValueError: there are no demonstrations, a row is broken, or nothing is left to learn; says what to do.
    """
    from aha.problems.responses.demonstrations import read_demonstrations
    from aha.recipes.own.examination import read_tests, without_overlaps
    from aha.recipes.own.prompting import own_template

    options = request.options
    if not options.demonstrations:
        raise ValueError("give what is to be learned with --demonstrations FILE.jsonl")

    template = own_template(model, options.template, otherwise="r1", system=options.system)
    learned = read_demonstrations(options.demonstrations, mapping=options.demonstration_fields, on_bad=options.bad_rows)
    tests = read_tests(options, model, template, request.config.evaluation)

    # What is examined is never learned, even where only a sample of the test is examined.
    clean = without_overlaps(learned, tests)
    notes = [learned.says, *(test.says for test in tests)]
    if len(clean) < len(learned):
        notes.append(f"{len(learned) - len(clean)} demonstrations left out that overlap with a test problem")
    return _Material(template=template, learned=clean, tests=tests, notes=notes)


def _check(request: Request, models: "Sequence[Checkpoint]") -> None:
    """Every row can be read, and the model has positions for every demonstration that fits into a chunk.

    Raises:
        ValueError: one does not hold; names the file and the line.
    """
    from aha.policy.pretrained import read_config
    from aha.prompts.pretrained import read_tokenizer
    from aha.prompts.templates import continuation

    model = models[0]
    material = _material(request, model)
    shape = read_config(model.path)
    tokenizer = read_tokenizer(model.path, room=shape.vocab_size).trained_with(material.template)

    # A prompt may open the thinking; the response is then learned from there on, as the stage does it.
    prompts = [material.template(demonstration.question) for demonstration in material.learned.items]
    responses = [
        continuation(prompt, demonstration.response)
        for prompt, demonstration in zip(prompts, material.learned.items, strict=True)
    ]
    prompt_ids = tokenizer.encode_prompts(prompts)
    response_ids = tokenizer.encode_all(responses)

    capacity = request.config.sft.max_tokens
    positions = shape.max_position_embeddings
    for where, prompt, response in zip(material.learned.places, prompt_ids, response_ids, strict=True):
        # The end token comes after the response. What is longer than a chunk is left out by the stage.
        length = len(prompt) + len(response) + 1
        if positions < length <= capacity:
            raise ValueError(
                f"{where}: the demonstration has {length} tokens, and the model has {positions} positions: "
                f"--sft.max-tokens {positions} leaves out what is longer"
            )


def _trained_stages(config: SFTConfig) -> Sequence[TrainedStage]:
    """The one stage."""
    return [TrainedStage(model=0, config=config.sft)]


def _inputs(request: Request, models: "Sequence[Checkpoint]") -> dict[str, object]:
    """The files, and how they are read."""
    return {"options": as_record(request.options)}


def _run(run: "Run", request: Request, models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Examine the model, fine-tune it, and examine the result."""
    from aha.recipes.own.examination import open_examination
    from aha.stages.harvests.harvest import write_demonstrations
    from aha.stages.sft import sft

    base = models[0]
    config = request.config
    material = _material(request, base)
    for note in material.notes:
        run.say(note)

    with ExitStack() as stack:
        exam = open_examination(request.options, material.tests, material.template, config.evaluation, stack)
        for note in exam.notes:
            run.say(note)
        exam.take(run, "start", base)
        # The content is the key, so that a changed file is noticed when the run goes on.
        rows = material.learned.items
        key = str([asdict(row) for row in rows])
        data = write_demonstrations(run, "demonstrations", rows, key=key)
        tuned = sft(run, "sft", policy=base, data=[data], config=config.sft, template=material.template)
        exam.take(run, "end", tuned)
    return tuned


SFT = Recipe(
    name="sft",
    about="fine-tuning: a model learns to write the responses of a file of demonstrations",
    config=SFTConfig,
    scales=SFT_SCALES,
    options=SFTOptions,
    run=_run,
    figure=FIGURE,
    learns_by_reinforcement=False,
    check=_check,
    trained_stages=_trained_stages,
    inputs=_inputs,
)
"""Fine-tuning on demonstrations."""
