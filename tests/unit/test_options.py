"""Every option of every command reaches the place where it acts.

A command runs whole, but for the functions that compute, which write down what they are given. An option has arrived
when a changed value is found there, and was not there without it. Options are given together, each with a value of its
own: those that have the same value, such as flags, or exclude each other stand on different command lines.
"""

import json
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from aha import cli
from aha.algorithms.grpo_sequence import GRPOSequence
from aha.commands import running
from aha.commands.options import Command, run_command
from aha.recipes.catalogue import recipe_named
from aha.recipes.distill import DISTILL
from aha.recipes.own.own_data import OwnData
from aha.recipes.r1.assistant import BUILT_IN, OtherModel
from aha.recipes.r1.record import R1
from aha.recipes.r1.scales import R1Config
from aha.recipes.recipe import Recipe, RunRequest
from aha.recipes.rejection import REJECTION
from aha.recipes.reward_model import REWARD_MODEL
from aha.recipes.scales import R1ZeroConfig
from aha.recipes.sft import SFT
from aha.recipes.zero_recipe import R1_ZERO
from aha.training.world import World
from aha.types import Checkpoint

START = {
    "zero": ["run", "r1_zero"],
    "r1": ["run", "r1"],
    "sft": ["run", "sft"],
    "distill": ["run", "distill", "--teacher", "base"],
    "rejection": ["run", "rejection"],
    "reward_model": ["run", "reward_model"],
    "pretrain": ["pretrain"],
    "doctor": ["doctor"],
    "audit": ["audit", "rows.jsonl"],
    "bench": ["bench"],
    "eval": ["eval", "base"],
    "sample": ["sample", "base", "--question", "1 + 1?"],
    "export": ["export", "base", "--out", "out"],
    "report": ["report", "folder"],
    "list": ["list"],
}
"""The words of each command without options. Commands that write a run write it to the working folder."""

Calls = dict[str, Any]
"""What was written down: `FUNCTION.ARGUMENT`, and `stdout`."""


@dataclass(frozen=True)
class Wire:
    """One option: the words that change it, where its value is found, and what is found there then.

    Attributes:
        words: they are added to those of `START`, or stand in their place where they begin with a command's name, which
            the first of a line may.
        where: a name in `Calls`.
        value: what is found there; a function of it is true of what is found.
        line: on which of the command's lines it stands.
    """

    words: str
    where: str
    value: Any
    line: int = 1


def rows_to(where: str) -> dict[str, Wire]:
    """The options of `OwnData`."""
    given: dict[str, tuple[str, Any]] = {
        "problems": ("a.jsonl b.jsonl", ("a.jsonl", "b.jsonl")),
        "test": ("t.jsonl", ("t.jsonl",)),
        "format": ("gsm8k", "gsm8k"),
        "fields": ("question=q", "question=q"),
        "bad_rows": ("skip", "skip"),
        "template": ("chat", "chat"),
        "system": ("briefly", "briefly"),
        "stop": ("</answer>", ("</answer>",)),
        "answer": ("box", "box"),
        "reward": ("own.py:f", ("own.py:f",)),
        "allow_packages": ("numpy sympy", ("numpy", "sympy")),
    }
    wires = {
        f"own.{name}": Wire(f"--{name.replace('_', '-')} {words}", f"{where}.own.{name}", value)
        for name, (words, value) in given.items()
    }
    wires["own.long_prompts"] = Wire("--long-prompts skip", f"{where}.own.long_prompts", "skip", line=8)
    wires["own.weak_sandbox"] = Wire("--weak-sandbox", f"{where}.own.weak_sandbox", True, line=4)
    return wires


def rows_of_r1() -> dict[str, Wire]:
    """The options of R1 on files of the user's own, none of which acts without problems."""
    rows = rows_to("material")
    for name in ("own.long_prompts", "own.weak_sandbox"):
        rows[name] = replace(rows[name], words=f"run r1 --problems p.jsonl {rows[name].words}")

    given: dict[str, tuple[str, Any]] = {
        "general": ("g.jsonl", ("g.jsonl",)),
        "general_fields": ("response=general", "response=general"),
        "preferences": ("h.jsonl", ("h.jsonl",)),
        "preference_fields": ("chosen=better", "chosen=better"),
        "safety": ("s.jsonl", ("s.jsonl",)),
        "safety_fields": ("is_safe=verdict", "is_safe=verdict"),
    }
    for name, (words, value) in given.items():
        rows[name] = Wire(f"--{name.replace('_', '-')} {words}", f"material.{name}", value)
    # Given demonstrations leave nothing for an assistant to rewrite.
    rows["demonstrations"] = Wire(
        "run r1 --problems p.jsonl --demonstrations d.jsonl", "material.demonstrations", ("d.jsonl",), line=9
    )
    rows["demonstration_fields"] = Wire(
        "--demonstration-fields response=cold", "material.demonstration_fields", "response=cold", line=9
    )
    rows["compare"] = Wire("run r1 --problems p.jsonl --compare", "material.compare", True, line=10)
    return rows


def run_wires(recipe: str) -> dict[str, Wire]:
    """The options that `run` has for any recipe."""
    other = "r1_zero_control" if recipe == "r1_zero" else "r1_zero"
    one_process = "--zero.processes 1" if recipe == "r1" else "--processes 1"
    return {
        "recipe": Wire(f"run {other}", "claim.recipe", other, line=3),
        "scale": Wire("--scale paper", "device_of.scale", "paper"),
        "option_file": Wire("--config seed9.toml", f"{recipe}.run.seed", 9, line=2),
        "seed": Wire("--seed 7", f"{recipe}.run.seed", 7),
        "device": Wire(f"--device cuda {one_process}", "among_peers.device", "cuda"),
        "algorithm": Wire("--algorithm grpo_sequence", f"{recipe}.config", has_a_ratio_per_response),
        "model": Wire("--model elsewhere", f"{recipe}.base", "elsewhere"),
        "json": Wire("--json", "stdout", is_object),
        "run": Wire("--run there", f"{recipe}.run.folder", "there"),
        "fresh": Wire("--fresh", "claim.fresh", True, line=2),
        "force": Wire("--force", "refuse.called", False, line=3),
        "keep_rollouts": Wire("--keep-rollouts 5", f"{recipe}.run.keep_rollouts", 5),
    }


def is_object(text: str) -> bool:
    """Whether a text is one JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def has_a_ratio_per_response(config: R1ZeroConfig | R1Config) -> bool:
    """Whether the first stage of reinforcement learns by GRPO with a ratio for each response."""
    zero = config.zero.zero if isinstance(config, R1Config) else config.zero
    return isinstance(zero.algorithm, GRPOSequence)


ON_OPTIONS: tuple[Recipe[Any, Any], ...] = (SFT, DISTILL, REJECTION, REWARD_MODEL)
"""Recipes whose options are looked at as they arrive."""

UNCHECKED = {"eval", "sample"}
"""Commands whose options are followed in `test_eval_options.py`."""
WIRES: dict[str, dict[str, Wire]] = {
    "zero": {
        **run_wires("r1_zero"),
        **rows_to("assigned"),
        "continue_from": Wire("--continue-from before", "r1_zero.continues", True, line=5),
    },
    "r1": {
        **run_wires("r1"),
        **rows_of_r1(),
        "students": Wire("--students s1 s2", "r1.students", ("s1", "s2")),
        "assistant": Wire("--assistant http://there/v1", "assistant.base_url", "http://there/v1"),
        "assistant_model": Wire("--assistant-model judge", "assistant.model", "judge"),
        "assistant_per_minute": Wire("--assistant-per-minute 30", "assistant.per_minute", 30.0),
    },
    "sft": {
        **{name: wire for name, wire in run_wires("sft").items() if name != "algorithm"},
        "force": Wire("--force", "check_disk.is_forced", True, line=3),
        "demonstrations": Wire("--demonstrations d.jsonl", "sft.demonstrations", ("d.jsonl",)),
        "demonstration_fields": Wire("--demonstration-fields response=r", "sft.demonstration_fields", "response=r"),
        "test": Wire("--test t.jsonl", "sft.test", ("t.jsonl",)),
        "format": Wire("--format gsm8k", "sft.format", "gsm8k"),
        "fields": Wire("--fields question=q", "sft.fields", "question=q"),
        "bad_rows": Wire("--bad-rows skip", "sft.bad_rows", "skip"),
        "template": Wire("--template chat", "sft.template", "chat"),
        "system": Wire("--system briefly", "sft.system", "briefly", line=5),
        "answer": Wire("--answer box", "sft.answer", "box"),
        "weak_sandbox": Wire("--weak-sandbox", "sft.weak_sandbox", True, line=4),
        "allow_packages": Wire("--allow-packages numpy sympy", "sft.allow_packages", ("numpy", "sympy")),
    },
    "distill": {
        **{name: wire for name, wire in run_wires("distill").items() if name != "algorithm"},
        **rows_to("distill"),
        "force": Wire("--force", "check_disk.is_forced", True, line=3),
        "teacher": Wire("--teacher wise", "distill.teacher", "wise"),
        "teacher_model": Wire(
            "run distill --teacher http://there/v1 --teacher-model wiser", "distill.teacher_model", "wiser", line=7
        ),
        "teacher_per_minute": Wire("--teacher-per-minute 30", "distill.teacher_per_minute", 30.0, line=7),
        "traces": Wire("run distill --traces t.jsonl", "distill.traces", ("t.jsonl",), line=6),
        "trace_fields": Wire("--trace-fields response=r", "distill.trace_fields", "response=r"),
        "form": Wire("--form any", "distill.form", "any"),
        "student_template": Wire("--student-template r1", "distill.student_template", "r1"),
    },
    "rejection": {
        **{name: wire for name, wire in run_wires("rejection").items() if name != "algorithm"},
        **rows_to("rejection"),
        "force": Wire("--force", "check_disk.is_forced", True, line=3),
        "form": Wire("--form any", "rejection.form", "any"),
    },
    "reward_model": {
        **{name: wire for name, wire in run_wires("reward_model").items() if name != "algorithm"},
        "force": Wire("--force", "check_disk.is_forced", True, line=3),
        "preferences": Wire("--preferences p.jsonl", "reward_model.preferences", ("p.jsonl",)),
        "preference_fields": Wire("--preference-fields question=q", "reward_model.preference_fields", "question=q"),
        "safety": Wire("--safety s.jsonl", "reward_model.safety", ("s.jsonl",)),
        "safety_fields": Wire("--safety-fields response=r", "reward_model.safety_fields", "response=r"),
        "held_out": Wire("--held-out h.jsonl", "reward_model.held_out", ("h.jsonl",)),
        "bad_rows": Wire("--bad-rows skip", "reward_model.bad_rows", "skip"),
        "reads": Wire("--reads response", "reward_model.reads", "response"),
        "template": Wire("--template chat", "reward_model.template", "chat"),
        "system": Wire("--system briefly", "reward_model.system", "briefly", line=5),
    },
    "pretrain": {
        "out": Wire("--out model", "publish.out", Path("model")),
        "run": Wire("--run there", "base.run.folder", "there"),
        "seed": Wire("--seed 7", "base.run.seed", 7),
        "fresh": Wire("--fresh", "claim.fresh", True, line=2),
        "json": Wire("--json", "stdout", is_object),
    },
    "doctor": {
        **rows_to("examine"),
        "scale": Wire("--scale paper", "device_of.scale", "paper"),
        "option_file": Wire("--config seed9.toml", "examine.seed", 9, line=2),
        "seed": Wire("--seed 7", "examine.seed", 7),
        "device": Wire("--device cuda", "examine.device", "cuda"),
        "algorithm": Wire("--algorithm grpo_sequence", "examine.config", has_a_ratio_per_response),
        "model": Wire("--model elsewhere", "examine.model", "elsewhere"),
        "json": Wire("--json", "stdout", is_object),
        "groups": Wire("--groups 3", "examine.num_groups", 3),
    },
    "audit": {
        "file": Wire("audit other.jsonl", "audit.path", Path("other.jsonl")),
        "code": Wire("--code", "audit.is_code", True, line=2),
        "weak_sandbox": Wire("--weak-sandbox", "audit.weak_sandbox", True, line=4),
        "allow_packages": Wire("--allow-packages numpy", "audit.packages", ("numpy",)),
        "show": Wire("--show 3", "audit.num_shown", 3),
        "rows": Wire("audit accuracy other.jsonl", "audit_reward.path", Path("other.jsonl"), line=3),
        "attacks": Wire("--attacks", "audit_reward.with_attacks", True, line=3),
        "beside": Wire("--beside format", "audit_reward.beside", ("format",), line=3),
        "threshold": Wire("--threshold 0.25", "audit_reward.threshold", 0.25, line=3),
        "allow": Wire("--allow 7", "audit_reward.num_allowed", 7, line=3),
        "json": Wire("--json", "stdout", is_object),
    },
    "bench": {
        "model": Wire("bench elsewhere", "measure.model", "elsewhere"),
        "threads": Wire("--threads 2", "measure.threads", 2),
        "seconds": Wire("--seconds 3", "measure.seconds", 3.0),
        "device": Wire("--device cuda", "measure.device", "cuda"),
        "json": Wire("--json", "stdout", is_object),
    },
    "export": {
        "model": Wire("export elsewhere --out out", "export.model", "elsewhere"),
        "out": Wire("export base --out other", "export.out", Path("other"), line=2),
        "dtype": Wire("--dtype float16", "export.dtype", "float16"),
        "json": Wire("--json", "stdout", is_object),
    },
    "report": {
        "run": Wire("report other", "write_page.folder", Path("other")),
        "json": Wire("--json", "stdout", is_object),
    },
    "list": {"json": Wire("--json", "stdout", is_object)},
}
"""Where each option of each command acts. Options that hold a whole configuration have a test of their own."""


def options_of(kind: Any) -> set[str]:
    """Names of a command's options; those of the user's own data with `own.` before them."""
    # `fit` says why a scale was chosen; nobody can give it.
    names = {one.name for one in fields(kind)} - {"config", "options", "fit"}
    return names - {"own"} | ({f"own.{one.name}" for one in fields(OwnData)} if "own" in names else set())


def test_no_option_is_forgotten() -> None:
    kinds = {kind.__name__.removesuffix("Command").lower(): kind for kind in get_args(Command)}
    options = {name: options_of(kind) for name, kind in kinds.items() if name not in {"run", *UNCHECKED}}
    for name, recipe in (("zero", R1_ZERO), ("r1", R1), *((one.name, one) for one in ON_OPTIONS)):
        options[name] = options_of(run_command(recipe, recipe.config)) | options_of(recipe.options)
    assert {name: set(wires) for name, wires in WIRES.items()} == options


@dataclass
class Recorder:
    """Functions that stand in for those that compute, and what they were given."""

    calls: Calls = field(default_factory=lambda: {"refuse.called": False, "among_peers.processes": None})

    def checkpoint(self, model: Any) -> Checkpoint:
        return Checkpoint(path=Path("model"), stage=str(model), step=0, key=str(model))

    def note(self, name: str, **given: Any) -> None:
        self.calls |= {f"{name}.{argument}": value for argument, value in given.items()}

    def note_run(self, name: str, run: Any) -> None:
        self.note(
            f"{name}.run",
            seed=run.seed,
            folder=run.folder.path.name,
            keep_rollouts=run.keep_rollouts,
            device=str(run.world.device),
        )

    def note_own(self, name: str, own: OwnData) -> None:
        self.note(f"{name}.own", **{one.name: getattr(own, one.name) for one in fields(own)})


@contextmanager
def stand_ins(patch: pytest.MonkeyPatch) -> Iterator[Calls]:  # noqa: C901  # one small function for each seam
    """Put the recording functions in place of those that compute."""
    recorder = Recorder()
    note = recorder.note

    def device_of(name: str, scale: str) -> str:
        note("device_of", scale=scale)
        return "cuda" if name == "cuda" else "cpu"

    def opened(model: Any = None) -> Checkpoint:
        note("open_base", model=model)
        return recorder.checkpoint(model)

    @contextmanager
    def among_peers(job: Any) -> Iterator[World]:
        note("among_peers", processes=job.num_processes, device=job.device_name)
        yield World()

    def examine(model: Any, own: OwnData, config: Any, **given: Any) -> None:
        recorder.note_own("examine", own)
        note("examine", model=model, config=config, **given)

    @contextmanager
    def assigned(own: OwnData, *_: Any, **__: Any) -> Iterator[Any]:
        recorder.note_own("assigned", own)
        yield SimpleNamespace(notes=())

    def own_material(options: Any, *_: Any, **__: Any) -> Any:
        recorder.note_own("material", options.own)
        note("material", **{one.name: getattr(options, one.name) for one in fields(options)})
        return SimpleNamespace(notes=())

    def recipe(name: str) -> Callable[..., Checkpoint]:
        def stand_in(run: Any, *given: Any, **named: Any) -> Checkpoint:
            recorder.note_run(name, run)
            config = next(one for one in given if isinstance(one, BaseModel))
            note(name, config=config, base=getattr(given[0], "key", None), **named)
            if name == "r1":
                note(name, students=tuple(model.key for model in given[3]))
            return recorder.checkpoint(name)

        return stand_in

    def check_disk(*_: Any, is_forced: bool, **__: Any) -> str:
        note("check_disk", is_forced=is_forced)
        return ""

    def run_on_options(run: Any, request: RunRequest[Any, Any], models: Sequence[Checkpoint]) -> Checkpoint:
        recorder.note_run(request.recipe, run)
        note(request.recipe, base=models[0].key)
        for one in fields(request.options):
            value = getattr(request.options, one.name)
            if isinstance(value, OwnData):
                note(f"{request.recipe}.own", **{each.name: getattr(value, each.name) for each in fields(OwnData)})
            else:
                note(request.recipe, **{one.name: value})
        return recorder.checkpoint(request.recipe)

    def claim(folder: Any, described: Mapping[str, Any], *, fresh: bool = False) -> None:
        folder.path.mkdir(parents=True, exist_ok=True)
        note("claim", fresh=fresh, recipe=described["recipe"])

    def assistant(other: OtherModel, *_: Any) -> Any:
        note("assistant", base_url=other.base_url, model=other.model, per_minute=other.per_minute)
        return BUILT_IN

    for name, function in {
        "device_of": device_of,
        "among_peers": among_peers,
        "examine": examine,
        "refuse": lambda _: note("refuse", called=True),
    }.items():
        patch.setattr(running, name, function)
    patch.setattr(running, "read_config", lambda path: None)
    patch.setattr(running, "check_disk", check_disk)
    patch.setattr("aha.recipes.r1.built_in.check_prompts", lambda *_, **__: None)
    patch.setattr("aha.recipes.r1.positions.check_positions", lambda *_, **__: None)
    patch.setattr("aha.recipes.base_model.open_base", opened)
    patch.setattr("aha.recipes.base_model.open_training", opened)
    patch.setattr("aha.recipes.own.assignment.assigned", assigned)
    patch.setattr("aha.recipes.r1_zero.r1_zero", recipe("r1_zero"))
    patch.setattr("aha.recipes.r1.own_material.own_material", own_material)
    patch.setattr("aha.recipes.r1.train.train_r1", recipe("r1"))
    patch.setattr("aha.recipes.base_model.base", recipe("base"))
    on_options = {one.name: replace(one, check=lambda *_: None, run=run_on_options) for one in ON_OPTIONS}
    patch.setattr(running, "recipe_named", lambda name: on_options.get(name) or recipe_named(name))
    patch.setattr(running, "record_starts", lambda *_: None)
    patch.setattr("aha.commands.processes.device_of", device_of)
    patch.setattr("aha.runs.folder.RunFolder.claim", claim)
    patch.setattr(OtherModel, "assistant", assistant)
    patch.setattr("aha.recipes.base_model.publish", lambda run, model, out: note("publish", out=out) or out)
    patch.setattr("aha.commands.doctor.examine", examine)
    patch.setattr("aha.commands.doctor.as_object", lambda _: {"is_fit": True})
    patch.setattr("aha.commands.doctor.in_words", lambda _: "fit")
    patch.setattr(
        "aha.commands.audits.audit_file", lambda path, **given: note("audit", path=path, **given) or ({}, "-")
    )
    patch.setattr(
        "aha.commands.audits.audit_named_reward",
        lambda spec, path, **given: note("audit_reward", path=path, **given) or ({}, "-"),
    )
    patch.setattr(
        "aha.commands.export.export",
        lambda model, out, dtype: note("export", model=model, out=out, dtype=dtype) or {"dtype": dtype},
    )
    patch.setattr("aha.commands.benchmark.measure", lambda model, **given: note("measure", model=model, **given))
    patch.setattr("aha.commands.benchmark.as_object", lambda _: {})
    patch.setattr("aha.commands.benchmark.in_words", lambda _: "-")
    patch.setattr("aha.report.page.write_page", lambda folder: note("write_page", folder=folder))
    patch.setattr("aha.report.page.summary", lambda _: {"start": None, "end": None, "model": "m", "page": "p"})
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield recorder.calls
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def ran(words: list[str], capsys: pytest.CaptureFixture[str], folder: Path) -> Calls:
    """What the functions were given when a command ran in a folder of its own."""
    folder.mkdir()
    (folder / "seed9.toml").write_text("seed = 9\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, stand_ins(patch) as calls:
        patch.chdir(folder)
        status = cli._main(words)
        said = capsys.readouterr()
        assert status == 0, said.err
        return calls | {"stdout": said.out}


def wires_by_line(command: str) -> dict[int, dict[str, Wire]]:
    """The options of a command by the command line on which they are given together."""
    lines: dict[int, dict[str, Wire]] = {}
    for name, wire in WIRES[command].items():
        lines.setdefault(wire.line, {})[name] = wire
    return lines


def words_of(command: str, wires: Iterable[Wire]) -> list[str]:
    """The words of a command line with these options."""
    words = [word for wire in wires for word in wire.words.split()]
    return words if words[0] == START[command][0] else [*START[command], *words]


@pytest.mark.parametrize("command", WIRES)
def test_options_of_one_line_have_different_values(command: str) -> None:
    """Or else one could arrive in the place of another."""
    for wires in wires_by_line(command).values():
        values = [repr(wire.value) for wire in wires.values()]
        assert len({*values}) == len(values)


@pytest.mark.parametrize("command", WIRES)
def test_every_option_reaches_the_place_where_it_acts(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    without = ran(START[command], capsys, tmp_path / "without")
    for line, wires in wires_by_line(command).items():
        given = ran(words_of(command, wires.values()), capsys, tmp_path / str(line))
        for name, wire in wires.items():
            before, after = without.get(wire.where), given.get(wire.where)
            if callable(wire.value):
                assert wire.value(after), name
                assert not wire.value(before), name
            else:
                assert after == wire.value != before, name
