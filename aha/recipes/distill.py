"""Distillation: a student is fine-tuned on the responses of a teacher, a model or a file of its traces.

Source: DeepSeek-R1, arXiv:2501.12948v1, 2.4; v2, B.4.3 (fine-tuning alone, without reinforcement).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from aha.recipes.own.own_data import OwnData, as_record
from aha.recipes.r1.scales import R1_SCALES
from aha.recipes.recipe import Recipe, RunRequest, TrainedStage, open_model
from aha.recipes.sft import SFT_SCALES
from aha.runs.config import Config
from aha.runs.pipeline import Node
from aha.stages.config import EvaluationConfig, RejectionConfig, SupervisedConfig

if TYPE_CHECKING:
    from aha.problems.datasets.sets import ProblemSet
    from aha.problems.responses.demonstrations import DemonstrationSet
    from aha.prompts.templates import Template
    from aha.recipes.own.teaching import Teaching
    from aha.stages.run import Run
    from aha.types import Checkpoint, Dataset

__all__ = ["DISTILL", "DISTILL_SCALES", "DistillConfig", "DistillOptions"]

FIGURE = (
    Node(name="teacher", title="Teacher", kind="model", by="given"),
    Node(name="traces", title="Traces", kind="data", by="sampled, or given", stages=("traces",), parents=("teacher",)),
    Node(name="start", title="Student", kind="model", by="given, or the built-in one"),
    Node(
        name="end",
        title="Distilled",
        kind="model",
        by="SFT",
        stages=("student",),
        parents=("start", "traces"),
        is_main=True,
    ),
)


class DistillConfig(Config):
    """Distillation."""

    sampling: RejectionConfig = RejectionConfig()
    """Problems that a teacher is asked, samples, and how many are kept."""
    sft: SupervisedConfig = R1_SCALES["paper"].students.qwen2
    """Fine-tuning of the student. Source: R1 v2 Table 6."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How the student is examined before and after, where there are problems."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that share the work. The bits of a result belong to their number."""

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        """Every process takes an equal part of the samples of a problem."""
        counts = {"sampling": self.sampling.num_samples, "evaluation": self.evaluation.num_samples}
        for name, count in counts.items():
            if count % self.processes:
                raise ValueError(
                    f"--{name}.num-samples: {count} cannot be shared out evenly by --processes {self.processes}"
                )
        return self


DISTILL_SCALES: dict[str, DistillConfig] = {
    name: DistillConfig(
        sampling=R1_SCALES[name].kept,
        sft=R1_SCALES[name].students.qwen2,
        evaluation=SFT_SCALES[name].evaluation,
    )
    for name in R1_SCALES
}
"""The numbers by scale: those with which the recipe `r1` samples from Dev2 and trains its first student."""


@dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """What distillation takes besides numbers."""

    teacher: str | None = None
    """The model that is asked: its folder, that of a finished run, a GGUF file, hub:OWNER/NAME, or the address of an
    OpenAI-compatible endpoint, as in http://127.0.0.1:8000/v1."""
    teacher_model: str = "default"
    """Name of the teacher at its endpoint."""
    teacher_per_minute: float | None = None
    """Most requests per minute to that endpoint."""
    traces: tuple[str, ...] = ()
    """In place of a teacher, what one has said: files of demonstrations; see docs/problems.md."""
    trace_fields: str = ""
    """Which columns of the traces hold what, as in question=problem,response=solution,reasoning=trace."""
    form: Literal["auto", "thinking", "any"] = "auto"
    """Which responses of the teacher may be kept: those with thinking and an answer after it, in one language and
    without loops, or all that are right; auto looks for thinking where the teacher's template asks for it."""
    student_template: str = "auto"
    """The student's prompt: r1_zero, r1, bare, chat (its own), or FILE.jinja; auto takes its own where it has one, and
    r1 otherwise."""
    own: OwnData = field(default_factory=OwnData)
    """Problems that the teacher is asked. The template and the system message are the teacher's."""


Request = RunRequest[DistillConfig, DistillOptions]


def _open_models(request: Request) -> "list[Checkpoint]":
    """The student, and the teacher if it is a model.

    Raises:
        ValueError: there is neither a teacher nor traces, or both; or a folder is not that of a model.
    """
    from aha.recipes.base_model import open_base

    options = request.options
    if (options.teacher is None) == (not options.traces):
        raise ValueError("give either --teacher MODEL, or what it has said with --traces FILE.jsonl")
    is_at_endpoint = options.teacher is not None and _is_address(options.teacher)
    if not is_at_endpoint and (options.teacher_model != "default" or options.teacher_per_minute is not None):
        raise ValueError("--teacher-model and --teacher-per-minute are for a --teacher at an address, http://...")
    if options.traces:
        _refuse_what_a_teacher_is_told(options.own)
    students = open_model(request)
    if options.teacher is None or is_at_endpoint:
        return students
    return [*students, open_base(options.teacher)]


def _is_address(teacher: str) -> bool:
    """Whether a teacher is an endpoint."""
    return teacher.startswith(("http://", "https://"))


def _refuse_what_a_teacher_is_told(own: OwnData) -> None:
    """Beside traces there is no teacher: what it would be asked, and how, has no effect.

    Raises:
        ValueError: such an option is given.
    """
    told = {
        "--problems": own.problems,
        "--reward": own.reward,
        "--template": own.template != "auto",
        "--system": own.system,
        "--stop": own.stop is not None,
    }
    given = [name for name, value in told.items() if value]
    if given:
        raise ValueError(
            f"{', '.join(given)}: meant for a teacher, which --traces take the place of: leave out what it would be "
            "told; the student's own prompt is --student-template"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """What the student is examined on, and what is learned where it is given.

    Attributes:
        template: the student's prompt around a question.
        tests: the problems of the test files.
        traces: what is given; None where a teacher is asked.
        notes: what was read and left out, for people.
    """

    template: "Template"
    tests: "Sequence[ProblemSet]"
    traces: "DemonstrationSet | None"
    notes: Sequence[str]


def _material(request: Request, student: "Checkpoint") -> _Material:
    """Read the test and the traces that a request names.

    Raises:
        ValueError: a row or a template cannot be used, or nothing is left to learn; says what to do.
    """
    from aha.problems.responses.demonstrations import read_demonstrations
    from aha.recipes.own.examination import read_tests, without_overlaps
    from aha.recipes.own.prompting import own_template

    options = request.options
    own = options.own
    template = own_template(student, options.student_template, otherwise="r1")
    tests = read_tests(own, student, template, request.config.evaluation)
    notes = [test.says for test in tests]
    if not options.traces:
        return _Material(template=template, tests=tests, traces=None, notes=notes)

    traces = read_demonstrations(options.traces, mapping=options.trace_fields, on_bad=own.bad_rows)
    clean = without_overlaps(traces, tests)
    notes.append(traces.says)
    if len(clean) < len(traces):
        notes.append(f"{len(traces) - len(clean)} traces left out that overlap with a test problem")
    return _Material(template=template, tests=tests, traces=clean, notes=notes)


def _check(request: Request, models: "Sequence[Checkpoint]") -> None:
    """Everything can be read, asked and judged.

    Raises:
        ValueError: it cannot; says what to do.
    """
    student, *teachers = models
    _material(request, student)
    if not request.options.traces:
        with ExitStack() as stack:
            _teaching(request, teachers, stack, seed=request.seed)


def _teaching(request: Request, teachers: "Sequence[Checkpoint]", stack: ExitStack, *, seed: int) -> "Teaching":
    """What the teacher is asked, and what is kept.

    Args:
        request: names the problems.
        teachers: the teacher, unless it is behind an endpoint.
        stack: closes the verifiers.
        seed: run seed.

    Raises:
        ValueError: problems or options cannot be used.
    """
    from aha.recipes.own.teaching import prepare_remote_teaching, prepare_teaching

    own, form, sampling = request.options.own, request.options.form, request.config.sampling
    if not teachers:
        return prepare_remote_teaching(own, sampling, stack, seed=seed, form=form)
    return prepare_teaching(own, teachers[0], sampling, stack, seed=seed, form=form)


def _trained_stages(config: DistillConfig) -> Sequence[TrainedStage]:
    """The student's fine-tuning."""
    return [TrainedStage(model=0, config=config.sft)]


def _inputs(request: Request, models: "Sequence[Checkpoint]") -> dict[str, object]:
    """The files, how they are read, and the teacher."""
    options, own = request.options, request.options.own
    # Whether no stop strings were given or an empty list of them, the keys of the stages hold those in use.
    options = replace(options, own=replace(own, stop=own.stop or ()))
    # The address and the pace may change when a run goes on; the model that answers may not.
    if options.teacher is not None and _is_address(options.teacher):
        options = replace(options, teacher="endpoint", teacher_per_minute=None)
    return {"options": as_record(options), "teacher": models[1].key if len(models) > 1 else None}


def _traces(run: "Run", request: Request, teachers: "Sequence[Checkpoint]", material: _Material) -> "Dataset":
    """What the student learns: given, or sampled from the teacher."""
    from aha.stages.harvests.harvest import write_demonstrations

    if material.traces is not None:
        rows = material.traces.items
        # The content is the key, so that a changed file is noticed when the run goes on.
        return write_demonstrations(run, "traces", rows, key=str([asdict(row) for row in rows]))

    with ExitStack() as stack:
        teaching = _teaching(request, teachers, stack, seed=run.seed)
        for note in teaching.notes:
            run.say(note)
        if teachers:
            return teaching.sample(run, "traces", teachers[0], request.config.sampling)
        return _asked_at_endpoint(run, request, teaching, stack)


def _asked_at_endpoint(run: "Run", request: Request, teaching: "Teaching", stack: ExitStack) -> "Dataset":
    """What a teacher behind an endpoint says right; its answers are kept in the run folder, `answers.jsonl`."""
    from aha.recipes.r1.assistant import OtherModel
    from aha.stages.harvests.remote import ask_teacher

    options = request.options
    teacher = OtherModel(
        base_url=options.teacher or "", model=options.teacher_model, per_minute=options.teacher_per_minute
    )
    return ask_teacher(
        run,
        "traces",
        endpoint=teacher.connect(run.folder, stack),
        problems=teaching.sampling.problems,
        keep=teaching.sampling.keep,
        config=request.config.sampling,
        system=options.own.system,
    )


def _run(run: "Run", request: Request, models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Examine the student, teach it, and examine it again."""
    from aha.recipes.own.examination import open_examination
    from aha.stages.sft import sft

    student, *teachers = models
    config = request.config
    material = _material(request, student)
    for note in material.notes:
        run.say(note)

    with ExitStack() as stack:
        exam = open_examination(request.options.own, material.tests, material.template, config.evaluation, stack)
        for note in exam.notes:
            run.say(note)
        exam.take(run, "start", student)
        traces = _traces(run, request, teachers, material)
        distilled = sft(run, "student", policy=student, data=[traces], config=config.sft, template=material.template)
        exam.take(run, "end", distilled)
    return distilled


DISTILL = Recipe(
    name="distill",
    about="distillation: a student is fine-tuned on the right responses of a teacher, or on a file of traces",
    config=DistillConfig,
    scales=DISTILL_SCALES,
    options=DistillOptions,
    run=_run,
    figure=FIGURE,
    learns_by_reinforcement=False,
    open_models=_open_models,
    check=_check,
    trained_stages=_trained_stages,
    inputs=_inputs,
)
"""Distillation."""
