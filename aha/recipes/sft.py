"""Fine-tuning on demonstrations: a model learns to write the responses of a user's file.

Problems with answers, where they are given, examine the model before and after.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.4.2 (the numbers of the scale `paper`).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from aha.recipes.recipe import Recipe, RunRequest, TrainedStage
from aha.runs.config import Config
from aha.runs.pipeline import Node
from aha.stages.config import EvaluationConfig, SupervisedConfig
from aha.training.config import OptimizerConfig

if TYPE_CHECKING:
    from aha.problems.datasets.sets import ProblemSet
    from aha.problems.responses.demonstrations import DemonstrationSet
    from aha.prompts.templates import Template
    from aha.stages.evaluate import Setting
    from aha.stages.run import Run
    from aha.types import Checkpoint, Problem

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
    "tiny": SFTConfig(
        sft=SupervisedConfig(
            batch_size=2,
            max_tokens=512,
            optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=10, final_share=0.1),
        ),
        evaluation=EvaluationConfig(num_problems=200, num_samples=16, max_new_tokens=192),
    ),
    "gpu": SFTConfig(
        sft=SupervisedConfig(
            batch_size=16,
            max_tokens=8192,
            optimizer=OptimizerConfig(learning_rate=1e-5, warmup_steps=10, final_share=0.1, precision="bfloat16"),
        ),
        evaluation=EvaluationConfig(num_problems=200, num_samples=16, max_new_tokens=4096, precision="bfloat16"),
    ),
    "paper": SFTConfig(),
}
"""The numbers by scale: those with which the recipe `r1` fine-tunes Dev1 and Dev3."""


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
        examined: the problems, as they are asked.
        notes: what was read and left out, for people.
    """

    template: "Template"
    learned: "DemonstrationSet"
    examined: "Sequence[Problem]"
    notes: Sequence[str]


def _material(request: Request, model: "Checkpoint") -> _Material:
    """Read the files that a request names.

    Raises:
        ValueError: there are no demonstrations, a row is broken, or nothing is left to learn; says what to do.
    """
    from aha.problems.responses.demonstrations import read_demonstrations
    from aha.problems.splits import draw_sample
    from aha.prompts.questions import add_instructions
    from aha.prompts.templates import r1_zero
    from aha.recipes.own.prompting import own_template

    options = request.options
    if not options.demonstrations:
        raise ValueError("give what is to be learned with --demonstrations FILE.jsonl")

    template = own_template(model, options.template, otherwise="r1", system=options.system)
    learned = read_demonstrations(options.demonstrations, mapping=options.demonstration_fields, on_bad=options.bad_rows)
    tests = _tests(request, model, template)

    # What is examined is never learned, even where only a sample of the test is examined.
    clean = _without_overlaps(learned, tests)
    notes = [learned.says, *(test.says for test in tests)]
    if len(clean) < len(learned):
        notes.append(f"{len(learned) - len(clean)} demonstrations left out that overlap with a test problem")

    sample = draw_sample(tests, request.config.evaluation.num_problems) if tests else []
    problems = [problem for test in sample for problem in test]
    # R1-Zero's template says itself how to answer.
    examined = problems if template is r1_zero else add_instructions(problems)
    return _Material(template=template, learned=clean, examined=examined, notes=notes)


def _tests(request: Request, model: "Checkpoint", template: "Template") -> "list[ProblemSet]":
    """The problems of every test file; each leaves the model enough positions for a response of full length."""
    from aha.policy.pretrained import read_config
    from aha.problems.datasets.sources import open_problems
    from aha.prompts.pretrained import read_tokenizer
    from aha.prompts.questions import add_instructions
    from aha.prompts.templates import r1_zero
    from aha.recipes.own.prompt_lengths import PromptLimits
    from aha.recipes.own.references import with_readable_references

    options = request.options
    shape = read_config(model.path)
    limits = PromptLimits(
        tokenizer=read_tokenizer(model.path, room=shape.vocab_size),
        positions=shape.max_position_embeddings,
        template=template,
        # As `_material` asks them.
        wording=list if template is r1_zero else add_instructions,
        caps={"test": ("--evaluation.max-new-tokens", request.config.evaluation.max_new_tokens)},
        # Fine-tuning has no option --long-prompts.
        on_long="stop",
        has_choice=False,
    )

    tests = []
    for address in options.test:
        read = open_problems(
            address, format=options.format.removeprefix("auto"), mapping=options.fields, on_bad=options.bad_rows
        )
        problems, _ = limits.fitting(with_readable_references(read, options.bad_rows), "test")
        tests.append(problems)
    return tests


def _without_overlaps(learned: "DemonstrationSet", tests: "Sequence[ProblemSet]") -> "DemonstrationSet":
    """The demonstrations whose questions share no ten words in a row with a question of the test.

    Raises:
        ValueError: none is left.
    """
    from aha.evaluation.contamination import Contamination, without_instruction
    from aha.types import Problem

    # Every question may end with the same instruction, which is no overlap.
    held_out = [problem.question for test in tests for problem in without_instruction(test.problems)]
    if not held_out:
        return learned

    asked = [
        Problem(id=demonstration.problem_id, question=demonstration.question, answer="", domain=demonstration.domain)
        for demonstration in learned.items
    ]
    contamination = Contamination(held_out)
    questions = [problem.question for problem in without_instruction(asked)]
    clean = [index for index, question in enumerate(questions) if not contamination.overlaps(question)]
    if not clean:
        raise ValueError("no demonstration is left beside the test problems: give more, or other --test files")
    return learned.only(clean)


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
    return {"options": asdict(request.options)}


def _run(run: "Run", request: Request, models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Examine the model, fine-tune it, and examine the result."""
    from aha.stages.evaluate import evaluate
    from aha.stages.harvests.harvest import write_demonstrations
    from aha.stages.sft import sft

    base = models[0]
    config = request.config
    material = _material(request, base)
    for note in material.notes:
        run.say(note)

    with ExitStack() as stack:
        setting = _setting(request.options, material, stack)

        def examine(when: str, model: "Checkpoint") -> None:
            if material.examined:
                evaluate(run, when, policy=model, problems=material.examined, config=config.evaluation, setting=setting)

        examine("start", base)
        # The content is the key, so that a changed file is noticed when the run goes on.
        rows = material.learned.items
        key = str([asdict(row) for row in rows])
        data = write_demonstrations(run, "demonstrations", rows, key=key)
        tuned = sft(run, "sft", policy=base, data=[data], config=config.sft, template=material.template)
        examine("end", tuned)
    return tuned


def _setting(options: SFTOptions, material: _Material, stack: ExitStack) -> "Setting":
    """How the problems are asked and judged; processes that judge live as long as the stack."""
    from aha.recipes.own.judging import judges, rules_of
    from aha.stages.evaluate import Setting

    domains = {problem.domain for problem in material.examined}
    functions = judges(domains, stack, allow_weak=options.weak_sandbox, packages=options.allow_packages)
    return Setting(template=material.template, reward=rules_of(functions, material.template, domains))


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
