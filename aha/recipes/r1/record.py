"""The record of R1: the whole recipe of the paper's Figure 2, with distillation beside it.

Source: DeepSeek-R1, arXiv:2501.12948v2, Figure 2; v1, 2.4.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aha.recipes.own.own_data import OwnData
from aha.recipes.r1.scales import R1_SCALES, R1Config
from aha.recipes.recipe import DoctorRequest, Recipe, RunRequest, TrainedStage
from aha.runs.pipeline import Node, arrange
from aha.stages.config import RLConfig

if TYPE_CHECKING:
    from aha.recipes.r1.assistant import OtherModel
    from aha.stages.run import Run
    from aha.types import Checkpoint

__all__ = ["R1", "R1Options"]

BASE, QWEN2, LLAMA = 0, 1, 2
"""Indices of the models that the run starts from; without students of the user's own there is the base alone."""

WIDE = """
    start  dev1  .           dev3  helpfulness
    zero   dev2  dev2-plain  .     harmlessness
    cold   kept  general     r1    .
    qwen2     qwen2-distilled     .  llama  llama-distilled
    qwen2-rl  qwen2-distilled-rl  .  .      .
"""
NARROW = """
    start            zero
    dev1             cold
    dev2             dev2-plain
    kept             general
    dev3             .
    helpfulness      harmlessness
    r1               .
    qwen2            qwen2-rl
    qwen2-distilled  qwen2-distilled-rl
    llama            llama-distilled
"""
"""The boxes of the figure on the grid of the page: the three passes from the base side by side, distillation below."""

NODES = (
    Node(name="start", title="Base", kind="model", by="pretraining"),
    Node(
        name="zero",
        title="R1-Zero",
        kind="model",
        by="RL, rules",
        stages=("zero", "longer"),
        parents=("start",),
        is_main=True,
    ),
    Node(name="cold", title="Cold start", kind="data", by="sample, keep, rewrite", stages=("cold",), parents=("zero",)),
    Node(name="dev1", title="Dev1", kind="model", by="SFT", stages=("dev1",), parents=("start", "cold"), is_main=True),
    Node(
        name="dev2",
        title="Dev2",
        kind="model",
        by="RL, rules + language",
        stages=("dev2",),
        parents=("dev1",),
        is_main=True,
    ),
    Node(
        name="dev2-plain",
        title="Dev2 without the language reward",
        kind="model",
        by="RL, rules",
        stages=("dev2-plain",),
        parents=("dev1",),
    ),
    Node(
        name="kept", title="Reasoning data", kind="data", by="rejection sampling", stages=("kept",), parents=("dev2",)
    ),
    Node(name="general", title="General data", kind="data", by="written", stages=("general",)),
    Node(
        name="dev3",
        title="Dev3",
        kind="model",
        by="SFT",
        stages=("dev3",),
        parents=("start", "kept", "general"),
        is_main=True,
    ),
    Node(
        name="helpfulness",
        title="Helpful reward model",
        kind="reward",
        by="pairwise",
        stages=("helpfulness-train", "helpfulness-validation", "helpfulness"),
        parents=("dev3",),
    ),
    Node(
        name="harmlessness",
        title="Safety reward model",
        kind="reward",
        by="point-wise",
        stages=("harmlessness-train", "harmlessness-validation", "harmlessness"),
        parents=("dev3",),
    ),
    Node(
        name="r1",
        title="R1",
        kind="model",
        by="RL, all scenarios",
        stages=("reasoning", "r1"),
        parents=("dev3", "helpfulness", "harmlessness"),
        is_main=True,
    ),
    # Both students have the same two boxes; only Qwen2 also learns by reinforcement (v1, Table 6).
    *(
        node
        for family, title in (("qwen2", "Qwen2"), ("llama", "Llama"))
        for node in (
            Node(name=family, title=f"{title} student", kind="model", by="pretraining", stages=(family,)),
            Node(
                name=f"{family}-distilled",
                title=f"Distilled {title}",
                kind="model",
                by="SFT",
                stages=(f"{family}-distilled",),
                parents=(family, "kept", "general"),
            ),
        )
    ),
    Node(name="qwen2-rl", title="Qwen2 by RL", kind="model", by="RL, rules", stages=("qwen2-rl",), parents=("qwen2",)),
    Node(
        name="qwen2-distilled-rl",
        title="Distilled Qwen2 by RL",
        kind="model",
        by="RL, rules",
        stages=("qwen2-distilled-rl",),
        parents=("qwen2-distilled",),
    ),
)

FIGURE = arrange(NODES, wide=WIDE, narrow=NARROW)
"""The figure: Figure 2 of R1 v2, with distillation (v1, 2.4) beside it. The main models are those of Table 3."""


@dataclass(frozen=True, kw_only=True)
class R1Options:
    """What R1 takes besides numbers."""

    students: tuple[Path, ...] = ()
    """Two model folders to distil into, Qwen2-shaped and Llama-shaped; the built-in students where none are given."""
    assistant: str | None = None
    """Address of an OpenAI-compatible endpoint: it rewrites the cold start, judges answers to general questions, which
    then join the reasoning data, and compares responses. Rules and the known truth do it where none is given."""
    assistant_model: str = "default"
    """Name of the model at that endpoint."""
    assistant_per_minute: float | None = None
    """Most requests per minute to that endpoint."""


R1Request = RunRequest[R1Config, R1Options]


def _open_models(request: R1Request) -> "list[Checkpoint]":
    """The base, then the students."""
    from aha.recipes.base_model import open_base
    from aha.recipes.r1.students import FAMILIES

    students = request.options.students
    if students and len(students) != len(FAMILIES):
        raise ValueError(f"--students takes {len(FAMILIES)} model folders ({', '.join(FAMILIES)})")
    return [open_base(request.model), *(open_base(str(folder)) for folder in students)]


def _check(request: R1Request, models: "Sequence[Checkpoint]") -> None:
    """Every stage has enough different prompts, and its model has positions for them and for a response."""
    from aha.recipes.r1.positions import check_positions
    from aha.recipes.r1.train import check_prompts

    is_judged = request.options.assistant is not None
    check_prompts(request.config, seed=request.seed)
    check_positions(request.config, models, seed=request.seed, is_judged=is_judged)


def _doctor(request: R1Request) -> DoctorRequest | None:
    """The part that is R1-Zero, unless it is left out."""
    zero = request.config.zero
    if not zero.parts:
        return None
    # The stages of R1 have no stop strings, whatever the base was trained with.
    return DoctorRequest(model=request.model, own=OwnData(stop=()), config=zero)


def _trained_stages(config: R1Config) -> Sequence[TrainedStage]:
    """All stages that write a model, as far as they run; Dev2's is run again without the language reward."""
    students = config.students
    base_loops = [*config.zero.parts.values(), config.dev2, config.dev2, config.reasoning, config.scenarios]
    # There are two reward models.
    lessons = [config.dev1, config.dev3, config.rewards.training, config.rewards.training]
    return [
        *_loops(BASE, base_loops),
        *(TrainedStage(model=BASE, config=lesson) for lesson in lessons),
        TrainedStage(model=QWEN2, config=students.qwen2),
        *_loops(QWEN2, [students.direct, students.further]),
        TrainedStage(model=LLAMA, config=students.llama),
    ]


def _loops(model: int, loops: Sequence[RLConfig]) -> Iterator[TrainedStage]:
    """Stages of reinforcement on a model, as far as they run."""
    return (TrainedStage(model=model, config=loop) for loop in loops if loop.iterations)


def _inputs(request: R1Request, models: "Sequence[Checkpoint]") -> dict[str, object]:
    """The students, and the model that assists."""
    inputs: dict[str, object] = {}
    if request.options.students:
        # Keys and not paths: a folder may move, and its content may change.
        inputs["students"] = [model.key for model in models[QWEN2:]]
    if request.options.assistant is not None:
        # The address may change when a run goes on; the model that answers may not.
        inputs["assistant"] = request.options.assistant_model
    return inputs


def _run(run: "Run", request: R1Request, models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Train R1 with the user's assistant, or with the built-in one."""
    from aha.recipes.r1.assistant import BUILT_IN
    from aha.recipes.r1.train import train_r1

    other = _other_model(request.options)
    assistant = BUILT_IN if other is None else other.assistant(run.folder, request.seed)
    # Connections and the record of answers are closed whatever happens, so that the same program can run it again.
    try:
        return train_r1(run, models[BASE], request.config, models[QWEN2:], assistant)
    finally:
        assistant.close()


def _other_model(options: R1Options) -> "OtherModel | None":
    """The model behind the endpoint that the user named."""
    from aha.recipes.r1.assistant import OtherModel

    if options.assistant is None:
        return None
    return OtherModel(
        base_url=options.assistant, model=options.assistant_model, per_minute=options.assistant_per_minute
    )


R1 = Recipe(
    name="r1",
    about="the whole of R1: R1-Zero, Dev1, Dev2, Dev3, R1 and distilled students, as in the paper's Figure 2",
    config=R1Config,
    scales=R1_SCALES,
    options=R1Options,
    run=_run,
    figure=FIGURE,
    open_models=_open_models,
    check=_check,
    doctor=_doctor,
    trained_stages=_trained_stages,
    inputs=_inputs,
)
"""R1."""
