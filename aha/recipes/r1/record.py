"""The record of R1: the whole recipe of the paper's Figure 2, with distillation beside it.

Source: DeepSeek-R1, arXiv:2501.12948v2, Figure 2; v1, 2.4.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from aha.recipes.own.own_data import OwnData, as_record
from aha.recipes.r1.options import R1Options
from aha.recipes.r1.scales import R1_SCALES, R1Config
from aha.recipes.recipe import DoctorRequest, Recipe, RunRequest, TrainedStage
from aha.runs.pipeline import COLD_START, LANGUAGE_REWARD, Node, arrange
from aha.stages.config import RLConfig

if TYPE_CHECKING:
    from aha.recipes.r1.assistant import OtherModel
    from aha.stages.run import Run
    from aha.types import Checkpoint

__all__ = ["R1"]

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
        compared_with=((COLD_START, "zero"), (LANGUAGE_REWARD, "dev2-plain")),
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


def _left_out(options: R1Options) -> dict[str, str]:
    """The boxes of the figure for which the user's own problems come without data, and why each is left out."""
    if not options.own.problems:
        return {}

    reasons: dict[str, str] = {}
    if options.demonstrations:
        reasons["zero"] = "the cold start is given"
    if not options.general:
        reasons["general"] = "no demonstrations with --general"
    if not options.preferences:
        reasons["helpfulness"] = "no rankings with --preferences"
    if not options.safety:
        reasons["harmlessness"] = "no labelled responses with --safety"
    if not options.compare:
        reasons |= dict.fromkeys(("dev2-plain", "qwen2-rl", "qwen2-distilled-rl"), "no --compare")
    if not options.students:
        names = [node.name for node in NODES if node.name.startswith(("qwen2", "llama"))]
        reasons |= dict.fromkeys(names, "no --students")
    return reasons


def _left_out_in_words(request: "R1Request") -> list[str]:
    """What is left out, a line for each reason."""
    titles = {node.name: node.title for node in NODES}
    by_reason: dict[str, list[str]] = {}
    for name, reason in _left_out(request.options).items():
        by_reason.setdefault(reason, []).append(titles[name])
    return [f"left out, {reason}: {', '.join(names)}" for reason, names in by_reason.items()]


def _figure_of(request: "R1Request") -> tuple[Node, ...]:
    """The figure without what is left out, and with what is given in the place of what would be made."""
    options = request.options
    if not options.own.problems:
        return FIGURE

    reasons = _left_out(options)
    given = {"general", "cold"} if options.demonstrations else {"general"}
    nodes = []
    for node in FIGURE:
        if node.name in reasons:
            continue
        is_start = node.kind == "model" and not node.parents
        if node.name in given or is_start:
            node = replace(node, by="given")
        # No stage samples what a reward model learns from.
        if node.kind == "reward":
            node = replace(node, by=f"{node.by}, from given rows", stages=(node.name,))
        nodes.append(replace(node, parents=tuple(parent for parent in node.parents if parent not in reasons)))
    return tuple(nodes)


R1Request = RunRequest[R1Config, R1Options]


def _open_models(request: R1Request) -> "list[Checkpoint]":
    """The base, then the students."""
    from aha.recipes.base_model import open_base
    from aha.recipes.r1.students import FAMILIES

    request.options.check()
    students = request.options.students
    if students and len(students) != len(FAMILIES):
        raise ValueError(f"--students takes {len(FAMILIES)} model folders ({', '.join(FAMILIES)})")
    return [open_base(request.model), *(open_base(str(folder)) for folder in students)]


def _check(request: R1Request, models: "Sequence[Checkpoint]") -> None:
    """Every stage has enough different prompts, and its model has positions for them and for a response."""
    from aha.recipes.r1.built_in import check_prompts
    from aha.recipes.r1.own_material import own_material
    from aha.recipes.r1.positions import check_positions

    options = request.options
    if options.own.problems:
        # All files are read, so that a broken row ends the run here. The verifiers end with the block.
        with ExitStack() as stack:
            own_material(options, models, request.config, stack, seed=request.seed)
        return

    is_judged = options.assistant is not None
    check_prompts(request.config, seed=request.seed)
    check_positions(request.config, models, seed=request.seed, is_judged=is_judged)


def _doctor(request: R1Request) -> DoctorRequest | None:
    """The part that is R1-Zero, unless it is left out."""
    zero, options = request.config.zero, request.options
    if not zero.parts or options.demonstrations:
        return None
    # The stages of the built-in world have no stop strings, whatever the base was trained with.
    built_in = OwnData(stop=())
    own = replace(options.own, template="r1_zero", system="") if options.own.problems else built_in
    return DoctorRequest(model=request.model, own=own, config=zero)


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
    """The user's files, the students, and the model that assists."""
    options = request.options
    inputs: dict[str, object] = {}
    if options.own.problems:
        elsewhere = ("students", "assistant", "assistant_model", "assistant_per_minute")
        inputs["own"] = {name: value for name, value in as_record(options).items() if name not in elsewhere}
    if options.students:
        # Keys and not paths: a folder may move, and its content may change.
        inputs["students"] = [model.key for model in models[QWEN2:]]
    if options.assistant is not None:
        # The address may change when a run goes on; the model that answers may not.
        inputs["assistant"] = options.assistant_model
    return inputs


def _run(run: "Run", request: R1Request, models: "Sequence[Checkpoint]") -> "Checkpoint":
    """Train R1 on the user's files or in the built-in world, with the user's assistant or without."""
    from aha.recipes.r1.assistant import BUILT_IN
    from aha.recipes.r1.built_in import built_in_material
    from aha.recipes.r1.own_material import own_material
    from aha.recipes.r1.train import train_r1

    options = request.options
    # Connections, the record of answers and the verifiers are closed whatever happens, so that the same program can
    # run it again.
    with ExitStack() as stack:
        other = _other_model(options)
        assistant = None if other is None else other.assistant(run.folder, request.seed)
        if assistant is not None:
            stack.callback(assistant.close)

        if options.own.problems:
            editor = {"editor": assistant.editor} if assistant else {}
            material = own_material(options, models, request.config, stack, seed=run.seed, **editor)
        else:
            material = built_in_material(request.config, seed=run.seed, assistant=assistant or BUILT_IN)

        for note in (*material.notes, *_left_out_in_words(request)):
            run.say(note)
        return train_r1(run, models[BASE], request.config, material, models[QWEN2:])


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
    figure_of=_figure_of,
    left_out=_left_out_in_words,
    open_models=_open_models,
    check=_check,
    doctor=_doctor,
    trained_stages=_trained_stages,
    inputs=_inputs,
)
"""R1."""
